"""The nine operations of AugMix on batches of 8-bit pictures: each picture has its own operation and
strength; Pillow's results.

Every channel is treated alike and by itself, so grey pictures are as good as coloured ones, of any height and
width.
"""

import functools
import logging
import math
import sys
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.utils.data import get_worker_info

from specfreq.augment import base
from specfreq.augment.base import dispatch
from specfreq.core.errors import UserError

log = logging.getLogger(__name__)

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
# of no dimension, so that they meet tensors of any device, and make float64 of bytes in one pass
WHITE, ABOVE = (torch.tensor(value, dtype=torch.float64, device="cpu") for value in (255, 1e-6))


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


def steps(images: Tensor, operation: Tensor, level: Tensor) -> list[tuple[Tensor, ...]]:
    """What `apply` takes beside images (B, C, H, W) in each of K steps, from operations and levels (B, K).

    On a GPU all that does not hang on the images' values comes along, worked out for all steps at once: there
    each of many small computations costs a launch.
    """
    rows = [operation, level]
    if not base._asking_is_free(images.device):
        each = operation.flatten(), level.flatten()
        ready = (_tables(*each), *_places(*each, *images.shape[-2:]))
        rows += [row.unflatten(0, operation.shape) for row in ready]
    return list(zip(*(row.unbind(1) for row in rows), strict=True))


def apply(images: Tensor, operation: Tensor, level: Tensor, *ready: Tensor) -> Tensor:
    """Apply to each picture its operation.

    =================  ====================================================================================
    autocontrast       stretch each channel to 0 .. 255
    equalize           flatten the histogram of each channel
    posterize          keep the upper 4 - ⌊0.4 l⌋ bits
    solarize           invert from 256 - ⌊25.6 l⌋ on
    rotate             by ±⌊3 l⌋ degrees about the centre
    shear_x, shear_y   x + 0.03 (±l) y, y + 0.03 (±l) x, from each pixel to where its value is taken
    translate_x, _y    by ±⌊l S / 30⌋ pixels, of a side of S
    =================  ====================================================================================

    Args:
        images: bytes (B, C, H, W).
        operation: int64 (B,), places in `NAMES`; -1 leaves the picture as it is.
        level: ±l, float64 (B,); the sign matters to the last five.
        ready: the rest of what `steps` makes of the two.

    Returns:
        Bytes (B, C, H, W). Rotation and shear interpolate between the four nearest pixels and cut off the
        fraction; what comes from outside is black.

    Source: Hendrycks et al., ICLR 2020, augmentations.py, which calls Pillow picture by picture.
    """
    if not base._asking_is_free(images.device):
        if not ready:
            ready = steps(images, operation[:, None], level[:, None])[0][2:]
        tables, across, down = ready
        return affine(_valued(images, operation, tables), across, down)
    # a program that is being compiled by torch goes on with torch
    fast = None if torch.compiler.is_compiling() else _compiled()
    return fast(images, operation, level) if fast else _applied(images, operation, level)


def _compiled() -> Callable[..., Tensor] | None:
    """The compiled operations, if they work; in a worker of a DataLoader if they are there already, as it
    lives for an epoch only.
    """
    return _imported() if get_worker_info() is None or "numba" in sys.modules else None


@functools.cache
def _imported() -> Callable[..., Tensor] | None:
    """The compiled operations; None, with a warning, where they do not work."""
    try:
        # a second to import, some seconds to compile when new
        compiled = import_module("specfreq.augment.compiled")
        kinds = torch.uint8, torch.int64, torch.float64
        one, operation, level = (torch.zeros(1, dtype=kind, device="cpu") for kind in kinds)
        compiled.apply(one.view(1, 1, 1, 1), operation, level)
    except Exception as error:  # numba is not installed, or broken
        log.warning("specfreq: the operations of AugMix are slow, as numba does not work here: %s", error)
        return None
    return compiled.apply


