"""Amplitude-phase recombination: the amplitude spectrum of one image, the phase spectrum of another."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Generator, Tensor

from specfreq import fourier
from specfreq.augment.base import Augmentation
from specfreq.naming import UserError


class APRPair(Augmentation):
    r"""Amplitude-phase recombination of pairs (APR-P): an image keeps its phase and label, and takes a donor's amplitude.

    .. math:: x' = \mathcal{F}^{-1}\bigl(|\mathcal{F} x_d| \, e^{i \arg \mathcal{F} x}\bigr) \text{ with probability } p,
        \text{ else } x; \qquad L = \ell(f(x), y) + \ell(f(x'), y)

    Values of x' can leave [0, 1].

    Args:
        p: probability of a recombination; the original has 0.6 for CIFAR, 0.5 for ImageNet.
        per: one coin for each image, or one for a whole ``batch`` as in the original.
        donor: from the whole data ``set``, each image once an epoch; or from the ``batch``, as in the original. What
            happens to an image then depends on its batch, and so it does with a coin per batch.
        channels: transform the channel axis too, as the original program does.

    Source: Chen et al., ICCV 2021, section 3.2, and the program's training loop.
    """

    def __init__(
        self,
        p: float = 0.6,
        per: Literal["image", "batch"] = "image",
        donor: Literal["set", "batch"] = "set",
        channels: bool = False,
    ):
        super().__init__()
        if not 0 <= p <= 1:
            raise UserError(f"p must be a probability, not {p}")
        self.p, self.per, self.in_batch, self.channels = p, per, donor == "batch", channels
        self.donors = donor == "set"

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        coin = torch.rand(count, generator=generator) < self.p
        return {"coin": coin, "donor": torch.randperm(count, generator=generator)}

    def transform(self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None) -> Tensor:
        if donors is None:  # ranks of random numbers are a random permutation of the batch
            donors = images[rows["donor"].argsort()]
        coin = rows["coin"][:1] if self.per == "batch" else rows["coin"]
        return torch.where(coin[:, None, None, None], fourier.recombine(donors, images, channels=self.channels), images)

    def views(self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None) -> tuple[Tensor, ...]:
        return images, self.transform(images, rows, donors)
