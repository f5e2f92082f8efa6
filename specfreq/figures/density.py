"""Figures of spectral density, of images and of what networks are trained towards."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from specfreq.figures.base import array, legend, lines_of, styled


@styled
def densities(profiles: Mapping[str, Any], target: Any = None) -> Figure:
    """Spectral density, from 0 to 1, over rings: a line for each name; dashed, what kernels are trained
    towards.

    Args:
        profiles: name -> (rings,), the first ring 1 cycle per image.
        target: (rings,), or None.
    """
    figure, axis = plt.subplots(figsize=(5.4, 3.6))
    lines = lines_of(profiles)
    for i, (name, profile) in enumerate(profiles.items()):
        values = array(profile)
        axis.plot(np.arange(1, len(values) + 1), values, markevery=(i % 3, 3), **lines[name])
    if target is not None:
        values = array(target)
        axis.plot(np.arange(1, len(values) + 1), values, color="#555555", lw=1, ls="--")
    axis.set(xlabel="frequency (cycles per image)", ylabel="spectral density", ylim=(-0.03, 1.03))
    legend(figure, lines, **({} if target is None else {"target": "--"}))
    return figure
