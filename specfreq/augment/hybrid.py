"""HybridAugment: the low frequencies of one image, the high frequencies of another."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from specfreq import fourier
from specfreq.augment import operations
from specfreq.augment.apr import (
    APRSingle,
    Overflow,
    chain,
    coin_of,
    from_levels,
    parted,
    permutation,
    probability,
)
from specfreq.augment.base import CUT_OFF, EIGHT_BIT, Augmentation, EightBit, Rows, dispatch
from specfreq.core.errors import UserError
from specfreq.core.images import to_bytes, to_floats

EDGE = math.exp(-2) / (
    1 + 2 * math.exp(-2)
)  # of a Gaussian of deviation 0.5 at -1, 0 and 1, divided by their sum
CENTRE = 1 - 2 * EDGE
FLAT = 1e-6  # of a level: more than rounding leaves


def low(images: Tensor) -> Tensor:
    """The low frequencies LF of images (..., H, W): 3 x 3 Gaussian blur of deviation 0.5 pixels, mirrored at
    the border.
    """
    if min(images.shape[-2:]) < 2:
        raise UserError(f"a blur of 3 x 3 pixels needs images of at least 2 x 2; got {tuple(images.shape)}")
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    across = CENTRE * padded[..., 1:-1] + EDGE * (padded[..., :-2] + padded[..., 2:])
    return CENTRE * across[..., 1:-1, :] + EDGE * (across[..., :-2, :] + across[..., 2:, :])


class HybridSingle(EightBit):
    r"""An image takes low and high frequencies from two distortions of itself (the S of HybridAugment).
    Before crop and flip.

    One of the nine operations makes x_1 of x, and with probability 1/2 that is all. Else another makes x_2 of
    x_1, and the image becomes, by a fair coin,

    .. math:: g(\mathrm{LF}(x_1)) + \mathrm{HF}(x_2) \;\text{or}\; g(\mathrm{LF}(x_2)) + \mathrm{HF}(x_1),
        \qquad \mathrm{HF} = x - \mathrm{LF}(x)

    with g = APR-S if ``plus``, HybridAugment++, else nothing. APR-S works on bytes, so that the low
    frequencies are rounded before it; with overflow=wrap their fractions are cut off, as in the original.
    """

    early = True

    def __init__(self, plus: bool, severity: float, channels: bool, overflow: Overflow):
        super().__init__()
        self.severity = severity
        self.overflow: Overflow = overflow
        self.apr = APRSingle(1.0, severity, channels, overflow) if plus else None

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        rows = chain(count, self.severity, 1.0, generator)
        inner = self.apr.draw(count, generator) if self.apr else {}
        return rows | {f"low_{name}": row for name, row in inner.items()}

    def before(self, images: Tensor, rows: Rows) -> Tensor:
        first, second = operations.steps(images, rows["operation"], rows["level"])
        inner = {name.removeprefix("low_"): row for name, row in rows.items() if name.startswith("low_")}

        def mixed(x: Tensor, branch: Tensor, *rest: Tensor) -> Tensor:
            again, second = dict(zip(inner, rest, strict=False)), rest[len(inner) :]
            base, detail = parted(x, operations.apply(x, *second), branch, self.overflow)
            blurred, smooth = low(torch.cat([base, detail])).chunk(2)
            if self.apr:  # which works on bytes, here as in the original
                blurred = 255 * self.apr.before(self._bytes(blurred), again).to(detail.dtype)
            return from_levels(blurred + (detail - smooth), self.overflow)

        once, branch = operations.apply(to_bytes(images), *first), rows["branch"]
        return dispatch(once, branch.clamp_max(1), {0: to_floats, 1: mixed}, branch, *inner.values(), *second)

    def _bytes(self, levels: Tensor) -> Tensor:
        """Low frequencies in 0 .. 255 as bytes for APR-S: rounded, or with ``wrap`` cut off as in the
        original.

        What rounding leaves just below a whole number counts as that number, so that flat areas stay as they
        are on any machine; the original, in float32, makes some of them one darker by chance.
        """
        return (levels + (FLAT if self.overflow == "wrap" else 0.5)).to(torch.uint8)


class HybridAugment(Augmentation):
    r"""Low frequencies of one image, high frequencies of another, between images, within one, or both
    (HybridAugment++).

    Between images, after crop and flip, with probability p:

    .. math:: x' = g(\mathrm{LF}(x)) + \mathrm{HF}(x_d), \qquad L = \ell(f(x), y) + \ell(f(x'), y)

    with g = APR-P if ``plus``, with a coin and a donor of its own, else nothing. Within one image see
    `HybridSingle`.

    Args:
        mode: ``p`` between images, ``s`` within one, ``ps`` both.
        plus: HybridAugment++, which recombines amplitude and phase of the low frequencies; else
            HybridAugment.
        p: probability of either coin of ``p``.
        per, donor, channels, clip: see `APRPair`.
        severity, overflow: see `APRSingle`.

    Source: Yucel et al., ICCV 2023, section 3, and the program's core/train.py and datasets/APR.py.
    """

    title = "HybridAugment"
    published: ClassVar[Mapping[str, Any]] = {
        "overflow": "wrap",
        "channels": True,
        "per": "batch",
        "donor": "batch",
    }
    pairs = True  # by default; with mode=s it meets no others

    def __init__(
        self,
        mode: Literal["p", "s", "ps"] = "ps",
        plus: bool = True,
        p: float = 0.6,
        per: Literal["image", "batch"] = "image",
        donor: Literal["set", "batch"] = "set",
        channels: bool = False,
        clip: bool = False,
        severity: float = 3.0,
        overflow: Overflow = "clip",
    ):
        super().__init__()
        operations.check(severity)
        self.plus, self.p, self.channels, self.clip = plus, probability(p), channels, clip
        self.per: Literal["image", "batch"] = per
        self.pairs, self.early = "p" in mode, "s" in mode
        self.shown = 2 if self.pairs else 1
        self.donors = self.pairs and donor == "set"
        self.bounded = (clip or not self.pairs) and overflow != "none"
        self.single = HybridSingle(plus, severity, channels, overflow) if self.early else None
        clipped = CUT_OFF if clip else ""
        self.within = EIGHT_BIT if self.early else clipped

    @property
    def late(self) -> bool:
        return self.pairs

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        rows = {}
        if (
            self.pairs
        ):  # two coins and two donors each: of the high frequencies, of the low frequencies' amplitude
            rows["coin"] = torch.rand(count, 2, generator=generator) < self.p
            rows["donor"] = torch.stack([torch.randperm(count, generator=generator) for _ in range(2)], dim=1)
        return rows | (self.single.draw(count, generator) if self.single else {})

    def before(self, images: Tensor, rows: Rows) -> Tensor:
        return self.single.before(images, rows) if self.single else images

    def transform(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> Tensor:
        if not self.pairs:
            return images
        if donors is None:
            high, other = (images[permutation(keys)] for keys in rows["donor"].unbind(1))
        else:
            high, other = donors.unflatten(0, (-1, 2)).unbind(1)
        if high.shape != images.shape:
            raise UserError(
                f"donors must be shaped as the images, {tuple(images.shape)}; got {tuple(high.shape)}"
            )
        hybrid, recombined = (coin_of(coin, self.per) for coin in rows["coin"].unbind(1))
        blurred = low(images)
        if self.plus:
            blurred = torch.where(
                recombined, fourier.recombine(low(other), blurred, channels=self.channels), blurred
            )
        mixed = blurred + (high - low(high))
        return torch.where(hybrid, mixed.clamp(0, 1) if self.clip else mixed, images)

    def views(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> tuple[Tensor, ...]:
        return (images, self.transform(images, rows, donors)) if self.pairs else (images,)
