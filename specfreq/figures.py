"""Every figure of the book: arrays in, a matplotlib Figure out. No global state is set."""

import functools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

AMOUNT = "viridis"
MARKERS = "osD^vP*X<>"
_STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def _styled(function):
    """Draw in our style, with ``note`` as a line at the foot; the figure comes back closed, so that a notebook shows it once."""

    @functools.wraps(function)
    def draw(*args: Any, note: str = "", **kwargs: Any) -> Figure:
        with plt.rc_context({**plt.rcParamsDefault, **_STYLE}):
            figure = function(*args, **kwargs)
            if note:
                lines = textwrap.wrap(note, int(22 * figure.get_figwidth()))  # a longer line would widen the picture
                foot = (0.11 + 0.11 * len(lines)) / figure.get_figheight()
                figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
                figure.text(0.005, 0.03 / figure.get_figheight(), "\n".join(lines), fontsize=6.5, color="#555555")
        plt.close(figure)
        return figure

    return draw


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)


def _picture(axis: Any, image: np.ndarray, limit: float | None = None) -> None:
    """Show one image (C, H, W): in [0, 1] as it is; signed ones, scaled by ``limit``, with grey for zero."""
    if limit is not None:
        image = 0.5 + 0.5 * image / max(limit, 1e-12)
    image = np.moveaxis(np.clip(image, 0, 1), 0, -1)
    axis.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)


@_styled
def pictures(rows: Mapping[str, Any], size: float = 0.8) -> Figure:
    """A grid of images, one row (K, C, H, W) per name, each image ``size`` inches wide.

    Images with values below 0 are signed: grey is zero, and each is scaled to its own largest magnitude, as they differ widely.
    """
    arrays = {name: _array(images) for name, images in rows.items()}
    lines, columns = max(len(arrays), 1), max((len(a) for a in arrays.values()), default=1)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=(size * columns + 1.3, size * lines + 0.2))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for line, (name, images) in zip(axes, arrays.items(), strict=False):
        for axis, image in zip(line, images, strict=True):
            _picture(axis, image, np.abs(image).max() if image.min() < 0 else None)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


