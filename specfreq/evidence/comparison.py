"""Arms side by side: what runs were measured to be, as rows; and their differences, paired by seed."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from specfreq import augment, filters
from specfreq.core.errors import UserError, unknown
from specfreq.core.progress import progress_bar
from specfreq.core.storage import taken
from specfreq.evidence.rows import (
    CORRECTED,
    PUBLISHED,
    Row,
    Summary,
    apart,
    crossed_with,
    named,
    row_of,
    summary,
)
from specfreq.experiment.description import Experiment
from specfreq.experiment.grids import free_first
from specfreq.experiment.runs import Run


def arms(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seed alone, by arm: augmentation and what else differs from the first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(label(run.experiment, runs[0].experiment), []).append(run)
    return groups


def ready(group: Sequence[Run]) -> Run:
    """The first of the runs whose weights are here, so that it can be asked more; else the first."""
    return next((run for run in group if run.trained), group[0])


def label(experiment: Experiment, reference: Experiment) -> str:
    """The augmentation of an experiment, and its other fields but the seed that differ from the reference."""
    others = {k: v for k, v in experiment if k not in ("augment", "seed") and v != getattr(reference, k)}
    return ", ".join([experiment.augment, *(f"{k}={v}" for k, v in others.items())])


def rows(
    runs: Sequence[Run],
    quantities: Mapping[str, tuple[str, str]],
    *,
    beside: bool = True,
    progress: bool | None = None,
) -> list[Row]:
    """One row for each arm and quantity, with a 95 % Student-t interval over seeds.

    Args:
        runs: see `arms`.
        quantities: name -> a measure, and the number of its result; computed where they have not been.
        beside: also what the difference of two quantities of an arm needs for an interval over images.
        progress: a bar over networks and measures; None shows it on terminals only.

    Returns:
        Rows that name the runs' keys and, as ``spec``, the augmentation. A quantity that is null for a seed
        has no row.
    """
    needed = list(dict.fromkeys(measure for measure, _ in quantities.values()))
    with progress_bar("measures", len(runs) * len(needed), "measure", progress) as bar:
        for run, measure in free_first(itertools.product(runs, needed), lambda pair: taken(pair[0].path)):
            name = measure.partition(":")[0]
            bar.set_postfix_str(f"{run.experiment.augment}, seed {run.experiment.seed}: {name}")
            run.measure(measure)
            bar.update()
    for measure in needed:
        _check_others(runs, measure)
    out: list[Row] = []
    groups: dict[str, list[Run]] = {}  # by arm
    for arm, group in arms(runs).items():
        groups[arm] = group
        first = group[0].experiment
        corrected = first.model_copy(update={"augment": augment.corrected(first.augment)})
        stands_for = label(corrected, runs[0].experiment)
        for quantity, (measure, key) in quantities.items():
            found = {run.experiment.seed: number(run.measure(measure), key) for run in group}
            values = {seed: value for seed, value in found.items() if value is not None}
            if len(values) < len(found):
                continue
            row = row_of(
                first.data,
                arm,
                quantity,
                values,
                spec=first.augment,
                stands_for=stands_for,
                series=augment.series(first.augment),
                chance=100 / len(group[0].image_set("test").classes),
                keys=[run.key for run in group],
            )
            row["passes"] = first.passes
            if "other_images" in (result := group[0].measure(measure)):
                row["tested"] = result["images"]
            masked = {reason for run in group for reason in run.measure(measure).get("masked", [])}
            if masked:
                row["flags"] = [f"signs of hidden gradients ({', '.join(sorted(masked))})"]
            out.append(row)
    for asked in needed:
        known: dict[int, np.ndarray] = {}
        for quantity, (measure, key) in quantities.items():
            if measure == asked:
                known |= cross(
                    out,
                    quantity,
                    lambda row, m=measure, k=key: [run.each(m, k) for run in groups[row["arm"]]],
                )
        if beside:
            cross_within(out, known)
    return out


def _check_others(runs: Sequence[Run], measure: str) -> None:
    """Refuse runs that were asked about other pictures under one name.

    Raises:
        UserError: names the set, and two runs.
    """
    first: dict[str, tuple[str, str]] = {}  # name of a set -> its digest, and the first run that met it
    for run in runs:
        result = run.measure(measure)
        for name, digest in zip(result.get("others", []), result.get("other_digests", []), strict=False):
            known, key = first.setdefault(name, (digest, run.key))
            if digest != known:
                raise UserError(
                    f"{measure}: run {run.key} was asked about other pictures of {name} than {key}; put back "
                    f"those that you mean, and delete what was measured of the other in {run.path.parent}"
                )


def cross_within(found: list[Row], known: Mapping[int, "np.ndarray"]) -> None:
    """Give rows of one arm, in place, what intervals of their differences over seeds and images need.

    Args:
        known: for rows of one measure, by place, what their values are means of; those of one arm that are
            as many are of the same images.
    """
    alike: dict[Any, list[int]] = {}  # those that share arm, seeds, and how many images
    for place, values in known.items():
        row = found[place]
        alike.setdefault((named(row), *row["seeds"], values.shape), []).append(place)
    for places in (group for group in alike.values() if len(group) > 1):
        rows = crossed_with([found[p] for p in places], [known[p] for p in places], by="quantity")
        for place, row in zip(places, rows, strict=True):
            found[place] = row


def cross(
    found: list[Row], quantity: str, each: Callable[[Row], Sequence["np.ndarray | None"]]
) -> dict[int, np.ndarray]:
    """Give the rows of a quantity intervals over seeds and images, in place, where they can have them: those
    that share seeds and images with the first such row. Returns what their values are means of, by place.
    """
    places, values = [], []
    for place, row in enumerate(found):
        if row["quantity"] != quantity or len(row["seeds"]) < 2:
            continue
        if named(row) in [named(found[other]) for other in places]:  # as two published forms of a filter
            continue
        of_row = [value for value in each(row) if value is not None]
        if len(of_row) < len(row["seeds"]) or len({len(value) for value in of_row}) > 1:
            continue
        whole = np.stack(of_row)
        alike = not places or (found[places[0]]["seeds"], values[0].shape) == (row["seeds"], whole.shape)
        if alike and whole.shape[1] > 1:
            places.append(place)
            values.append(whole)
    if places:
        rows = crossed_with([found[place] for place in places], values)
        for place, row in zip(places, rows, strict=True):
            found[place] = row
    return dict(zip(places, values, strict=True))


def entries(
    runs: Sequence[Run], measure: str, values: str, named: str, *, progress: bool | None = None
) -> list[Row]:
    """`rows` for the entries of a list in a measure's result, each a quantity; ``named`` has their names."""
    names = runs[0].measure(measure)[named]
    quantities = {name: (measure, f"{values}.{place}") for place, name in enumerate(names)}
    return rows(runs, quantities, beside=False, progress=progress)


