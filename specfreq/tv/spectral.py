"""The total variation flow and the spectral transform of Gilboa: images as sums of bands of scale, and
filters of these.
"""

import math
import os
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from specfreq.tv.operators import total
from specfreq.tv.rof import Algorithm, Channels, Engine, Solution, check, solve

STEP = 1 / 14  # for images in [0, 1]; the dissertation's 1/7 for images in [-1, 1]


class Transform(NamedTuple):
    """Bands phi (bands, ..., C, H, W), residual (..., C, H, W) and spectrum (bands, ...); phi.sum(0) +
    residual is the image.

    Band n, from 1 on, is phi[n - 1], of scale n dt.
    """

    phi: Tensor
    residual: Tensor
    spectrum: Tensor


def evolve(
    f: Tensor,
    dt: float = STEP,
    tol: float = 1e-4,
    *,
    warm: bool = True,
    channels: Channels = "separate",
    algorithm: Algorithm = "condat",
    engine: Engine = "auto",
    as_published: bool | Collection[str] = False,
) -> Iterator[Solution]:
    r"""The total variation flow of images, step by step and without end: u_1, u_2, ... with gaps and
    iterations.

    .. math:: u_t \in -\partial \mathrm{TV}(u), \quad u(0) = f, \quad
        u_{n+1} = \arg\min_u \mathrm{TV}(u) + |u - u_n|^2 / 2 dt

    Args:
        f: images (..., C, H, W) or (H, W), float32 or float64.
        dt: length of a step, > 0, in units of value times pixels: a disc of height h and radius R vanishes at
            about h R / 2.
        tol: the largest relative gap of a step, as for `denoise`; that of the images without their means.
        warm: start each step from the dual field of the one before; the same accuracy in a fraction of the
            iterations.
        channels, algorithm, engine: as for `denoise`.
        as_published: the dissertation's solver, on images in [0, 1]; see `specfreq.tv.published`. Its gaps
            exceed `tol`.

    Raises:
        TypeError, ValueError: as `denoise`.

    Source: Gilboa, SIIMS 2014.
    """
    options = {
        "warm": warm,
        "channels": channels,
        "algorithm": algorithm,
        "engine": engine,
        "as_published": as_published,
    }
    for step, mean in _march(f, dt, tol, **options):
        yield step._replace(image=step.image + mean)


def flow(f: Tensor, steps: int, dt: float = STEP, tol: float = 1e-4, **options) -> Tensor:
    """The images u_0 = f, u_1, ..., u_steps along the total variation flow: (steps + 1, ..., C, H, W),
    differentiable.

    Each step is within `tol`, or there is an error. The means are those of f; the flow ends in them after a
    finite time.

    Args:
        steps: how many, >= 0. All else is as for `evolve`, which gives gaps and iterations as well.

    Raises:
        TypeError, ValueError: as `denoise`, for a negative number of steps, and for more than memory holds.

    Example:
        >>> tv.flow(torch.eye(8)[None], steps=3, dt=0.1).shape
        torch.Size([4, 1, 8, 8])
    """
    _count(steps, 0, "steps", f)
    return torch.stack([f, *(step.image for step in islice(evolve(f, dt, tol, **options), steps))])


def transform(f: Tensor, bands: int, dt: float = STEP, tol: float = 1e-4, **options) -> Transform:
    r"""The spectral total variation transform: what of an image disappears at which time of the total
    variation flow.

    .. math:: \phi_n = n (u_{n-1} - 2 u_n + u_{n+1}), \quad f = \sum_{n=1}^{N} \phi_n + r,
        \quad r = (N + 1) u_N - N u_{N+1}

    the discrete form of φ(t) = t u_tt dt at t = n dt. A disc of radius R and height h in an N x N image is
    one peak at t = h / (P/A + P/(N² - A)), P = 2πR, A = πR².

    Args:
        f: images (..., C, H, W) or (H, W).
        bands: N >= 1; takes N + 1 steps of the flow. All else is as for `evolve`.

    Returns:
        phi (N, ..., C, H, W), residual like f, spectrum Σ|phi_n| (N, ...). phi.sum(0) + residual == f up to
        rounding. An error of a step counts n-fold in phi_n.

    Raises:
        TypeError, ValueError: as `denoise`, for less than one band, and for more than memory holds.

    Source: Gilboa, SIIMS 2014.

    Example:
        >>> image = torch.eye(8)[None]
        >>> parts = tv.transform(image, bands=4, dt=0.1)
        >>> torch.allclose(parts.phi.sum(0) + parts.residual, image, atol=1e-5)
        True
    """
    _count(bands, 1, "bands", f)
    march, phi = _march(f, dt, tol, **options), []
    now, mean = next(march)
    before, now = f - mean, now.image
    for n in range(1, bands + 1):
        after = next(march)[0].image
        phi.append(n * ((before - now) + (after - now)))
        before, now = now, after
    phi = torch.stack(phi)
    return Transform(phi, f - phi.sum(0), total(phi.abs(), min(f.ndim, 3)).to(f.dtype))


