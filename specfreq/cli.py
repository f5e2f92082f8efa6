"""The command `specfreq`: reads the command line, calls the package, prints. Commands; no logic."""

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

import specfreq
from specfreq.naming import UserError, unknown

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
    specfreq book                                     run all studies, build the book
    specfreq train --data digits --epochs 5           one experiment, without a notebook
    """,
)
data_app = typer.Typer(no_args_is_help=True, help="Image sets: what is here, and how to get what is not.")
app.add_typer(data_app, name="data")

Profile = Annotated[str, typer.Option("--profile", help="named parameters for every study, see `specfreq list profiles`")]


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line. Exit code 2: the caller's mistake; 1: a run that failed; 130: interrupted."""
    usage_error = typer.BadParameter.__base__  # typer does not export it
    try:
        code = typer.main.get_command(app).main(_pairs(sys.argv[1:] if args is None else args), "specfreq", standalone_mode=False)
        if code == 130:  # newer versions of typer catch the interruption themselves
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except usage_error as error:
        place = error.ctx.command_path if error.ctx else "specfreq"
        _stop(f"{error.format_message().rstrip('.')} ({place} --help tells more)", 2)
    except UserError as error:
        _stop(error, 2)
    except (KeyboardInterrupt, typer.Abort):
        _stop("interrupted", 130)
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
        if out[0] == "run" and out[-1] == "-p" and args:
            name = args.pop(0)
            out.append(f"{name}={args.pop(0)}" if args and "=" not in name else name)
    return out


def _version(asked: bool) -> None:
    if asked:
        print(f"specfreq {specfreq.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")] = False,
) -> None: ...


@app.command("run", context_settings={"help_option_names": []})
def run_study(
    context: typer.Context,
    notebook: Annotated[str | None, typer.Argument(metavar="NOTEBOOK", help="a study, or the path of a notebook")] = None,
    profile: Profile = "quick",
    p: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="set a parameter; lists as 2,4,12 or '[2, 4, 12]'; may be repeated"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", metavar="FILE.ipynb", help="executed notebook to write; one in _build/studies if not given")
    ] = None,
    help: Annotated[bool, typer.Option("--help", help="show this, and the parameters of NOTEBOOK if one is named")] = False,
) -> None:
    """Run a study with its own parameters. Unknown or ill-typed ones are refused before anything runs."""
    if help or notebook is None:
        print(context.get_help().rstrip())
        if notebook is not None:
            print(_parameters_of(notebook))
        return
    from specfreq import compendium

    overrides = dict(_split(item) for item in p or [])
    print(compendium.execute(notebook, output, profile, overrides))


