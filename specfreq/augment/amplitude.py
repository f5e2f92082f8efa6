"""Amplitude mix: an image takes over a random share of another's amplitude spectrum (FACT)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor

from specfreq import fourier
from specfreq.augment.apr import permutation
from specfreq.augment.base import CUT_OFF, Augmentation, Criterion
from specfreq.core.errors import UserError


class AmplitudeMix(Augmentation):
    r"""A random share of a donor's amplitude, the image's own phase and label (amplitude mix, AM).

    .. math:: x' = \mathcal{F}^{-1}\bigl(((1-\lambda) |\mathcal{F} x| + \lambda |\mathcal{F} x_d|)
        \, e^{i \arg \mathcal{F} x}\bigr), \quad \lambda \sim U(0, \alpha);
        \qquad L = \tfrac12 \ell(f(x), y) + \tfrac12 \ell(f(x'), y)

    x' is cut off at 0 and 1. The transform is 2-D, channel by channel, as in the original. Its second loss,
    that the network should say of each view what a moving average of itself says of the other, is no part of
    this: it needs that second network.

    Args:
        alpha: largest share.
        swap: take the donor's amplitude whole, λ = 1 (amplitude swap, AS).
        donor: from the whole data ``set``, each image once an epoch; or from the ``batch``: see `APRPair`.

    Source: Xu et al., CVPR 2021, section 3.2, and the program's colorful_spectrum_mix.
    """

    title = "Amplitude mix"
    published: ClassVar[Mapping[str, Any]] = {"donor": "batch"}
    shown = 2
    pairs = True
    bounded = True
    within = CUT_OFF

    def __init__(self, alpha: float = 1.0, swap: bool = False, donor: Literal["set", "batch"] = "set"):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha must be a share of the donor's amplitude, in [0, 1], not {alpha}")
        self.alpha, self.swap, self.donors = alpha, swap, donor == "set"

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        share = torch.ones(count) if self.swap else self.alpha * torch.rand(count, generator=generator)
        return {"share": share, "donor": torch.randperm(count, generator=generator)}

    def transform(self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None) -> Tensor:
        if donors is None:
            donors = images[permutation(rows["donor"])]
        # with the phase fixed the image is linear in the amplitude
        share = rows["share"].to(images.dtype)[:, None, None, None]
        return torch.lerp(images, fourier.recombine(donors, images), share).clamp(0, 1)

    def views(
        self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        return images, self.transform(images, rows, donors)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        return super().loss(logits, labels, criterion) / 2
