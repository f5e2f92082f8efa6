"""Gradient spectrum: to which frequencies of its input the loss of a network is sensitive."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from specfreq import fourier
from specfreq.attacks.base import slopes
from specfreq.attacks.gradient import cross_entropy
from specfreq.measures import answers, inference
from specfreq.measures.answers import Count, Images

FLAT = 1e-5  # a profile that varies by less of its largest value varies by rounding


def gradient_spectrum(
    model: nn.Module,
    images: Images,
    *,
    at: Literal["image", "filtered"] = "image",
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""Power spectrum of the gradient of the cross-entropy with respect to the input, on rings.

    With :math:`g_i = \nabla_x L(f(x_i), y_i)` for an image of C channels of H x W values in [0, 1], and its
    transform :math:`\hat g_i` channel by channel,

    .. math::
        P_i(k) = \frac{1}{C H W} \sum_c |\hat g_{ic}(k)|^2, \qquad
        D_i(r) = \operatorname*{mean}_{\operatorname{round}|k| = r} P_i(k) \Big/ \operatorname*{mean}_k P_i(k)

    :math:`P_i(k)` is the mean square of the slope of the loss along all directions of unit length, of
    whatever colour and phase, of frequency k. So the powers of the channels are summed: the sum of the
    gradients of the channels, as published, is zero for a network that looks at differences of colours. A
    gradient without preferred frequency has density D = 1 on every ring, that of the mean (r = 0) and those
    of the corners (r > min(H, W) / 2, of which the grid holds a part) included.

    Args:
        at: the input: *image*, as the classifier is given it, before its filter, if it has one, and before it
            is normalised; or *filtered*, between the two. A linear filter of transfer function m changes the
            first to :math:`|m(k)|^2` times the second.
        size: at most so many images, balanced over the classes.

    Returns:
        radii (cycles per image) and frequencies (how many k are on each ring); power and power_std, mean and
        standard deviation over the images of the mean of P on each ring; density and density_std, of D;
        low_share, middle_share and high_share, how much of the power of an image lies below 1/8, from 1/8 and
        from 1/4 cycles per pixel on, mean over the images, k = 0 left out (%); centroid, :math:`\sum |k| P /
        \sum P` (cycles per pixel), mean over the images; published and published_std for published_radii,
        the original's profile: \|FFT\| of the sum of the channels, on the rings of
        ``fourier.radial_profile(as_published=True)``, minimum and maximum of each image brought to 0 and 1
        (a flat profile is 0), mean and standard deviation over the images; silent (% of images whose loss has
        no slope, and which count for power alone; if there are no others the rest is null), images (how
        many).

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite.

    Source: Lin et al., IJCAI 2022, algorithm 1 and Observation 2.
    """
    images = answers.balanced(images, size)
    height, width = images.shape[1:]
    rings = _rings(height, width)
    labels = iter(images.labels.split(batch))

    def answer(x: Tensor) -> Tensor:
        y = next(labels).to(x.device)
        # in inference mode nothing has gradients
        with torch.inference_mode(False), torch.no_grad(), _input(model, at) as filtered:
            found = slopes(model, filtered(x.clone()), y, cross_entropy)
            answers.checked(found.logits, images)
            largest = found.direction.abs().amax((1, 2, 3), keepdim=True)
            # squares of small numbers would vanish
            scaled = found.direction / largest.masked_fill(largest == 0, 1)
            mean, profiles = profiled(scaled, rings)
            level = found.scale * largest.flatten() * mean.sqrt()
            return torch.cat([level[:, None], profiles, published_profiles(scaled, rings)], 1)

    table = inference.evaluate(model, images, answer, precision=precision, batch=batch).double()
    level, profiles, published = table.tensor_split([1, rings.means.shape[1]], 1)
    density, more = profiles.tensor_split([len(rings.counts)], 1)
    seen = level[:, 0] > 0
    shares = dict(zip((*(f"{band}_share" for band in answers.BANDS), "centroid"), more.T, strict=True))
    return {
        "radii": list(range(len(rings.counts))),
        "frequencies": rings.counts,
        **_over("power", level.square() * density, torch.ones_like(seen)),
        **_over("density", density, seen),
        **{name: float(values[seen].mean()) if seen.any() else None for name, values in shares.items()},
        "published_radii": list(range(1, 1 + published.shape[1])),
        **_over("published", published, seen),
        "silent": 100 * float((~seen).double().mean()),
        "images": len(images),
        answers.EACH: {name: _of_each(v, seen) for name, v in shares.items()} if seen.any() else {},
    }


class Rings(NamedTuple):
    """What half spectra (B, H (W // 2 + 1)) are multiplied by, float32.

    Args:
        means: of power of mean 1, the means on the rings, then the shares of the bands in %, then the
            centroid in cycles per pixel; and the mean of all.
        published: of amplitudes, the means on the rings of the original.
        counts: of frequencies on each ring.
    """

    means: Tensor
    published: Tensor
    counts: list[int]  # pyright: ignore[reportIncompatibleMethodOverride]


