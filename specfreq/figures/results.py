"""Figures of what networks answer and of what training costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from specfreq.figures.base import MARKERS, array, legend, lines_of, name_of, styled


@styled
def accuracies(
    rows: Sequence[Mapping[str, Any]], *, marks: str = "series", label: str = "test accuracy (%)"
) -> Figure:
    """Accuracies of arms with intervals: a panel per ``data``, a line per ``arm``, a mark per ``series``.

    Or, named by ``marks``, a mark per another field; a single panel has no title. Each row has data, arm,
    series, values (one per seed, drawn as ticks), mean, low and high (the interval; None for one seed), all
    in %, and chance, the accuracy of guessing; None where nobody guesses. Its line is named by its label, if
    it has one. A panel has the arms of its own data alone.
    """
    panels = list(dict.fromkeys(r["data"] for r in rows)) or [""]
    named = {r["arm"]: name_of(r) for r in rows}
    of_panel = [list(dict.fromkeys(r["arm"] for r in rows if r["data"] == panel)) for panel in panels]
    series = list(dict.fromkeys(r[marks] for r in rows))
    colours = dict(zip(series, sns.color_palette("colorblind", max(3, len(series))), strict=False))
    heights = [0.34 * len(arms) + 0.5 for arms in of_panel]
    figure, axes = plt.subplots(  # panels below one another, for a phone
        len(panels), squeeze=False, sharex=True, figsize=(5.4, sum(heights) + 0.9), height_ratios=heights
    )
    spread = 0.16 * (len(series) - 1)
    for axis, panel, arms in zip(axes[:, 0], panels, of_panel, strict=True):
        drawn = [r for r in rows if r["data"] == panel]
        for r in drawn:
            k = series.index(r[marks])
            y = arms.index(r["arm"]) + (-spread + 2 * spread * k / (len(series) - 1) if spread else 0)
            colour = colours[r[marks]]
            axis.plot(r["values"], [y] * len(r["values"]), "|", color=colour, ms=6, alpha=0.6)
            if r.get("low") is not None:
                axis.plot([r["low"], r["high"]], [y, y], color=colour, lw=2)
            axis.plot(r["mean"], y, MARKERS[k], color=colour, ms=6.5, mec="white", mew=0.6)
        for chance in {r["chance"] for r in drawn} - {None}:
            axis.axvline(chance, color="#555555", lw=1, ls=":")
            axis.text(chance, -0.62, " guessing", fontsize=8, color="#555555", va="center")
        axis.set(title=panel if len(panels) > 1 else "", xlim=(0, 100), ylim=(len(arms) - 0.5, -0.9))
        axis.set_yticks(range(len(arms)), [named[arm] for arm in arms])
    axes[-1, 0].set_xlabel(label)
    styles = zip(series, MARKERS, strict=False)
    handles = [Line2D([], [], color=colours[s], marker=m, ls="-", lw=2, label=s) for s, m in styles]
    if len(series) > 1:
        figure.legend(handles=handles, loc="outside upper center", ncols=len(series), fontsize=9)
    return figure


@styled
def differences(rows: Sequence[Mapping[str, Any]], *, label: str = "difference (points)") -> Figure:
    """Differences of arms from a baseline, which is the line at zero: a panel per ``data``, a line per arm.

    Each row has data, label, values (one per seed, drawn as ticks), mean, low and high (the interval; None
    for one seed): rows of `comparison.differences`. Panels have the arms that they have, and no empty lines.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["data"], []).append(row)
    groups = groups or {"": []}
    heights = [len(group) + 1.3 for group in groups.values()]
    size = (5.4, 0.3 * sum(heights) + 0.6)
    figure, axes = plt.subplots(len(groups), squeeze=False, sharex=True, figsize=size, height_ratios=heights)
    colour = sns.color_palette("colorblind")[0]
    for axis, (data, group) in zip(axes[:, 0], groups.items(), strict=True):
        for y, row in enumerate(group):
            axis.plot(row["values"], [y] * len(row["values"]), "|", color=colour, ms=6, alpha=0.6)
            if row["low"] is not None:
                axis.plot([row["low"], row["high"]], [y, y], color=colour, lw=2)
            axis.plot(row["mean"], y, "o", color=colour, ms=6.5, mec="white", mew=0.6)
        axis.axvline(0, color="#555555", lw=1)
        axis.set(title=data if len(groups) > 1 else "", ylim=(len(group) - 0.4, -0.6))
        axis.set_yticks(range(len(group)), [row["label"] for row in group])
    axes[-1, 0].set_xlabel(label)
    return figure


