"""Figures of where a network looks: maps over pictures with their boxes, maps about the box, and what is left
of them with random layers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from specfreq.figures.base import AMOUNT, array, legend, lines_of, styled


@styled
def overlays(images: Mapping[str, Any], maps: Mapping[str, Any], boxes: Sequence[Sequence[int]]) -> Figure:
    """Class activation maps over pictures, a line for each name, with the box that the object lies in.

    Args:
        images: name -> (N, C, H, W), bytes or in [0, 1].
        maps: name -> (N, H, W), each from 0 to its own maximum.
        boxes: of all lines alike, x0, y0, x1, y1 for each picture.
    """
    columns = len(boxes)
    size = (1.3 * columns + 0.5, 1.35 * len(images) + 0.2)
    figure, axes = plt.subplots(len(images), columns, squeeze=False, figsize=size)
    for line, name in zip(axes, images, strict=True):
        for axis, image, map, box in zip(line, array(images[name]), array(maps[name]), boxes, strict=True):
            grey = image.mean(0) / (255 if image.max() > 1 else 1)
            axis.imshow(grey, cmap="gray", vmin=0, vmax=1)
            strength = map / max(map.max(), 1e-12)
            axis.imshow(strength, cmap=AMOUNT, vmin=0, vmax=1, alpha=0.65 * strength)
            left, top, right, bottom = box
            corner = (left - 0.5, top - 0.5)
            frame = {"fill": False, "lw": 1.6, "ec": "white", "ls": "--"}
            axis.add_patch(Rectangle(corner, right - left, bottom - top, **frame))
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        line[0].set_ylabel(name, fontsize=8)
    return figure


@styled
def about_box(maps: Mapping[str, Mapping[str, Any]], reach: float) -> Figure:
    """Mean maps in coordinates of the box, which lies from -1 to 1: a line for each name, a column for each
    kind of image, all on one scale.

    Args:
        maps: name -> kind -> (n, n), from -reach to reach in both directions; NaN where no image reaches.
    """
    kinds = list(next(iter(maps.values())))
    size = (2.0 * len(kinds) + 1.2, 1.9 * len(maps) + 0.5)
    figure, axes = plt.subplots(len(maps), len(kinds), squeeze=False, figsize=size, sharex=True, sharey=True)
    most = max(float(np.nanmax(array(each))) for of in maps.values() for each in of.values())
    drawn: Any = None
    for axis, kind in zip(axes[0], kinds, strict=True):
        axis.set_title(kind, fontsize=9)
    for line, (name, of) in zip(axes, maps.items(), strict=True):
        for axis, kind in zip(line, kinds, strict=True):
            extent = (-reach, reach, reach, -reach)
            drawn = axis.imshow(array(of[kind]), cmap=AMOUNT, vmin=0, vmax=most, extent=extent)
            axis.add_patch(Rectangle((-1, -1), 2, 2, fill=False, lw=1.6, ec="white", ls="--"))
            axis.grid(False)
        line[0].set_ylabel(name, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("half boxes from its centre", fontsize=8)
    figure.colorbar(drawn, ax=axes, shrink=0.85, label="mean map (maximum of each: 1)")
    return figure


@styled
def sanity(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """How much the maps of a network are still as they were when its last layers are random: a line a name.

    Args:
        results: of `cam-sanity`: shares (of the layers) and correlation (of ranks).
    """
    figure, axis = plt.subplots(figsize=(5.4, 3.0))
    lines = lines_of(results)
    for name, found in results.items():
        share = [0, *(100 * s for s in found["shares"])]
        axis.plot(share, [1, *found["correlation"]], **lines[name])
    axis.axhline(0, color="#555555", lw=1, ls=":")
    axis.set(xlabel="layers drawn anew, from the last one on (%)", ylabel="rank correlation of the maps")
    axis.set(ylim=(-0.35, 1.05))
    legend(figure, lines)
    return figure
