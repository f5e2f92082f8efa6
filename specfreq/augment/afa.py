"""Auxiliary Fourier-basis augmentation: a random planar wave upon each channel (AFA)."""

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from specfreq.augment.base import CUT_OFF, Augmentation, Criterion
from specfreq.core.errors import UserError
from specfreq.core.randomness import uniform

ANGLES = 448


class FourierWaves(Augmentation):
    r"""A planar wave is added to each channel of an image, of random frequency, direction and strength (AFA).

    .. math:: x' = x + s \tfrac{S}{32} \frac{a}{\|a\|_2}, \quad
        a(u, v) = \sin\bigl(\tfrac{2 \pi f}{S} (u \cos\omega + v \sin\omega) - \tfrac{\pi}{4}\bigr); \qquad
        L = \tfrac12 \ell(f(x), y) + \tfrac12 \ell(f(x'), y)

    for each image and channel f ~ U{1, ..., S}, ω of 448 angles in [-π, 0], s ~ Exp of the given mean; u down
    and v across, both 0 at the centre; x' is cut off at 0 and 1. S is the side of the image, of one that is
    not square the longer.

    The original's network normalises the two views separately, with batch statistics and scales of their own;
    here both share them: that would be another network, not another view or loss.

    Args:
        strength: mean of s; 10 for ImageNet.

    Source: Vaish et al., CVPR 2024, section 3, and the program's fourier_basis.py.
    """

    title = "AFA"
    shown = 2
    bounded = True
    within = CUT_OFF

    def __init__(self, strength: float = 10.0):
        super().__init__()
        if not 0 <= strength < math.inf:
            raise UserError(f"strength must be a mean, at least 0, not {strength}")
        self.strength = strength

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        return {
            "seed": torch.randint(2**63 - 1, (count,), generator=generator)
        }  # how many channels there are shows later

    def transform(self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None) -> Tensor:
        channels, height, width = images.shape[1:]
        side, random = max(height, width), uniform(rows["seed"], channels, 3, 1, 1)
        frequency = 1 + (random[:, :, 0] * side).floor()
        angle = -math.pi * (random[:, :, 1] * ANGLES).floor() / (ANGLES - 1)
        strength = -self.strength * random[:, :, 2].log() * (side / 32)
        u, v = (torch.linspace(-n / 2, n / 2, n, device=images.device) for n in (height, width))
        turns = 2 * math.pi / side * frequency
        waves = torch.sin(turns * angle.cos() * u[:, None] + (turns * angle.sin() * v - math.pi / 4))
        size = torch.linalg.vector_norm(waves, dim=(-2, -1), keepdim=True)
        return (images + waves * (strength / size)).clamp(0, 1)

    def views(
        self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        return images, self.transform(images, rows, donors)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        return super().loss(logits, labels, criterion) / 2