@styled
def over_parameter(rows: Sequence[Mapping[str, Any]], places: Mapping[str, float], label: str) -> Figure:
    """What arms have over a number that tells them apart: a panel per ``quantity``, each with its own scale.

    Args:
        rows: as those of `accuracies`.
        places: arm -> the number, such as a probability.
        label: what the number is.
    """
    quantities = list(dict.fromkeys(r["quantity"] for r in rows)) or [""]
    size = (5.4, 2.2 * len(quantities) + 0.5)  # panels below one another, for a phone
    figure, axes = plt.subplots(len(quantities), squeeze=False, sharex=True, figsize=size)
    colour = sns.color_palette("colorblind")[0]
    for axis, quantity in zip(axes[:, 0], quantities, strict=True):
        drawn = sorted((r for r in rows if r["quantity"] == quantity), key=lambda r: places[r["arm"]])
        at = [places[r["arm"]] for r in drawn]
        axis.plot(at, [r["mean"] for r in drawn], "o-", color=colour, lw=1.3, ms=5)
        for x, r in zip(at, drawn, strict=True):
            axis.plot([x] * len(r["values"]), r["values"], "_", color=colour, ms=7, alpha=0.6)
            if r.get("low") is not None:
                axis.plot([x, x], [r["low"], r["high"]], color=colour, lw=2)
        axis.set(ylabel=f"{quantity} (%)")
        axis.set_xticks(at)
    axes[-1, 0].set_xlabel(label)
    return figure


HALVES = {"low": "low-pass: below the radius", "high": "high-pass: from the radius on"}


