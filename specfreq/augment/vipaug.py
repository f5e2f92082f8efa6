"""VIPAug: APR with noise in the phase, little of it where the amplitude is large, and with the phases of
fractals.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.fft import fftn, ifftn
from torch.nn import functional as F

from specfreq import fourier
from specfreq.augment import operations
from specfreq.augment.apr import APRPair, APRSingle, Overflow, chain, from_levels, parted, probability
from specfreq.augment.base import EightBit, Rows, dispatch
from specfreq.core.errors import UserError
from specfreq.core.images import to_bytes, to_floats
from specfreq.core.randomness import keyed, normal

FRACTALS = 64
EQUAL = 1e-12  # of the sum of an image's values: amplitudes that differ by less are equal but for rounding
Region = Literal["published", "quarters"]


class VIPSingle(EightBit):
    """APR-S with fractal and noisy phases, of an image with itself: see `VIPAug`. Before crop and flip."""

    early = True

    def __init__(
        self,
        fractal: float,
        vital: float,
        other: float,
        corners: bool,
        severity: float,
        channels: bool,
        overflow: Overflow,
        region: Region = "published",
    ):
        super().__init__()
        operations.check(severity)
        for name, value in (("vital", vital), ("other", other)):
            if not 0 <= value < math.inf:
                raise UserError(f"{name} must be a variance, at least 0, not {value}")
        self.fractal, self.severity = probability(fractal, "fractal"), severity
        self.overflow: Overflow = overflow
        self.corners: Region | None = region if corners else None
        self.deviations, self.channels = (vital**0.5, other**0.5), channels
        self.dims = (-3, -2, -1) if channels else (-2, -1)

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        rows = chain(count, self.severity, 1.0, generator)
        which = torch.randint(FRACTALS, (count,), generator=generator)
        rows["fractal"] = which.masked_fill(torch.rand(count, generator=generator) >= self.fractal, -1)
        rows["noisy"] = torch.rand(count, generator=generator) < 0.5
        return rows | {"seed": torch.randint(2**63 - 1, (count,), generator=generator)}

    def before(self, images: Tensor, rows: Rows) -> Tensor:
        start = dispatch(
            to_bytes(images), rows["fractal"].clamp_max(0), {0: self._fractal_phase}, rows["fractal"]
        )
        first, second = operations.steps(images, rows["operation"], rows["level"])

        def mixed(x: Tensor, branch: Tensor, noisy: Tensor, seed: Tensor, *second: Tensor) -> Tensor:
            y = operations.apply(x, *second)
            amplitude_of, phase_of = parted(x, y, branch, self.overflow)
            works = {0: self._own_phase, 1: self._noisy_phase}
            return from_levels(dispatch(amplitude_of, noisy.long(), works, phase_of, seed), self.overflow)

        once, works = operations.apply(start, *first), {0: to_floats, 1: mixed}
        branch, noisy, seed = (rows[name] for name in ("branch", "noisy", "seed"))
        return dispatch(once, branch.clamp_max(1), works, branch, noisy, seed, *second)

    def _fractal_phase(self, images: Tensor, which: Tensor) -> Tensor:
        """Bytes with the phase of a fractal wherever it is not vital, and their own amplitude: bytes."""
        amplitude, phase, equal = _polar(images, self.dims)
        of_fractals = _phases(*images.shape[1:], self.dims, images.device)[which.clamp_min(0)]
        phase = torch.where(vital(amplitude, self.corners, equal), phase, of_fractals)
        mixed = ifftn(torch.polar(amplitude, phase), dim=self.dims).real
        return to_bytes(from_levels(mixed, "clip" if self.overflow == "none" else self.overflow))

    def _own_phase(self, amplitude_of: Tensor, phase_of: Tensor, seed: Tensor) -> Tensor:
        return fourier.recombine(amplitude_of, phase_of, channels=self.channels)

    def _noisy_phase(self, amplitude_of: Tensor, phase_of: Tensor, seed: Tensor) -> Tensor:
        """Recombination with noise upon the phase, which is not odd in frequency: the imaginary part is
        dropped.
        """
        amplitude, phase, equal = _polar(phase_of, self.dims)
        deviation = torch.where(vital(amplitude, None, equal), *self.deviations)
        phase = phase + deviation * normal(seed, *phase_of.shape[1:])
        amplitude = fftn(amplitude_of.double(), dim=self.dims).abs()
        return ifftn(torch.polar(amplitude, phase), dim=self.dims).real.to(phase_of.dtype)


class VIPAug(APRPair):
    r"""APR that varies the phase too, and least where it matters: at the vital frequencies (VIPAug).

    A frequency is vital if its amplitude is the largest in its block of 2 x 2, in the order of the DFT; of
    equal ones the first is. Before crop and flip, first with probability ``fractal`` an image keeps its
    amplitude and vital phases and takes all others from a fractal. Then APR-S, where half of the
    recombinations add noise to the phase:

    .. math:: \mathcal{F}^{-1}\bigl(|\mathcal{F} a| \, e^{i (\arg \mathcal{F} p + n)}\bigr), \qquad
        n \sim \mathcal{N}(0, \sigma_v^2) \text{ where vital, else } \mathcal{N}(0, \sigma_o^2)

    After crop and flip APR-P with its two-term loss.

    Args:
        fractal: probability of a fractal's phases; the original has 0.15 for CIFAR, 0.1 for ImageNet.
        vital, other: variances of the noise, σ_v² and σ_o²; 0.001 and 0.014 for CIFAR-10, 0.005 and 0.012 for
            CIFAR-100, 0.001 and 0.005 for ImageNet.
        corners: for fractals take the two largest of a block among the low frequencies; as for CIFAR-10 and
            ImageNet, not for CIFAR-100.
        region: which frequencies are low. As ``published`` the first 5/16 and the last 6/16 of the blocks of
            either axis up to 84 pixels of the shorter side, as for CIFAR-10, and above the first and the last
            quarter, as for ImageNet. ``quarters`` at any size: as many positive as negative frequencies.
        p, per, donor, channels, clip: see `APRPair`; the original transforms the channel axis too, in all
            steps.
        severity, overflow: see `APRSingle`. What has a fractal's phases is cut off at 0 and 255 even with
            ``none``.

    The original's fractals are pictures of its own. These are 64 attractors of random affine maps, the same
    in every run.

    Source: Lee et al., AAAI 2024, and the program's datasets/VIP.py.
    """

    title = "VIPAug"
    words: ClassVar[Mapping[str, str]] = {**APRPair.words, **APRSingle.words}
    published: ClassVar[Mapping[str, Any]] = {"overflow": "wrap", "per": "batch", "donor": "batch"}
    pairs = True
    early = True

    def __init__(
        self,
        fractal: float = 0.15,
        vital: float = 0.001,
        other: float = 0.014,
        corners: bool = True,
        p: float = 0.6,
        per: Literal["image", "batch"] = "image",
        donor: Literal["set", "batch"] = "set",
        channels: bool = True,
        clip: bool = False,
        severity: float = 3.0,
        overflow: Overflow = "clip",
        region: Region = "published",
    ):
        super().__init__(p, per, donor, channels, clip)
        self.single = VIPSingle(fractal, vital, other, corners, severity, channels, overflow, region)
        self.bounded, self.within = clip and overflow != "none", self.single.within

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        return super().draw(count, generator) | self.single.draw(count, generator)

    def before(self, images: Tensor, rows: Rows) -> Tensor:
        return self.single.before(images, rows)


def _polar(levels: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Amplitude and phase (B, C, H, W) of levels 0 .. 255, float64, and up to where amplitudes are equal, to
    broadcast.

    In float64, so that which amplitude is larger is not a matter of the machine: of whole levels they are
    either equal or, but for one case in millions of images, further apart than it rounds. Where the amplitude
    is 0 the phase is 0.
    """
    spectrum = fftn(levels.double(), dim=dims)
    equal = EQUAL * levels.sum(dims, keepdim=True, dtype=torch.float64)
    amplitude = spectrum.abs()
    return amplitude, spectrum.masked_fill(amplitude <= equal, 1).angle(), equal


