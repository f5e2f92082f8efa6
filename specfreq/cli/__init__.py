"""The command `specfreq`: reads the command line, calls the package, prints. Commands; no logic."""

import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import specfreq
from specfreq.core import processes
from specfreq.core.errors import UserError, unknown

# Heavy modules are imported by the commands that need them: `specfreq --help` answers at once.

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""How image classifiers use frequency, phase and texture: studies, experiments and the book made of them.

    \b
    specfreq list                                     what there is: studies, data, models, filters
    specfreq run image-spectra --help                 what a study lets you change
    specfreq run image-spectra -p data digits -o spectra.ipynb
    specfreq sweep image-spectra -p data=photos,digits   a study for several values, side by side
    specfreq book                                     run all studies, build the book
    specfreq train --data digits --epochs 5           one experiment, without a notebook
    """,
)
data_app = typer.Typer(no_args_is_help=True, help="Image sets: what is here, and how to get what is not.")
app.add_typer(data_app, name="data")

Profile = Annotated[
    str, typer.Option("--profile", help="named parameters for every study, see `specfreq list profiles`")
]
CellTimeout = Annotated[
    int | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=1,
        help="how long one cell of a notebook may take [default: no limit]",
    ),
]


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line. Exit code 2: the caller's mistake; 1: a run that failed; 128 + N: ended by signal
    N, 130 is Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(
            stream, "reconfigure"
        ):  # what a terminal or a pipe cannot show is escaped, and stops nothing
            stream.reconfigure(errors="backslashreplace")
    with processes.interruptible():
        _main(args)


def _main(args: Sequence[str] | None) -> None:
    usage_error = typer.BadParameter.__base__  # typer does not export it
    try:
        code = typer.main.get_command(app).main(
            _pairs(sys.argv[1:] if args is None else args), "specfreq", standalone_mode=False
        )
        if code == 130:  # newer versions of typer catch the interruption themselves
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except usage_error as error:
        place = error.ctx.command_path if error.ctx else "specfreq"
        _stop(f"{error.format_message().rstrip('.')} ({place} --help tells more)", 2)
    except UserError as error:
        _stop(error, 2)
    except (KeyboardInterrupt, typer.Abort):
        number = processes.received()
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        if processes.ending():
            processes.leave(number, f"interrupted{by}")
        _stop(f"interrupted{by}", 128 + number)
    except ConnectionError as error:
        _stop(error, 1)
    except RuntimeError as error:
        if not type(error).__module__.startswith("specfreq."):
            raise  # a defect of the program, not a run that failed
        _stop(error, 1)


def _stop(message: object, code: int) -> None:
    print(f"specfreq: {message}", file=sys.stderr)
    sys.exit(code)


def _pairs(args: Sequence[str]) -> list[str]:
    """`-p NAME VALUE`, as papermill has it, to `-p NAME=VALUE`, which typer can read more than once."""
    args, out = list(args), []
    while args:
        out.append(args.pop(0))
        if out[0] in ("run", "sweep") and out[-1] == "-p" and args:
            name = args.pop(0)
            out.append(f"{name}={args.pop(0)}" if args and "=" not in name else name)
    return out


def _version(asked: bool) -> None:
    if asked:
        print(f"specfreq {specfreq.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None: ...


@app.command("run", context_settings={"help_option_names": []})
def run_study(
    context: typer.Context,
    notebook: Annotated[
        str | None, typer.Argument(metavar="NOTEBOOK", help="a study, or the path of a notebook")
    ] = None,
    profile: Profile = "quick",
    p: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            metavar="NAME VALUE",
            help="set a parameter; lists as 2,4,12 or '[2, 4, 12]'; may be repeated",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", metavar="FILE.ipynb", help="executed notebook to write; one in _build/studies if not given"
        ),
    ] = None,
    timeout: CellTimeout = None,
    help: Annotated[
        bool, typer.Option("--help", help="show this, and the parameters of NOTEBOOK if one is named")
    ] = False,
) -> None:
    """Run a study with its own parameters. Unknown or ill-typed ones are refused before anything runs."""
    if help or notebook is None:
        print(context.get_help().rstrip())
        if notebook is not None:
            print(_parameters_of(notebook))
        return
    from specfreq.compendium import notebooks

    overrides = dict(_split(item) for item in p or [])
    notebooks.resolve(
        notebook, profile, overrides
    )  # refuses at once, before all that runs notebooks is loaded
    from specfreq.compendium import execution

    print(execution.execute(notebook, output, profile, overrides, timeout=timeout, say=_say))


def _say(line: str) -> None:
    """A line of progress: results alone go to the standard output."""
    print(line, file=sys.stderr, flush=True)


def _split(item: str, usage: str = "") -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise UserError(f"parameter {name!r} has no value; write {usage or f'-p {name} VALUE'}")
    return name, value


def _parameters_of(notebook: str) -> str:
    from specfreq.compendium import notebooks

    lines = [
        f"  {p.name}: {p.annotation} = {p.default!r}\n      {p.help}"
        for p in notebooks.parameters(notebook).values()
    ]
    return "\n".join([f"\nParameters of {notebook}:", *lines])


def _table(rows: Iterable[Sequence[str]]) -> str:
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


@app.command("sweep")
def sweep_study(
    notebook: Annotated[str, typer.Argument(metavar="NOTEBOOK", help="a study, or the path of a notebook")],
    p: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            metavar="NAME=VALUE,...",
            help="values of a parameter; lists as '[2,4],[12]'; text that has commas as '\"a,b\",\"c\"'; may be repeated",
        ),
    ] = None,
    profile: Profile = "quick",
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="a Dask scheduler, such as tcp://node1:8786; its workers must run this version of specfreq and see this "
            "checkout, the data and FOLDER under the same paths [default: a cluster on this machine]",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="cells at a time on this machine [default: one per core]")
    ] = None,
    retries: Annotated[
        int,
        typer.Option(min=0, help="times that a cell is begun again if its worker was lost, on this machine"),
    ] = 2,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", metavar="FOLDER", help="executed notebooks and results.csv; _build/sweeps/... if not given"
        ),
    ] = None,
    timeout: CellTimeout = None,
) -> None:
    """Run a study at every point of a grid of parameters, and print a table. Finished cells are kept, failed
    ones reported.
    """
    from specfreq.compendium import notebooks, parameters

    if dask and workers:
        raise UserError(
            "--workers is for this machine; a scheduler's workers are started with `dask worker ADDRESS`"
        )
    grid: dict[str, list[str]] = {}
    for name, values in map(_split, p or []):
        grid.setdefault(name, []).extend(parameters.values(values))
    notebooks.check(notebook, profile, grid)  # as in `run`
    from specfreq.compendium import execution, sweep, sweep_tables

    where = {"dask": dask, "workers": workers, "retries": retries, "output": output, "timeout": timeout}
    rows = sweep.sweep(notebook, grid, profile=profile, say=_say, **where)
    print(sweep_tables.as_text(rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    if failed := sum(row["state"] == "failed" for row in rows):
        raise execution.StudyFailed(f"{failed} of {len(rows)} cells failed; the same command runs them again")


@app.command()
def book(profile: Profile = "quick", timeout: CellTimeout = None) -> None:
    """Run all studies that changed, build the book in _build/html, and print the page to open."""
    from specfreq.compendium import notebooks

    if profile not in (known := notebooks.known_profiles()):
        raise unknown("profile", profile, known)
    from specfreq.compendium import book

    print(f"open {book.build(profile, timeout=timeout, say=lambda line: print(line, flush=True)).as_uri()}")


@data_app.command("list")
def data_list() -> None:
    """Show every image set, and for those that cannot be loaded what is missing or damaged."""
    from specfreq import data
    from specfreq.data import corrupted

    rows = data.status()
    print(_table((r.name, r.state, r.what) for r in rows))
    print("\nMissing or damaged; `specfreq data get NAME` gets it:")
    print("\n".join(f"  {row.name}: {row.why}" for row in rows if row.why) or "  nothing")
    print(
        f"\nCorrupted images, for corruption:source=official; unpack them in {data.root()}, from {corrupted.SITE}:"
    )
    print(_table((name, "here" if there else "not here") for name, there in corrupted.here().items()))


@data_app.command("get")
def data_get(name: Annotated[str, typer.Argument(metavar="NAME", help="see `specfreq data list`")]) -> None:
    """Download an image set through its library's own loader, and check it."""
    from specfreq import data

    print(data.get(name))


