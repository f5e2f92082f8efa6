"""Figures of frequency scaling: which frequencies belong together, and how strong each group becomes."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from specfreq.figures.base import AMOUNT, array, legend, lines_of, styled


@styled
def cluster_maps(maps: Mapping[str, Any]) -> Figure:
    """The cluster of each frequency: a panel per name, zero frequency in the middle, all in one code.

    Args:
        maps: whole numbers (H, W) on the shifted grid: 0 where a frequency belongs to none, 1 for the least
            energy, ....
    """
    shown = {name: array(each) for name, each in maps.items()}
    most = int(max(each.max() for each in shown.values()))
    colours = ["#bbbbbb", *sns.color_palette(AMOUNT, most)]
    columns, lines = min(3, len(shown)), -(-len(shown) // 3)
    size = (1.75 * columns + 0.5, 1.95 * lines + 0.6)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=size)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for i, (axis, (name, found)) in enumerate(zip(axes.flat, shown.items(), strict=False)):
        height, width = found.shape
        left, top = -(width // 2) - 0.5, -(height // 2) - 0.5
        axis.imshow(
            found,
            cmap=ListedColormap(colours),
            vmin=-0.5,
            vmax=most + 0.5,
            extent=(left, left + width, top + height, top),
            interpolation="nearest",
        )
        axis.set_title(name, fontsize=9)
        axis.grid(False)
        axis.set_xlabel("cycles per image" if i + columns >= len(shown) else "")
        axis.set_ylabel("cycles per image" if i % columns == 0 else "")
    names = ["left alone", *(f"cluster {c}" for c in range(1, most + 1))]
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=most + 1 if most < 4 else 3, fontsize=9)
    return figure


@styled
def weights_over_epochs(courses: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The weight of each cluster over the epochs: a panel per name; shaded, what differs between images.

    Args:
        courses: each has epochs (E,), mean and deviation (E, k), of the least energy first.
    """
    most = max(array(each["mean"]).shape[1] for each in courses.values())
    lines = lines_of({f"cluster {c}": c for c in range(1, most + 1)})
    figure, axes = plt.subplots(
        1, len(courses), squeeze=False, sharey=True, figsize=(1.2 + 2.3 * len(courses), 3.0)
    )
    for axis, (name, each) in zip(axes.flat, courses.items(), strict=True):
        epochs, mean, deviation = (array(each[key]) for key in ("epochs", "mean", "deviation"))
        for place, line in zip(range(mean.shape[1]), lines.values(), strict=False):
            below, above = mean[:, place] - deviation[:, place], mean[:, place] + deviation[:, place]
            axis.fill_between(epochs, below, above, color=line["color"], alpha=0.15, lw=0)
            axis.plot(epochs, mean[:, place], **line, markevery=max(1, len(epochs) // 8))
        axis.axhline(1, color="#555555", lw=1, ls="--")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("epoch")
        axis.locator_params(axis="x", integer=True)
    axes[0, 0].set_ylabel("weight")
    legend(figure, lines, unchanged="--")
    return figure
