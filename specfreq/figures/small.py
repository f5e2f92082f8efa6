"""Thumbnails: one thing to see, in two colours and grey that show on light and on dark pages alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from specfreq.figures.base import AMOUNT, styled

SIZE = 2.7, 1.5  # inches
INK, FIRST, SECOND = "#7d7d7d", "#2f86c9", "#d9730d"


@styled
def small_lines(
    lines: Mapping[str, Sequence[float]], places: Sequence[float], *, log: bool = False
) -> Figure:
    """One line for each name, all in one colour but the first; both axes logarithmic if ``log``."""
    figure, axis = _empty()
    for k, values in enumerate(lines.values()):
        colour, width = (SECOND, 1.8) if k == 0 else (FIRST, 0.9)
        axis.plot(places, values, color=colour, lw=width, zorder=3 if k == 0 else 2)
    if log:
        axis.set(xscale="log", yscale="log")
    axis.set(xticks=[], yticks=[])
    axis.minorticks_off()
    return figure


@styled
def small_dots(rows: Sequence[Mapping[str, Any]], *, line: float | None = None) -> Figure:
    """A line for each row, with name, mean, low and high (None without an interval), and ``second``: whether
    it has the other colour and mark; a dotted one at ``line``.
    """
    figure, axis = _empty()
    for y, row in enumerate(rows):
        colour, mark = (SECOND, "s") if row["second"] else (FIRST, "o")
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [y, y], color=colour, lw=2.5, solid_capstyle="butt")
        axis.plot(row["mean"], y, mark, color=colour, ms=7)
    if line is not None:
        axis.axvline(line, color=INK, lw=1, ls=":")
    axis.set(xticks=[], ylim=(len(rows) - 0.5, -0.5))
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=9, color=INK)
    axis.tick_params(length=0)
    axis.spines["left"].set_visible(False)
    axis.margins(x=0.12)
    return figure


@styled
def small_maps(maps: Mapping[str, Any]) -> Figure:
    """Maps side by side, on one scale, each under its name."""
    figure, axes = plt.subplots(1, len(maps), figsize=SIZE)
    arrays = [np.asarray(each, dtype=float) for each in maps.values()]
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    for axis, name, each in zip(np.atleast_1d(axes), maps, arrays, strict=True):
        axis.imshow(each, cmap=AMOUNT, vmin=low, vmax=high)
        axis.set_title(name, color=INK, fontsize=9)
        axis.axis("off")
    return figure


@styled
def small_pictures(images: Any, columns: int) -> Figure:
    """Grey pictures (N, H, W), bytes, as a table of so many columns."""
    rows = [np.concatenate(list(images[k : k + columns]), axis=1) for k in range(0, len(images), columns)]
    figure, axis = plt.subplots(figsize=SIZE)
    axis.imshow(np.concatenate(rows, axis=0), cmap="gray", vmin=0, vmax=255)
    axis.axis("off")
    return figure


def _empty() -> tuple[Figure, Any]:
    figure, axis = plt.subplots(figsize=SIZE)
    axis.grid(False)
    axis.patch.set_alpha(0)
    for spine in axis.spines.values():
        spine.set_color(INK)
    return figure, axis
