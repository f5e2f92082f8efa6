"""Amplitude-phase recombination: the amplitude spectrum of one image, the phase spectrum of another (APR-P,
APR-S, APR-SP).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Generator, Tensor

from specfreq import fourier
from specfreq.augment import operations
from specfreq.augment.base import CUT_OFF, Augmentation, Criterion, EightBit, Rows, dispatch
from specfreq.core.errors import UserError
from specfreq.core.images import moments, to_bytes, to_floats

Overflow = Literal["clip", "wrap", "none"]


class APRPair(Augmentation):
    r"""Amplitude-phase recombination of pairs (APR-P): an image keeps its phase and label, and takes a
    donor's amplitude.

    .. math:: x' = \mathcal{F}^{-1}\bigl(|\mathcal{F} x_d| \, e^{i \arg \mathcal{F} x}\bigr)
        \text{ with probability } p, \text{ else } x; \qquad L = \ell(f(x), y) + \ell(f(x'), y)

    Args:
        p: probability of a recombination; the original has 0.6 for CIFAR, 0.5 for ImageNet.
        per: one coin for each image, or one for a whole ``batch`` as in the original.
        donor: from the whole data ``set``, each image once an epoch; or from the ``batch``, as in the
            original. What happens to an image then depends on its batch, and so it does with a coin per
            batch.
        channels: transform the channel axis too, as the original program does.
        clip: cut x' off at 0 and 1; the original lets it leave them.
        normalised: recombine images of mean 0 and deviation 1 per channel, as the original's ImageNet program
            does; `fit` measures both. For 2-D transforms only the mean of x' is another.
        loss: L, the ``sum`` of the two; or their ``mean``, as in the original's adversarial training.

    Source: Chen et al., ICCV 2021, section 3.2, and the program's training loop.
    """

    published: ClassVar[Mapping[str, Any]] = {"channels": True, "per": "batch", "donor": "batch"}
    title = "APR-P"
    words: ClassVar[Mapping[str, str]] = {
        "per=batch": "one coin a batch",
        "donor=batch": "donors from the batch",
        "channels=True": "3-D transform",
        "clip=True": "clipped",
        "normalised=True": "normalised images",
        "loss=mean": "mean loss",
    }
    pairs = True
    shown = 2

    def __init__(
        self,
        p: float = 0.6,
        per: Literal["image", "batch"] = "image",
        donor: Literal["set", "batch"] = "set",
        channels: bool = False,
        clip: bool = False,
        normalised: bool = False,
        loss: Literal["sum", "mean"] = "sum",
    ):
        super().__init__()
        self.p, self.in_batch, self.channels = probability(p), donor == "batch", channels
        self.per: Literal["image", "batch"] = per
        self.clip, self.normalised, self.halved = clip, normalised, loss == "mean"
        self.donors, self.bounded, self.within = donor == "set", clip, CUT_OFF if clip else ""
        self.register_buffer("mean", None)
        self.register_buffer("std", None)

    def fit(self, images: Tensor, *, labels: Tensor | None = None) -> Self:
        if self.normalised:
            self.mean, self.std = (v[:, None, None].to(images.device) for v in moments(images))
        return super().fit(images)

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        coin = torch.rand(count, generator=generator) < self.p
        return {"coin": coin, "donor": torch.randperm(count, generator=generator)}

    def transform(self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None) -> Tensor:
        if donors is None:
            donors = images[permutation(rows["donor"])]
        if self.normalised:
            if self.mean is None:
                raise UserError(
                    "normalised=1 needs the mean and deviation of the training images; call fit(images) first"
                )
            # a state may have been loaded elsewhere
            mean, std = self.mean.to(images.device), self.std.to(images.device)
            mixed = fourier.recombine(*((x - mean) / std for x in (donors, images)), channels=self.channels)
            mixed = mixed * std + mean
        else:
            mixed = fourier.recombine(donors, images, channels=self.channels)
        return torch.where(coin_of(rows["coin"], self.per), mixed.clamp(0, 1) if self.clip else mixed, images)

    def views(
        self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        return images, self.transform(images, rows, donors)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        total = super().loss(logits, labels, criterion)
        return total / 2 if self.halved else total


class APRSingle(EightBit):
    r"""Amplitude-phase recombination of an image with itself, differently distorted (APR-S). Before crop and
    flip.

    One of nine operations makes x_1 of x, and with probability 1/2 that is all. Else another makes x_2 of
    x_1, and the image becomes one of the two, each with probability 1/4:

    .. math:: \mathcal{F}^{-1}\bigl(|\mathcal{F} x_1| \, e^{i \arg \mathcal{F} x_2}\bigr), \qquad
        \mathcal{F}^{-1}\bigl(|\mathcal{F} x_2| \, e^{i \arg \mathcal{F} x_1}\bigr)

    Args:
        p: probability that anything happens to an image; the original's adversarial training has 0.9.
        severity: highest level of the operations, see `operations.apply`.
        channels: transform the channel axis too, as the original program does.
        overflow: what becomes of values outside [0, 1]: they are cut off; or ``none``; or ``wrap`` as in the
            original, which casts to bytes without looking, so that -1 becomes 255 and 256 becomes 0, and cuts
            off all fractions. It is computed in float64, as there.

    Source: Chen et al., ICCV 2021, section 3.3, and the program's datasets/APR.py.
    """

    published: ClassVar[Mapping[str, Any]] = {"overflow": "wrap", "channels": True}
    title = "APR-S"
    words: ClassVar[Mapping[str, str]] = {
        "channels=True": "3-D transform",
        "overflow=wrap": "bytes wrapped",
        "overflow=none": "not clipped",
        "severity": "severity {}",
    }
    early = True

    def __init__(
        self, p: float = 1.0, severity: float = 3.0, channels: bool = False, overflow: Overflow = "clip"
    ):
        super().__init__()
        operations.check(severity)
        self.p, self.severity, self.channels = probability(p), severity, channels
        self.overflow: Overflow = overflow
        self.bounded = overflow != "none"

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        return chain(count, self.severity, self.p, generator)

    def before(self, images: Tensor, rows: Rows) -> Tensor:
        first, second = operations.steps(images, rows["operation"], rows["level"])

        def mixed(x: Tensor, branch: Tensor, *second: Tensor) -> Tensor:
            y = operations.apply(x, *second)
            amplitude_of, phase_of = parted(x, y, branch, self.overflow)
            return from_levels(
                fourier.recombine(amplitude_of, phase_of, channels=self.channels), self.overflow
            )

        once, branch = operations.apply(to_bytes(images), *first), rows["branch"]
        return dispatch(once, branch.clamp_max(1), {0: to_floats, 1: mixed}, branch, *second)


class APRBoth(APRPair):
    """Both recombinations (APR-SP): APR-S before crop and flip, then APR-P among the images so made.

    Args:
        p, per, donor, channels, clip, normalised, loss: see `APRPair`; the transforms of both take
            ``channels``.
        single: probability that APR-S does anything to an image.
        severity, overflow: see `APRSingle`; of what APR-S makes.

    Source: Chen et al., ICCV 2021, section 3.4.
    """

    published: ClassVar[Mapping[str, Any]] = {
        "overflow": "wrap",
        "channels": True,
        "per": "batch",
        "donor": "batch",
    }
    title = "APR-SP"
    words: ClassVar[Mapping[str, str]] = {
        **APRPair.words,
        **APRSingle.words,
        "single": "APR-S with p = {}",
    }
    pairs = True
    early = True

    def __init__(
        self,
        p: float = 0.6,
        per: Literal["image", "batch"] = "image",
        donor: Literal["set", "batch"] = "set",
        channels: bool = False,
        clip: bool = False,
        normalised: bool = False,
        single: float = 1.0,
        severity: float = 3.0,
        overflow: Overflow = "clip",
        loss: Literal["sum", "mean"] = "sum",
    ):
        super().__init__(p, per, donor, channels, clip, normalised, loss)
        self.single = APRSingle(probability(single, "single"), severity, channels, overflow)
        self.bounded, self.within = clip and self.single.bounded, self.single.within

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        return super().draw(count, generator) | self.single.draw(count, generator)

    def before(self, images: Tensor, rows: Rows) -> Tensor:
        return self.single.before(images, rows)


def chain(count: int, severity: float, p: float, generator: Generator | None) -> dict[str, Tensor]:
    """The draws of APR-S: two operations and levels (count, 2), and the branch (count,).

    The branch is 0 with probability 1/2: the first operation is all; 1 or 2 with 1/4 each: the amplitude of
    the once, or of the twice distorted image. With probability 1 - p nothing happens: no operation, branch 0.
    """
    operation, level = operations.draw((count, 2), severity, generator)
    branch = (torch.randint(4, (count,), generator=generator) - 1).clamp_min(0)
    idle = torch.rand(count, generator=generator) >= p
    return {
        "operation": operation.masked_fill(idle[:, None], -1),
        "level": level,
        "branch": branch.masked_fill(idle, 0),
    }


def parted(x: Tensor, y: Tensor, branch: Tensor, overflow: Overflow) -> tuple[Tensor, Tensor]:
    """Amplitude and phase donor, floats in 0 .. 255, of two sets of bytes: (x, y) in branch 1, (y, x) in
    branch 2.
    """
    dtype, turned = torch.float64 if overflow == "wrap" else torch.float32, (branch == 2)[:, None, None, None]
    return torch.where(turned, y, x).to(dtype), torch.where(turned, x, y).to(dtype)


def from_levels(levels: Tensor, overflow: Overflow) -> Tensor:
    """Float32 images, 1 for white, of levels v, 255 for white: ``clip`` cuts off what lies outside 0 .. 255,
    ``none`` leaves it.

    ``wrap`` is trunc(v) mod 256, what a cast to bytes makes of v in NumPy on x86-64. As in the original, a
    whole number that rounding has put below itself loses a level: there, and there alone, results depend on
    the processor and the batch.
    """
    match overflow:
        case "clip":
            levels = levels.clamp(0, 255)
        case "wrap":
            levels = levels.to(torch.int64).to(torch.uint8)
    return levels.float() / 255


def permutation(keys: Tensor) -> Tensor:
    """A permutation of a batch: the ranks of what each of its images has drawn."""
    return keys.argsort()


def coin_of(coin: Tensor, per: Literal["image", "batch"]) -> Tensor:
    """Coins (B,) to broadcast against images: those of the images, or the first for all."""
    return (coin[:1] if per == "batch" else coin)[:, None, None, None]


def probability(p: float, name: str = "p") -> float:
    if not 0 <= p <= 1:
        raise UserError(f"{name} must be a probability, not {p}")
    return p
