"""ROF denoising: the image that total variation and fidelity agree on, with the proof of how close it is."""

import math
from collections.abc import Collection
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from specfreq.tv import published, steps
from specfreq.tv.gradients import pull_back
from specfreq.tv.minimise import minimise
from specfreq.tv.operators import certificate, total, within

Channels = Literal["separate", "joint"]
Algorithm = Literal["condat", "chambolle-pock-1", "chambolle-pock-2", "fgp"]
Engine = Literal["auto", "fused", "chip", "plain"]
FINEST = {torch.float32: 1e-5, torch.float64: 1e-12}  # the smallest tol; below it rounding decides
AT_ONCE = 2**20  # pixels that a CPU works on at a time, about, so that memory stays bounded


class Denoised(NamedTuple):
    """Images (..., C, H, W); of each the relative gap (...), float64, and the iterations (...), int64."""

    image: Tensor
    gap: Tensor
    iterations: Tensor


class Solution(NamedTuple):
    """As `Denoised`, and the dual fields (..., C, 2, H, W), from which a similar problem may start."""

    image: Tensor
    gap: Tensor
    iterations: Tensor
    dual: Tensor


def denoise(
    f: Tensor,
    weight: float | Tensor,
    tol: float = 1e-4,
    *,
    channels: Channels = "separate",
    algorithm: Algorithm = "condat",
    start: Tensor | None = None,
    engine: Engine = "auto",
    as_published: bool | Collection[str] = False,
) -> Denoised:
    r"""Denoise images by total variation (Rudin, Osher and Fatemi), each to a certified accuracy.

    .. math:: u = \arg\min_u E(u), \quad E(u) = \mathrm{TV}(u) + \frac{1}{2 \, \mathrm{weight}} |u - f|^2

    with isotropic total variation, forward differences, nothing across the border. `gap` is (E(u) - D(p)) /
    E(u) for the image and the dual field p that prove it: E(u) is at most gap E(u) above its minimum, and |u
    - exact|² <= 2 weight gap E(u).

    Args:
        f: images (..., C, H, W), or one grey image (H, W); float32 or float64, any range, any device.
            Integers: take x / 255.
        weight: > 0, a number or a tensor that broadcasts to (...), one weight for each image. In the sense of
            `skimage.restoration.denoise_tv_chambolle`; f -> a f and weight -> a weight give u -> a u.
        tol: the largest relative gap; 1e-5 or more for float32, 1e-12 or more for float64.
        channels: "separate": each channel by itself; "joint": one gradient length over all channels, so that
            edges are shared.
        algorithm: "condat": over-relaxed primal-dual; "chambolle-pock-1" and "-2": their algorithms 1 and 2;
            "fgp": fast gradient projection. They differ in time alone.
        start: dual fields (..., C, 2, H, W) to start from, such as `solve` returns; longer vectors are
            shrunk.
        engine: "fused": compiled image by image, on a CPU, by numba; "chip": image by image within a CUDA
            GPU, by Triton, for up to 64 x 64 pixels; "plain": torch operations, on any device that has
            float64; "auto": the compiled one of the device where it works and takes the images, else plain,
            with a warning if it does not work. They agree within the gap, not to the bit.
        as_published: the dissertation's solver, for images in [0, 1], with its step sizes, border and
            stopping rule, whatever tol, channels, algorithm and engine are; or some of these quirks alone, of
            tv.QUIRKS. `gap` shows how far it is from what it should be. No derivatives. See
            `specfreq.tv.published`.

    Returns:
        image like f, gap <= tol (...,) float64, iterations (...,). Each image stops by itself; its bits do
        not depend on its batch. A float32 image whose gap stalls above tol is finished in float64 and
        rounded; its gap is that of the rounded image. A constant image has gap 0. Differentiable once, in f
        and weight: the derivative of the exact minimiser, as far as `tol` lets its edges be told; for finite
        differences to agree take float64 and a small tol.

    Raises:
        TypeError: f is neither float32 nor float64.
        ValueError: a value or the weight is not finite, the weight is not positive, shapes do not fit, tol is
            below what the precision can reach, or no image of this precision turns out to be so close (of
            values that differ in their last bits: never of 8 bits, x / 255); or there is no such engine here,
            it does not work, or it does not take the images.

    Source: Rudin, Osher and Fatemi, Physica D 1992; Condat, JOTA 2013, algorithm 3.2; Chambolle and Pock,
    JMIV 2011, algorithms 1 and 2; Beck and Teboulle, IEEE TIP 2009.

    Example:
        >>> found = tv.denoise(torch.eye(8)[None], weight=0.1)
        >>> found.image.shape, bool(found.gap <= 1e-4)
        (torch.Size([1, 8, 8]), True)
    """
    options = {
        "channels": channels,
        "algorithm": algorithm,
        "start": start,
        "engine": engine,
        "as_published": as_published,
    }
    found = solve(f, weight, tol, **options)
    return Denoised(found.image, found.gap, found.iterations)