@styled
def band_accuracy(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy over the radius of ideal filters, low-pass beside high-pass: a line per name.

    Results are those of `band-accuracy`. Dashed: the accuracy on whole images.
    """
    figure, axes = plt.subplots(1, 2, sharey=True, figsize=(5.6, 3.5))
    lines = lines_of(results)
    for axis, (half, title) in zip(axes, HALVES.items(), strict=True):
        for i, (name, result) in enumerate(results.items()):
            every = max(1, len(result["radii"]) // 8)
            axis.axhline(result["accuracy"], color=lines[name]["color"], lw=0.9, ls="--")
            axis.plot(result["radii"], result[half], markevery=(i % every, every), **lines[name])
        for chance in {r["chance"] for r in results.values()}:
            axis.axhline(chance, color="#555555", lw=1, ls=":")
        axis.set(title=title, xlabel="radius (cycles per image)", ylim=(0, 103))
    axes[0].set_ylabel("test accuracy (%)")
    legend(figure, lines, **{"whole images": "--", "guessing": ":"})
    return figure


@styled
def discrimination(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Fisher ratio of the features and accuracy, low-pass beside high-pass.

    A line for each name, of `feature-discrimination`. Dashed: whole images. Dotted: features that know no
    class, and guessing. Points without a ratio are left out.
    """
    figure, axes = plt.subplots(2, 2, sharex=True, sharey="row", figsize=(5.6, 5.2))
    lines = lines_of(results)
    for column, (half, title) in enumerate(HALVES.items()):
        for row, (key, chance) in enumerate({"fisher": "fisher_chance", "accuracy": "chance"}.items()):
            axis = axes[row, column]
            for name, result in results.items():
                found = array([np.nan if v is None else v for v in result[f"{half}_{key}"]])
                axis.plot(result["radii"], found, **lines[name])
                if result[key] is not None:
                    axis.axhline(result[key], color=lines[name]["color"], lw=0.9, ls="--")
            for value in {r[chance] for r in results.values()} - {None}:
                axis.axhline(value, color="#555555", lw=1, ls=":")
        axes[0, column].set(title=title, yscale="log")
        axes[1, column].set(xlabel="radius (cycles per image)", ylim=(0, 103))
    radii = sorted({radius for r in results.values() for radius in r["radii"]})
    if len(radii) < 7:
        axes[1, 0].set_xticks(radii)
    axes[0, 0].set_ylabel("Fisher ratio of the features")
    axes[1, 0].set_ylabel("test accuracy (%)")
    legend(figure, lines, **{"whole images": "--", "no knowledge of the class": ":"})
    return figure


@styled
def reliability(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy over confidence in fixed bins, above the images in each: a line per name, of `calibration`.

    The bars are Wilson's 95 % intervals. On the diagonal the classifier is right as often as it says; below
    it, less often.
    """
    figure, (axis, counts) = plt.subplots(2, sharex=True, figsize=(4.8, 5.0), height_ratios=(3, 1))
    lines = lines_of(results)
    for name, result in results.items():
        count = _filled(result["fixed_count"])
        right = _filled(result["fixed_accuracy"])
        said = _filled(result["fixed_confidence"])
        there = count > 0
        low, high = _wilson(right[there] / 100, count[there])
        axis.vlines(said[there], 100 * low, 100 * high, color=lines[name]["color"], lw=1, alpha=0.7)
        axis.plot(said[there], right[there], **lines[name])
        edges = np.linspace(0, 100, len(count) + 1)
        counts.stairs(count, edges, color=lines[name]["color"], lw=1.3)
        counts.plot((edges[:-1] + edges[1:])[there] / 2, count[there], **{**lines[name], "lw": 0})
    axis.plot([0, 100], [0, 100], color="#555555", lw=1, ls="--")
    axis.set(ylabel="accuracy (%)", xlim=(-2, 102), ylim=(-3, 103))
    counts.set(xlabel="confidence (%)", ylabel="images", yscale="log", ylim=(0.7, None))
    legend(figure, lines, **{"perfect calibration": "--"})
    return figure


def _filled(values: Sequence[float | None]) -> np.ndarray:
    """Values of bins; 0 for those of empty ones."""
    return array([value or 0 for value in values])


def _wilson(shares: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Wilson's 95 % intervals for shares seen among so many."""
    from scipy.stats import binomtest

    seen = zip(np.rint(shares * counts).astype(int), counts.astype(int), strict=True)
    ends = [binomtest(hits, among).proportion_ci(method="wilson") for hits, among in seen]
    return array([end.low for end in ends]), array([end.high for end in ends])


@styled
def frontier(rows: Sequence[Mapping[str, Any]], goals: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """Test accuracy over the seconds of training, logarithmic: a line per name, a cross for each goal.

    Each row has name, seconds and accuracy (%); several seeds of a training are a mark at their medians.
    Goals have seconds and accuracy; higher and further left is better.
    """
    figure, axis = plt.subplots(figsize=(5.6, 4.2))
    lines = lines_of(dict.fromkeys(r["name"] for r in rows))
    for name, line in lines.items():
        trainings: dict[int, list[tuple[float, float]]] = {}
        for r in (r for r in rows if r["name"] == name):
            trainings.setdefault(r["epochs"], []).append((r["seconds"], r["accuracy"]))
        drawn = [np.median(trainings[epochs], axis=0) for epochs in sorted(trainings)]
        axis.plot(*zip(*drawn, strict=True), **line)
    for goal in goals:
        axis.plot(goal["seconds"], goal["accuracy"], "x", color="#333333", ms=8, mew=2)
    axis.set(xscale="log", xlabel="seconds of training", ylabel="test accuracy (%)")
    legend(figure, lines)
    return figure


@styled
def costs(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Times as multiples of a floor: a bar between the quartiles, a mark at the median, one at the target.

    Each row has name, median, lower, upper, and target, the most that was aimed at, or None.
    """
    figure, axis = plt.subplots(figsize=(5.4, 0.3 * len(rows) + 1.3))
    colour = sns.color_palette("colorblind", 4)[0]
    goal = "#555555"
    for y, row in enumerate(rows):
        axis.plot([row["lower"], row["upper"]], [y, y], color=colour, lw=5, alpha=0.4, solid_capstyle="butt")
        axis.plot(row["median"], y, "o", color=colour, ms=5)
        if row["target"] is not None:
            axis.plot(row["target"], y, "|", color=goal, ms=13, mew=1.6)
    axis.axvline(1, color=goal, lw=1, ls=":")
    axis.set(xlabel="time of a step, over that of the bare loop", ylim=(len(rows) - 0.5, -0.6))
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axis.set_xlim(0, None)
    handles = [Line2D([], [], color=colour, marker="o", ms=5, lw=0, label="median, quartiles")]
    handles.append(Line2D([], [], color=goal, marker="|", ms=11, mew=1.6, lw=0, label="aimed at, at most"))
    figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=9)
    return figure