def _split(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise UserError(f"parameter {name!r} has no value; write -p {name} VALUE")
    return name, value


def _parameters_of(notebook: str) -> str:
    from specfreq import compendium

    lines = [f"  {p.name}: {p.annotation} = {p.default!r}\n      {p.help}" for p in compendium.parameters(notebook).values()]
    return "\n".join([f"\nParameters of {notebook}:", *lines])


def _table(rows: Iterable[Sequence[str]]) -> str:
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


@app.command()
def book(profile: Profile = "quick") -> None:
    """Run all studies that changed, build the book in _build/html, and print the page to open."""
    from specfreq import book

    print(f"open {book.build(profile, say=lambda line: print(line, flush=True)).as_uri()}")


@data_app.command("list")
def data_list() -> None:
    """Show every image set, and for those that cannot be loaded what is missing or damaged."""
    from specfreq import data

    rows = data.status()
    print(_table((r.name, "here" if r.present else "not here", r.what) for r in rows))
    print("\nMissing or damaged; `specfreq data get NAME` gets it:")
    print("\n".join(f"  {row.name}: {row.why}" for row in rows if row.why) or "  nothing")


@data_app.command("get")
def data_get(name: Annotated[str, typer.Argument(metavar="NAME", help="see `specfreq data list`")]) -> None:
    """Download an image set through its library's own loader, and check it."""
    from specfreq import data

    print(data.get(name))


@app.command("list")
def list_all(
    what: Annotated[
        str | None, typer.Argument(metavar="WHAT", help="studies, profiles, data, models, filters, measures or runs")
    ] = None,
) -> None:
    """Show what there is, all of it or one kind: studies, profiles, data, models, filters, measures, runs."""
    from specfreq import compendium, data, experiment, filters, measures, models

    kinds = {
        "studies": lambda: compendium.studies(),
        "profiles": lambda: compendium.profiles(),
        "data": data.names,
        "models": models.names,
        "filters": filters.names,
        "measures": measures.names,
        "runs": lambda: [f"{r.key}  {_differences(r.experiment)}" for r in experiment.list_runs()],
    }
    if what is not None and what not in kinds:
        raise unknown("kind", what, kinds, where="list")
    for kind in [what] if what else kinds:
        print("\n".join([f"{kind}:" if what is None else "", *(f"  {name}" for name in kinds[kind]())]).lstrip("\n"))


def _differences(experiment: Any) -> str:
    """An experiment in few words: its data, model and filter, and what else is not as by default."""
    values = {k: v for k, v in experiment if v != type(experiment).model_fields[k].default or k in ("data", "model", "filter")}
    return ", ".join(f"{k}={v}" for k, v in values.items())


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def train(context: typer.Context) -> None:
    """Train one experiment, or find it trained already, and measure it. `specfreq train --help` lists its options."""
    typer.main.get_command(_train_app()).main(list(context.args), "specfreq train", standalone_mode=False)


def _train_app() -> typer.Typer:
    """The command behind `specfreq train`: an option for every field of Experiment."""
    from specfreq import Experiment, run

    def command(measure: list[str], device: str | None, **fields: Any) -> None:
        given = {k: v for k, v in fields.items() if v is not None}
        for name in given:
            if get_origin(Experiment.model_fields[name].annotation) is tuple:
                given[name] = given[name].split(",")
        _show(run(Experiment(**given), measure or ["accuracy"], device=device))

    options = [
        _option("measure", list[str] | None, None, "see `specfreq list measures`; may be repeated [default: accuracy]"),
        _option("device", str | None, None, "cpu, cuda, cuda:1, ... [default: a GPU if there is one]"),
    ]
    for name, field in sorted(Experiment.model_fields.items(), key=lambda f: f[0] not in Experiment.__annotations__):
        kind = bool if field.annotation is bool else str  # Experiment itself reads and checks the text
        shown = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        help = f"{field.description}" + ("" if field.default is None else f" [default: {shown}]")
        options.append(_option(name, kind | None, None, help, metavar=_written(field.annotation)))
    command.__signature__ = inspect.Signature(options)
    command.__doc__ = "Train one experiment, or find it trained already, and measure it. Prints its key, folder and results."
    nested = typer.Typer(add_completion=False, rich_markup_mode=None)
    nested.command()(command)
    return nested


def _option(name: str, kind: Any, default: Any, help: str, metavar: str | None = None) -> inspect.Parameter:
    declared = Annotated[kind, typer.Option(help=help, metavar=metavar, show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=declared)


def _written(annotation: Any) -> str | None:
    """How an option's values are written: a type's name, the choices, or values with commas between."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return "|".join(parts)
    if annotation is bool:
        return None
    return (parts or (annotation,))[0].__name__.upper() + (",..." if get_origin(annotation) is tuple else "")


def _show(run: Any) -> None:
    print(f"{run.key}  {run.path}")
    print(_table((name, key, f"{v:.6g}") for name, result in run.results.items() for key, v in _numbers(result)))


def _numbers(result: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(key, value) for key, value in result.items() if isinstance(value, int | float)]


@app.command()
def measure(
    run: Annotated[str, typer.Argument(metavar="KEY", help="of a run, see `specfreq list runs`; its first letters do")],
    measures: Annotated[list[str], typer.Argument(metavar="MEASURE...", help="see `specfreq list measures`")],
    filter: Annotated[str | None, typer.Option(help="show the network the test images behind this filter instead")] = None,
) -> None:
    """Measure a trained experiment. What was measured once is not computed again."""
    from specfreq import experiment

    matching = [r for r in experiment.list_runs() if r.key.startswith(run)]
    if len(matching) > 1:
        raise UserError(f"several runs begin with {run!r}: {', '.join(r.key for r in matching)}; write more of the key")
    if not matching:
        raise unknown("run", run, [r.key for r in experiment.list_runs()], hint="`specfreq list runs` shows all")
    found = matching[0]
    for name in measures:
        found.measure(name, filter)
    _show(found)


@app.command()
def publish(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="the study whose record to publish")],
    profile: Annotated[str, typer.Option("--profile", help="the profile it was run with")] = "laptop",
) -> None:
    """Move the record of a study into the book's results, where its tables and verdicts find it."""
    from specfreq import records

    print(f"book/results/{records.publish(record, profile)}")
