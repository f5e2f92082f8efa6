"""Fourier heat map: how often the classifier is wrong when every pixel is disturbed by a wave of one
frequency.
"""

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from specfreq import fourier
from specfreq.core.errors import UserError
from specfreq.core.progress import progress_bar
from specfreq.core.randomness import Draws, content, seed_of
from specfreq.measures import answers, inference
from specfreq.measures.answers import Count, Images

PUBLISHED = {(32, 32): 4.0, (224, 224): 15.7}  # norm per channel, for CIFAR and ImageNet


def fourier_heatmap(
    model: nn.Module,
    images: Images,
    *,
    norm: Annotated[float, Field(ge=0, le=1e6)] | None = None,
    step: Count = 1,
    extent: Annotated[int, Field(ge=0)] | None = None,
    as_published: bool = False,
    seed: Annotated[int, Field(ge=0)] = 0,
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""Error as a function of the frequency of an added wave, in %.

    .. math::
        E(k) = \tfrac{100}{N} \textstyle\sum_i
        \bigl[\arg\max f(\operatorname{clip}(x_i + v\, s_{ik} U_k, 0, 1)) \ne y_i\bigr],
        \qquad U_k(n) \propto \cos\bigl(2\pi (k_y n_y / H + k_x n_x / W)\bigr), \quad \|U_k\|_2 = 1

    where the signs :math:`s_{ik} = \pm 1` are independent for each image, frequency and channel. :math:`U_k =
    U_{-k}`, so each pair is asked about once and the map is symmetric about k = 0.

    Args:
        norm: v, of the wave in each channel, for images in [0, 1]: by default the published 4.0 for 32 x 32
            pixels, 15.7 for 224 x 224. Other sizes have no default.
        step: only frequencies whose both parts are multiples of it; 1 for all.
        extent: only frequencies of at most so many cycles per image along each axis; the paper shows 31 for
            ImageNet.
        as_published: leave out the frequencies -N/2 of even sizes, as the original program does: 31 x 31 for
            32 pixels.
        seed: of the signs; an image's own depend on it, on the image's content and on the frequency.
        size: at most so many images, balanced over the classes.

    Returns:
        norm; ky and kx, the frequencies of the rows and columns of the map, cycles per image, ascending (of
        all, 0 is at index N//2; ky counts downwards, kx to the right); error (%, a list for each ky, an entry
        for each kx); clean_error (%); mean_error (%, the mean of the map); low_error, middle_error and
        high_error, its means over |k| below 1/8, from 1/8 and from 1/4 cycles per pixel on, k = 0 left out
        (%; null where there are none); radii and by_radius, the means over the rings round(|k|) = r, of which
        the map holds some frequency, up to min(H, W)//2 and the extent (cycles per image; %); bases (how many
        distinct waves), images (how many).

    Raises:
        UserError: a size without a published norm, and none is given; the classifier has another number of
            outputs than the set has classes, or some are not finite.

    Source: Yin et al., NeurIPS 2019, section 3.
    """
    images = answers.balanced(images, size)
    channels, height, width = images.shape
    strength = _norm(norm, height, width)
    place = torch.arange(height * width).view(
        height, width
    )  # of a frequency in the shifted grid: its number for the draws
    rows, columns = (_chosen(n, step, extent, as_published) for n in (height, width))
    mirrored, shown = fourier.mirror(place), torch.zeros(height, width, dtype=torch.bool)
    shown[rows[:, None], columns] = True
    distinct = place[shown & (place >= mirrored)]

    def answer(x: Tensor) -> Tensor:
        """The classes given to B images, as they are and with each wave: (B, 1 + K)."""
        draws = Draws(content((255 * x.double()).round_()), seed_of(seed, "fourier-heatmap"))
        words = draws.bits(-(-height * width * channels // 64))
        x, together = x.contiguous(memory_format=torch.channels_last), max(1, batch // len(x))
        space = torch.empty(
            (together * len(x), *x.shape[1:]), device=x.device, memory_format=torch.channels_last
        )
        given = [answers.checked(model(x), images).argmax(1)]
        for some in distinct.to(x.device).split(together):
            disturbed = space[: len(some) * len(x)]
            signs, waves = _signs(words, some, channels), strength * _waves(some, height, width)
            torch.addcmul(x, signs, waves, out=disturbed.unflatten(0, (len(some), len(x))))
            given.append(answers.checked(model(disturbed.clamp_(0, 1)), images).argmax(1))
            bar.update(len(disturbed))
        return torch.cat(given).view(-1, len(x)).T

    with progress_bar("heat map", len(images) * len(distinct), "img", line=1, unit_scale=True) as bar:
        given = inference.evaluate(model, images, answer, precision=precision, batch=batch)
    wrong = (given != images.labels[:, None]).T  # (1 + K, N)
    clean, *errors = (100 - accuracy for accuracy in answers.accuracies(given, images.labels))
    error = torch.zeros(height * width, dtype=torch.float64)
    error[distinct] = error[mirrored.flatten()[distinct]] = torch.tensor(errors, dtype=torch.float64)
    error, inside = error.view(height, width), answers.bands(height, width)
    parts = {"mean_error": shown, **{f"{band}_error": shown & part for band, part in inside.items()}}
    both = distinct, mirrored.flatten()[distinct]
    each = {name: _of_each(wrong[1:], *both, part) for name, part in parts.items() if part.any()}
    return {
        "norm": strength,
        "ky": (rows - height // 2).tolist(),
        "kx": (columns - width // 2).tolist(),
        "error": error[rows[:, None], columns].tolist(),
        "clean_error": clean,
        **{name: float(error[part].mean()) if part.any() else None for name, part in parts.items()},
        **_rings(error, shown, extent),
        answers.EACH: {"clean_error": wrong[0], **each},
        "bases": len(distinct),
        "images": len(images),
    }


def refuse(images: Images, *, norm: float | None, **_: Any) -> None:
    """Refuse images of a size without a published norm, if none is given."""
    _norm(norm, *images.shape[1:])


def _norm(norm: float | None, height: int, width: int) -> float:
    if norm is not None:
        return norm
    if (height, width) not in PUBLISHED:
        alike = round(math.sqrt(height * width) / 8, 2)
        raise UserError(
            "fourier-heatmap has a published norm for 32x32 (4.0) and 224x224 pixels (15.7), not for "
            f"{height}x{width}; "
            f"say one: fourier-heatmap:norm={alike:g} disturbs each pixel as much as 4.0 does at 32x32"
        )
    return PUBLISHED[height, width]


def _chosen(size: int, step: int, extent: int | None, as_published: bool) -> Tensor:
    """Rows or columns of the shifted grid that the map shows, int64; with each frequency its mirror image."""
    k = torch.arange(size) - size // 2
    most = (size - 1) // 2 if as_published else size // 2
    return torch.nonzero((k % step == 0) & (k.abs() <= (most if extent is None else min(most, extent))))[:, 0]


def _signs(words: Tensor, places: Tensor, channels: int) -> Tensor:
    """+1 or -1, one bit of the image's own for each frequency and channel: float32 (K, B, C, 1, 1)."""
    bit = places[:, None] * channels + torch.arange(channels, device=places.device)
    drawn = words[:, bit // 64] >> bit % 64 & 1
    return (2.0 * drawn - 1).transpose(0, 1)[..., None, None]


def _waves(places: Tensor, height: int, width: int) -> Tensor:
    """U at places of the shifted grid, float32 (K, 1, 1, H, W): cos(a + b) = cos a cos b - sin a sin b."""
    a, b = (
        2 * math.pi / n * (k[:, None] * torch.arange(n, device=k.device) % n).double()
        for k, n in ((places // width - height // 2, height), (places % width - width // 2, width))
    )
    waves = a.cos()[:, :, None] * b.cos()[:, None] - a.sin()[:, :, None] * b.sin()[:, None]
    return (waves / torch.linalg.vector_norm(waves, dim=(-2, -1), keepdim=True)).float()[:, None, None]


def _of_each(wrong: Tensor, distinct: Tensor, mirrored: Tensor, inside: Tensor) -> Tensor:
    """The mean error of each image (N,) in % over a part of the map (H, W), from its wrong answers (K, N) to
    the waves of these places (K,) and their mirror images.
    """
    times = inside.flatten()[distinct].double()
    times += inside.flatten()[mirrored] & (mirrored != distinct)
    return 100 * (times @ wrong.double()) / times.sum()


def _rings(error: Tensor, shown: Tensor, extent: int | None) -> dict[str, list[Any]]:
    """Means over the rings of `fourier.radial_profile`, those of which nothing is shown left out."""
    share, total = (fourier.radial_profile(v) for v in (shown.double(), error * shown))
    kept = torch.nonzero(share[: None if extent is None else extent + 1])[:, 0]
    return {"radii": kept.tolist(), "by_radius": (total / share)[kept].tolist()}