@app.command("list")
def list_all(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT", help="studies, profiles, data, models, filters, augmentations, measures or runs"
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "-w",
            "--where",
            metavar="FIELD=VALUE",
            help="only the runs whose experiment has this; may be repeated",
        ),
    ] = None,
) -> None:
    """Show what there is, all of it or one kind: studies, profiles, data, models, filters, augmentations,
    measures, runs.
    """
    from specfreq import augment, data, filters, measures, models
    from specfreq.compendium import notebooks
    from specfreq.experiment import runs

    if where:
        what = what or "runs"
    if where and what != "runs":
        raise UserError(
            f"--where chooses among runs, not {what}; write specfreq list runs --where {where[0]}"
        )
    wanted = dict(_split(item, "--where FIELD=VALUE") for item in where or [])
    kinds = {
        "studies": lambda: notebooks.studies(),
        "profiles": lambda: notebooks.known_profiles(),
        "data": data.names,
        "models": models.names,
        "filters": filters.names,
        "augmentations": lambda: _table(augment.describe().items()).splitlines(),
        "measures": measures.names,
        "runs": lambda: _table(map(_summary, runs.list_runs(**wanted))).splitlines(),
    }
    if what is not None and what not in kinds:
        raise unknown("kind", what, kinds, where="list")
    for kind in [what] if what else kinds:
        print(
            "\n".join(
                [f"{kind}:" if what is None else "", *(f"  {name.strip()}" for name in kinds[kind]())]
            ).lstrip("\n")
        )


