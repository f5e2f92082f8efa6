"""Arms side by side: numbers of their measures over seeds, differences paired by seed, and the intervals of
both.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from specfreq import augment, filters
from specfreq.core.errors import UserError, unknown
from specfreq.core.progress import progress_bar
from specfreq.evidence import intervals
from specfreq.experiment.description import Experiment
from specfreq.experiment.runs import Run

Row = Mapping[str, Any]


def arms(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seed alone, under the name of their augmentation, and of what else is not as
    in the first run.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(label(run.experiment, runs[0].experiment), []).append(run)
    return groups


def label(experiment: Experiment, reference: Experiment) -> str:
    """The augmentation of an experiment, and each other field but the seed in which it differs from the
    reference.
    """
    others = {k: v for k, v in experiment if k not in ("augment", "seed") and v != getattr(reference, k)}
    return ", ".join([experiment.augment, *(f"{k}={v}" for k, v in others.items())])


def rows(
    runs: Sequence[Run], quantities: Mapping[str, tuple[str, str]], *, progress: bool | None = None
) -> list[dict[str, Any]]:
    """One row for each arm and quantity, with a 95 % Student-t interval over seeds.

    Args:
        runs: see `arms`.
        quantities: name -> a measure, and the number of its result; computed where they have not been.
        progress: a bar over networks and measures; None shows it on terminals only.

    Returns:
        Rows with data, arm, augment, stands_for (the arm that it is a published or partly corrected form of,
        or itself), series (corrected, as published, or which quirks it has), quantity, seeds, values, mean,
        low, high, chance (accuracy of guessing, %), keys. A quantity that is null for a seed has no row.
    """
    out, needed = [], list(dict.fromkeys(measure for measure, _ in quantities.values()))
    with progress_bar("measures", len(runs) * len(needed), "measure", progress) as bar:
        for run, measure in itertools.product(runs, needed):
            bar.set_postfix_str(
                f"{run.experiment.augment}, seed {run.experiment.seed}: {measure.partition(':')[0]}"
            )
            run.measure(measure)
            bar.update()
    for arm, group in arms(runs).items():
        first, reference = group[0].experiment, runs[0].experiment
        corrected = first.model_copy(update={"augment": augment.corrected(first.augment)})
        for quantity, (measure, key) in quantities.items():
            values = {run.experiment.seed: number(run.measure(measure), key) for run in group}
            if None in values.values():
                continue
            mean, low, high = intervals.interval(list(values.values()))
            out.append(
                {
                    "data": first.data,
                    "arm": arm,
                    "augment": first.augment,
                    "stands_for": label(corrected, reference),
                    "series": augment.series(first.augment),
                    "quantity": quantity,
                    "seeds": list(values),
                    "values": list(values.values()),
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "chance": 100 / len(group[0].image_set("test").classes),
                    "keys": [run.key for run in group],
                }
            )
    return out


def entries(
    runs: Sequence[Run], measure: str, values: str, named: str, *, progress: bool | None = None
) -> list[dict[str, Any]]:
    """`rows` for the entries of a list in a measure's result, a quantity each, called by the entries of
    another list of it.
    """
    names = runs[0].measure(measure)[named]
    return rows(
        runs, {name: (measure, f"{values}.{place}") for place, name in enumerate(names)}, progress=progress
    )


def results(runs: Sequence[Run], measures: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Arm -> name -> all that a measure found of the first seed's network: for figures of curves and
    histograms.
    """
    return {
        arm: {
            name: {k: v for k, v in group[0].measure(m).items() if k != "provenance"}
            for name, m in measures.items()
        }
        for arm, group in arms(runs).items()
    }


def average(runs: Sequence[Run], measure: str, *keys: str) -> dict[str, dict[str, Any]]:
    """Arm -> what a measure found of the first seed's network, but under these keys the mean over seeds of
    each number.
    """
    found = {}
    for arm, group in arms(runs).items():
        each = [run.measure(measure) for run in group]
        means = {key: np.mean([result[key] for result in each], axis=0).tolist() for key in keys}
        found[arm] = {k: v for k, v in each[0].items() if k != "provenance"} | means
    return found


def number(result: Mapping[str, Any], key: str) -> float | None:
    """A number of a measure's result; ``by_corruption.2`` is the third of a list.

    Raises:
        UserError: the result has none of that name.
    """
    value: Any = result
    for part in key.split("."):
        if isinstance(value, Mapping):
            if part not in value:
                raise unknown("number", part, value, where="the result of the measure")
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            has = f"a list of {len(value)}" if isinstance(value, list) else f"{value!r} there"
            raise UserError(f"the result of the measure has no {key}, but {has}")
    if isinstance(value, list):
        raise UserError(f"{key} is a list, not a number; name one of its entries, such as {key}.0")
    if value is not None and not isinstance(value, int | float):
        raise UserError(f"{key} is {value!r}, not a number")
    return value


