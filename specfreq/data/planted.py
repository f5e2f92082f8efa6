"""Synthetic images whose class evidence lies in one band of frequencies, in amplitude, phase or both."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from specfreq.core.errors import UserError
from specfreq.core.memory import check_memory
from specfreq.core.spec import canonical, resolve
from specfreq.data.kinds import SPLITS, Kind, Row
from specfreq.data.sets import Source

# from <= |f| < to, cycles per pixel
BANDS = {"low": (0, 1 / 8), "middle": (1 / 8, 1 / 4), "high": (1 / 4, 1 / 2)}
HEADROOM = 7  # standard deviations between mid-grey and black or white, so that clipping tells nothing
# rms of the rounding error in a coefficient, as in a pixel: the transforms are orthonormal
ROUNDING = 12**-0.5
LABEL, BOX = 16, 200  # bytes for each image while they are made
STREAMS = {"train": 0, "test": 1, "classes": 2, "places": 3}
Band = Literal["low", "middle", "high", "low+middle", "low+high", "middle+high", "low+middle+high"]


@dataclass(frozen=True)
class Planted:
    r"""What `planted:key=value,...` plants, and where.

    The spectrum of a channel is Gaussian noise under an envelope that falls as :math:`|f|^{-\alpha}`: with
    :math:`a` a Rayleigh variable and :math:`\varphi` uniform, both independent of everything else,

    .. math:: Z(f) = \max(|f|, 1)^{-\alpha}\, a(f)\, e^{i\varphi(f)}, \qquad
        \mathbb{E}\,a^2 = 1,\; f \text{ in cycles per image.}

    Within the band alone (never at zero frequency), class :math:`c` changes it, Hermitian symmetry kept:

    .. math::
        \text{amplitude:}\quad & \log a \;\leftarrow\; \log a + s\,m_c(f)
        - \tfrac12\log\tfrac1K\textstyle\sum_k e^{2 s m_k(f)}
        \\
        \text{phase:}\quad & \varphi \;\leftarrow\; \theta(f) + 2\pi\,t_c(f)/K + \varepsilon(f)

    :math:`m_1 \dots m_K` are equally spaced levels of mean 0 and variance 1, dealt to the :math:`K` classes
    anew at each frequency, and so are the turns :math:`t_c = 0 \dots K-1`; :math:`s =
    \text{snr}\,\pi/\sqrt{24}`; :math:`\varepsilon` is normal with variance :math:`\log(1 + \text{snr}^{-2})`.
    So at every planted frequency, the standard deviation between the classes is `snr` times that within one,
    of :math:`\log a` and of :math:`e^{i\varphi}` alike. The last term of the first line keeps the envelope
    the same on average over the classes. All images are scaled alike, so that black and white lie 7 standard
    deviations or more from the middle, 127.5, and rounded.

    Args:
        band: low, middle or high: below 1/8, 1/8 to 1/4, 1/4 to 1/2 cycles per pixel; or several, written
            low+high. These have equal evidence: as many frequencies of each are planted, independently of one
            another, as the smallest of them has, which of the others is drawn.
        evidence: amplitude, phase or both.
        snr: standard deviation between the classes over that within them, at each planted frequency.
        classes, channels, side: number of classes, of channels (each with its own evidence), pixels of a
            side.
        boxes: evidence inside a square of half the side only, put anywhere; the rest is noise of no class.
            The square is cut from a planted image of its own size, so band and snr are those of the square's
            own spectrum.
        count: images in each split.
        slope: the envelope's alpha; 0 is white.
        seed: deals the levels and phases, and draws the noise.

    Raises:
        UserError: the band holds no frequency at this side, or 8 bits are too coarse for what is asked (a
            high snr in amplitude makes some classes' coefficients small, a steep slope all of them): the snr
            would not be reached.
    """

    band: Band = "middle"
    evidence: Literal["amplitude", "phase", "both"] = "both"
    snr: Annotated[float, Field(gt=0, le=10)] = 2.0
    classes: Annotated[int, Field(ge=2, le=100)] = 4
    channels: Annotated[int, Field(ge=1, le=16)] = 1
    side: Annotated[int, Field(ge=8, le=512)] = 32
    boxes: bool = False
    count: Annotated[int, Field(ge=1)] = 2000
    slope: Annotated[float, Field(ge=0, le=4)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        values, patterns = (
            self.count * self.channels * self.side**2,
            self.classes * self.channels * self.side**2,
        )
        if values > 2**34 or patterns > 2**25:
            raise UserError(
                f"planted: {values:,} values of images and {patterns:,} of patterns are more than memory "
                "should hold, "
                f"{2**34:,} and {2**25:,}; take a smaller count, side, or number of classes or channels"
            )
        side = self.side // 2 if self.boxes else self.side
        empty = [band for band in self.band.split("+") if not in_band(side, band).any()]
        if empty:
            raise UserError(
                f"planted: no frequency of {side}x{side} pixels is in the {empty[0]} band; "
                f"take a larger side{' (a box has half of it)' if self.boxes else ''}"
            )
        weakest = _Noise(self, side).weakest
        if weakest < ROUNDING:
            raise UserError(
                f"planted: coefficients of {weakest:.2g} grey levels would drown in the rounding to 8 bits "
                f"({ROUNDING:.2g}); take a smaller snr, slope or number of classes"
            )


class _Kind(Kind):
    def normal_form(self, name: str) -> str:
        values = resolve("data set", {"planted": Planted}, name)[1]
        return canonical(
            "planted", {f.name: values[f.name] for f in fields(Planted) if values[f.name] != f.default}
        )

    def source(self, name: str, split: str, root: Path) -> Source:
        return source(name, split)

    def status(self, name: str, root: Path) -> Row:
        return Row(
            name, "synthetic, class evidence in a chosen band, amplitude or phase", "computed", SPLITS, ""
        )


KINDS = {"planted": _Kind()}


def source(spec: str, split: str) -> Source:
    """The images of `planted` or `planted:key=value,...`; image i depends on the parameters, the split and i
    alone.

    Raises:
        UserError: an unknown parameter, or a value that is impossible; when it is read, more images than
            memory can hold.
    """
    what = Planted(**resolve("data set", {"planted": Planted}, spec)[1])
    needed = what.count * (LABEL + BOX * what.boxes)
    check_memory(needed, f"planted: labels of {what.count:,} images", "take a smaller count")
    labels = np.arange(what.count) % what.classes
    inner = what.side // 2 if what.boxes else what.side
    evidence, background = _Noise(what, inner), _Noise(what, what.side)

    def read(kept):
        needed = len(kept) * what.channels * what.side**2
        check_memory(needed, f"planted: {len(kept):,} images", "take fewer or smaller ones")
        images = np.empty((len(kept), what.channels, what.side, what.side), np.uint8)
        for image, index in zip(images, kept, strict=True):
            random, (x, y) = _start(what, split, index)
            label = int(labels[index])
            if not what.boxes:
                image[:] = _grey(evidence.draw(random, label))
                continue
            image[:] = _grey(background.draw(random, None))
            image[:, y : y + inner, x : x + inner] = _grey(evidence.draw(random, label))
        return images

    boxes = None
    if what.boxes:
        corners = np.array([_start(what, split, index)[1] for index in range(what.count)])
        boxes = np.hstack([corners, corners + inner])
    return Source(labels, tuple(f"pattern {c}" for c in range(what.classes)), read, boxes)


def _start(what: Planted, split: str, index: int) -> tuple[np.random.RandomState, np.ndarray]:
    """The random stream of one image, and the corner (x, y) of its box, which is drawn first."""
    random = np.random.RandomState(
        [what.seed, STREAMS[split], index]
    )  # a stream that numpy has frozen for good
    return random, random.randint(0, what.side - what.side // 2 + 1, 2)


def distance(side: int) -> np.ndarray:
    """Cycles per image of each bin of `rfft2`, (side, side // 2 + 1)."""
    return side * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])


