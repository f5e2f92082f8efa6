"""Noises: every channel value is disturbed by itself. Images x are float64 (N, C, H, W) on the 8-bit grid of
[0, 1].
"""

import functools

import torch
from torch import Tensor

from specfreq.core.randomness import Draws, open_unit


def gaussian_noise(x: Tensor, sd: float, draws: Draws) -> Tensor:
    """x + n, n normal with standard deviation `sd`."""
    return draws.normal(*x.shape[1:]).mul_(sd).add_(x)


def speckle_noise(x: Tensor, sd: float, draws: Draws) -> Tensor:
    """x + x n, n normal with standard deviation `sd`."""
    return draws.normal(*x.shape[1:]).mul_(sd).add_(1).mul_(x)


def shot_noise(x: Tensor, photons: int, draws: Draws) -> Tensor:
    """Poisson(c x) / c with `photons` c: mean x, variance x / c; on the 8-bit grid of [0, 1], on which it is
    drawn.
    """
    share, other = _shot(photons, x.device)
    bits = draws.bits(*x.shape[1:])
    column = bits & 255
    place = (255 * x).round().long().mul_(256).add_(column)
    return torch.where(open_unit(bits) < share[place], column, other[place]) / 255


@functools.lru_cache(maxsize=32)
def _shot(photons: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Walker's alias tables (65536,) of the level l that a pixel of level v becomes, v after v, 256 each.

    A column drawn at random is l with the probability in the first table, else l is in the second.
    """
    level = torch.arange(256)
    counts = torch.div(
        (level + 1) * photons + 254, 255, rounding_mode="floor"
    )  # the least count that gives more than l
    rate = photons / 255 * level.double()
    below = torch.special.gammaincc(
        counts.double().expand(256, -1), rate[:, None].expand(-1, 256)
    )  # P(count < counts)
    below[:, -1] = 1
    left = 256 * below.diff(dim=1, prepend=torch.zeros(256, 1))
    share, other, rows = torch.ones(256, 256).double(), level.expand(256, -1).clone(), level
    waiting = torch.ones_like(share, dtype=torch.bool)
    for _ in range(255):  # of each row the poorest column is filled up by the richest
        poor, rich = left.where(waiting, torch.inf).argmin(1), left.where(waiting, -torch.inf).argmax(1)
        share[rows, poor], other[rows, poor], waiting[rows, poor] = left[rows, poor], rich, False
        left[rows, rich] -= 1 - share[rows, poor]
    return share.view(-1).to(device), other.view(-1).to(device)


def impulse_noise(x: Tensor, amount: float, draws: Draws) -> Tensor:
    """Salt and pepper: a share `amount` of the values is 1 or 0, with equal probability."""
    u = draws.uniform(*x.shape[1:])  # below amount / 2: pepper, from there to amount: salt
    return x.masked_fill(u < amount, 1).masked_fill_(u < amount / 2, 0)
