"""Grids of experiments: all combinations of the fields that vary, run one after another."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from specfreq.core.errors import UserError
from specfreq.experiment.description import Experiment
from specfreq.experiment.runs import Run, check, run


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


def grid(**fields: Any) -> list[Experiment]:
    """All experiments of a grid: fields given as lists vary, the last one fastest; the others are fixed.
    Repetitions count once.
    """
    varying = {k: list(dict.fromkeys(v)) for k, v in fields.items() if isinstance(v, list)}
    fixed = {k: v for k, v in fields.items() if k not in varying}
    return [
        Experiment(**fixed, **dict(zip(varying, row, strict=True)))
        for row in itertools.product(*varying.values())
    ]


def run_all(
    *grids: Iterable[Experiment],
    measures: Sequence[str] = ("accuracy",),
    later: Sequence[str] = (),
    **options: Any,
) -> list[Run]:
    """Run grids of experiments one after another. All are checked, and all data found, before the first one
    starts.

    Args:
        measures: what is measured at once.
        later: what the runs will be asked afterwards: refused now, if it would be refused then.
    """
    from specfreq.core.progress import progress_bar
    from specfreq.train.team import join

    experiments = list(itertools.chain(*grids))
    for e in experiments:
        check(e, join(options.get("device")).size, [*measures, *later])
    with progress_bar("experiments", len(experiments), "run", options.get("progress")) as bar:
        runs = []
        for e in experiments:
            bar.set_postfix_str(f"{e.data}, {e.filter}, seed {e.seed}")
            runs.append(run(e, measures, **options))
            bar.update()
    return runs
