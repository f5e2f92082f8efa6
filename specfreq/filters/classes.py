"""The input filters themselves, modules over `fourier`; `filters` knows them by name."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from specfreq import fourier
from specfreq.core.errors import UserError
from specfreq.core.transforms import Transform

Program = Literal["cifar10", "fashion-mnist"]


# by the number of channels: each program knows images of one kind
PROGRAMS: Mapping[int, Mapping[str, Any]] = {
    1: {"as_published": "fashion-mnist"},
    3: {"as_published": "cifar10"},
}


class Filter(Transform):
    """Images (N, C, H, W) or (C, H, W) in [0, 1] -> images of the same shape; values may leave [0, 1].

    Training or evaluation mode makes no difference. Samples with labels are taken as well, see `Transform`.
    """

    # parameters of the original program, by the number of channels
    published: ClassVar[Mapping[int, Mapping[str, Any]]] = {}

    def __init__(self):  # the signature is read for parameters, and torch's own takes anything
        super().__init__()

    def fit(self, images: Tensor) -> Self:
        """Learn what the filter needs from the training images (N, C, H, W) in [0, 1]; most need nothing."""
        return self

    @abstractmethod
    def transform(self, images: Tensor) -> Tensor:
        """The filtered images (N, C, H, W)."""

    def forward(self, *inputs: Any) -> Any:
        return self.on_images(self.transform, inputs)


class Identity(Filter):
    """No filter: x' = x."""

    def transform(self, images: Tensor) -> Tensor:
        return images


class GaussianLowPass(Filter):
    r"""Gaussian low-pass, x' = g_sigma * x: each channel on its own, periodic, mean preserved.

    Args:
        sigma: standard deviation of the kernel, pixels.
        as_published: what one of the original programs did instead. Both blur in 8-bit arithmetic and cut the
            result to an integer after each axis; ``cifar10`` also blurs across the colour channels (borders
            wrap), ``fashion-mnist`` reflects at the border.

    Source: the frequency-response study; SciPy's ``gaussian_filter`` on arrays of bytes, as its notebooks
    call it.
    """

    published: ClassVar[Mapping[int, Mapping[str, Any]]] = PROGRAMS

    def __init__(self, sigma: float, as_published: Program | None = None):
        super().__init__()
        if not 1e-3 <= sigma <= 1e3:  # beyond, its square overflows, or its kernel is longer than any image
            raise UserError(f"sigma must be a positive number of pixels, from 0.001 to 1000, not {sigma}")
        self.sigma, self.as_published = sigma, as_published

    def transform(self, images: Tensor) -> Tensor:
        if self.as_published is None:
            return fourier.gaussian_low_pass(images, self.sigma)
        return _from_bytes(self._published_blur(_to_bytes(images)), images)

    def _published_blur(self, images: np.ndarray) -> np.ndarray:
        if (
            self.as_published == "cifar10"
        ):  # one sigma for all axes of an (H, W, 3) picture: the colours blur into one another
            return gaussian_filter(images, (0, self.sigma, self.sigma, self.sigma), mode="wrap")
        if images.shape[-1] != 1:
            raise UserError(
                "as_published=fashion-mnist is a program for grey images; colour has as_published=cifar10"
            )
        return gaussian_filter(images, (0, self.sigma, self.sigma, 0), mode="reflect")


class GaussianHighPass(GaussianLowPass):
    r"""Image minus Gaussian low-pass, x' = x - g_sigma * x: zero mean, values in [-1, 1].

    Args:
        sigma: standard deviation of the kernel that is taken away, pixels.
        as_published: ``cifar10`` subtracts the blurred array from itself, so every input is 0;
            ``fashion-mnist`` subtracts bytes, so that negative values wrap round to 200 and more.

    Source: the frequency-response study ("original - blur").
    """

    def transform(self, images: Tensor) -> Tensor:
        if self.as_published is None:
            return fourier.gaussian_high_pass(images, self.sigma)
        original = _to_bytes(images)
        blurred = self._published_blur(original)
        if self.as_published == "cifar10":
            view = original  # a view, not a copy: the blur is written into the array it shows ...
            original[...] = blurred
            return _from_bytes(view - original, images)  # ... and the difference is zero everywhere
        return _from_bytes(original - blurred, images)