def select(found: Iterable[Row], **fields: Any) -> list[Row]:
    """The rows whose fields have these values, or one of them where a list is given."""
    return [
        r for r in found if all(r[k] in v if isinstance(v, list) else r[k] == v for k, v in fields.items())
    ]


def differences(found: Sequence[Row], baseline: str) -> list[dict[str, Any]]:
    """Each row minus that of the baseline arm for the same data and quantity: paired by seed, with a 95 %
    interval.

    Raises:
        UserError: there is no such arm.
    """
    known = list(dict.fromkeys(r["arm"] for r in found))
    if known and baseline not in known:
        raise unknown("arm", baseline, known)
    base = {(r["data"], r["quantity"]): r for r in found if r["arm"] == baseline}
    out = []
    for row in found:
        other = base.get((row["data"], row["quantity"]))
        if row["arm"] == baseline or other is None:
            continue
        theirs = dict(zip(other["seeds"], other["values"], strict=True))
        pairs = {s: v - theirs[s] for s, v in zip(row["seeds"], row["values"], strict=True) if s in theirs}
        if not pairs:
            continue
        mean, low, high = intervals.interval(list(pairs.values()))
        out.append(
            {
                **row,
                "seeds": list(pairs),
                "values": list(pairs.values()),
                "mean": mean,
                "low": low,
                "high": high,
            }
        )
    return out


def departures(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Each arm that does in some respect as an original program does, minus the arm that does not, as
    `differences` has it.
    """
    bases = dict.fromkeys(r["stands_for"] for r in found if r["arm"] != r["stands_for"])
    return [row for base in bases for row in differences(select(found, stands_for=base), base)]


# -- arms that differ in their input filter alone, as of the band-limited study


def _row(data: str, filter: str, values: Mapping[int, float], classes: int, **more: Any) -> dict[str, Any]:
    mean, low, high = intervals.interval(list(values.values()))
    label, program = filters.label(filter)
    return {
        "data": data,
        "filter": filter,
        "arm": label,
        "series": "as published" if program else "corrected",
        "chance": 100 / classes,
        "seeds": list(values),
        "values": list(values.values()),
        "mean": mean,
        "low": low,
        "high": high,
        **more,
    }


def filter_arms(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Test accuracy (%) of trained arms: runs that differ in their seed alone become one row, with a 95 %
    interval over seeds.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.experiment.data, run.experiment.filter), []).append(run)
    return [
        _row(
            data,
            filter,
            {r.experiment.seed: r.results["accuracy"]["accuracy"] for r in group},
            len(group[0].results["accuracy"]["per_class"]),
            answers=[
                sum(map(any, zip(*r.results["accuracy"]["confusion"], strict=True))) for r in group
            ],  # classes ever answered
            keys=[r.key for r in group],
        )
        for (data, filter), group in groups.items()
    ]


def transfer(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Test accuracy (%) of the networks trained on unfiltered images, shown the test images of every variant
    in ``runs``.

    A data set on which no network was trained without a filter has no rows.
    """
    variants: dict[str, list[str]] = {}
    for run in runs:
        seen = variants.setdefault(run.experiment.data, [])
        if run.experiment.filter not in seen:
            seen.append(run.experiment.filter)
    rows = []
    for data, shown in variants.items():
        plain = [r for r in runs if r.experiment.data == data and r.experiment.filter == "none"]
        for filter in shown if plain else []:
            results = {r.experiment.seed: r.measure("accuracy", filter) for r in plain}
            classes = len(results[plain[0].experiment.seed]["per_class"])
            rows.append(_row(data, filter, {s: r["accuracy"] for s, r in results.items()}, classes))
    return rows


def of_images(
    data: str,
    arm: str,
    quantity: str,
    values: Iterable[float],
    *,
    stands_for: str | None = None,
    series: str = "corrected",
) -> dict[str, Any]:
    """A row of one arm and quantity whose samples are images, by their number in the set, instead of trained
    networks.
    """
    values = [float(v) for v in values]
    mean, low, high = intervals.interval(values)
    return {
        "data": data,
        "arm": arm,
        "stands_for": stands_for or arm,
        "series": series,
        "quantity": quantity,
        "seeds": list(range(len(values))),
        "values": [float(f"{v:.6g}") for v in values],
        "mean": mean,
        "low": low,
        "high": high,
    }
