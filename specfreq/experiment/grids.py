"""Grids of experiments: all combinations of the fields that vary, run one after another."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from specfreq import augment
from specfreq.core import storage
from specfreq.core.errors import UserError
from specfreq.core.places import runs_dir
from specfreq.experiment.description import Experiment
from specfreq.experiment.runs import Run, check, run
from specfreq.experiment.store import Described

Result = TypeVar("Result")
Item = TypeVar("Item")


def fields(recipe: Iterable[str]) -> dict[str, str]:
    """Fields of an experiment written as on a command line, ``lr=0.1``: what a study's parameter can hold.

    Raises:
        UserError: one has no value, or is given twice.
    """
    found: dict[str, str] = {}
    for item in recipe:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or name in found:
            raise UserError(f"{item!r} is no field of an experiment; write each once, as in lr=0.1")
        found[name] = value
    return found


def points(of: type[Described], /, **fields: Any) -> list[Described]:
    """All descriptions of a grid: fields given as lists vary, the last one fastest; the others are fixed.
    Repetitions count once.
    """
    values = [list(dict.fromkeys(v)) if isinstance(v, list) else [v] for v in fields.values()]
    return [of(**dict(zip(fields, row, strict=True))) for row in itertools.product(*values)]


def grid(**fields: Any) -> list[Experiment]:
    """All experiments of a grid, see `points`."""
    return points(Experiment, **fields)


def baselines(arms: Iterable[Experiment]) -> list[Experiment]:
    """Plain training of as many network passes as each arm that shows the network several views of an image:
    of k views in E epochs, k E epochs without an augmentation, with the same series. Repetitions count once.
    """
    found = {}
    for arm in arms:
        views = augment.build(arm.augment).shown
        if views > 1:
            plain = {"augment": "none", "epochs": views * arm.epochs}
            # of all fields: a dump leaves out what the training records, which is no part of the key
            found[Experiment(**dict(arm) | plain)] = None
    return list(found)


def free_first(of: Iterable[Item], busy: Callable[[Item], bool]) -> Iterator[Item]:
    """All of them, one after another; those that are busy, as another process works on them, come last. So
    several that are started on the same ones share the work.
    """
    left = list(of)
    while left:
        yield left.pop(next((k for k, one in enumerate(left) if not busy(one)), 0))


def in_turn(
    run: Callable[[Described], Result],
    of: Sequence[Described],
    names: Sequence[str],
    progress: bool | None,
    busy: Callable[[Described], bool],
) -> list[Result]:
    """Run descriptions one after another, under a bar that shows the fields of these names; what is busy
    comes last, see `free_first`.
    """
    from specfreq.core.progress import progress_bar

    results: dict[int, Result] = {}
    with progress_bar("runs", len(of), "run", progress) as bar:
        for place, one in free_first(enumerate(of), lambda numbered: busy(numbered[1])):
            bar.set_postfix_str(", ".join(f"{name} {getattr(one, name)}" for name in names))
            results[place] = run(one)
            bar.update()
    return [results[place] for place in range(len(of))]


def run_all(
    *grids: Iterable[Experiment],
    measures: Sequence[str] = ("accuracy",),
    later: Sequence[str] = (),
    **options: Any,
) -> list[Run]:
    """Run grids of experiments one after another. All are checked, and all data found, before the first one
    starts. Processes that are started on the same grids share the runs among them.

    Args:
        measures: what each run is asked as soon as it is trained.
        later: what the runs will be asked afterwards: refused now, if it would be refused then.
    """
    from specfreq.train.team import join

    team = join(options.get("device"))
    experiments = list(itertools.chain(*grids))
    for e in experiments:
        check(e, team.size, [*measures, *later])
    shown = ("data", "filter", "seed")
    return in_turn(
        lambda e: run(e, measures, **options),
        experiments,
        shown,
        options.get("progress"),
        lambda e: team.told(team.rank == 0 and storage.taken(runs_dir() / e.key)),
    )
