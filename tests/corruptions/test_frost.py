"""Frost: the computed texture, and the generators' photographs where a folder has them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from specfreq.core import images
from specfreq.core.errors import UserError
from specfreq.core.randomness import Draws
from specfreq.corruptions import CIFAR, IMAGENET, corrupt, frost, weather

CPU = torch.device("cpu")


def folder(place, size=(300, 200), grey=None):
    """Five pictures, each of one grey, or each pixel the number of its row and column."""
    y, x = np.mgrid[: size[1], : size[0]]
    for i, name in enumerate(frost.FILES):
        levels = np.full((size[1], size[0]), grey[i]) if grey else (x + y) % 256
        Image.fromarray(np.stack([levels] * 3, -1).astype(np.uint8)).save(place / name, quality=100)
    return place


def test_the_texture_is_the_same_everywhere_bluish_and_bright():
    texture = frost.texture(3)
    assert texture.shape == (3, 512, 768)
    assert np.array_equal(texture, frost.texture(3))
    assert 0 <= texture.min() < texture.max() <= 1
    red, green, blue = texture.mean((1, 2))
    assert red < green < blue
    assert texture.mean() == pytest.approx(0.60, abs=0.01)
    assert texture.std() == pytest.approx(0.12, abs=0.02)


def test_the_texture_falls_off_with_frequency_as_photographs_do():
    """Mean power at 1, 4 and 16 cycles in pieces of 32 pixels, relative to the first; the photographs have 1,
    0.11, 0.04.
    """
    levels, sizes = frost.load(None, 0.2, (32, 32), CPU)
    power, start = [], 0
    for height, width in sizes.tolist():
        picture = levels[:, start : start + height * width].mean(0).view(height, width)
        start += height * width
        pieces = picture.unfold(0, 32, 16).unfold(1, 32, 16).flatten(0, 1)
        power.append(torch.fft.fft2(pieces).abs().square().mean(0))
    total = sum(power)
    profile = [float((total[0, k] + total[k, 0]) / (total[0, 1] + total[1, 0])) for k in (4, 16)]
    assert 0.04 < profile[0] < 0.2
    assert 0.01 < profile[1] < 0.08


def test_an_image_gets_a_piece_of_a_photograph(tmp_path):
    place = folder(tmp_path, grey=(10, 60, 110, 160, 210))
    images = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = (images * 255).round() / 255
    found = corrupt(images, "frost", 1, frost=place)
    dimmed, added = CIFAR.constants["frost"][0]
    seen = set()
    for image, frosted in zip(images, found, strict=True):
        fits = [
            g
            for g in (10, 60, 110, 160, 210)
            if ((dimmed * image + added * g / 255).clamp(0, 1) - frosted).abs().max()
            < 2.1 / 255  # cut, and JPEG's own level
        ]
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) == 5


def test_pieces_are_rows_and_columns_of_the_reduced_picture(tmp_path):
    """Reduced by 1/5, pixel k lies in the middle of five: k' = 5 k + 2, as cv2.resize has it."""
    pictures = frost.load(folder(tmp_path), 0.2, (32, 32), CPU)
    assert pictures.sizes.tolist() == [[40, 60]] * 5
    first = (pictures.levels[0, : 40 * 60].view(40, 60) * 255).round()
    rows, columns = torch.arange(40)[:, None], torch.arange(60)
    assert first.equal((5 * rows + 2 + 5 * columns + 2).float() % 256)
    pieces = (
        weather.frost(torch.zeros(30, 3, 32, 32).double(), (0, 1), Draws(torch.arange(30)), pictures) * 255
    ).round()
    in_png = pieces[(pieces[:, 0, 1, 0] - pieces[:, 0, 0, 0]) % 256 == 5]
    assert len(in_png) > 5
    expected = (in_png[:, :1, :1, :1] + 5 * torch.arange(32)[:, None] + 5 * torch.arange(32)) % 256
    assert ((in_png[:, :1] - expected).abs() <= 3).float().mean() > 0.9  # some of the pictures are JPEGs
    assert len(in_png[:, 0, 0, 0].unique()) > 3


def test_grey_images_get_the_luma():
    x, keys = torch.zeros(4, 1, 28, 28).double(), torch.arange(4)
    pictures = frost.load(None, 0.2, (28, 28), CPU)
    grey = weather.frost(x, (1, 0.5), Draws(keys), pictures)
    colour = weather.frost(x.expand(-1, 3, -1, -1), (1, 0.5), Draws(keys), pictures)
    assert_close(grey, images.luminance(colour))
    assert grey.amax() > 0.1


def test_textures_are_tiled_for_large_images_and_their_borders_join():
    texture = frost.texture(1)
    for axis in (1, 2):
        jump = np.abs(np.take(texture, 0, axis) - np.take(texture, -1, axis)).mean()
        assert jump < 1.2 * np.abs(np.diff(texture, axis=axis)).mean()
    for side in (500, 600):
        assert corrupt(torch.zeros(1, 1, 8, side), "frost", 1, recipe="cifar10-c").amax() > 0.05
    assert corrupt(torch.zeros(1, 3, 600, 20), "frost", 1, recipe=IMAGENET.name).amax() > 0.05


def test_photographs_that_are_missing_damaged_or_too_small_are_named(tmp_path):
    images = torch.zeros(1, 3, 64, 64)
    with pytest.raises(UserError, match=r"has no frost1\.png"):
        corrupt(images, "frost", 1, frost=tmp_path)
    with pytest.raises(
        UserError, match=r"frost1\.png has 60x90 pixels at the recipe's scale of 0\.3; it must be larger"
    ):
        corrupt(images, "frost", 1, frost=folder(tmp_path))
    (tmp_path / "frost2.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"frost2\.png is missing, damaged"):
        corrupt(images, "frost", 1, frost=tmp_path, recipe="cifar10-c")
