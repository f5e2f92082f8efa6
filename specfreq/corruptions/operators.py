"""Linear operators that the corruptions share: pairs of small matrices, kernels, motion, sampling between
pixels. All in float64.

A separable operator on images (..., H, W) is a matrix for the rows and one for the columns, A x Bᵀ, its
border rule included.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

LARGE = 7  # pixels of a kernel from which on the Fourier transform is faster


def separable(x: Tensor, matrix: Callable[[int], Tensor]) -> Tensor:
    """A x Bᵀ of images (..., H, W), where matrix(H) is A and matrix(W) is B."""
    rows, columns = (matrix(n).to(x.device) for n in x.shape[-2:])
    return rows @ (x @ columns.T)


def blur(x: Tensor, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Sampled Gaussian of `sigma` pixels, cut at `truncate` deviations, as `scipy.ndimage.gaussian_filter`;
    one pixel wide: x.
    """
    if int(truncate * sigma + 0.5) == 0:
        return x
    return separable(x, lambda n: _blur(n, sigma, mode, truncate))


@functools.lru_cache(maxsize=64)
def _blur(size: int, sigma: float, mode: str, truncate: float) -> Tensor:
    return torch.from_numpy(
        ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode=mode, truncate=truncate)
    )


@functools.lru_cache(maxsize=256)
def zoom(size: int, factor: float) -> Tensor:
    """Enlarge the middle of a line of `size` pixels by linear interpolation and cut the middle out again:
    (size, size).

    As the generators do with `scipy.ndimage.zoom`: of the middle ceil(size / factor) pixels the first and the
    last stay so.
    """
    kept = math.ceil(size / factor)
    top = (size - kept) // 2
    enlarged = np.asarray(ndimage.zoom(np.eye(kept), (factor, 1), order=1))
    cut = (len(enlarged) - size) // 2
    matrix = np.zeros((size, size))
    matrix[:, top : top + kept] = enlarged[cut : cut + size]
    return torch.from_numpy(matrix)


@functools.lru_cache(maxsize=5)
def zooms(height: int, width: int, factors: tuple[float, ...]) -> Tensor:
    """Mean of the image and its zooms by all factors: (H W, H W), to multiply flat images with from the
    right.
    """
    down, across = (torch.stack([zoom(n, factor) for factor in factors]).flatten(1) for n in (height, width))
    total = (
        (down.T @ across).view(height, height, width, width).permute(1, 3, 0, 2).reshape(height * width, -1)
    )
    total.diagonal().add_(1)
    return total / (len(factors) + 1)


@functools.lru_cache(maxsize=32)
def boxes(size: int, reduced: int) -> Tensor:
    """Means over `reduced` boxes of a line of `size` pixels, in 22-bit fixed point as Pillow has them:
    float64 (reduced, size).
    """
    matrix, scale = np.zeros((reduced, size)), size / reduced
    for row, centre in zip(matrix, (np.arange(reduced) + 0.5) * scale, strict=True):
        first, last = max(0, int(centre - scale / 2 + 0.5)), min(size, int(centre + scale / 2 + 0.5))
        distance = (np.arange(first, last) - centre + 0.5) / scale
        inside = (distance > -0.5) & (distance <= 0.5)
        row[first:last] = np.floor(inside / inside.sum() * 2**22 + 0.5)
    return torch.from_numpy(matrix)


def disk(radius: float, alias_blur: float) -> Tensor:
    """A disk of equal weights on whole pixels, sum 1, behind a small Gaussian of deviation `alias_blur`: (K,
    K), K odd.

    The Gaussian has 3 x 3 pixels, 5 x 5 if the radius is above 8. A radius below 1 is a single pixel. The
    generators' square of 17 pixels, or 2 radius + 1, reflects the Gaussian at its border: a disk that touches
    it, as those of ImageNet-C's severities 4 and 5 do, then sums to 1.01, and brightens the image.
    """
    reach, half = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    line = torch.arange(-reach, reach + 1).double()
    aliased = (line[:, None] ** 2 + line**2 <= radius**2).double()
    bell = torch.exp(-(torch.arange(-half, half + 1).double() ** 2) / (2 * alias_blur**2))
    bell = torch.outer(bell, bell) / bell.sum() ** 2
    smooth = F.conv2d(
        F.pad((aliased / aliased.sum())[None, None], [half] * 4, mode="reflect"), bell[None, None]
    )[0, 0]
    margin = reach - min(reach, math.floor(radius) + half)  # the rest is zero
    return smooth[margin : len(smooth) - margin, margin : len(smooth) - margin]


def correlate(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate each channel of images (N, C, H, W) with a kernel (K, K), K odd; borders reflect, the last
    pixel not repeated.
    """
    padded, kernel = F.pad(x, [len(kernel) // 2] * 4, mode="reflect"), kernel.to(x)
    if len(kernel) > LARGE:
        spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=padded.shape[-2:]).conj()
        return torch.fft.irfft2(spectrum, s=padded.shape[-2:])[..., : x.shape[-2], : x.shape[-1]]
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None]).view_as(x)


def motion(levels: Tensor, radius: int, sigma: float, degrees: Tensor) -> Tensor:
    r"""One-sided motion blur of bytes (N, C, H, W) along a direction of each image's own, to whole bytes.

    .. math:: y(p) = \sum_{i=0}^{2r} w_i\, x\bigl(p + \lceil i u - \tfrac12 \rceil\bigr), \qquad
        w_i \propto e^{-i^2 / 2 \sigma^2}, \quad u = (\cos\theta, \sin\theta)

    with x, y in the order of u, down counted positive; beyond the border the last pixel goes on. The image is
    also shifted.

    Args:
        degrees: the angles, float64 (N,).

    Source: what ImageMagick's MotionBlurImage does to the byte: rounded to 16 bits, then cut to 8.
    """
    height, width = levels.shape[-2:]
    taps = torch.arange(2 * radius + 1, device=levels.device, dtype=torch.float64)
    weights = torch.exp(-(taps**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).tolist()
    angle = degrees.deg2rad()[:, None]
    x = (taps * angle.cos() - 0.5).ceil().long()[..., None] + torch.arange(width, device=levels.device)
    y = (taps * angle.sin() - 0.5).ceil().long()[..., None] + torch.arange(height, device=levels.device)
    flat = levels.flatten(-2)
    total = torch.zeros_like(flat)
    for i, weight in enumerate(weights):
        place = (y[:, i].clamp(0, height - 1) * width)[..., None] + x[:, i].clamp(0, width - 1)[:, None]
        total = total + weight * flat.gather(2, place.flatten(1)[:, None].expand_as(flat))
    return total.mul(257).round().div(257).floor().view_as(levels)


def sample(images: Tensor, y: Tensor, x: Tensor, *, repeat: bool) -> Tensor:
    """Images (N, C, H, W) between their pixels, bilinear, at rows y and columns x (N, H, W).

    Args:
        repeat: whether the borders, which reflect, repeat the last pixel.
    """
    height, width = images.shape[-2:]
    if repeat:  # torch's coordinates: -1 and 1 are the outer edges of the pixels, else their centres
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    else:
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=not repeat)


def cut(levels: Tensor) -> Tensor:
    """Whole levels 0 .. 255 from values on that scale: cut off as the generators do, not rounded.

    What rounding errors leave just below a whole number counts as that number (they stay far below 1e-4), so
    that the result does not depend on the machine; the generators' own is by chance one lower there.
    """
    return (levels + 1e-4).clamp_(0, 255).floor_()