@_styled
def class_spectra(power: Any, classes: Sequence[str]) -> Figure:
    """Mean power spectrum of each class, log10 on one scale: power (K, H, W) with DC at index N//2."""
    power = np.log10(np.maximum(_array(power), 1e-12))
    columns = min(3, len(classes))
    lines = -(-len(classes) // columns)
    figure, axes = plt.subplots(
        lines, columns, squeeze=False, sharex=True, sharey=True, figsize=(1.55 * columns + 1, 1.75 * lines + 0.4)
    )
    height, width = power.shape[-2:]
    extent = (-(width // 2) - 0.5, width - width // 2 - 0.5, height - height // 2 - 0.5, -(height // 2) - 0.5)
    low, high = np.quantile(power, 0.001), power.max()
    for axis, name, image in zip(axes.flat, classes, power, strict=False):
        shown = axis.imshow(image, cmap=AMOUNT, vmin=low, vmax=high, extent=extent)
        axis.set_title(name)
        axis.grid(False)
    for axis in axes.flat[len(classes) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("cycles per image", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("cycles per image", fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="log10 mean power")
    return figure


@_styled
def radial_profiles(profiles: Mapping[str, Any], sides: Mapping[str, int] | int) -> Figure:
    """Mean power on rings: one line per name, over frequency in cycles per pixel.

    Args:
        profiles: name -> (bins,) power at radius 0, 1, 2, ... cycles per image; the mean (radius 0) is not drawn.
        sides: image side in pixels, one for all or one per name.
    """
    figure, axis = plt.subplots(figsize=(5.6, 3.8))
    colours = sns.color_palette("colorblind", len(profiles))
    for i, (name, profile) in enumerate(profiles.items()):
        profile = _array(profile)
        side = sides if isinstance(sides, int) else sides[name]
        frequency = np.arange(1, len(profile)) / side
        marks = {"marker": MARKERS[i % len(MARKERS)], "markevery": (i % 3, 3), "ms": 4}
        axis.plot(frequency, profile[1:], color=colours[i], lw=1.3, label=name, **marks)
    axis.set(xscale="log", yscale="log", xlabel="frequency (cycles per pixel)", ylabel="mean power per bin")
    ticks = [t for t in (0.03125, 0.0625, 0.125, 0.25, 0.5) if t >= axis.get_xlim()[0]]
    axis.set_xticks(ticks, [f"1/{round(1 / t)}" for t in ticks])
    axis.minorticks_off()
    if profiles:
        axis.legend(fontsize=8, ncols=1 if len(profiles) < 7 else 2)
    return figure


@_styled
def centroids(values: Mapping[str, Any], labels: Any, classes: Sequence[str]) -> Figure:
    """Spectral centroids of single images, by class: one panel per name in ``values``, (N,) cycles per pixel each."""
    labels = _array(labels).astype(int)
    size = (5.4, (0.24 * len(classes) + 0.5) * len(values) + 0.6)
    figure, axes = plt.subplots(len(values), squeeze=False, sharex=True, sharey=True, figsize=size)
    for axis, (name, centroid) in zip(axes[:, 0], values.items(), strict=True):
        names = np.asarray(classes)[labels]
        sns.boxenplot(x=_array(centroid), y=names, order=list(classes), ax=axis, color="#4c86b0", width=0.75, flier_kws={"s": 3})
        axis.set(title=name, xlabel="", ylabel="")
        axis.grid(axis="y", visible=False)
    axes[-1, 0].set_xlabel("spectral centroid (cycles per pixel)")
    return figure


@_styled
def accuracies(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracies of the arms of a study with their intervals: one panel per ``data``, a line per ``arm``, a mark per ``series``.

    Each row has data, arm, series, values (one per seed, drawn as ticks), mean, low and high (the interval; None for one seed),
    all in %, and chance, the accuracy of guessing.
    """
    panels = list(dict.fromkeys(r["data"] for r in rows)) or [""]
    arms = list(dict.fromkeys(r["arm"] for r in rows))
    series = list(dict.fromkeys(r["series"] for r in rows))
    colours = dict(zip(series, sns.color_palette("colorblind", max(3, len(series))), strict=False))
    size = (5.4, (0.34 * len(arms) + 0.5) * len(panels) + 0.9)  # panels below one another: readable on a phone
    figure, axes = plt.subplots(len(panels), squeeze=False, sharex=True, sharey=True, figsize=size)
    spread = 0.16 * (len(series) - 1)
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        drawn = [r for r in rows if r["data"] == panel]
        for r in drawn:
            k = series.index(r["series"])
            y = arms.index(r["arm"]) + (-spread + 2 * spread * k / (len(series) - 1) if spread else 0)
            colour = colours[r["series"]]
            axis.plot(r["values"], [y] * len(r["values"]), "|", color=colour, ms=6, alpha=0.6)
            if r.get("low") is not None:
                axis.plot([r["low"], r["high"]], [y, y], color=colour, lw=2)
            axis.plot(r["mean"], y, MARKERS[k], color=colour, ms=6.5, mec="white", mew=0.6)
        for chance in {r["chance"] for r in drawn}:
            axis.axvline(chance, color="#555555", lw=1, ls=":")
            axis.text(chance, -0.62, " guessing", fontsize=8, color="#555555", va="center")
        axis.set(title=panel, xlim=(0, 100), ylim=(len(arms) - 0.5, -0.9))
    axes[0, 0].set_yticks(range(len(arms)), arms)
    axes[-1, 0].set_xlabel("test accuracy (%)")
    handles = [plt.Line2D([], [], color=colours[s], marker=MARKERS[k], ls="-", lw=2, label=s) for k, s in enumerate(series)]
    if len(series) > 1:
        figure.legend(handles=handles, loc="outside upper center", ncols=len(series), fontsize=9)
    return figure


def _lines(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """How the line of each name is drawn: colour and marker, never the colour alone."""
    colours = sns.color_palette("colorblind", max(3, len(results)))
    return {name: {"color": colours[i], "marker": MARKERS[i % len(MARKERS)], "ms": 4, "lw": 1.3} for i, name in enumerate(results)}


def _legend(figure: Figure, lines: Mapping[str, dict[str, Any]], **others: Any) -> None:
    """Above all panels: the line of each name, and grey lines of these styles for what is the same in all."""
    handles = [plt.Line2D([], [], label=name, **line) for name, line in lines.items()]
    handles += [plt.Line2D([], [], color="#555555", lw=1, ls=style, label=name) for name, style in others.items()]
    columns = 75 // (max(len(h.get_label()) for h in handles) + 7)
    figure.legend(handles=handles, loc="outside upper center", ncols=max(1, columns), fontsize=9)


HALVES = {"low": "low-pass: below the radius", "high": "high-pass: from the radius on"}


@_styled
def band_accuracy(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy over the radius of ideal filters, low-pass beside high-pass: a line for each name, results of `band-accuracy`.

    Dashed: the accuracy on whole images.
    """
    figure, axes = plt.subplots(1, 2, sharey=True, figsize=(5.6, 3.5))
    lines = _lines(results)
    for axis, (half, title) in zip(axes, HALVES.items(), strict=True):
        for i, (name, result) in enumerate(results.items()):
            every = max(1, len(result["radii"]) // 8)
            axis.axhline(result["accuracy"], color=lines[name]["color"], lw=0.9, ls="--")
            axis.plot(result["radii"], result[half], markevery=(i % every, every), **lines[name])
        for chance in {r["chance"] for r in results.values()}:
            axis.axhline(chance, color="#555555", lw=1, ls=":")
        axis.set(title=title, xlabel="radius (cycles per image)", ylim=(0, 103))
    axes[0].set_ylabel("test accuracy (%)")
    _legend(figure, lines, **{"whole images": "--", "guessing": ":"})
    return figure


@_styled
def discrimination(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Fisher ratio of the features and accuracy, low-pass beside high-pass: a line for each name, of `feature-discrimination`.

    Dashed: whole images. Dotted: features that know no class, and guessing. Points without a ratio are left out.
    """
    figure, axes = plt.subplots(2, 2, sharex=True, sharey="row", figsize=(5.6, 5.2))
    lines = _lines(results)
    for column, (half, title) in enumerate(HALVES.items()):
        for row, (key, chance) in enumerate({"fisher": "fisher_chance", "accuracy": "chance"}.items()):
            axis = axes[row, column]
            for name, result in results.items():
                axis.plot(result["radii"], _array([np.nan if v is None else v for v in result[f"{half}_{key}"]]), **lines[name])
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
    _legend(figure, lines, **{"whole images": "--", "no knowledge of the class": ":"})
    return figure


@_styled
def reliability(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy over confidence in fixed bins, above the number of images in each: a line for each name, of `calibration`.

    The bars are Wilson's 95 % intervals. On the diagonal the classifier is right as often as it says; below it, less often.
    """
    figure, (axis, counts) = plt.subplots(2, sharex=True, figsize=(4.8, 5.0), height_ratios=(3, 1))
    lines = _lines(results)
    for name, result in results.items():
        count, right, said = (_array([v or 0 for v in result[f"fixed_{k}"]]) for k in ("count", "accuracy", "confidence"))
        there = count > 0
        middle, half = _wilson(right[there] / 100, count[there])
        axis.vlines(said[there], 100 * (middle - half), 100 * (middle + half), color=lines[name]["color"], lw=1, alpha=0.7)
        axis.plot(said[there], right[there], **lines[name])
        edges = np.linspace(0, 100, len(count) + 1)
        counts.stairs(count, edges, color=lines[name]["color"], lw=1.3)
        counts.plot((edges[:-1] + edges[1:])[there] / 2, count[there], **{**lines[name], "lw": 0})
    axis.plot([0, 100], [0, 100], color="#555555", lw=1, ls="--")
    axis.set(ylabel="accuracy (%)", xlim=(-2, 102), ylim=(-3, 103))
    counts.set(xlabel="confidence (%)", ylabel="images", yscale="log", ylim=(0.7, None))
    _legend(figure, lines, **{"right as often as said": "--"})
    return figure


def _wilson(share: np.ndarray, count: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half width of Wilson's interval for a share seen among so many."""
    total = count + z**2
    return (count * share + z**2 / 2) / total, z * np.sqrt(count * share * (1 - share) + z**2 / 4) / total


@_styled
def costs(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Times as multiples of a floor: a bar from the lower to the upper quartile, a mark at the median, a bracket at the target.

    Each row has name, median, lower, upper, and target, the most that was aimed at, or None.
    """
    figure, axis = plt.subplots(figsize=(5.4, 0.3 * len(rows) + 1.3))
    colour, goal = sns.color_palette("colorblind", 4)[0], "#555555"
    for y, row in enumerate(rows):
        axis.plot([row["lower"], row["upper"]], [y, y], color=colour, lw=5, alpha=0.4, solid_capstyle="butt")
        axis.plot(row["median"], y, "o", color=colour, ms=5)
        if row["target"] is not None:
            axis.plot(row["target"], y, "|", color=goal, ms=13, mew=1.6)
    axis.axvline(1, color=goal, lw=1, ls=":")
    axis.set(xlabel="time of a step, over that of the bare loop", ylim=(len(rows) - 0.5, -0.6))
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axis.set_xlim(0, None)
    handles = [plt.Line2D([], [], color=colour, marker="o", ms=5, lw=0, label="median, quartiles")]
    handles.append(plt.Line2D([], [], color=goal, marker="|", ms=11, mew=1.6, lw=0, label="aimed at, at most"))
    figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=9)
    return figure