def in_band(side: int, band: str) -> np.ndarray:
    """Which bins of `rfft2` a band holds, boolean (side, side // 2 + 1); never the zero frequency.

    Decided by whole numbers: of 40 pixels, k = (3, 4) lies on the edge of 1/8 cycle per pixel, and so is not
    in the low band.
    """
    ky, kx = (np.arange(side) + side // 2) % side - side // 2, np.arange(side // 2 + 1)
    squared = ky[:, None] ** 2 + kx**2
    low, high = (int(edge * 8) ** 2 * side**2 for edge in BANDS[band])  # of edges in eighths
    return (squared > 0) & (64 * squared >= low) & (64 * squared < high)


def planted_at(what: Planted, side: int) -> np.ndarray:
    """Which bins of `rfft2` have evidence, boolean (side, side // 2 + 1): all of one band, of several as many
    of each, with their mirror images.
    """
    bands = [in_band(side, band) for band in what.band.split("+")]
    if len(bands) == 1:
        return bands[0]
    ky, kx = (np.arange(side) + side // 2) % side - side // 2, np.arange(side // 2 + 1)
    own = (kx > 0) | (ky[:, None] > 0)  # one of k and -k
    random = np.random.RandomState([what.seed, STREAMS["places"], side])
    order = random.random_sample(own.size).argsort(kind="stable").reshape(own.shape)
    fewest = min(int((band & own).sum()) for band in bands)
    inside = np.zeros_like(own)
    for band in bands:
        last = np.sort(order[band & own])[fewest - 1]
        inside |= band & own & (order <= last)
    inside[1:, 0] |= inside[:0:-1, 0]
    return inside


class _Noise:
    """Draws channels of one side length, of a class or of none, with standard deviation at most 1."""

    def __init__(self, what: Planted, side: int):
        self.shape, self.snr = (what.channels, side, side), what.snr
        self.inside = planted_at(what, side)
        self.phases = what.evidence != "amplitude"
        strength = what.snr * np.pi / np.sqrt(24) if what.evidence != "phase" else 0
        random = np.random.RandomState([what.seed, STREAMS["classes"], side])
        bins = (what.classes, what.channels, side, side // 2 + 1)
        # K classes, each its own of 0 .. K - 1
        turn, level = (random.random_sample(bins).argsort(axis=0, kind="stable") for _ in range(2))
        self.angle = 2 * np.pi * (turn / what.classes + random.random_sample(bins[1:]))
        exponent = strength * (level - level.mean(axis=0)) / level.std(axis=0)
        gain = np.exp(exponent - np.log(np.mean(np.exp(2 * exponent), axis=0)) / 2)
        self.gain = np.where(self.inside, _hermitian(gain), 1)
        envelope = np.maximum(distance(side), 1) ** -what.slope
        variance = np.fft.irfft2((envelope * self.gain) ** 2, s=self.shape[1:])[..., 0, 0]  # Parseval
        self.envelope = envelope / np.sqrt(variance.max())
        self.weakest = (
            127.5 / HEADROOM * (self.envelope * self.gain)[..., self.inside].min()
        )  # rms, in grey levels

    def draw(self, random: np.random.RandomState, label: int | None) -> np.ndarray:
        spectrum = np.fft.rfft2(random.standard_normal(self.shape), norm="ortho") * self.envelope
        if label is not None:
            spectrum = spectrum * self.gain[label]
            if self.phases:
                spread = np.sqrt(np.log1p(self.snr**-2))
                angle = self.angle[label] + spread * random.standard_normal(spectrum.shape)
                planted = np.abs(spectrum) * np.exp(1j * angle)
                spectrum = _hermitian(np.where(self.inside, planted, spectrum))
        return np.fft.irfft2(spectrum, s=self.shape[1:], norm="ortho")


def _hermitian(half: np.ndarray) -> np.ndarray:
    """Make column 0 of a half spectrum (..., H, W // 2 + 1) that of a real image; bands never reach the last
    column.
    """
    rows = (half.shape[-2] - 1) // 2
    half = half.copy()
    half[..., -rows:, 0] = half[..., rows:0:-1, 0].conj()
    return half


def _grey(noise: np.ndarray) -> np.ndarray:
    return np.rint(127.5 + 127.5 / HEADROOM * noise).clip(0, 255).astype(np.uint8)
