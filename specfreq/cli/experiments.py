"""`specfreq train`, `measure`, `publish`, `keep`, `restore`, `list`: experiments without notebooks."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specfreq.cli import base
from specfreq.core.errors import UserError, unknown

if TYPE_CHECKING:
    from specfreq.experiment import Experiment, Run


class _Train(base.Command):
    """Its options are read from Experiment when they are asked for: importing that takes long."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from specfreq.cli import train_options

        *own, help = super().get_params(ctx)
        return [*own, *train_options.options(), help]


@click.command("train", cls=_Train)
@click.option(
    "--profile",
    help="named values for the options below, such as those of a paper; options override it",
)
@click.option(
    "--measure",
    multiple=True,
    help="see `specfreq list measures`; may be repeated [default: accuracy]",
)
@base.device
@click.option(
    "--checkpoint-every",
    type=float,
    default=60.0,
    help="seconds of training that a killed process loses at most [default: 60]",
)
def train(
    profile: str | None,
    measure: tuple[str, ...],
    device: str | None,
    checkpoint_every: float,
    **options: Any,
) -> None:
    """Train one experiment, or find it trained already, and measure it.

    Prints its key, folder and results.
    """
    from specfreq import measures
    from specfreq.experiment import Experiment, profiles

    given = {name: value for name, value in options.items() if value is not None}
    if profile is not None:
        given = profiles.training(profile) | given
    experiment = Experiment(**given)
    wanted = list(measure) or ["accuracy"]
    for name in wanted:
        measures.check(name)
    # of the processes that torchrun starts, the first alone
    if (os.environ.get("RANK") or "0") == "0":
        epochs = f"{experiment.epochs} epoch{'s' * (experiment.epochs != 1)}"
        what = f"{experiment.model} on {experiment.data}, {epochs}"
        base.say(f"specfreq: training {what}, unless it is trained")
    from specfreq.experiment import run
    from specfreq.train import team

    done = run(experiment, wanted, device=device, checkpoint_every=checkpoint_every)
    if team.first():
        _show(done)


@click.command("measure", cls=base.Command)
@click.argument("names", metavar="[KEY] MEASURE...", nargs=-1, required=True)
@click.option("--filter", help="apply this filter to the test images, instead of the run's own")
@base.device
@click.option(
    "--model",
    metavar="MODULE:FUNCTION",
    help="instead of KEY, a network of your own, from images in [0, 1] to logits: what a function of a "
    "module in this folder returns; it gets classes= and channels= if it takes them",
)
@click.option(
    "--weights",
    metavar="FILE.safetensors",
    type=base.Place(),
    help="of --model; by default those that the function returns",
)
@click.option(
    "--data",
    metavar="NAME",
    help="the set of the test images, see `specfreq data list`; of a KEY: instead of its own, with the same "
    "classes",
)
@click.option(
    "-o",
    "output",
    metavar="FILE.json",
    type=base.Place(),
    help="write the results there, all of them",
)
def measure(
    names: tuple[str, ...],
    filter: str | None,
    device: str | None,
    model: str | None,
    weights: Path | None,
    data: str | None,
    output: Path | None,
) -> None:
    """Measure a trained experiment, or a network of your own.

    What was measured once of an experiment is kept, and not computed again. KEY is that of a run, see
    `specfreq list runs`; its first letters do. Measures: see `specfreq list measures`.
    """
    from specfreq.core import storage

    if output is not None:
        if output.is_dir():
            raise UserError(f"cannot write {output}: it is a folder; write -o FILE.json")
        storage.check(output.parent)
    if model is not None:
        if data is None:
            raise UserError("--model needs --data NAME, the set whose test images the network is shown")
        record = _measure_own(model, weights, data, names, filter, device)
    else:
        if weights is not None:
            raise UserError("--weights goes with --model; a run has its own: specfreq measure KEY MEASURE...")
        record = _measure_run(*names, filter=filter, device=device, data=data)
    if output is not None:
        print(storage.write_json(output, record))


