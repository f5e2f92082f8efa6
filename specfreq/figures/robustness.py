"""Figures of robustness: Fourier heat maps, amplitude-phase swaps, errors by corruption."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from specfreq.figures.base import AMOUNT, array, legend, lines_of, name_of, picture, styled

GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}


@styled
def heatmaps(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Fourier heat maps, two side by side, on one scale from 0 to 100 %: one per name, of `fourier-heatmap`.

    The titles give the mean of the map and the error on clean images.
    """
    columns = min(2, max(1, len(results)))
    lines = max(1, -(-len(results) // 2))
    size = (2.25 * columns + 0.9, 2.2 * lines + 0.5)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=size, layout="compressed")
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    shown = None
    for i, (axis, (name, result)) in enumerate(zip(axes.flat, results.items(), strict=False)):
        left, right = _edges(result["kx"])
        top, bottom = _edges(result["ky"])
        scale: dict[str, Any] = {"cmap": AMOUNT, "vmin": 0, "vmax": 100}
        extent = (left, right, bottom, top)
        shown = axis.imshow(array(result["error"]), extent=extent, interpolation="nearest", **scale)
        errors = f"mean {result['mean_error']:.0f} %, clean {result['clean_error']:.0f} %"
        axis.set_title(f"{name}\n{errors}", fontsize=9)
        axis.grid(False)
        axis.locator_params(nbins=5, integer=True)
        axis.set_ylabel("cycles per image" if i % columns == 0 else "")
        axis.set_xlabel("cycles per image" if i + columns >= len(results) else "")
    if shown is not None:
        figure.colorbar(shown, ax=axes, shrink=0.85, label="error (%)")
    return figure


def _edges(frequencies: Sequence[int]) -> tuple[float, float]:
    """Where the cells of a map begin and end, each as wide as the step between its frequencies."""
    half = (frequencies[1] - frequencies[0]) / 2 if len(frequencies) > 1 else 0.5
    return frequencies[0] - half, frequencies[-1] + half


@styled
def heatmap_profiles(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Error over the frequency of the wave, mean of each ring: a line per name, of `fourier-heatmap`.

    Dashed: the error on clean images.
    """
    figure, axis = plt.subplots(figsize=(5.4, 3.4))
    lines = lines_of(results)
    for i, (name, result) in enumerate(results.items()):
        every = max(1, len(result["radii"]) // 8)
        axis.axhline(result["clean_error"], color=lines[name]["color"], lw=0.9, ls="--")
        axis.plot(result["radii"], result["by_radius"], markevery=(i % every, every), **lines[name])
    axis.set(xlabel="frequency of the wave (cycles per image)", ylabel="error (%)", ylim=(0, 103))
    legend(figure, lines, **{"clean images": "--"})
    return figure


@styled
def swaps(examples: Sequence[Any], size: float = 1.3) -> Figure:
    """Two pictures and their two recombinations in each line, of `measures.swap.examples`, and their answers.

    Below each: the class and the probability, on a line for each classifier. Of a mixture it also says
    whether the class is that of the picture that gave the amplitude, or the phase.
    """
    names = list(dict.fromkeys(name for swap in examples for name in swap.answers))
    lines = max(1, len(examples))
    room = 0.075 * max(map(len, names)) if len(names) > 1 else 0
    width = 4 * size + room + 0.2
    height = lines * (size + 0.13 * len(names) + 0.2) + 0.3
    figure, axes = plt.subplots(lines, 4, squeeze=False, figsize=(width, height))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    titles = "picture 1", "picture 2", "amplitude of 1\nphase of 2", "amplitude of 2\nphase of 1"
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    beside = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "xytext": (-4, -4),
        "ha": "right",
        "va": "top",
    }
    for line, swap in zip(axes, examples, strict=False):
        if len(names) > 1:
            line[0].annotate("\n".join(names), (0, 0), fontsize=7.5, fontweight="bold", **beside)
        donors = [(None, None), (None, None), swap.classes, swap.classes[::-1]]  # of amplitude, of phase
        for place, (axis, image) in enumerate(zip(line, array(swap.pictures), strict=True)):
            picture(axis, image)
            answers = [_said(*swap.answers[name][place], *donors[place]) for name in names]
            axis.set_xlabel("\n".join(answers), fontsize=7.5)
    return figure


def _said(named: str, sure: float, amplitude_of: str | None, phase_of: str | None) -> str:
    return f"{named} {sure:.0f} %" + {amplitude_of: " amplitude", phase_of: " phase"}.get(named, "")


@styled
def corruption_errors(
    rows: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]] = (),
    baseline: str = "the baseline",
) -> Figure:
    """Errors of arms by corruption, and beside them the differences from a baseline, with their intervals.

    Each row has arm, quantity (the corruption, or another name for what comes below them, such as a mean),
    mean, low and high (the interval over seeds; None for one seed), in % and in percentage points: rows of
    `comparison.rows` and `comparison.differences`. It is named by its label, if it has one.
    """
    arms = {r["arm"]: name_of(r) for r in [*rows, *differences]}
    lines = lines_of(arms)
    quantities = dict.fromkeys(r["quantity"] for r in [*rows, *differences])
    grouped = {group: [q for q in names if q in quantities] for group, names in GROUPS.items()}
    labels = [label for group, names in grouped.items() if names for label in (group, *names)]
    labels += [q for q in quantities if not any(q in names for names in grouped.values())]
    place = {label: y for y, label in enumerate(labels)}
    panels = 1 + bool(differences)
    height = 0.08 + 0.05 * len(arms)
    size = (5.6, max(0.2, height) * len(labels) + 1.1)
    figure, axes = plt.subplots(1, panels, squeeze=False, sharey=True, figsize=size)
    for axis, shown in zip(axes[0], (rows, differences), strict=False):
        for r in shown:
            line = lines[r["arm"]]
            order = list(arms).index(r["arm"])
            y = place[r["quantity"]] + 0.7 * ((order + 0.5) / len(arms) - 0.5)
            if r.get("low") is not None:
                axis.plot([r["low"], r["high"]], [y, y], color=line["color"], lw=1.6, alpha=0.7)
            axis.plot(r["mean"], y, line["marker"], color=line["color"], ms=4, mec="white", mew=0.4)
    axes[0, 0].set(xlabel="error (%)", ylim=(len(labels) - 0.5, -0.7))
    axes[0, 0].set_xlim(0, None)
    named = [label if label in grouped else _pretty(label) for label in labels]
    axes[0, 0].set_yticks(range(len(labels)), named, fontsize=9)
    for tick, label in zip(axes[0, 0].get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if label in grouped else "normal")
    if differences:
        axes[0, 1].axvline(0, color="#555555", lw=1)
        axes[0, 1].set_xlabel(f"minus {baseline} (points)")
        axes[0, 1].locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])
    legend(figure, {arms[arm]: {**line, "lw": 1.6} for arm, line in lines.items()})
    return figure


@styled
def pareto(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Error on corrupted images over that on clean ones: a mark for each arm, with its intervals.

    The more network passes a training made, the larger its mark; the legend has them as multiples of the
    fewest. The dashed line joins the arms that no other one beats in both errors.

    Args:
        rows: of `comparison.rows`: those of the quantities accuracy and corruption error, in %; arms without
            both are left out.
    """
    clean = {r["arm"]: r for r in rows if r["quantity"] == "accuracy"}
    pairs = {
        r["arm"]: (clean[r["arm"]], r)
        for r in rows
        if r["quantity"] == "corruption error" and r["arm"] in clean
    }
    fewest = min((row["passes"] for row, _ in pairs.values() if row.get("passes")), default=1)
    figure, axis = plt.subplots(figsize=(5.4, 4.4))
    lines = lines_of(pairs)
    named = {}
    for arm, (right, wrong) in pairs.items():
        times = right.get("passes", fewest) / fewest
        line = {**lines[arm], "lw": 1.6, "ms": 5.5 * times**0.5}
        x, y = 100 - right["mean"], wrong["mean"]
        if right["low"] is not None:
            axis.plot([100 - right["high"], 100 - right["low"]], [y, y], color=line["color"], lw=1.3)
        if wrong["low"] is not None:
            axis.plot([x, x], [wrong["low"], wrong["high"]], color=line["color"], lw=1.3)
        axis.plot(x, y, mec="white", mew=0.6, label=name_of(right), **line)
        named[f"{name_of(right)}, {times:.3g} ×"] = line
    front = _front([(100 - right["mean"], wrong["mean"]) for right, wrong in pairs.values()])
    axis.plot([x for x, _ in front], [y for _, y in front], "--", color="#555555", lw=1, zorder=0)
    axis.set(xlabel="error on clean images (%)", ylabel="error on corrupted images (%)")
    legend(figure, named, **{"not beaten in both": "--"})
    return figure


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one is below in one number and not above in the other, from left to right."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not found or y < found[-1][1]:
            found.append((x, y))
    return found


def _pretty(name: str) -> str:
    return name.replace("_", " ").replace("gaussian", "Gaussian").replace("jpeg", "JPEG")
