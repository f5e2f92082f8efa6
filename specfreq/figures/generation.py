"""Figures of generated images: montages, walks through the latent space, distances by band, spectra."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from specfreq.figures.base import array, legend, lines_of, picture, styled


@styled
def montage(arms: Mapping[str, Any], columns: int = 5) -> Figure:
    """Images (K, C, H, W) in [0, 1]: a block for each arm, in rows of ``columns``; blocks stand in pairs."""
    blocks = {name: _tiled(array(images), columns) for name, images in arms.items()}
    wide = min(2, max(len(blocks), 1))
    lines = -(-len(blocks) // wide) or 1
    height = max((b.shape[1] / b.shape[2] for b in blocks.values()), default=1)
    size = (2.8 * wide, (2.75 * height + 0.28) * lines)
    figure, axes = plt.subplots(lines, wide, squeeze=False, figsize=size)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for axis, (name, block) in zip(axes.flat, blocks.items(), strict=False):
        picture(axis, block)
        axis.set_title(name)
    return figure


def _tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (K, C, H, W) as one (C, H', W'), white between and after them."""
    images = np.pad(images, ((0, -len(images) % columns), (0, 0), (1, 1), (1, 1)), constant_values=1.0)
    lines = images.reshape(-1, columns, *images.shape[1:])
    return np.concatenate([np.concatenate(list(line), axis=2) for line in lines], axis=1)


@styled
def part_distances(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """FID of whole images and of each part, on a log axis: a line per ``quantity``, a mark per ``arm``.

    Each row has arm, quantity, values (one per seed, drawn as ticks), mean, low and high (the interval; None
    for one seed).
    """
    arms = lines_of(dict.fromkeys(r["arm"] for r in rows))
    quantities = list(dict.fromkeys(r["quantity"] for r in rows))
    figure, axis = plt.subplots(figsize=(5.4, (0.11 * len(arms) + 0.25) * len(quantities) + 1.3))
    spread = 0.36
    shifts = [spread * (2 * k / (len(arms) - 1) - 1) for k in range(len(arms))] if len(arms) > 1 else [0]
    for r in rows:
        y = quantities.index(r["quantity"]) + shifts[list(arms).index(r["arm"])]
        line = arms[r["arm"]]
        axis.plot(r["values"], [y] * len(r["values"]), "|", color=line["color"], ms=5, alpha=0.6)
        if r["low"] is not None:
            axis.plot([max(r["low"], min(r["values"]) / 10), r["high"]], [y, y], color=line["color"], lw=1.6)
        axis.plot(r["mean"], y, line["marker"], color=line["color"], ms=6)
    for edge in np.arange(len(quantities) - 1) + 0.5:
        axis.axhline(edge, color="#dddddd", lw=0.8)
    axis.set(xscale="log", xlabel="FID (squared units of the features)", ylim=(len(quantities) - 0.45, -0.55))
    axis.set_yticks(range(len(quantities)), quantities)
    axis.grid(axis="y", visible=False)
    legend(figure, {name: {**line, "lw": 0} for name, line in arms.items()})
    return figure


@styled
def against_real(
    found: Mapping[str, Mapping[str, Any]], real: Mapping[str, Any], dt: float, side: int
) -> Figure:
    """Spectra of images over those of real ones, a line per name: power, and total variation by scale.

    Args:
        found: name -> power (radius 0, 1, ... cycles per image; 0 is not drawn) and variation (bands 1, 2,
            ...).
        real: the same of real images, which are 1 in the figure.
        dt: scale of a band, in units of value times pixels.
        side: of the images, pixels.
    """
    figure, (power, variation) = plt.subplots(1, 2, sharey=True, figsize=(5.8, 3.5))
    lines = lines_of(found)
    for i, (name, result) in enumerate(found.items()):
        for axis, what, unit in ((power, "power", 1 / side), (variation, "variation", dt)):
            first = 1 if what == "power" else 0
            ratio = array(result[what])[first:] / np.maximum(array(real[what])[first:], 1e-30)
            axis.plot((np.arange(len(ratio)) + 1) * unit, ratio, markevery=(i % 3, 3), **lines[name])
    for axis in (power, variation):
        axis.axhline(1, color="#555555", lw=1, ls="--")
        axis.set(yscale="log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}" if _narrow(axis) else NullFormatter())
    power.set(xlabel="frequency (cycles per pixel)", ylabel="of that of real images", title="Fourier power")
    variation.set(xlabel="scale (value times pixels)", title="spectrum of total variation")
    power.set_xlim(0, 0.5)
    legend(figure, lines, real="--")
    return figure


def _narrow(axis: Any) -> bool:
    """Whether a log axis has too few powers of ten to be read by."""
    low, high = axis.get_ylim()
    return high < 20 * low


@styled
def losses(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Mean losses of discriminators and generators over the epochs: a line per name.

    Dotted: those of a discriminator that knows nothing.
    """
    figure, axes = plt.subplots(1, 2, figsize=(5.8, 3.2), sharex=True)
    lines = lines_of(histories)
    for axis, which, blind in ((axes[0], "discriminator", 2 * np.log(2)), (axes[1], "generator", np.log(2))):
        for i, (name, rows) in enumerate(histories.items()):
            every = max(1, len(rows) // 8)
            epochs = [r["epoch"] for r in rows]
            axis.plot(epochs, [r[which] for r in rows], markevery=(i % every, every), **lines[name])
        axis.axhline(blind, color="#555555", lw=1, ls=":")
        axis.set(title=which, xlabel="epoch")
    axes[0].set_ylabel("loss (nats)")
    legend(figure, lines, **{"no knowledge": ":"})
    return figure
