"""JPEG without a file: Pillow's bytes for pictures of any size, content and quality."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from specfreq.corruptions import jpeg


def pillows(picture, quality):
    """There and back through Pillow: bytes (H, W, C)."""
    file = io.BytesIO()
    picture_or_plane = picture[..., 0] if picture.shape[-1] == 1 else picture
    Image.fromarray(picture_or_plane).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file, formats=("JPEG",))).reshape(picture.shape)


def contents(height, width, channels):
    """Noise, black and white, and slopes: the worst, what leaves the range, and what pictures are like."""
    random = np.random.RandomState(height * width)
    shape = (2, height, width, channels)
    slopes = 128 + 60 * random.standard_normal((2, 1, 1, channels)) + random.normal(0, 9, shape).cumsum(2)
    found = [random.randint(0, 256, shape), 255 * random.randint(0, 2, shape), slopes.clip(0, 255)]
    return np.concatenate(found).astype(np.uint8)


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (31, 64), (33, 17), (9, 31), (28, 21), (96, 56)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_byte_is_pillows(size, channels):
    """Sizes that fill their blocks and sizes that do not, odd ones among them; steps from 1 to 255."""
    pictures = contents(*size, channels)
    levels = torch.from_numpy(pictures).permute(0, 3, 1, 2).double()
    for quality in (1, 7, 25, 40, 50, 65, 80, 95, 100):
        expected = np.stack([pillows(picture, quality) for picture in pictures])
        found = jpeg.there_and_back(levels, quality).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(found, expected), quality


def test_the_transform_is_a_dct_to_a_unit_of_its_last_bit():
    k, n = torch.arange(8.0, dtype=torch.float64)[:, None], torch.arange(8.0, dtype=torch.float64)
    exact = torch.where(k > 0, math.sqrt(2), 1) * torch.cos((2 * n + 1) * k * math.pi / 16)
    assert (jpeg._transform(torch.device("cpu")) / 2**13 - exact).abs().max() < 1.4 / 2**13


def test_a_picture_of_one_grey_stays_as_it_is():
    grey = torch.arange(256.0, dtype=torch.float64)[:, None, None, None].expand(-1, 3, 9, 10)
    assert torch.equal(jpeg.there_and_back(grey, 100), grey)


def test_colours_are_halved_and_doubled_about_their_mean():
    """A slope stays a slope, at half the resolution, and the halves that are rounded either way cancel."""
    slope = torch.arange(0, 64.0, 2, dtype=torch.float64).expand(1, 1, 16, 32)
    again = jpeg._doubled(jpeg._halved(slope))
    inside = (again - slope)[..., 2:-2]
    assert inside.abs().max() <= 1 and abs(inside.mean()) < 0.05