@functools.cache
def _rings(height: int, width: int) -> Rings:
    ring, published = (fourier.ring_index(height, width, old).flatten() for old in (False, True))
    on_ring = nn.functional.one_hot(ring).double()
    on_published = nn.functional.one_hot(published).double()
    bands = torch.stack(list(answers.bands(height, width).values()), -1).flatten(0, 1)
    fy, fx = (torch.fft.fftshift(torch.fft.fftfreq(n, dtype=torch.float64)) for n in (height, width))
    frequency = (fy[:, None] ** 2 + fx**2).sqrt().flatten()
    parts = torch.cat([100 * bands, frequency[:, None], torch.ones_like(frequency)[:, None]], 1) / len(ring)
    on_published /= on_published.sum(0).clamp_min(1)
    means, of_published = (
        _folded(torch.cat([on_ring / on_ring.sum(0), parts], 1), height, width),
        _folded(on_published, height, width),
    )
    # the original drops its first and its last bin
    return Rings(means, of_published[:, 1:-1], on_ring.sum(0).long().tolist())


def _folded(weights: Tensor, height: int, width: int) -> Tensor:
    """Weights (H W, R) of the shifted spectrum as those of the half spectrum, whose other half is alike."""
    ky, kx = (torch.arange(n) - n // 2 for n in (height, width))
    rows = (ky[:, None] * torch.where(kx < 0, -1, 1)) % height
    place = (rows * (width // 2 + 1) + kx.abs()).flatten()
    half = weights.new_zeros(height * (width // 2 + 1), weights.shape[1])
    return half.index_add_(0, place, weights).float()


def profiled(gradients: Tensor, rings: Rings | None = None) -> tuple[Tensor, Tensor]:
    """The mean of the power of gradients (B, C, H, W), (B,), and relative to it the ``means`` of `Rings`:
    (B, R).

    The gradients are not so small that their squares vanish.
    """
    means = (rings or _rings(*gradients.shape[-2:])).means.to(gradients.device)
    # real and imaginary parts are summed by the product, several times faster than one by one
    parts = torch.view_as_real(torch.fft.rfft2(gradients, norm="ortho"))
    # in place, as new memory costs more than the squares
    power = parts.square_().mean(1).flatten(1)
    found = power @ means.repeat_interleave(2, 0)
    mean, profiles = found[:, -1], found[:, :-1]
    return mean, profiles / mean.masked_fill(mean == 0, 1)[:, None]


def published_profiles(gradients: Tensor, rings: Rings | None = None) -> Tensor:
    """The original's profiles of such gradients (B, C, H, W), each from 0 to 1: (B, R)."""
    weights = (rings or _rings(*gradients.shape[-2:])).published.to(gradients.device)
    summed = functools.reduce(torch.add, gradients.unbind(1))  # with channels last twice as quick as sum(1)
    square = torch.view_as_real(torch.fft.rfft2(summed)).square_()
    return _stretched((square[..., 0] + square[..., 1]).sqrt_().flatten(1) @ weights)


def _stretched(profiles: Tensor) -> Tensor:
    """Each profile (B, R) from 0 to 1; flat ones are 0."""
    if not profiles.shape[1]:  # of images of a pixel or two
        return profiles
    low, high = profiles.aminmax(dim=1, keepdim=True)
    flat = high - low <= FLAT * high
    return (profiles - low).masked_fill(flat, 0) / (high - low).masked_fill(flat, 1)


@contextlib.contextmanager
def _input(model: nn.Module, at: str) -> Iterator[Callable[[Tensor], Tensor]]:
    """What makes the input of images; meanwhile a classifier whose filter comes before it has none."""
    filter = getattr(model, "filter", None) if at == "filtered" else None
    if filter is None:
        yield lambda x: x
        return
    model.filter = None  # pyright: ignore[reportArgumentType]
    try:
        yield filter
    finally:
        model.filter = filter


def _over(name: str, values: Tensor, seen: Tensor) -> dict[str, list[Any]]:
    """Mean and standard deviation over the images seen of values (N, R)."""
    if not seen.any() or not values.shape[1]:  # images of a pixel or two have no published rings
        none: list[Any] = [None] * values.shape[1]
        return {name: none, f"{name}_std": none}
    kept = values[seen]
    return {name: kept.mean(0).tolist(), f"{name}_std": kept.std(0, correction=0).tolist()}


def _of_each(values: Tensor, seen: Tensor) -> Tensor:
    """What a mean over the images seen is the mean of, over all: see `measures.computed`."""
    mean = values[seen].mean()
    return torch.where(seen, mean + (values - mean) * len(seen) / seen.sum(), mean)