def _measure_own(
    model: str, weights: Path | None, data: str, names: Sequence[str], filter: str | None, device: str | None
) -> dict[str, Any]:
    """Measure a network of one's own, and print and return what was found."""
    from specfreq import measures
    from specfreq.experiment import own

    for name in names:
        measures.check(name)
    shown = filter or "none"
    record = own.measure(model, weights, data, names, filter=shown, device=device, say=base.say)
    print(f"{model}  {data}{'' if weights else '  (weights as the function gives them)'}")
    print(base.table(_lines(record["results"])))
    return record


def _measure_run(
    key: str, *names: str, filter: str | None, device: str | None, data: str | None
) -> dict[str, Any]:
    """Measure a run, and print and return what was found."""
    from specfreq import filters, measures
    from specfreq.experiment import runs

    if not names:
        hint = "name a measure after it, or your own network by --model"
        raise UserError(f"{key!r} is taken for the KEY of a run; {hint}")
    found = runs.find_run(key)
    for name in names:
        measures.check(name)
    filter = filter and filters.normal_form(filter)
    base.say(f"specfreq: measuring {', '.join(names)} of {found.key}")
    results = {name: found.measure(name, filter, device, data) for name in names}
    record = {"run": found.key, "filter": filter or found.experiment.filter, "results": results}
    if data is None:
        _show(found)
        return record
    print(f"{found.key}  {data}")
    print(base.table(_lines(results)))
    return {**record, "data": data}


def _show(run: "Run") -> None:
    print(f"{run.key}  {run.path}")
    print(base.table(_lines(run.results)))