def vital(amplitude: Tensor, corners: Region | None = None, equal: Tensor | float = 0.0) -> Tensor:
    """Where an amplitude spectrum (..., H, W), in the order of the DFT, is largest in its block of 2 x 2:
    booleans.

    Args:
        corners: where the second largest is vital too, see `VIPAug`; nowhere if not given.
        equal: what differs by no more counts as equal: a number, or one for each image to broadcast. Of equal
            ones that in the upper row comes first, in a row the left one.

    Returns:
        Booleans (..., H, W). What is left over of odd sizes is not vital.
    """
    down, across = (n // 2 for n in amplitude.shape[-2:])
    blocks = amplitude[..., : 2 * down, : 2 * across].unflatten(-2, (down, 2)).unflatten(-1, (across, 2))
    # a handicap for what comes later in its block settles what rounding would
    later = torch.arange(4, device=amplitude.device, dtype=amplitude.dtype).view(2, 1, 2)
    equal = equal[..., None, None] if isinstance(equal, Tensor) else equal
    blocks = blocks - 2 * equal * later
    kept = blocks == blocks.amax((-3, -1), keepdim=True)
    if corners:
        rest = blocks.masked_fill(kept, -torch.inf)
        second = rest == rest.amax((-3, -1), keepdim=True)
        low = [_low(n, min(down, across), corners).to(amplitude.device) for n in (down, across)]
        kept = kept | (second & (low[0][:, None, None, None] & low[1][:, None]))
    kept = kept.flatten(-2).flatten(-3, -2)
    return F.pad(kept, (0, amplitude.shape[-1] - 2 * across, 0, amplitude.shape[-2] - 2 * down))


def _low(blocks: int, least: int, region: Region) -> Tensor:
    """Which of so many blocks of an axis, in the order of the DFT, are of low frequency; `least` are those of
    either axis.
    """
    i = torch.arange(blocks)
    if region == "published" and (2 * least) ** 2 < 32 * 224:  # nearer to CIFAR's size than to ImageNet's
        return (16 * i < 5 * blocks) | (16 * i > 9 * blocks)
    return (4 * i < blocks) | (4 * i >= 3 * blocks)


@lru_cache(maxsize=4)
def _phases(channels: int, height: int, width: int, dims: tuple[int, ...], device: torch.device) -> Tensor:
    """The phases of the fractals, float64 (64, C, H, W)."""
    return _polar(fractals(channels, height, width, device), dims)[1]


@lru_cache(maxsize=4)
def fractals(channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """Pictures of attractors, float32 (64, C, H, W) in 0 .. 255, always the same.

    Four random contractions x -> A x + t, one of them at a time, move points that take on half of its colour
    each time; a pixel is as bright as the logarithm of the points it gets, in their mean colour.
    """
    g = keyed("fractals", channels, height, width)
    maps = torch.randn(FRACTALS, 4, 2, 2, generator=g)
    norms = torch.linalg.matrix_norm(maps, ord=2, keepdim=True)
    maps *= (0.4 + 0.5 * torch.rand(norms.shape, generator=g)) / norms
    moves, colours = (
        2 * torch.rand(FRACTALS, 4, 2, generator=g) - 1,
        torch.rand(FRACTALS, 4, channels, generator=g),
    )
    points, shades = torch.zeros(FRACTALS, 512, 2), torch.zeros(FRACTALS, 512, channels)
    each, places, shown = torch.arange(FRACTALS)[:, None], [], []
    for step in range(
        12 + max(8, height * width // 128)
    ):  # 4 points a pixel, once the first 12 steps brought them there
        chosen = torch.randint(4, points.shape[:2], generator=g)
        points = (maps[each, chosen] @ points[..., None])[..., 0] + moves[each, chosen]
        shades = (shades + colours[each, chosen]) / 2
        if step >= 12:
            places.append(points)
            shown.append(shades)
    place, shade = torch.cat(places, 1), torch.cat(shown, 1)
    low, high = place.amin(1, keepdim=True), place.amax(1, keepdim=True)
    cell = ((place - low) / (high - low) * torch.tensor([height - 1, width - 1]) + 0.5).long()
    pixel = (each * height + cell[..., 0]) * width + cell[..., 1]
    counts = torch.bincount(pixel.flatten(), minlength=FRACTALS * height * width).float()
    sums = torch.zeros(len(counts), channels).index_add_(0, pixel.flatten(), shade.flatten(0, 1))
    bright = counts.log1p().view(FRACTALS, -1)
    bright = bright / bright.amax(1, keepdim=True)
    picture = sums / counts.clamp_min(1)[:, None] * bright.flatten()[:, None]
    return 255 * picture.view(FRACTALS, height, width, channels).permute(0, 3, 1, 2).to(device)
