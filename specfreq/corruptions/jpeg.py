"""Baseline JPEG there and back in whole numbers, for batches on any device: libjpeg's bytes, without a file.

Entropy coding loses nothing, so a codec is colours, subsampling, transform and rounding. libjpeg computes
these in integers ("islow" transform, "fancy" upsampling), and libjpeg-turbo's vector instructions give the
same bits. Here float64 tensors hold the integers: products and sums stay far below 2^53, so they are exact in
any order and on any machine.

Source: ITU-T T.81, annexes A and K; Loeffler, Ligtenberg and Moschytz, ICASSP 1989 (the transform); JFIF
1.02.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 8  # of a block
BITS = 13  # of the transform's constants behind the point
KEPT = 2  # bits that the first of two passes keeps

# annex K: steps of the coefficients at quality 50, brightness and colour
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * SIDE,) * 4,
)

# of R, G and B in Y, Cb and Cr, in 2^-16
TO_YCC = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
RED_OF_CR, GREEN_OF_CB, GREEN_OF_CR, BLUE_OF_CB = 91881, -22554, -46802, 116130


def there_and_back(levels: Tensor, quality: int) -> Tensor:
    """Encode and decode pictures at a quality of 1 to 100, colours at half the resolution (4:2:0).

    Args:
        levels: whole numbers 0 .. 255, float64 (N, C, H, W), grey or colour (C = 1 or 3), of at least 5
            pixels a side: libjpeg doubles the colours of smaller ones otherwise.

    Returns:
        Whole numbers 0 .. 255, float64 (N, C, H, W).
    """
    height, width = levels.shape[-2:]
    if levels.shape[1] == 1:
        return _coded(levels, _steps(quality, colour=False), height, width)
    y, colours = _to_ycc(levels).split([1, 2], 1)
    y = _coded(y, _steps(quality, colour=False), height, width)
    colours = _coded(_halved(colours), _steps(quality, colour=True), (height + 1) // 2, (width + 1) // 2)
    return _to_rgb(y, _doubled(colours)[..., :height, :width])


def _steps(quality: int, *, colour: bool) -> Tensor:
    """By how much the coefficients are divided: float64 (8, 8)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor(CHROMINANCE if colour else LUMINANCE)
    return ((table * percent + 50) // 100).clamp(1, 255).double()


@functools.lru_cache(maxsize=4)
def _transform(device: torch.device) -> Tensor:
    r"""The DCT of 8 values as libjpeg rounds it, in :math:`2^{-13}`: float64 (8, 8), row k a frequency.

    .. math:: \sqrt8\, c_k \cos((2n + 1) k \pi / 16), \qquad c_0 = \sqrt{1/8}, \quad c_k = \tfrac12

    The constants are sums of rounded ones, so that some are one off the nearest whole number.
    """
    a, b, c, d, e, f = 11363, 9633, 6437, 2260, 10703, 4433
    half = torch.tensor(
        [
            [8192, 8192, 8192, 8192],
            [a, b, c, d],
            [e, f, -f, -e],
            [b, 1 - d, 1 - a, 1 - c],
            [8192, -8192, -8192, 8192],
            [c, 1 - a, d + 1, b],
            [f, -e - 1, e + 1, -f],
            [d, 1 - c, b, -a],
        ],
        dtype=torch.float64,
    )
    odd = torch.tensor([1, -1] * 4)[:, None]
    return torch.cat([half, odd * half.flip(1)], 1).to(device)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Values / 2^bits to the nearest whole number, halves upwards; in place."""
    return values.add_(2.0 ** (bits - 1)).mul_(2.0**-bits).floor_()


def _coded(plane: Tensor, steps: Tensor, height: int, width: int) -> Tensor:
    """What quantisation of their blocks' coefficients leaves of planes (N, C, H, W), cut to height and width.

    What a last block lacks is filled up with the border, as far as the encoder has not done so already.
    """
    down, across = (-(-n // SIDE) for n in (height, width))
    missing = (0, SIDE * across - plane.shape[-1], 0, SIDE * down - plane.shape[-2])
    plane = F.pad(plane, missing, mode="replicate")
    forwards, steps = _transform(plane.device), (SIDE * steps).to(plane.device)
    backwards = forwards.T
    blocks = plane.sub(128).unflatten(-1, (across, SIDE)).unflatten(-3, (down, SIDE)).transpose(-2, -3)

    def passed(x: Tensor, matrix: Tensor, bits: int) -> Tensor:
        """Transform the rows, round, and turn the blocks: after two of these they stand as before."""
        return _shifted(x @ matrix.T, bits).transpose(-1, -2)

    x = passed(passed(blocks, forwards, BITS - KEPT), forwards, BITS + KEPT)
    # the transform is 8 times too large; halves away from zero
    x = (x.abs().add_(steps // 2).div_(steps).floor_() * x.sign()).mul_(steps / SIDE)
    # columns first on the way back
    x = passed(passed(x.transpose(-1, -2), backwards, BITS - KEPT), backwards, BITS + KEPT + 3)
    x = x.transpose(-1, -2)
    plane = x.add_(128).clamp_(0, 255).transpose(-2, -3).flatten(-4, -3).flatten(-2)
    return plane[..., :height, :width]


def _to_ycc(levels: Tensor) -> Tensor:
    """Brightness and two colours of R, G and B (N, 3, H, W), whole numbers 0 .. 255."""
    r, g, b = levels.unbind(1)
    # colours are rounded with a hair less than a half, so that 255.5 does not become 256
    planes = [
        ((red * r + green * g + blue * b + (2**15 - (i > 0))) * 2.0**-16).floor_() + 128 * (i > 0)
        for i, (red, green, blue) in enumerate(TO_YCC)
    ]
    return torch.stack(planes, 1)


def _to_rgb(y: Tensor, colours: Tensor) -> Tensor:
    y, (cb, cr) = y[:, 0], (colours - 128).unbind(1)
    parts = (RED_OF_CR * cr, GREEN_OF_CB * cb + GREEN_OF_CR * cr, BLUE_OF_CB * cb)
    return torch.stack([y + _shifted(part, 16) for part in parts], 1).clamp_(0, 255)


def _halved(planes: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, halves down and up in turns; their columns are those of whole blocks."""
    width = planes.shape[-1]
    planes = F.pad(planes, (0, -width % (2 * SIDE), 0, planes.shape[-2] % 2), mode="replicate")
    corners = [planes[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    total = torch.stack(corners).sum(0)
    bias = torch.arange(total.shape[-1], device=planes.device) % 2 + 1
    return (total + bias).mul_(0.25).floor_()


def _doubled(planes: Tensor) -> Tensor:
    """Twice as many rows and columns, 3/4 and 1/4 of the nearest two; halves go up and down in turns."""
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    own = 3 * padded[..., 1:-1, :]
    rows = torch.stack([own + padded[..., :-2, :], own + padded[..., 2:, :]], -2).flatten(-3, -2)
    own = 3 * rows[..., 1:-1]
    columns = torch.stack([own + rows[..., :-2] + 8, own + rows[..., 2:] + 7], -1)
    return columns.mul_(1 / 16).floor_().flatten(-2)