def solve(
    f: Tensor,
    weight: float | Tensor,
    tol: float = 1e-4,
    *,
    channels: Channels = "separate",
    algorithm: Algorithm = "condat",
    start: Tensor | None = None,
    engine: Engine = "auto",
    as_published: bool | Collection[str] = False,
) -> Solution:
    """As `denoise`, with the dual fields p, from which a similar problem may start: u is f - weight K^T p
    within the gap.
    """
    options = {"channels": channels, "algorithm": algorithm, "start": start, "engine": engine}
    # as a decorator, `disable` would import the compiler, which takes seconds
    if torch.compiler.is_dynamo_compiling():
        plain: Any = torch.compiler.disable(solve)
        return plain(f, weight, tol, **options, as_published=as_published)
    images, weight, start = prepared(f, weight, tol, **options)
    if as_published is not False:
        return _published(
            f, images, weight, start, published.QUIRKS if as_published is True else as_published
        )
    if not images.numel():
        none = torch.zeros(images.shape[:-3], dtype=torch.float64, device=f.device)
        return Solution(f.clone(), none, none.long(), start if f.ndim > 2 else start[0])
    image, gap, iterations, dual = _Minimiser.apply(
        images, weight, start, tol, channels == "joint", algorithm, engine
    )
    return Solution(image.reshape(f.shape), gap, iterations, dual if f.ndim > 2 else dual[0])


