"""The operators against SciPy's and against their definitions, pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.testing import assert_close

from specfreq.corruptions import operators


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 2, 17, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("sigma", "mode", "truncate"), [(0.25, "nearest", 4), (1.3, "nearest", 4), (7.0, "reflect", 3)]
)
def test_the_blur_is_scipys(images, sigma, mode, truncate):
    expected = ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode=mode, truncate=truncate)
    assert_close(operators.blur(images, sigma, mode, truncate), torch.from_numpy(expected))


def test_a_blur_of_one_pixel_is_none(images):
    assert operators.blur(images, 0.05).equal(images)


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.25, 4.5])
def test_the_zoom_is_scipys_with_what_is_too_much_cut_off(images, factor):
    square = images[0, 0, :, :17].numpy()
    kept = math.ceil(17 / factor)
    top = (17 - kept) // 2
    large = ndimage.zoom(square[top : top + kept, top : top + kept], factor, order=1)
    cut = (len(large) - 17) // 2
    ours = operators.separable(torch.from_numpy(square), lambda n: operators.zoom(n, factor))
    assert_close(ours, torch.from_numpy(large[cut : cut + 17, cut : cut + 17].copy()))


def test_rows_and_columns_are_zoomed_each_by_its_own_length(images):
    ours = operators.separable(images, lambda n: operators.zoom(n, 1.2))
    by_rows = torch.stack([operators.zoom(17, 1.2) @ image for image in images.flatten(0, 1)])
    assert_close(ours.flatten(0, 1), by_rows @ operators.zoom(24, 1.2).T)


def test_all_zooms_at_once_are_the_mean_of_the_image_and_each(images):
    factors = (1.0, 1.1, 1.25)
    zoomed = [
        operators.separable(images, lambda n, factor=factor: operators.zoom(n, factor)) for factor in factors
    ]
    ours = (images.flatten(2) @ operators.zooms(17, 24, factors)).view_as(images)
    assert_close(ours, (images + sum(zoomed)) / 4)


def test_a_disk_of_less_than_a_pixel_is_its_gaussian_alone():
    bell = np.exp(-np.array([1, 0, 1]) / (2 * 0.4**2))
    assert_close(operators.disk(0.3, 0.4), torch.from_numpy(np.outer(bell, bell) / bell.sum() ** 2))


@pytest.mark.parametrize(("radius", "pixels"), [(1, 5), (1.5, 9), (3, 29), (10, 317)])
def test_a_disk_has_the_pixels_within_its_radius(radius, pixels):
    disk = operators.disk(radius, 0.01)
    assert int((disk > 1e-9).sum()) == pixels
    assert disk.max() == pytest.approx(1 / pixels)
    assert disk.equal(disk.T)
    assert disk.equal(disk.flip(0))


@pytest.mark.parametrize(
    ("constants", "total"),
    [((0.3, 0.4), 1), ((1.5, 0.1), 1), ((6, 0.5), 1), ((8, 0.5), 1.0130), ((10, 0.5), 1.0108)],
)
def test_a_disk_sums_to_one_unless_it_touches_the_border_of_the_generators_square(constants, total):
    assert float(operators.disk(*constants).sum()) == pytest.approx(total, abs=1e-12 if total == 1 else 1e-4)


@pytest.mark.parametrize("size", [3, 7, 9, 15])
def test_correlation_is_scipys(images, size):
    kernel = torch.arange(size**2).double().reshape(size, size) - 3
    expected = ndimage.correlate(images.numpy(), kernel.numpy()[None, None], mode="mirror")
    assert_close(operators.correlate(images, kernel), torch.from_numpy(expected))


def test_motion_is_its_definition():
    """One pixel and one tap at a time, each image at its own angle."""
    g = torch.Generator().manual_seed(1)
    levels, degrees = (
        torch.randint(256, (4, 1, 9, 12), generator=g).double(),
        torch.tensor([-45.0, 0.0, 30.3, -117.0]),
    )
    ours = operators.motion(levels, 3, 1.5, degrees.double())
    weights = np.exp(-(np.arange(7) ** 2) / (2 * 1.5**2))
    for n, angle in enumerate(np.deg2rad(degrees.tolist())):
        for y, x in np.ndindex(9, 12):
            steps = [
                (math.ceil(i * math.sin(angle) - 0.5), math.ceil(i * math.cos(angle) - 0.5)) for i in range(7)
            ]
            taken = [levels[n, 0, min(max(y + dy, 0), 8), min(max(x + dx, 0), 11)].item() for dy, dx in steps]
            # 16 bits, as ImageMagick has them
            whole = round(257 * float(np.dot(weights / weights.sum(), taken)))
            assert ours[n, 0, y, x] == whole // 257


def test_motion_leaves_constant_images_alone():
    constant = torch.arange(0, 256, 15).double().reshape(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    assert operators.motion(constant, 9, 2.5, torch.linspace(-180, 180, len(constant)).double()).equal(
        constant
    )


@pytest.mark.parametrize(("repeat", "mode"), [(True, "reflect"), (False, "mirror")])
def test_sampling_between_pixels_is_scipys(images, repeat, mode):
    g = torch.Generator().manual_seed(2)
    y, x = (torch.rand(3, 17, 24, generator=g, dtype=torch.float64) * 3 * n - n for n in (17, 24))
    ours = operators.sample(images, y, x, repeat=repeat)
    for n, channel in np.ndindex(3, 2):
        expected = ndimage.map_coordinates(
            images[n, channel].numpy(), [y[n].numpy(), x[n].numpy()], order=1, mode=mode
        )
        assert_close(ours[n, channel], torch.from_numpy(expected), atol=1e-9, rtol=0)


def test_levels_are_cut_and_what_rounding_leaves_is_no_level():
    levels = torch.tensor([-3.0, 0.0, 1 - 1e-9, 1.0, 1.9, 254.99995, 300.0]).double()
    assert operators.cut(levels).tolist() == [0, 0, 1, 1, 1, 255, 255]
    assert operators.cut(torch.tensor([0.999, 7.5])).tolist() == [0, 7]