def _applied(images: Tensor, operation: Tensor, level: Tensor) -> Tensor:
    """`apply` by torch alone, on a processor: each operation sees its pictures."""
    turned = (operation == ROTATE) | (operation == SHEAR_X) | (operation == SHEAR_Y)
    moved = operation >= TRANSLATE_X
    works = {
        AUTOCONTRAST: lambda x, *_: autocontrast(x),
        EQUALIZE: lambda x, *_: equalize(x),
        POSTERIZE: lambda x, _, v: posterize(x, 4 - _whole(v.abs(), 4)),
        SOLARIZE: lambda x, _, v: solarize(x, 256 - _whole(v.abs(), 256)),
        ROTATE: lambda x, o, v: affine(x, *_places(o, v, *x.shape[-2:])),
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
    low, high = images.flatten(2).aminmax(dim=2)
    low, high = low[..., None, None], high[..., None, None]
    return torch.where(high > low, _stretched(images, low, high), images)


def _stretched(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Values so that low becomes 0 and high 255, bytes; of use only where low < high. All to broadcast."""
    scale = torch.div(WHITE, high - low)  # 255 / x would multiply by 1 / x
    return (values * scale - low * scale).clamp(0, 255).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """Map each channel so that its histogram becomes flat, by Pillow's table: (⌊s/2⌋ + pixels below) // s, s
    = pixels // 255.

    The pixels of the highest value do not count in s; a channel for which it is 0 stays as it is.
    """
    values = images.flatten(2).long()
    step, table = _equalising(values, values.amax(2, keepdim=True))
    return torch.where(step[..., None] > 0, table.gather(2, values).view_as(images), images)


def _equalising(values: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Step s (B, C, 1) and table (B, C, 256) of `equalize`: int64 values (B, C, N), the highest of them (B,
    C, 1).
    """
    one = torch.ones((), dtype=torch.int32, device=values.device)
    below = torch.zeros((*values.shape[:2], 257), dtype=torch.int32, device=values.device)
    # of integers, so the order of the sums does not matter
    below[..., 1:].scatter_add_(2, values, one.expand_as(values))
    below = below.cumsum(2)[..., :256]
    step = below.gather(2, high) // 255
    table = (step // 2 + below) // step.clamp_min(1)
    return step, table.clamp_max(255).to(torch.uint8)


def _tables(operation: Tensor, level: Tensor) -> Tensor:
    """What posterize and solarize make of the 256 levels, bytes (B, 1, 256); all else leaves them."""
    levels = torch.arange(256, device=level.device, dtype=torch.uint8).expand(len(level), 1, 1, 256)
    size = level.abs()
    bits = (4 - _whole(size, 4)).masked_fill(operation != POSTERIZE, 8)
    threshold = (256 - _whole(size, 256)).masked_fill(operation != SOLARIZE, 256)
    return solarize(posterize(levels, bits), threshold)[:, 0]


def _valued(images: Tensor, operation: Tensor, tables: Tensor) -> Tensor:
    """Bytes (B, C, H, W) after those operations that move no pixel, given the `_tables` of two of them."""
    values = images.flatten(2).long()
    low, high = values.aminmax(dim=2, keepdim=True)
    levels = torch.arange(256, device=images.device)
    step, equalised = _equalising(values, high)
    operation = operation[:, None, None]
    stretches, equalises = (operation == AUTOCONTRAST) & (high > low), (operation == EQUALIZE) & (step > 0)
    tables = torch.where(stretches, _stretched(levels, low, high), torch.where(equalises, equalised, tables))
    return tables.gather(2, values).view_as(images)


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


def affine(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Take each pixel from the place (x, y) that its column and its row add up to, (B, 2, 1, W) and (B, 2, H,
    1), float64.

    In places -1 and 1 are the borders. Bilinear between pixel centres, fractions cut off; black if taken from
    outside.
    """
    place = across + down
    inside = torch.linalg.vector_norm(place, torch.inf, dim=1) < 1
    # rounding must not push a whole number below itself before the fraction is cut off
    values = images + ABOVE
    taken = F.grid_sample(values, place.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    return taken.to(torch.uint8) * inside[:, None]


def _whole(level: Tensor, most: float) -> Tensor:
    """A level in 0 .. 10 as a whole number of steps to ``most``, towards zero."""
    return (level * most / 10).long()


def _places(operation: Tensor, level: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where pixels are taken from, as `affine` expects it: rotated, sheared, translated, or left."""
    x, y = (torch.arange(0.5, n, device=level.device, dtype=torch.float64) for n in (width, height))
    first, second = _matrix(operation, level, height, width).unbind(1)
    matrix = torch.stack([first * (2 / width), second * (2 / height)], dim=1)[..., None]
    return matrix[:, :, :1] * x, matrix[:, :, 1:2] * y[:, None] + matrix[:, :, 2:] - 1


def _matrix(operation: Tensor, level: Tensor, height: int, width: int) -> Tensor:
    """The matrices (B, 2, 3) that map (x, y, 1), in pixels from the upper left corner, to where a value is
    taken.
    """
    shear, angle = level * 0.3 / 10, _whole(level, 30).double() * (math.pi / 180)
    angle = angle.masked_fill(operation != ROTATE, 0)
    cos, sin = angle.cos(), angle.sin()
    across = torch.where(operation == SHEAR_X, shear, -sin)
    down = torch.where(operation == SHEAR_Y, shear, sin)
    # both are 0 where nothing turns
    right = (width - cos * width + sin * height) / 2 + _whole(level, width / 3) * (operation == TRANSLATE_X)
    below = (height - sin * width - cos * height) / 2 + _whole(level, height / 3) * (operation == TRANSLATE_Y)
    return torch.stack([cos, across, right, down, cos, below], dim=1).view(-1, 2, 3)