def results(runs: Sequence[Run], measures: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Arm -> name -> result of a measure for the first seed's network, for curves and histograms."""
    return {
        arm: {name: _found(group[0].measure(measure)) for name, measure in measures.items()}
        for arm, group in arms(runs).items()
    }


def _found(result: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in result.items() if k != "provenance"}


def average(runs: Sequence[Run], measure: str, *keys: str) -> dict[str, dict[str, Any]]:
    """Arm -> result of a measure for the first seed's network, with means over seeds under these keys."""
    found = {}
    for arm, group in arms(runs).items():
        each = [run.measure(measure) for run in group]
        means = {key: np.mean([result[key] for result in each], axis=0).tolist() for key in keys}
        found[arm] = _found(each[0]) | means
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
    wanted = {k: v if isinstance(v, list) else [v] for k, v in fields.items()}
    return [row for row in found if all(row[k] in values for k, values in wanted.items())]


def by_name(found: Iterable[Row], series: str) -> dict[tuple[str, str], Row]:
    """The rows of a series, by what claims call the arm, and by quantity."""
    return {(r["stands_for"], r["quantity"]): r for r in found if r["series"] == series}


def differences(found: Sequence[Row], baseline: str) -> list[Row]:
    """Each row minus the baseline's for the same data and quantity: paired by seed, with a 95 % interval.

    Where the baseline was trained for several numbers of epochs, each row is compared with the one that took
    as many network passes; the label says so where there is none.

    Raises:
        UserError: there is no such arm.
    """
    known = list(dict.fromkeys(r["arm"] for r in found))
    if known and baseline not in known:
        raise unknown("arm", baseline, known)
    out = []
    for row in found:
        other = equal(row, found, baseline)
        if other is None or row["arm"] == other["arm"]:
            continue
        gained = apart(row, other)
        if gained is not None:
            # its products are with other rows, not with other differences
            known = {k: v for k, v in row.items() if k not in ("products", "beside")}
            if _unequal(row, other):
                known["label"] = f"{row['label']} (unequal passes)"
            out.append(cast(Row, {**known, **gained}))
    return out


def _unequal(row: Row, baseline: Row) -> bool:
    """Whether two rows are of other numbers of network passes, which is no matter between baselines."""
    known = row.get("passes"), baseline.get("passes")
    return None not in known and known[0] != known[1] and not _lasts(row["arm"], baseline["arm"])


def _lasts(arm: str, baseline: str) -> bool:
    """Whether an arm is the baseline, maybe trained for longer."""
    return bool(re.fullmatch(rf"{re.escape(baseline)}(, epochs=\d+)?", arm))


def equal(row: Row, found: Iterable[Row], baseline: str) -> Row | None:
    """The baseline's row of the same data and quantity; of those that differ in epochs alone, that of as many
    passes. Longer baselines have the shortest for theirs, as have rows of older versions, which know no
    passes.
    """
    bases = {
        r["arm"]: r
        for r in found
        if (r["data"], r["quantity"]) == (row["data"], row["quantity"]) and _lasts(r["arm"], baseline)
    }
    if row["arm"] not in bases and "passes" in row:
        for base in bases.values():
            if base.get("passes") == row["passes"]:
                return base
    return bases.get(baseline)


def pooled(found: Sequence[Row]) -> Summary | None:
    """The mean of rows of several data sets, with Student's 95 % interval over the seeds that all of them
    have; None if there is no such seed.
    """
    each = [dict(zip(row["seeds"], row["values"], strict=True)) for row in found]
    shared = [seed for seed in each[0] if all(seed in values for values in each)] if each else []
    means = {seed: float(np.mean([values[seed] for values in each])) for seed in shared}
    return summary(means) if means else None


def departures(found: Sequence[Row]) -> list[Row]:
    """Each arm with defects of the original program minus the arm without them, as `differences` has it."""
    bases = dict.fromkeys(r["stands_for"] for r in found if r["arm"] != r["stands_for"])
    return [row for base in bases for row in differences(select(found, stands_for=base), base)]


# -- arms that differ in their input filter alone, as of the band-limited study


def filter_arms(runs: Sequence[Run]) -> list[Row]:
    """Test accuracy (%) of trained arms: a row per data set and filter, with a 95 % interval over seeds."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.experiment.data, run.experiment.filter), []).append(run)
    found = []
    for (data, filter), group in groups.items():
        results = [run.results["accuracy"] for run in group]
        ever = [sum(map(any, zip(*r["confusion"], strict=True))) for r in results]
        row = _filter_row(data, filter, group, results)
        found.append({**row, "answers": ever, "passes": group[0].experiment.passes})
    return _crossed_by_data(found, groups)


def _crossed_by_data(found: list[Row], groups: Mapping[tuple[str, str], Sequence[Run]]) -> list[Row]:
    """Rows of filters with intervals over seeds and images, set by set."""
    out = []
    for data in dict.fromkeys(row["data"] for row in found):
        rows = select(found, data=data)
        cross(
            rows,
            "accuracy",
            lambda row: [r.each("accuracy", "accuracy") for r in groups[row["data"], row["spec"]]],
        )
        out += rows
    return out


def transfer(runs: Sequence[Run]) -> list[Row]:
    """Test accuracy (%) of networks trained on unfiltered images, shown the test images of every variant.

    The variants are the filters of ``runs``. A data set on which no network was trained without a filter has
    no rows.
    """
    variants: dict[str, list[str]] = {}
    for run in runs:
        seen = variants.setdefault(run.experiment.data, [])
        if run.experiment.filter not in seen:
            seen.append(run.experiment.filter)
    found = []
    for data, shown in variants.items():
        plain = [r for r in runs if r.experiment.data == data and r.experiment.filter == "none"]
        for filter in shown if plain else []:
            results = [run.measure("accuracy", filter) for run in plain]
            found.append(_filter_row(data, filter, plain, results))
    return found


def _filter_row(data: str, filter: str, runs: Sequence[Run], results: Sequence[Mapping[str, Any]]) -> Row:
    name, program = filters.label(filter)
    values = {run.experiment.seed: found["accuracy"] for run, found in zip(runs, results, strict=True)}
    return row_of(
        data,
        name,
        "accuracy",
        values,
        spec=filter,
        stands_for=filters.corrected(filter),
        series=PUBLISHED if program else CORRECTED,
        chance=100 / len(results[0]["per_class"]),
        keys=[run.key for run in runs],
    )