class Whitening(Filter):
    r"""Whitening: F x' = F x / sqrt(P), P the mean power spectrum of the training images, each channel on its
    own.

    Args:
        floor: smallest P that is divided by, relative to its maximum; below it noise would be all that is
            amplified.
        as_published: divide by the Hamming-windowed mean *power* itself (over its maximum, no floor) instead
            of its root, take the modulus of the result, divide by the maximum of the image and by 255 once
            more. The program exists for grey images; for colour the same formula is applied to each channel.

    Source: the frequency-response study ("FFT transform").
    """

    published: ClassVar[Mapping[int, Mapping[str, Any]]] = PROGRAMS

    def __init__(self, floor: float = 1e-8, as_published: Program | None = None):
        super().__init__()
        if not 1e-12 <= floor <= 1:  # below, float32 would divide by 0
            raise UserError(f"floor must lie in [1e-12, 1], not {floor}")
        self.floor, self.as_published = floor, as_published
        self.register_buffer("mean_power", torch.empty(0, dtype=torch.float64))

    def fit(self, images: Tensor) -> Self:
        window = "hamming" if self.as_published else None
        first, *others = (fourier.power_spectrum(part.double(), window).sum(0) for part in images.split(1000))
        self.mean_power = sum(others, first) / len(images)
        return self

    def transform(self, images: Tensor) -> Tensor:
        if self.mean_power.numel() == 0:
            raise UserError("whitening has seen no training images; call fit(images) first")
        if self.as_published is None:
            return fourier.whiten(images, self.mean_power.to(images.dtype), floor=self.floor)
        divisor = self.mean_power / self.mean_power.amax((-2, -1), keepdim=True)
        spectrum = torch.fft.fft2(images.double()) / torch.fft.ifftshift(divisor, dim=(-2, -1))
        modulus = torch.fft.ifft2(spectrum).abs()
        return (modulus / modulus.amax((-3, -2, -1), keepdim=True).clamp_min(1e-300) / 255).to(images.dtype)


class AmplitudeOnly(Filter):
    r"""Amplitude without phase, :math:`x' = \mathcal{F}^{-1} |\mathcal{F} x|`, channel by channel.

    Symmetric about pixel (0, 0), where all cosines meet: the largest value there is the sum of the amplitudes
    over the number of pixels, and can be far above 1. The mean is preserved.

    Source: Oppenheim and Lim, Proc. IEEE 69, 1981, section II (magnitude-only images).
    """

    def transform(self, images: Tensor) -> Tensor:
        return fourier.recombine(images, _impulse(images))


class PhaseOnly(Filter):
    r"""Phase with amplitude 1 everywhere, :math:`x' = \mathcal{F}^{-1} e^{i \arg \mathcal{F} x}`, channel by
    channel.

    All images have the same flat power spectrum; :math:`\sum_n x'(n)^2 = 1` in each channel. Where a spectrum
    is zero its phase counts as 0.

    Source: Oppenheim and Lim, Proc. IEEE 69, 1981, section II (phase-only images).
    """

    def transform(self, images: Tensor) -> Tensor:
        return fourier.recombine(_impulse(images), images)


def _impulse(like: Tensor) -> Tensor:
    """1 at pixel (0, 0) and 0 elsewhere, whose spectrum is 1 everywhere, in the shape of images."""
    impulse = torch.zeros_like(like)
    impulse[..., 0, 0] = 1
    return impulse


def _to_bytes(images: Tensor) -> np.ndarray:
    """(N, C, H, W) in [0, 1] -> (N, H, W, C) bytes, as the original programs hold them."""
    return (images.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _from_bytes(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2).to(like) / 255