def _summary(run: Any) -> list[str]:
    accuracy = run.results.get("accuracy", {}).get("accuracy")
    origin = run.provenance
    shown = f"{accuracy:.2f} %" if accuracy is not None else "-"
    return [run.key, shown, f"{origin['seconds']:.1f} s", origin["date"], _differences(run.experiment)]


def _differences(experiment: Any) -> str:
    """An experiment in few words: its data, model and filter, and what else is not as by default."""
    values = {
        k: v
        for k, v in experiment
        if v != type(experiment).model_fields[k].default or k in ("data", "model", "filter")
    }
    return ", ".join(f"{k}={v}" for k, v in values.items())


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def train(context: typer.Context) -> None:
    """Train one experiment, or find it trained already, and measure it. `specfreq train --help` lists its
    options.
    """
    from specfreq import measures
    from specfreq.cli import train_options
    from specfreq.experiment import Experiment

    def command(measure: list[str], device: str | None, checkpoint_every: float, **fields: Any) -> None:
        experiment, wanted = Experiment(**fields), measure or ["accuracy"]
        for name in wanted:
            measures.check(name)
        from specfreq.experiment import run
        from specfreq.train import team

        done = run(experiment, wanted, device=device, checkpoint_every=checkpoint_every)
        if team.first():
            _show(done)

    nested = train_options.command(command)
    if nested.main(list(context.args), "specfreq train", standalone_mode=False) == 130:
        raise KeyboardInterrupt  # newer versions of typer catch the interruption themselves


def _show(run: Any) -> None:
    print(f"{run.key}  {run.path}")
    print(_table(_lines(run.results)))


def _lines(results: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    return [(name, key, f"{v:.6g}") for name, result in results.items() for key, v in _numbers(result)]


def _numbers(result: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(key, value) for key, value in result.items() if isinstance(value, int | float)]


@app.command()
def measure(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[KEY] MEASURE...",
            help="KEY of a run, see `specfreq list runs`; its first letters do. Measures, see `specfreq list measures`",
        ),
    ],
    filter: Annotated[
        str | None, typer.Option(help="show the network the test images behind this filter instead")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ... [default: a GPU if there is one]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="instead of KEY, a network of your own: what a function of a module in this folder returns, from images "
            "in [0, 1] to logits; it gets classes= and channels= if it takes them",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE.safetensors", help="of --model; without it those that the function gives"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="the set whose test images are shown, see `specfreq data list`; of a KEY: instead of its own, with the "
            "same classes",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", metavar="FILE.json", help="write the results there, all of them")
    ] = None,
) -> None:
    """Measure a trained experiment, or a network of your own. Of an experiment, what was measured once is not
    computed again.
    """
    from specfreq import measures as known
    from specfreq.core import storage
    from specfreq.experiment import own, runs

    if model is not None and data is None:
        raise UserError("--model needs --data NAME, the set whose test images the network is shown")
    if model is None and weights is not None:
        raise UserError("--weights goes with --model; a run has its own: specfreq measure KEY MEASURE...")
    if model is None and not names[1:]:
        raise UserError(
            f"{names[0]!r} is taken for the KEY of a run; name a measure after it, or your own network by --model"
        )
    if output is not None and output.is_dir():
        raise UserError(f"cannot write {output}: it is a folder; write -o FILE.json")
    found = runs.find_run(names[0]) if model is None else None
    wanted = names[1:] if found else names
    for name in wanted:
        known.check(name)
    if found:
        results = {name: found.measure(name, filter, device, data) for name in wanted}
        record = {"run": found.key, "filter": filter or found.experiment.filter, "results": results}
        if data is None:
            _show(found)
        else:
            record["data"] = data
            print(f"{found.key}  {data}")
            print(_table(_lines(results)))
    else:
        record = own.measure(model, weights, data, wanted, filter=filter or "none", device=device)
        print(f"{model}  {data}{'' if weights else '  (weights as the function gives them)'}")
        print(_table(_lines(record["results"])))
    if output is not None:
        print(storage.write_json(output, record))


@app.command()
def publish(
    record: Annotated[
        str,
        typer.Argument(metavar="RECORD|KEY", help="the study whose record to publish; or a run, with --as"),
    ],
    profile: Annotated[str, typer.Option("--profile", help="the profile the study was run with")] = "laptop",
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="publish the run of that key, under this name")
    ] = None,
) -> None:
    """Write the record of a study, or of one run, into the book's results, where tables and verdicts find it.

    A record holds the settings, the results, the data's digests, versions, commit, device, seconds and date.
    """
    from specfreq.evidence import records
    from specfreq.experiment import runs

    if name is None:
        print(f"book/results/{records.publish(record, profile)}")
    else:
        records.save(name, records.of_run(name, runs.find_run(record)))
        print(f"book/results/{records.publish(name, records.RUN)}")
