"""Images as tensors: bytes and floats in [0, 1], their range, their moments, their luminance."""

from collections.abc import Iterator

import torch
from torch import Tensor

from specfreq.core.errors import UserError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_SCALED = (
    "; scale before it, normalise after it, "
    "and give an augmentation before it that leaves [0, 1], such as apr-p, clip=1"
)


def unit(images: Tensor) -> Tensor:
    """Bytes -> float32 in [0, 1]; floats stay as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel (C,) over images (N, C, H, W), bytes or floats."""
    count, channels = images.numel() // images.shape[1], images.shape[1]

    def parts() -> Iterator[Tensor]:  # twice, as all of them would take eight times the memory of the bytes
        for part in images.split(1000):
            yield unit(part).double().transpose(0, 1).reshape(channels, -1)

    zero = torch.zeros(channels, dtype=torch.float64, device=images.device)
    mean = sum((p.sum(1) for p in parts()), zero) / count
    variance = sum((((p - mean[:, None]) ** 2).sum(1) for p in parts()), zero) / count
    # constant inputs, such as a published filter makes, stay finite
    return mean.float(), variance.sqrt().clamp_min(1e-6).float()


def luminance(x: Tensor) -> Tensor:
    """Grey (N, 1, H, W) of colour images (N, 3, H, W), 0.299 R + 0.587 G + 0.114 B; grey ones as they are."""
    return x if x.shape[1] == 1 else (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def grey(images: Tensor) -> Tensor:
    """One channel, (N, 1, H, W): the luminance of colour images; of images of neither one nor three channels
    the mean over them.
    """
    return luminance(images) if images.shape[1] in (1, 3) else images.mean(1, keepdim=True)


def checked(images: Tensor, hint: str = _SCALED) -> Tensor:
    """Refuse what is not a batch of float images (B, C, H, W) in [0, 1]."""
    if images.dtype not in (torch.float32, torch.float64):
        raise UserError(
            f"expected float32 or float64 images in [0, 1], not {images.dtype}; of uint8 images take x / 255"
        )
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise UserError(f"expected images (B, C, H, W); got shape {tuple(images.shape)}")
    if images.numel():
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):  # NaN is not either
            raise UserError(
                f"expected images in [0, 1]; these reach from {float(low):.3g} to {float(high):.3g}{hint}"
            )
    return images


def to_floats(images: Tensor, *rows: Tensor) -> Tensor:
    """Bytes to float32 in [0, 1], whatever rows of a table come with them."""
    return images.float() / 255


def to_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] to the nearest of the 256 levels, uint8; bytes stay as they are."""
    return images if images.dtype == torch.uint8 else (images * 255 + 0.5).to(torch.uint8)