def prepared(
    f: Tensor,
    weight: float | Tensor,
    tol: float,
    *,
    channels: str,
    algorithm: str,
    start: Tensor | None,
    engine: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images (..., C, H, W), their weights (...) and fields (..., C, 2, H, W) to start from, or an error."""
    weight = check(f, weight, tol, channels=channels, algorithm=algorithm, engine=engine)
    images = f if f.ndim > 2 else f[None]
    shape = (*images.shape[:-2], 2, *images.shape[-2:])
    if start is None:
        start = f.new_zeros(shape)
    elif not isinstance(start, Tensor) or not start.is_floating_point():
        raise ValueError(
            "start must be dual fields, a tensor of floats; got "
            f"{getattr(start, 'dtype', type(start).__name__)}"
        )
    elif start.numel() != math.prod(shape) or start.shape[-3:] != shape[-3:] or not start.isfinite().all():
        raise ValueError(f"start must be finite dual fields of shape {shape}; got {tuple(start.shape)}")
    weight = weight.to(f.device, torch.float64).expand(images.shape[:-3])
    return images, weight, start.detach().to(f).reshape(shape)


def check(
    f: Tensor,
    weight: float | Tensor,
    tol: float = 1e-4,
    *,
    channels: str = "separate",
    algorithm: str = "condat",
    engine: str = "auto",
) -> Tensor:
    """The weight as a tensor, or an error that says what is wrong."""
    if not isinstance(f, Tensor) or f.dtype not in FINEST:
        what = (
            f"{f.dtype} values (of uint8 images take x / 255)" if isinstance(f, Tensor) else type(f).__name__
        )
        raise TypeError(f"expected a float32 or float64 tensor (..., C, H, W); got {what}")
    if f.ndim < 2 or 0 in f.shape[-2:]:
        raise ValueError(f"expected a tensor (..., C, H, W); got shape {tuple(f.shape)}")
    if not f.isfinite().all():
        raise ValueError("the images hold values that are not finite")
    for name, value, known in (
        ("channels", channels, get_args(Channels)),
        ("algorithm", algorithm, steps.ALGORITHMS),
        ("engine", engine, get_args(Engine)),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
    if not FINEST[f.dtype] <= tol < 1:
        hint = "; float64 images reach 1e-12" if f.dtype == torch.float32 else ""
        raise ValueError(
            f"tol must be at least {FINEST[f.dtype]:g} for {f.dtype}, and below 1; got {tol}{hint}"
        )
    weight = torch.as_tensor(weight, dtype=torch.float64) if not isinstance(weight, Tensor) else weight
    if weight.is_complex() or not (weight.isfinite() & (weight > 0)).all():
        raise ValueError(
            "weight must be positive and finite; got "
            f"{weight.tolist() if weight.numel() < 10 else 'others as well'}"
        )
    try:
        weight.expand(f.shape[:-3])
    except RuntimeError:
        raise ValueError(
            f"weight must be a number or broadcast to {tuple(f.shape[:-3])}; got {tuple(weight.shape)}"
        ) from None
    return weight


def _published(f: Tensor, images: Tensor, weight: Tensor, start: Tensor, quirks: Collection[str]) -> Solution:
    """The dissertation's solver on a batch of one weight."""
    if weight.unique().numel() > 1 or not f.numel():
        raise ValueError("as_published takes one or more images, and one weight for all")
    if isinstance(quirks, str) or not {*quirks} <= {*published.QUIRKS}:
        raise ValueError(
            f"as_published must be True, False or some of {', '.join(published.QUIRKS)}, in a list; got "
            f"{quirks!r}"
        )
    shape = (-1, *images.shape[-3:])
    start = start.reshape(-1, *start.shape[-4:])
    image, gap, iterations, dual = published.minimise(
        images.detach().reshape(shape), float(weight.flatten()[0]), start, quirks
    )
    gap = gap.reshape(images.shape[:-3])
    return Solution(
        image.reshape(f.shape),
        gap,
        torch.full_like(gap, iterations).long(),
        dual.reshape(*f.shape[:-2], 2, *f.shape[-2:]),
    )


class _Minimiser(torch.autograd.Function):
    """(images (..., C, H, W), weight (...)) -> image, gap, iterations, dual fields."""

    @staticmethod
    def forward(
        ctx,
        images: Tensor,
        weight: Tensor,
        start: Tensor,
        tol: float,
        joint: bool,
        algorithm: str,
        engine: str,
    ):
        image, dual, gap, iterations = certified(images, weight, start, tol, joint, algorithm, engine)
        ctx.joint = joint
        ctx.save_for_backward(images, image, dual, weight)
        ctx.mark_non_differentiable(gap, iterations, dual)
        return image, gap, iterations, dual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstreams: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        images, image, dual, weight = ctx.saved_tensors
        f, weights = _groups(images, weight, ctx.joint)
        upstream, image = (t.reshape(f.shape) for t in (upstreams[0], image))
        along, slope = pull_back(upstream, image, dual.reshape(*f.shape[:2], 2, *f.shape[2:]), weights)
        return (
            along.reshape(images.shape),
            slope.reshape(*weight.shape, -1).sum(-1),
            None,
            None,
            None,
            None,
            None,
        )


def certified(
    images: Tensor,
    weight: Tensor,
    start: Tensor,
    tol: float,
    joint: bool,
    algorithm: str,
    engine: str,
    history: list[list] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, dual fields, gaps and iterations of images (..., C, H, W), or an error that names those with a
    gap above tol.

    The history is that of `run`, without what is done again in float64.
    """
    image, dual, primal, gap, iterations = run(images, weight, start, tol, joint, algorithm, engine, history)
    image, dual, gap = (
        image.view(images.shape),
        dual.view(start.shape),
        relative(primal, gap, images.shape[:-3]),
    )
    iterations = iterations.view(*gap.shape, -1).amax(-1)
    stalled = ~(gap <= tol)
    if stalled.any() and images.dtype != torch.float64:
        begun = images[stalled], weight[stalled], dual[stalled]
        image[stalled], dual[stalled], gap[stalled], more = _finished(*begun, tol, joint, algorithm, engine)
        iterations[stalled] += more
    if not (gap <= tol).all():
        worst = [
            f"{n}: {gap.flatten()[n]:.1e}" for n in (~(gap.flatten() <= tol)).nonzero().flatten()[:5].tolist()
        ]
        raise ValueError(
            f"tol={tol:g} is beyond {images.dtype} for these images: rounding stops the gap of image "
            f"{', of image '.join(worst)}; "
            "take a larger tol, or float64"
        )
    return image, dual, gap, iterations


def _finished(
    images: Tensor, weight: Tensor, dual: Tensor, tol: float, joint: bool, algorithm: str, engine: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Go on in float64 from dual fields of lower precision, and round: images (B, C, H, W), fields, gaps
    (B,), iterations (B,).

    The gaps are those of the rounded pairs. Rounding hardly matters to an exact minimiser: equal values stay
    equal, and at an edge its cost is of second order. So where it does matter the tolerance is made finer,
    until flat parts are flat to the last bit.
    """
    image, field = images.clone(), dual.clone()
    gap, iterations = torch.full_like(weight, math.inf), torch.zeros_like(weight, dtype=torch.int64)
    going, exact, finer = torch.arange(len(images), device=images.device), dual.double(), tol / 2
    while len(going) and finer >= FINEST[torch.float64]:
        some, weights = images[going], weight[going]
        u, p, primal, above, more = run(some.double(), weights, exact, finer, joint, algorithm, engine)
        reached = relative(primal, above, going.shape) <= finer
        iterations[going] += more.view(len(going), -1).amax(-1)
        f, weights = _groups(some, weights, joint)
        rounded, short = u.to(f), within(p.to(f))
        primal, slack, misfit = certificate(rounded, f, short, weights)
        found = relative(primal, slack + misfit, going.shape)
        better = found < gap[going]
        for kept, new in ((image, rounded.view(some.shape)), (field, short.view(exact.shape)), (gap, found)):
            kept[going[better]] = new[better]
        more_to_do = reached & (found > tol)
        going, exact, finer = going[more_to_do], p.view(exact.shape)[more_to_do], finer / 100
    return image, field, gap, iterations


def relative(primal: Tensor, gap: Tensor, batch: tuple[int, ...]) -> Tensor:
    """The relative gap of each image, from the primal energies and gaps of its groups."""
    primal, gap = (total(energy.reshape(*batch, -1), 1) for energy in (primal, gap))
    return gap / primal.masked_fill(primal == 0, 1)


def run(
    images: Tensor,
    weight: Tensor,
    start: Tensor,
    tol: float,
    joint: bool,
    algorithm: str,
    engine: str,
    history: list[list] | None = None,
) -> tuple[Tensor, ...]:
    """What `minimise` returns, for all groups; on a CPU so many at a time. To the history it adds that of
    each part.
    """
    f, weights = _groups(images, weight, joint)
    start = start.reshape(*f.shape[:2], 2, *f.shape[2:])
    together = len(f) if f.is_cuda else max(1, AT_ONCE // f[0].numel())
    results = []
    for some, theirs, fields in zip(*(t.split(together) for t in (f, weights, start)), strict=True):
        looks: list | None = None if history is None else []
        results.append(minimise(some, theirs, fields, tol, algorithm, engine, looks))
        if history is not None and looks is not None:
            history.append(looks)
    return tuple(map(torch.cat, zip(*results, strict=True)))


def _groups(images: Tensor, weight: Tensor, joint: bool) -> tuple[Tensor, Tensor]:
    """What is minimised by itself: images (B, C, H, W) if joint, channels (B, 1, H, W) otherwise; and the
    weights (B,).
    """
    if not joint:
        images, weight = images[..., None, :, :], weight[..., None].expand(images.shape[:-2])
    return images.detach().reshape(-1, *images.shape[-3:]).contiguous(), weight.detach().reshape(
        -1
    ).contiguous()
