"""Figures of images and of their spectra."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from specfreq.figures.base import AMOUNT, MARKERS, array, picture, styled


@styled
def pictures(rows: Mapping[str, Any], size: float = 0.8) -> Figure:
    """A grid of images, one row (K, C, H, W) per name, each image ``size`` inches wide.

    Images with values below 0 are signed: grey is zero, and each is scaled to its own largest magnitude, as
    they differ widely.
    """
    arrays = {name: array(images) for name, images in rows.items()}
    lines = max(len(arrays), 1)
    columns = max((len(a) for a in arrays.values()), default=1)
    shape = (size * columns + 1.3, size * lines + 0.2)
    figure, axes = plt.subplots(lines, columns, squeeze=False, figsize=shape)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for line, (name, images) in zip(axes, arrays.items(), strict=False):
        for axis, image in zip(line, images, strict=True):
            picture(axis, image, np.abs(image).max() if image.min() < 0 else None)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


@styled
def class_spectra(power: Any, classes: Sequence[str]) -> Figure:
    """Mean power spectrum of each class, log10 on one scale: power (K, H, W) with DC at index N//2."""
    power = np.log10(np.maximum(array(power), 1e-12))
    columns = min(3, len(classes))
    lines = -(-len(classes) // columns)
    size = (1.55 * columns + 1, 1.75 * lines + 0.4)
    figure, axes = plt.subplots(lines, columns, squeeze=False, sharex=True, sharey=True, figsize=size)
    height, width = power.shape[-2:]
    extent = (-(width // 2) - 0.5, width - width // 2 - 0.5, height - height // 2 - 0.5, -(height // 2) - 0.5)
    low, high = np.quantile(power, 0.001), power.max()
    shown: Any = None
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


@styled
def dominant_frequencies(maps: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    """The frequencies that each class is known by: lines of panels for each name, a panel for each class.

    Args:
        maps: name -> (K, H, W), frequency 0 at index N//2, each scaled to its own largest: for how many
            networks a frequency is among the dominant ones.
        classes: K names.
    """
    columns = min(5, len(classes))
    of_each = -(-len(classes) // columns)
    lines = of_each * len(maps)
    size = (1.08 * columns + 0.9, 1.2 * lines + 0.5)
    figure, axes = plt.subplots(lines, columns, squeeze=False, sharex=True, sharey=True, figsize=size)
    for axis in axes.flat:
        axis.grid(False)
        axis.set_visible(False)
    for i, (name, counts) in enumerate(maps.items()):
        values = array(counts)
        height, width = values.shape[-2:]
        ends = (
            -(width // 2) - 0.5,
            width - width // 2 - 0.5,
            height - height // 2 - 0.5,
            -(height // 2) - 0.5,
        )
        panels = axes[i * of_each : (i + 1) * of_each]
        most = max(values.max(), 1)
        for axis, of, image in zip(panels.flat, classes, values, strict=False):
            axis.set_visible(True)
            axis.imshow(image, cmap=AMOUNT, vmin=0, vmax=most, extent=ends)
            axis.set_title(of, fontsize=8)
        panels[0, 0].set_ylabel(name, fontsize=9)
    axes[-1, 0].set_xlabel("cycles per image", fontsize=9)
    return figure


@styled
def radial_profiles(profiles: Mapping[str, Any], sides: Mapping[str, int] | int) -> Figure:
    """Mean power on rings: one line per name, over frequency in cycles per pixel.

    Args:
        profiles: name -> (bins,) power at radius 0, 1, 2, ... cycles per image; the mean (radius 0) is not
            drawn.
        sides: image side in pixels, one for all or one per name.
    """
    figure, axis = plt.subplots(figsize=(5.6, 3.8))
    colours = sns.color_palette("colorblind", len(profiles))
    for i, (name, profile) in enumerate(profiles.items()):
        profile = array(profile)
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


@styled
def centroids(values: Mapping[str, Any], labels: Any, classes: Sequence[str]) -> Figure:
    """Spectral centroids of images, by class: a panel per name in ``values``, (N,) cycles per pixel."""
    labels = array(labels).astype(int)
    size = (5.4, (0.24 * len(classes) + 0.5) * len(values) + 0.6)
    figure, axes = plt.subplots(len(values), squeeze=False, sharex=True, sharey=True, figsize=size)
    for axis, (name, centroid) in zip(axes[:, 0], values.items(), strict=True):
        names = np.asarray(classes)[labels]
        sns.boxenplot(
            x=array(centroid),
            y=names,
            order=list(classes),
            ax=axis,
            color="#4c86b0",
            width=0.75,
            flier_kws={"s": 3},
        )
        axis.set(title=name, xlabel="", ylabel="")
        axis.grid(axis="y", visible=False)
    axes[-1, 0].set_xlabel("spectral centroid (cycles per pixel)")
    return figure
