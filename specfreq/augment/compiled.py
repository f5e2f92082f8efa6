"""The nine operations compiled for a processor, picture by picture: some ten times as fast as by torch, and
the same bytes but where a value is within rounding, 1e-13, of a whole number.
"""

import math

import numpy as np
import torch
from torch import Tensor

from specfreq.augment import operations
from specfreq.augment.operations import (
    AUTOCONTRAST,
    EQUALIZE,
    POSTERIZE,
    ROTATE,
    SHEAR_X,
    SHEAR_Y,
    SOLARIZE,
    TRANSLATE_X,
    TRANSLATE_Y,
)
from specfreq.tv import native

# numba keeps its code until this file changes: change it when one of these constants does
ABOVE = float(operations.ABOVE)
PART = 2**16  # values, about, that are worth a thread


def apply(images: Tensor, operation: Tensor, level: Tensor) -> Tensor:
    """Apply to each picture its operation: see `operations.apply`."""
    if images.dtype != torch.uint8 or not len(images) == len(operation) == len(level):
        raise ValueError("bytes (B, C, H, W), operations (B,) and levels (B,) are needed")
    pictures, out = images.contiguous(), torch.empty(images.shape, dtype=torch.uint8, device="cpu")
    if pictures.numel():
        arrays = out, pictures, operation.long().contiguous(), level.detach().double().contiguous()
        given = (array.resolve_neg().numpy() for array in arrays)
        native.share(_apply, np.arange(len(images)), *given, least=1 + PART // pictures[0].numel())
    return out


@native.Compiled
def _apply(rows, out, pictures, operation, level):
    table, counts = np.empty(256, np.uint8), np.empty(256, np.int64)
    for k in rows:
        _one(out[k], pictures[k], operation[k], level[k], table, counts)


@native.inner
def _one(out, picture, operation, level, table, counts):
    """One picture (C, H, W); the table and the counts are places to work in."""
    channels, height, width = picture.shape
    if operation >= TRANSLATE_X:
        right = _whole(level, width / 3) if operation == TRANSLATE_X else 0
        below = _whole(level, height / 3) if operation == TRANSLATE_Y else 0
        _translated(out, picture, right, below)
    elif operation in (ROTATE, SHEAR_X, SHEAR_Y):
        _moved(out, picture, operation, level)
    else:
        kept, threshold, size = 255, 256, abs(level)
        if operation == POSTERIZE:
            kept = 256 - (1 << (4 + _whole(size, 4.0)))
        elif operation == SOLARIZE:
            threshold = 256 - _whole(size, 256.0)
        for value in range(256):
            table[value] = (255 - value if value >= threshold else value) & kept
        for channel in range(channels):
            if operation == AUTOCONTRAST:
                _stretching(table, picture, channel)
            elif operation == EQUALIZE:
                _equalising(table, counts, picture, channel)
            for row in range(height):
                for column in range(width):
                    out[channel, row, column] = table[picture[channel, row, column]]


@native.inner
def _whole(level, most):
    return int(level * most / 10)


@native.inner
def _stretching(table, picture, channel):
    low, high = 255, 0
    for row in range(picture.shape[1]):
        for column in range(picture.shape[2]):
            value = int(picture[channel, row, column])
            if value < low:
                low = value
            if value > high:
                high = value
    for value in range(256):
        table[value] = value
    if high > low:
        scale = 255.0 / (high - low)
        for value in range(low, high + 1):
            stretched = value * scale - low * scale
            # rounding may leave 0 .. 255 by a trace
            table[value] = 0 if stretched < 0 else 255 if stretched > 255 else int(stretched)


@native.inner
def _equalising(table, counts, picture, channel):
    for value in range(256):
        counts[value] = 0
    for row in range(picture.shape[1]):
        for column in range(picture.shape[2]):
            counts[picture[channel, row, column]] += 1
    high = 255
    while counts[high] == 0:
        high -= 1
    step, below = (picture.shape[1] * picture.shape[2] - counts[high]) // 255, 0
    for value in range(256):
        flat = (step // 2 + below) // step if step else value
        table[value] = flat if flat < 255 else 255
        below += counts[value]


@native.inner
def _translated(out, picture, right, below):
    channels, height, width = picture.shape
    for channel in range(channels):
        for row in range(height):
            inside = 0 <= row + below < height
            for column in range(width):
                if inside and 0 <= column + right < width:
                    out[channel, row, column] = picture[channel, row + below, column + right]
                else:
                    out[channel, row, column] = 0


@native.inner
def _moved(out, picture, operation, level):
    """Rotation and shear: bilinear between four pixels."""
    channels, height, width = picture.shape
    angle = _whole(level, 30.0) * (math.pi / 180) if operation == ROTATE else 0.0
    shear, cos, sin = level * 0.3 / 10, math.cos(angle), math.sin(angle)
    across = shear if operation == SHEAR_X else -sin
    down = shear if operation == SHEAR_Y else sin
    right, below = (width - cos * width + sin * height) / 2, (height - sin * width - cos * height) / 2
    wide, high = 2 / width, 2 / height
    for row in range(height):
        y = row + 0.5
        from_x, from_y = across * wide * y + right * wide - 1, cos * high * y + below * high - 1
        for column in range(width):
            x = column + 0.5
            place_x, place_y = cos * wide * x + from_x, down * high * x + from_y
            inside = -1 < place_x < 1 and -1 < place_y < 1
            left, past, u = _neighbours(place_x, width)
            top, under, v = _neighbours(place_y, height)
            for channel in range(channels):
                upper = picture[channel, top, left] * (1 - u) + picture[channel, top, past] * u
                lower = picture[channel, under, left] * (1 - u) + picture[channel, under, past] * u
                value = upper * (1 - v) + lower * v + ABOVE
                out[channel, row, column] = int(value) if inside else 0


@native.inner
def _neighbours(place, size):
    """The pixels on either side of a place in -1 .. 1, or the one at the border twice, and how far it is from
    the first.
    """
    at = (place + 1) * (size / 2) - 0.5
    at = (at if at < size - 1 else size - 1.0) if at > 0 else 0.0  # and 0 if it is no number
    first = int(at)
    return first, first + 1 if first < size - 1 else first, at - first
