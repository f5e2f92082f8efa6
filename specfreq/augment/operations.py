"""The nine operations of AugMix on batches of 8-bit pictures: each picture has its own operation and
strength; Pillow's results.

Every channel is treated alike and by itself, so grey pictures are as good as coloured ones, of any height and
width.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from specfreq.augment import base
from specfreq.augment.base import dispatch
from specfreq.core.errors import UserError

# the order of the original's list; an operation is its place in it, and -1 is none
NAMES = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
AUTOCONTRAST, EQUALIZE, POSTERIZE, ROTATE, SOLARIZE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y = range(9)
LEAST = 0.1  # level


def check(severity: float) -> None:
    if not LEAST <= severity < 10:  # at 10 posterize would keep no bit
        raise UserError(f"severity must be at least {LEAST} and less than 10, not {severity}")


def draw(shape: tuple[int, ...], severity: float, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """Operations, int64, each equally often, and their levels, float64: U(0.1, severity), with either sign.
    Both of ``shape``.
    """
    operation = torch.randint(len(NAMES), shape, generator=generator)
    level = torch.rand(shape, generator=generator, dtype=torch.float64) * (severity - LEAST) + LEAST
    return operation, torch.where(torch.rand(shape, generator=generator) < 0.5, level, -level)


def apply(images: Tensor, operation: Tensor, level: Tensor) -> Tensor:
    """Apply to each picture its operation.

    =================
    ========================================================================================= autocontrast
    stretch each channel to 0 .. 255 equalize           flatten the histogram of each channel posterize
    keep the upper 4 - ⌊0.4 l⌋ bits solarize           invert from 256 - ⌊25.6 l⌋ on rotate             by ±⌊3
    l⌋ degrees about the centre shear_x, shear_y   x + 0.03 (±l) y, y + 0.03 (±l) x, from each pixel to where
    its value is taken translate_x, _y    by ±⌊l S / 30⌋ pixels, of a side of S =================
    =========================================================================================

    Args:
        images: bytes (B, C, H, W).
        operation: int64 (B,), places in `NAMES`; -1 leaves the picture as it is.
        level: ±l, float64 (B,); the sign matters to the last five.

    Returns:
        Bytes (B, C, H, W). Rotation and shear interpolate between the four nearest pixels and cut off the
        fraction; what comes from outside is black.

    Source: Hendrycks et al., ICLR 2020, augmentations.py, which calls Pillow picture by picture.
    """
    if not base._asking_is_free(images.device):
        values = lookup(images, _tables(images, operation, level))
        return affine(values, _matrix(operation, level, *images.shape[-2:]))
    turned = (operation == ROTATE) | (operation == SHEAR_X) | (operation == SHEAR_Y)
    moved = operation >= TRANSLATE_X
    works = {
        AUTOCONTRAST: lambda x, *_: autocontrast(x),
        EQUALIZE: lambda x, *_: equalize(x),
        POSTERIZE: lambda x, _, v: posterize(x, 4 - _whole(v.abs(), 4)),
        SOLARIZE: lambda x, _, v: solarize(x, 256 - _whole(v.abs(), 256)),
        ROTATE: lambda x, o, v: affine(x, _matrix(o, v, *x.shape[-2:])),
        TRANSLATE_X: lambda x, o, v: translate(
            x,
            _whole(v, x.shape[-1] / 3) * (o == TRANSLATE_X),
            _whole(v, x.shape[-2] / 3) * (o == TRANSLATE_Y),
        ),
    }
    case = operation.masked_fill(turned, ROTATE).masked_fill(moved, TRANSLATE_X)
    return dispatch(images, case, works, operation, level)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel so that its darkest value is 0 and its brightest 255, fractions cut off; one of
    one value stays.
    """
    return _stretched(images, *images.flatten(2).aminmax(dim=2))


