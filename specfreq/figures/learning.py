"""Figures of what a network learns when: spectra and discrimination over the epochs, features by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from specfreq.figures.base import AMOUNT, array, legend, lines_of, styled
from specfreq.figures.results import HALVES


@styled
def learning_maps(maps: Mapping[str, Mapping[str, Any]], *, published: bool = False) -> Figure:
    """The gradient spectrum after every epoch: a panel per name, epochs downwards, all on the scale of the
    frequencies above 0.

    Args:
        maps: each has epochs (E,), radii (R,) in cycles per image and density (E, R), power relative to its
            mean over all frequencies; those of `gradient-spectrum`.
        published: the original's picture instead: published_radii and published, each map from 0 to 1.
    """
    x, values = ("published_radii", "published") if published else ("radii", "density")
    shown = {name: array(each[values]) for name, each in maps.items()}
    most = 1.0
    if published:
        shown = {name: _stretched(found) for name, found in shown.items()}
        scale, label = {"vmin": 0, "vmax": 1}, "as published (0 to 1 in each map)"
    else:
        # both ends alike, so that the colour in the middle is a spectrum without preference; of the mean of
        # the image a network may know far more than of all else, and would set the scale alone
        most = max([2.0, *(float(np.nanmax(found[:, 1:], initial=0)) for found in shown.values())])
        scale, label = {"norm": LogNorm(1 / most, most, clip=True)}, "relative power"
    columns, lines = min(2, len(shown)), -(-len(shown) // 2)
    size = (2.4 * columns + 1.0, 1.9 * lines + 0.6)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=size)
    drawn: Any = None
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for i, (axis, (name, found)) in enumerate(zip(axes.flat, shown.items(), strict=False)):
        epochs, radii = array(maps[name]["epochs"]), array(maps[name][x])
        rows = np.arange(len(epochs) + 1) - 0.5
        drawn = axis.pcolormesh(np.append(radii - 0.5, radii[-1] + 0.5), rows, found, cmap=AMOUNT, **scale)
        axis.set_title(name, fontsize=9)
        axis.set_ylim(len(epochs) - 0.5, -0.5)
        every = max(1, len(epochs) // 5)
        axis.set_yticks(range(0, len(epochs), every), [f"{e:g}" for e in epochs[::every]])
        axis.grid(False)
        axis.set_ylabel("epoch" if i % columns == 0 else "")
        axis.set_xlabel("cycles per image" if i + columns >= len(shown) else "")
    bar = figure.colorbar(drawn, ax=axes, shrink=0.85, label=label)
    if not published:
        bar.ax.minorticks_off()
        powers = [2.0**k for k in range(-9, 10) if 1 / most <= 2.0**k <= most]
        bar.set_ticks(powers, labels=[f"{power:g}" for power in powers])
    return figure


def _stretched(found: np.ndarray) -> np.ndarray:
    low, high = np.nanmin(found), np.nanmax(found)
    return (found - low) / (high - low) if high > low else np.zeros_like(found)


@styled
def learning_shares(maps: Mapping[str, Mapping[str, Any]], even: Mapping[str, float]) -> Figure:
    """How much of the power of the gradient lies in each band, over the epochs: a panel per band, a line per
    name, and one at the share of a gradient that prefers no frequency (``even``, %).
    """
    bands = {"low_share": "low", "middle_share": "middle", "high_share": "high"}
    figure, axes = plt.subplots(1, 3, figsize=(5.8, 3.1), sharex=True)
    lines = lines_of(maps)
    for axis, (key, band) in zip(axes, bands.items(), strict=True):
        for name, each in maps.items():
            axis.plot(array(each["epochs"]), array(each[key]), **lines[name])
        axis.axhline(even[band], color="#555555", lw=1, ls=":")
        axis.set(title=band, xlabel="epoch")
        axis.locator_params(axis="x", integer=True)
    axes[0].set_ylabel("share of the power (%)")
    legend(figure, lines, **{"no preference": ":"})
    return figure


@styled
def discrimination_over_epochs(series: Mapping[str, Any]) -> Figure:
    """Fisher ratio of the features and accuracy over the epochs, low-pass beside high-pass: a line a radius.

    Args:
        series: of `feature-discrimination`: epochs (E,), radii (R,), low_fisher, high_fisher, low_accuracy
            and high_accuracy (E, R), fisher and accuracy (E,) of whole images, which are dashed; chance.
    """
    figure, axes = plt.subplots(2, 2, sharex=True, sharey="row", figsize=(5.6, 5.0))
    lines = lines_of({f"radius {radius:g}": radius for radius in series["radii"]})
    epochs = array(series["epochs"])
    for column, (half, title) in enumerate(HALVES.items()):
        for row, key in enumerate(("fisher", "accuracy")):
            axis, found = axes[row, column], array(series[f"{half}_{key}"])
            for place, line in enumerate(lines.values()):
                axis.plot(epochs, found[:, place], **line)
            axis.plot(epochs, array(series[key]), color="#555555", lw=1, ls="--")
        axes[0, column].set(title=title, yscale="log")
        axes[1, column].axhline(series["chance"], color="#555555", lw=1, ls=":")
        axes[1, column].set(xlabel="epoch", ylim=(0, 103))
        axes[1, column].locator_params(axis="x", integer=True)
    axes[0, 0].set_ylabel("Fisher ratio of the features")
    axes[1, 0].set_ylabel("test accuracy (%)")
    legend(figure, lines, **{"whole images": "--", "guessing": ":"})
    return figure


@styled
def class_distributions(result: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    """Densities of the features by class, along the direction in which the classes of whole images differ
    most: whole images above, below them a line of panels per radius, low-pass beside high-pass.

    The result is one of `feature-discrimination` with points.
    """
    radii = result["radii"]
    mosaic: Any = [["whole", "whole"], *([f"low {i}", f"high {i}"] for i in range(len(radii)))]
    figure, axes = plt.subplot_mosaic(mosaic, sharex=True, figsize=(5.6, 1.25 * len(mosaic) + 1.0))
    lines = {name: {**line, "marker": ""} for name, line in lines_of(dict.fromkeys(classes)).items()}
    styles = ["-", "--", ":"]
    at = array(result["axis"])
    views = {"whole": (result["curve"], "whole images")}
    for i, radius in enumerate(radii):
        views[f"low {i}"] = result["low_curve"][i], f"below {radius:g} cycles per image"
        views[f"high {i}"] = result["high_curve"][i], f"from {radius:g} cycles per image on"
    for place, (densities, title) in views.items():
        axis = axes[place]
        for k, (line, density) in enumerate(zip(lines.values(), densities, strict=False)):
            axis.plot(at, array(density), **{**line, "ls": styles[k % 3]})
        axis.set_title(title, fontsize=9)
        axis.set_yticks([])
    # not of the figure as a whole, which leaves no place for the note at its foot
    for half in ("low", "high"):
        axes[f"{half} {len(radii) - 1}"].set_xlabel("along the direction of the classes", fontsize=9)
    shown = {name: {**line, "ls": styles[k % 3]} for k, (name, line) in enumerate(lines.items())}
    legend(figure, shown)
    return figure
