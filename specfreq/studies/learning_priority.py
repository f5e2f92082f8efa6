"""What the study of learning priority takes from the series of its trainings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from specfreq.core.errors import UserError
from specfreq.data import label as label_of
from specfreq.evidence import comparison
from specfreq.evidence.names import label
from specfreq.evidence.rows import Row, row_of
from specfreq.evidence.tables import change, shown
from specfreq.experiment.runs import Run
from specfreq.experiment.watch import Series
from specfreq.measures import answers, normal_form

BANDS = ("low", "middle", "high")
ONCE = ("radii", "frequencies", "published_radii", "chance", "images")
APART = 8  # cycles per image that part low frequencies from high ones, of 32 pixels
AUGMENTED = ["apr-sp", "augmix"]  # augmentations that the box of the page tells of
FIRST, LAST, PEAK = "first", "last", "peak"  # epochs of a training


def arms(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seed alone, by what figures call them."""
    return {label(arm): group for arm, group in comparison.arms(runs).items()}


def over_epochs(runs: Sequence[Run], *measures: str) -> dict[str, dict[str, Any]]:
    """Name of an arm -> the series of a measure and its epochs; numbers are means over seeds (epochs, ...).

    Of several measures that of an arm is the first that it has recorded. Radii, the same after every epoch,
    stand once; what is no number is None.
    """
    return {name: means(group, *measures) for name, group in arms(runs).items()}


def means(group: Sequence[Run], *measures: str) -> dict[str, Any]:
    """The same of runs that differ in their seed alone."""
    of = [_recorded(run, measures) for run in group]
    found: dict[str, Any] = {"epochs": _series(group[0]).epochs}
    for key in of[0]:
        mean = np.mean([series[key] for series in of], axis=0)
        values = np.asarray(mean[0] if key in ONCE else mean, dtype=object)
        values[np.isnan(values.astype(float))] = None
        found[key] = values.tolist()
    return found


def shares(runs: Sequence[Run], *measures: str) -> list[Row]:
    """Rows of the gradient's power in each band: its share after the first and after the last epoch, %, as
    ``low first`` and ``low last``, and the epoch after which the share was largest, as ``low peak``.

    The first epoch is that of the shortest training: one of k times as many epochs is looked at after k of
    them, at the same point of its schedule. Of several measures that of an arm is the first that it has
    recorded.
    """
    found: list[Row] = []
    shortest = min(run.experiment.epochs for run in runs)
    for arm, group in comparison.arms(runs).items():
        of = group[0].experiment
        found += shares_of(group, of.data, arm, of.augment, *measures, first=of.epochs // shortest)
    return found


def shares_of(
    group: Sequence[Run], data: str, arm: str, spec: str, *measures: str, first: int = 1
) -> list[Row]:
    """`shares` of runs that differ in their seed alone.

    Args:
        data, arm, spec: what the rows say of them, see `row_of`.
        first: the epoch that counts as the first.
    """
    found: list[Row] = []
    keys, epochs = [run.key for run in group], _series(group[0]).epochs
    place = next((place for place, epoch in enumerate(epochs) if epoch >= first), -1)
    for band in BANDS:
        each = {run.experiment.seed: _recorded(run, measures)[f"{band}_share"] for run in group}
        quantities = {
            FIRST: {seed: float(share[place]) for seed, share in each.items()},
            LAST: {seed: float(share[-1]) for seed, share in each.items()},
            PEAK: {seed: float(epochs[int(share.argmax())]) for seed, share in each.items()},
        }
        for what, values in quantities.items():
            row = row_of(data, arm, f"{band} {what}", values, spec=spec, keys=keys)
            found.append({**row, "passes": group[0].experiment.passes})
    return found


def passes(radii: Sequence[float], measure: str) -> dict[str, tuple[str, str]]:
    """The accuracies of `feature-discrimination` at these radii as quantities of `comparison.rows`."""
    return {
        f"{half}-pass {radius:g}": (measure, f"{half}_accuracy.{place}")
        for half in ("low", "high")
        for place, radius in enumerate(radii)
    }


def rows(of: Mapping[str, Sequence[Run]], final: str, *measures: str) -> list[Row]:
    """The rows of the study, set by set: accuracies on filtered images at the end, and `shares`."""
    found: list[Row] = []
    for runs in of.values():
        quantities = passes(runs[0].measure(final)["radii"], final)
        found += [*comparison.rows(runs, quantities), *shares(runs, *measures)]
    return found


def plain(found: Sequence[Row], data: str) -> dict[str, Row]:
    """The rows of plain training on a set, by quantity."""
    return {row["quantity"]: row for row in comparison.select(found, data=data, arm="none")}


def even(side: int) -> dict[str, float]:
    """The share of each band in the power of a gradient that prefers no frequency, %, for square images."""
    return {name: 100 * float(band.double().mean()) for name, band in answers.bands(side, side).items()}


def sentence(found: Sequence[Row], data: str, side: int) -> str:
    """What was found, in words; that nothing is published yet, where there are no rows.

    Args:
        found: the rows of the study.
        data, side: the set that is told of, and the pixels of a side of its images.
    """
    of = plain(found, data)
    if not of:
        return "No record of this study has been published yet."
    said, alike = {name: shown(row) for name, row in of.items()}, even(side)
    parts = [
        f"On {label_of(data)}, the share of low frequencies in the power of a plain network's gradient goes "
        f"from {said['low first']} % after the first epoch to {said['low last']} % after the last, that of "
        f"high ones from {said['high first']} to {said['high last']} %; a gradient that prefers no frequency "
        f"has {alike['low']:.1f} and {alike['high']:.1f} %."
    ]
    cut = [radius for radius in (APART, APART // 2) if f"low-pass {radius}" in said]
    if cut:
        recognised = "; ".join(
            f"at {radius} cycles per image, {said[f'low-pass {radius}']} % from the frequencies below and "
            f"{said[f'high-pass {radius}']} % from the others"
            for radius in cut
        )
        parts.append(f"Of images that are cut it recognises in the end: {recognised}.")
    own = comparison.select(found, data=data)
    gained = {(row["arm"], row["quantity"]): row for row in comparison.differences(own, "none")}
    for row in comparison.select(own, arm=AUGMENTED, quantity="low first"):
        base = comparison.equal(row, own, "none") or of["low first"]
        first, last = gained[row["arm"], "low first"], gained[row["arm"], "high last"]
        parts.append(
            f"Compared with {base['label']}, {row['label']} has {change(first)} at low frequencies after its "
            f"first epoch, and {change(last)} at high ones after the last."
        )
    return " ".join(parts)


def _series(run: Run) -> Series:
    if run.series is None:
        raise UserError(f"run {run.key} has recorded no series; train it with `watch`")
    return run.series


def _recorded(run: Run, measures: Sequence[str]) -> dict[str, np.ndarray]:
    """The numbers of the first of the measures that a run has a series of; behind a filter, of the last, as a
    run may have been asked for both.
    """
    series = _series(run)
    order = measures if run.experiment.filter == "none" else measures[::-1]
    known = next((name for name in order if normal_form(name) in series.results), order[0])
    return {k: np.asarray(v) for k, v in series[known].items() if not isinstance(v, list)}