def _stretched(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Values (B, C, ...) so that what was low and high in their channel, (B, C), is 0 and 255."""
    low, high = (v[..., None, None].double() for v in (low, high))
    flat, one = high <= low, torch.ones_like(low)
    scale = torch.where(flat, one, 255 * one / (high - low))  # 255 / x would multiply by 1 / x
    return (values.double() * scale - (low * scale).masked_fill(flat, 0)).clamp(0, 255).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """Map each channel so that its histogram becomes flat, by Pillow's table: (⌊s/2⌋ + pixels below) // s, s
    = pixels // 255.

    The pixels of the highest value do not count in s; a channel for which it is 0 stays as it is.
    """
    values = images.flatten(2)
    return lookup(images, _equalising(values.long(), values.amax(2)))


def _equalising(values: Tensor, high: Tensor) -> Tensor:
    """The table (B, C, 256) of `equalize` for values, int64 (B, C, N), whose highest is `high` (B, C)."""
    one = torch.ones((), dtype=torch.int32, device=values.device)
    histogram = torch.zeros((*values.shape[:2], 256), dtype=torch.int32, device=values.device)
    histogram.scatter_add_(
        2, values, one.expand_as(values)
    )  # of integers, so the order of the sums does not matter
    cumulative = histogram.cumsum(2)
    highest = histogram.gather(2, high[..., None].long())
    step = (values.shape[2] - highest) // 255
    table = (step // 2 + cumulative - histogram) // step.clamp_min(1)
    table = torch.where(step > 0, table, torch.arange(256, device=values.device))
    return table.clamp_max(255).to(torch.uint8)


def lookup(images: Tensor, tables: Tensor) -> Tensor:
    """Each value replaced by what the table (B, C, 256) of its channel has for it."""
    return tables.gather(2, images.flatten(2).long()).view_as(images)


def _tables(images: Tensor, operation: Tensor, level: Tensor) -> Tensor:
    """What becomes of the 256 levels in each channel, bytes (B, C, 256): all that those operations do that
    move no pixel.
    """
    values = images.flatten(2)
    low, high = values.aminmax(dim=2)
    levels = torch.arange(256, device=images.device, dtype=torch.uint8).expand(*images.shape[:2], 1, 256)
    size, found = level.abs(), levels
    for name, made in (
        (AUTOCONTRAST, _stretched(levels, low, high)),
        (EQUALIZE, _equalising(values.long(), high)[:, :, None]),
        (POSTERIZE, posterize(levels, 4 - _whole(size, 4))),
        (SOLARIZE, solarize(levels, 256 - _whole(size, 256))),
    ):
        found = torch.where((operation == name)[:, None, None, None], made, found)
    return found[:, :, 0]


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper bits (B,) of each value, 1 to 8."""
    return images & (256 - 2 ** (8 - bits)).to(torch.uint8)[:, None, None, None]


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values from the threshold (B,) on, 1 to 256."""
    return images ^ -(images > (threshold - 1).to(torch.uint8)[:, None, None, None]).to(
        torch.uint8
    )  # -1 has all bits


def translate(images: Tensor, right: Tensor, below: Tensor) -> Tensor:
    """Take each pixel from so many further right and below, whole numbers (B,); black if that is outside."""
    height, width = images.shape[-2:]
    rows, columns = (
        torch.arange(n, device=images.device) + by[:, None] for n, by in ((height, below), (width, right))
    )
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    place = torch.where(inside, rows[:, :, None] * width + columns[:, None], height * width).flatten(1)
    pixels = F.pad(images.flatten(2), (0, 1))  # the last is the black one
    return pixels.gather(2, place[:, None].expand(-1, images.shape[1], -1)).view_as(images)


def affine(images: Tensor, matrix: Tensor) -> Tensor:
    """Take each pixel from where a matrix (B, 2, 3), float64, maps it to, in pixels (x, y, 1) from the upper
    left corner.

    Bilinear between pixel centres, fractions cut off; black if taken from outside.
    """
    height, width = images.shape[-2:]
    x, y = (torch.arange(n, device=images.device, dtype=torch.float64) + 0.5 for n in (width, height))
    # what sampling calls -1 and 1 are the borders
    matrix = torch.stack(
        [row * (2 / n) for row, n in zip(matrix.unbind(1), (width, height), strict=True)], dim=1
    )
    place = matrix[:, :, :1, None] * x + (matrix[:, :, 1:2, None] * y[:, None] + matrix[:, :, 2:, None] - 1)
    inside = (place.abs().amax(1) < 1).to(torch.uint8)
    # rounding must not push a whole number below itself before the fraction is cut off
    values = images.double() + 1e-6
    taken = F.grid_sample(values, place.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    return taken.to(torch.uint8) * inside[:, None]


def _whole(level: Tensor, most: float) -> Tensor:
    """A level in 0 .. 10 as a whole number of steps to ``most``, towards zero."""
    return (level * most / 10).long()


def _matrix(operation: Tensor, level: Tensor, height: int, width: int) -> Tensor:
    """The matrices (B, 2, 3) of rotations, shears and translations; of all else that of standing still."""
    shear, angle = level * 0.3 / 10, _whole(level, 30).double() * (math.pi / 180)
    angle = angle.masked_fill(operation != ROTATE, 0)
    cos, sin = angle.cos(), angle.sin()
    across = torch.where(operation == SHEAR_X, shear, -sin)
    down = torch.where(operation == SHEAR_Y, shear, sin)
    # both are 0 where nothing turns
    right = (width - cos * width + sin * height) / 2 + _whole(level, width / 3) * (operation == TRANSLATE_X)
    below = (height - sin * width - cos * height) / 2 + _whole(level, height / 3) * (operation == TRANSLATE_Y)
    return torch.stack([cos, across, right, down, cos, below], dim=1).view(-1, 2, 3)