def _lines(results: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """The numbers of results, one a line; arrays are left out."""
    return [
        (name, key, f"{value:.6g}")
        for name, result in results.items()
        for key, value in result.items()
        if isinstance(value, int | float)
    ]


@click.command("publish", cls=base.Command)
@click.argument("record", metavar="RECORD|KEY")
@click.option("--profile", help="the profile the study was run with [default: laptop]")
@click.option("--as", "name", metavar="NAME", help="publish the run of that key, under this name")
def publish(record: str, profile: str | None, name: str | None) -> None:
    """Write the record of a study, or of one run, into the book's results, where tables and verdicts find it.

    RECORD is the study whose record to publish; or, with --as, the KEY of a run. A record holds the settings,
    the results, the data's digests, versions, commit, device, seconds and date.
    """
    from specfreq.evidence import records
    from specfreq.experiment import runs

    if name is None:
        print(f"book/results/{records.publish(record, profile or 'laptop')}")
    elif profile is not None:
        raise UserError("--profile is of the record of a study, and --as of a run; leave one out")
    else:
        records.save(name, records.of_run(name, runs.find_run(record)))
        print(f"book/results/{records.publish(name, records.RUN)}")


_WHERE = click.option(
    "-w",
    "--where",
    metavar="FIELD=VALUE",
    multiple=True,
    help="only runs whose experiment has this value; may be repeated",
)
_FOLDER = click.option(
    "--folder",
    metavar="FOLDER",
    type=base.Place(),
    help="of the archives [default: book/results/runs, which has the book's]",
)


@click.command("keep", cls=base.Command)
@_WHERE
@_FOLDER
def keep(where: tuple[str, ...], folder: Path | None) -> None:
    """Write finished runs as small archives that travel with the book: all but their weights.

    An archive, KEY.zip, has the settings, history, series and results of a run. Where it is restored, studies
    find them and train only what is missing: further seeds, or an augmentation of your own beside those that
    were published.
    """
    from specfreq.experiment import kept, runs

    size = count = 0
    refused: list[UserError] = []
    for run in runs.list_runs(**base.pairs(where, "--where FIELD=VALUE")):
        with _gathered(refused):
            path = kept.keep(run, folder)
            size, count = size + path.stat().st_size, count + 1
    print(f"{_many(count)} in {folder or kept.folder()} ({size / 1e6:.1f} MB)")
    _refuse_all(refused)


@click.command("restore", cls=base.Command)
@click.argument("keys", metavar="[KEY...]", nargs=-1)
@_FOLDER
def restore(keys: tuple[str, ...], folder: Path | None) -> None:
    """Bring runs that `specfreq keep` wrote into the folder of runs, those of the book or of a folder.

    KEY: the first letters do; none restores all. Runs that are there stay as they are. A restored run has no
    weights: what was measured is found, and whatever else is asked of it trains it again.
    """
    from specfreq.experiment import kept

    place = folder or kept.folder()
    archives = kept.archives(place)
    if not archives:
        raise UserError(f"{place} holds no kept runs; `specfreq keep` writes them")
    for key in keys:
        if not any(path.stem.startswith(key) for path in archives):
            raise unknown("run", key, [path.stem for path in archives], where=str(place))
    count = there = 0
    refused: list[UserError] = []
    for path in archives:
        if not keys or path.stem.startswith(keys):
            with _gathered(refused):
                found = kept.restore(path)
                count, there = count + (found is not None), there + (found is None)
    known = f", {_many(there)} there before" if there else ""
    print(f"{_many(count)} restored{known}; see `specfreq list runs`")
    _refuse_all(refused)


@contextlib.contextmanager
def _gathered(refused: list[UserError]) -> Iterator[None]:
    """What is refused of one run is told at the end, after the others."""
    try:
        yield
    except UserError as error:
        refused.append(error)


def _refuse_all(refused: Sequence[UserError]) -> None:
    if refused:
        raise UserError("\n".join(map(str, refused)))


def _many(runs: int) -> str:
    return f"{runs} run{'s' * (runs != 1)}"


@click.command("list", cls=base.Command)
@click.argument("what", metavar="[WHAT]", required=False)
@_WHERE
def list_all(what: str | None, where: tuple[str, ...]) -> None:
    """Show what there is, all of it or one kind.

    WHAT is studies, profiles, data, models, filters, augmentations, measures or runs. Names are written with
    hyphens, those of corruptions with underscores, as CIFAR-10-C has them; either is understood for both.
    """
    from specfreq import augment, data, filters, measures, models
    from specfreq.compendium import notebooks
    from specfreq.experiment import runs

    if where:
        what = what or "runs"
    if where and what != "runs":
        hint = f"write specfreq list runs --where {where[0]}"
        raise UserError(f"--where chooses among runs, not {what}; {hint}")
    wanted = base.pairs(where, "--where FIELD=VALUE")
    kinds = {
        "studies": notebooks.studies,
        "profiles": notebooks.known_profiles,
        "data": data.names,
        "models": models.names,
        "filters": filters.names,
        "augmentations": lambda: base.table(augment.describe().items()).splitlines(),
        "measures": measures.names,
        "runs": lambda: base.table(map(_summary, runs.list_runs(**wanted))).splitlines(),
    }
    if what is not None and what not in kinds:
        raise unknown("kind", what, kinds, where="list")
    for kind in [what] if what else kinds:
        if what is None:
            print(f"{kind}:")
        for name in kinds[kind]():
            print(f"  {name.strip()}")


def _summary(run: "Run") -> list[str]:
    accuracy = run.results.get("accuracy", {}).get("accuracy")
    shown = f"{accuracy:.2f} %" if accuracy is not None else "-"
    origin = run.provenance
    about = _settings(run.experiment) + ("" if run.trained else " (restored, without its weights)")
    return [run.key, shown, f"{origin['seconds']:.1f} s", origin["date"], about]


def _settings(experiment: "Experiment") -> str:
    """An experiment in few words: data, model, filter, and the settings that differ from the defaults."""
    fields = type(experiment).model_fields
    shown = [
        f"{name}={value}"
        for name, value in experiment
        if name in ("data", "model", "filter") or value != fields[name].default
    ]
    return ", ".join(shown)


COMMANDS = (train, measure, publish, keep, restore, list_all)
