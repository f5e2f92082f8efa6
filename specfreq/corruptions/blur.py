"""Blurs. Images x are float64 (N, C, H, W) on the 8-bit grid of [0, 1]."""

import math

import numpy as np
import torch
from torch import Tensor

from specfreq.core.errors import UserError
from specfreq.core.randomness import Draws
from specfreq.corruptions import operators

SMALL = 32**2  # pixels up to which one matrix for all zooms is several times faster than two for each


def gaussian_blur(x: Tensor, sigma: float, draws: Draws) -> Tensor:
    """A Gaussian of `sigma` pixels, cut at 4 sigma; the last pixel goes on beyond the border."""
    return operators.blur(x, sigma)


def defocus_blur(x: Tensor, disk: tuple[float, float], draws: Draws) -> Tensor:
    """Correlation with `operators.disk`, of a radius and a smoothing sigma in pixels.

    Raises:
        UserError: the images are too small for the kernel.
    """
    kernel = operators.disk(*disk)
    if min(x.shape[-2:]) <= len(kernel) // 2:
        raise UserError(
            f"defocus_blur of radius {disk[0]} needs images of {len(kernel) // 2 + 1} pixels a side or more"
        )
    return operators.correlate(x, kernel)


def motion_blur(x: Tensor, motion: tuple[int, float], draws: Draws) -> Tensor:
    """`operators.motion` with a radius and a sigma in pixels, at an angle between -45 and 45 degrees."""
    return operators.motion((255 * x).round(), *motion, draws.uniform(low=-45, high=45)) / 255


def zoom_blur(x: Tensor, zooms: tuple[float, float], draws: Draws) -> Tensor:
    """The mean of the image and its enlargements (see `operators.zoom`) by 1, 1 + step, ... below a stop, so
    itself counts twice.

    The stop is reached now and then: floating-point steps of 0.01 fall just short of 1.06 and 1.11.
    """
    stop, step = zooms
    factors = tuple(np.arange(1, stop, step).tolist())
    if x.shape[-2:].numel() <= SMALL:
        return (x.flatten(2) @ operators.zooms(*x.shape[-2:], factors).to(x.device)).view_as(x)
    total = x.clone()
    for factor in factors:
        total += operators.separable(x, lambda n, factor=factor: operators.zoom(n, factor))
    return total / (len(factors) + 1)


def glass_blur(x: Tensor, glass: tuple[float, int, int], draws: Draws) -> Tensor:
    """Displaced pixels between two Gaussians of sigma pixels, cut to bytes in between.

    From the last row and column back, each pixel at (h, w) becomes a copy of that at (h + a, w + b), a and b
    drawn from -delta .. delta - 1: the exchange that was meant is none in the generator, for both names mean
    the same memory. The first delta + 1 rows and columns stay; of the last ones delta - 1. So many times as
    the last of the constants says.
    """
    sigma, delta, times = glass
    levels = operators.cut(255 * operators.blur(x, sigma))
    for _ in range(times):
        levels = _displaced(levels, delta, draws)
    return operators.blur(levels / 255, sigma)


def _displaced(levels: Tensor, delta: int, draws: Draws) -> Tensor:
    r"""The scan, for all pixels at once: a pixel that copies from one already passed has what that one has
    copied.

    So each points at another, and following the pointers to their end, in :math:`\log_2` of their number
    steps, is the scan.
    """
    height, width = levels.shape[-2:]
    device, size = levels.device, height * width
    rows, columns = (torch.arange(delta + 1, n - delta + 1, device=device) for n in (height, width))
    shift = draws.below(2 * delta, 2, len(rows), len(columns)) - delta
    here = rows[:, None] * width + columns
    there = here + shift[:, 0] * width + shift[:, 1]
    passed = torch.zeros(size, dtype=torch.bool, device=device)
    passed[here.flatten()] = True
    passed = passed[there] & (there > here)
    # places 0 .. size - 1 are pixels after the scan, from size on as they were
    target = torch.arange(2 * size, device=device).repeat(len(levels), 1)
    target[:, :size] += size
    target[:, here.flatten()] = torch.where(passed, there, there + size).flatten(1)
    if delta > 1:  # else all offsets point at pixels yet to come
        for _ in range(math.ceil(math.log2(size))):
            target = target.gather(1, target)
    source = (target[:, :size] - size)[:, None].expand(*levels.shape[:2], -1)
    return levels.flatten(-2).gather(2, source).view_as(levels)