def combine(parts: Transform, gain: Tensor | Callable[[Tensor], Tensor], residual: float = 1.0) -> Tensor:
    """Filter an image by a gain for each band: Σ gain_n phi_n + residual r.

    Args:
        parts: what `transform` returned.
        gain: numbers (bands,), or (bands, ...) with a gain for each image, or a function of n = 1 .. bands
            (float64) that gives them; the scale of band n is n dt.
        residual: the gain of the residual, the coarsest part.

    Returns:
        Images (..., C, H, W), not clipped. Gains of 1 give the image back.

    Raises:
        ValueError: not as many gains as bands.
    """
    bands = len(parts.phi)
    if callable(gain):
        gain = gain(torch.arange(1, bands + 1, dtype=torch.float64, device=parts.phi.device))
    gain = torch.as_tensor(gain).to(parts.phi)
    if gain.ndim == 0 or len(gain) != bands or gain.ndim > parts.phi.ndim:
        raise ValueError(
            f"need a gain for each of the {bands} bands, (bands,) or (bands, ...); got shape "
            f"{tuple(gain.shape)}"
        )
    return (gain.reshape(*gain.shape, *[1] * (parts.phi.ndim - gain.ndim)) * parts.phi).sum(
        0
    ) + residual * parts.residual


def high_pass(parts: Transform, cut: int) -> Tensor:
    """The fine scales: bands 1 to `cut`, texture and small things. high_pass + low_pass is the image."""
    return band_pass(parts, 1, cut) if cut else combine(parts, torch.zeros(len(parts.phi)), 0)


def low_pass(parts: Transform, cut: int) -> Tensor:
    """The coarse scales: the bands after `cut`, and the residual."""
    return combine(parts, lambda n: (n > cut).double())


def band_pass(parts: Transform, first: int, last: int) -> Tensor:
    """Bands `first` to `last`, both included, without the residual. Raises ValueError unless 1 <= first <=
    last <= bands.
    """
    return combine(parts, _within(parts, first, last), 0)


def band_stop(parts: Transform, first: int, last: int) -> Tensor:
    """The image without the bands `first` to `last`: band_pass + band_stop is the image."""
    return combine(parts, 1 - _within(parts, first, last))


def amplify(parts: Transform, first: int, last: int, gain: float | Tensor) -> Tensor:
    """The image with the bands `first` to `last` multiplied by `gain`, one number or one for each image."""
    within = _within(parts, first, last)
    gain = torch.as_tensor(gain, dtype=torch.float64)
    return combine(parts, 1 + within.reshape(-1, *[1] * gain.ndim) * (gain - 1))


def _within(parts: Transform, first: int, last: int) -> Tensor:
    if not 1 <= first <= last <= len(parts.phi):
        raise ValueError(f"need bands 1 <= first <= last <= {len(parts.phi)}; got {first} to {last}")
    within = torch.zeros(len(parts.phi), dtype=torch.float64)
    within[first - 1 : last] = 1
    return within


def _count(number: int, least: int, what: str, f: Tensor) -> None:
    """An error unless so many images like f are a whole number of them, at least the least, and fit into
    memory twice.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"{what} must be a whole number of at least {least}; got {number!r}")
    if not isinstance(f, Tensor):
        return  # `check` says so
    needed, there = 2 * (number + 1) * f.numel() * f.element_size(), _memory(f.device)
    if needed > there:
        raise ValueError(
            f"{what}={number} of images of shape {tuple(f.shape)} takes {needed / 2**30:.3g} GiB of memory, "
            f"and {f.device} has "
            f"{there / 2**30:.3g}: take fewer {what}, fewer images at a time, or `evolve`, which keeps one "
            "step"
        )


def _memory(device: torch.device) -> float:
    """Bytes of memory that the device has, or infinity where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return math.inf


def _march(
    f: Tensor, dt: float, tol: float, *, warm: bool = True, **options: Any
) -> Iterator[tuple[Solution, Tensor]]:
    """The steps of the flow of f less its means, and the means: small numbers are finer, and late images are
    all but flat.
    """
    if not 0 < dt < math.inf:
        raise ValueError(f"dt must be a positive number; got {dt}")
    as_published = options.pop("as_published", False)
    check(f, dt, tol, **options)
    mean = f.new_zeros(())
    if as_published is False:
        mean = (total(f, 2) / math.prod(f.shape[-2:])).to(f.dtype)[..., None, None]
    u, dual = f - mean, None
    while True:
        step = solve(u, dt, tol, start=dual, as_published=as_published, **options)
        yield step, mean
        u, dual = step.image, step.dual if warm else None
