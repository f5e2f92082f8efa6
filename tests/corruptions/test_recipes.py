"""Each corruption against its definition: exact where nothing is random, in distribution or with the same
draws where it is.
"""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from skimage import color, filters
from torch.testing import assert_close

from specfreq import data
from specfreq.core.randomness import Draws
from specfreq.corruptions import CIFAR, IMAGENET, blur, corrupt, digital, noise, weather

SEVERITIES = (1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def photos():
    return data.load("photos", "test", 12).images.float() / 255


def pictures(images):
    """Bytes (H, W, C), as the generators have them."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def same(images, expected, share=0.0):
    """Equal bytes, or one level off in a share of them: the generators cut what rounding has left below a
    whole level.
    """
    difference = np.abs(pictures(images).astype(int) - np.uint8(expected))
    assert difference.max() <= (1 if share else 0)
    assert (difference > 0).mean() <= share


# nothing random


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_is_pillows(photos, severity):
    share = CIFAR.constants["pixelate"][severity - 1]
    for images in (photos, photos[..., :27, :], photos[:, :1, :, 3:]):
        height, width = images.shape[-2:]
        expected = []
        for picture in pictures(images):
            small = Image.fromarray(picture.squeeze()).resize(
                (int(width * share), int(height * share)), Image.Resampling.BOX
            )
            expected.append(
                np.asarray(small.resize((width, height), Image.Resampling.BOX)).reshape(picture.shape)
            )
        same(corrupt(images, "pixelate", severity), np.stack(expected))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_is_pillows(photos, severity):
    expected = []
    for picture in pictures(photos):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=CIFAR.constants["jpeg_compression"][severity - 1])
        expected.append(np.asarray(Image.open(file)))
    same(corrupt(photos, "jpeg_compression", severity), np.stack(expected))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_keeps_the_mean_of_each_channel(photos, severity):
    factor = CIFAR.constants["contrast"][severity - 1]
    x = pictures(photos) / 255
    mean = x.mean((1, 2), keepdims=True)
    same(corrupt(photos, "contrast", severity), 255 * ((x - mean) * factor + mean).clip(0, 1), share=0.001)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_raises_the_value_of_hsv(photos, severity):
    hsv = color.rgb2hsv(pictures(photos) / 255)
    hsv[..., 2] = (hsv[..., 2] + CIFAR.constants["brightness"][severity - 1]).clip(0, 1)
    same(corrupt(photos, "brightness", severity), 255 * color.hsv2rgb(hsv).clip(0, 1), share=0.1)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_saturate_changes_the_saturation_of_hsv(photos, severity):
    factor, offset = CIFAR.constants["saturate"][severity - 1]
    images = photos.clone()
    images[0, :, :4] = 0.4  # grey, whose hue is that of red
    images[0, :, 4:8] = 0
    hsv = color.rgb2hsv(pictures(images) / 255)
    hsv[..., 1] = (factor * hsv[..., 1] + offset).clip(0, 1)
    same(corrupt(images, "saturate", severity), 255 * color.hsv2rgb(hsv).clip(0, 1), share=0.15)


def test_saturate_leaves_grey_images_and_brightness_makes_black_grey():
    grey = torch.arange(256).reshape(1, 1, 16, 16) / 255
    assert corrupt(grey, "saturate", 5).equal(grey)
    assert corrupt(torch.zeros(1, 3, 8, 8), "brightness", 2).unique().tolist() == [pytest.approx(25 / 255)]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_is_scikit_images(photos, severity):
    sigma = CIFAR.constants["gaussian_blur"][severity - 1]
    expected = [filters.gaussian(p / 255, sigma, channel_axis=-1) for p in pictures(photos)]
    same(corrupt(photos, "gaussian_blur", severity), 255 * np.stack(expected).clip(0, 1), share=0.02)


@pytest.mark.parametrize(
    "name", ["defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform"]
)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_no_blur_and_no_displacement_changes_a_constant_image(name, severity):
    constant = torch.tensor([0, 1, 77, 200, 255]).reshape(-1, 1, 1, 1).expand(-1, 3, 32, 32) / 255
    assert corrupt(constant, name, severity).equal(constant)


@pytest.mark.parametrize(("severity", "copies"), [(1, 7), (2, 12), (3, 16), (4, 21), (5, 26)])
def test_zoom_blur_counts_the_image_twice(severity, copies):
    """In the middle of an odd image, which every zoom keeps, a point of light keeps at least two shares of
    all.
    """
    light = torch.zeros(1, 1, 33, 33)
    light[..., 16, 16] = 1
    spread = blur.zoom_blur(light.double(), CIFAR.constants["zoom_blur"][severity - 1], None)
    ring = blur.zoom_blur(1 - light.double(), CIFAR.constants["zoom_blur"][severity - 1], None)
    assert_close(spread + ring, torch.ones_like(spread))
    assert (spread.amax() * (copies + 1)).item() >= 2 - 1e-9


# noises


def test_gaussian_and_speckle_noise_have_their_deviations():
    x = torch.full((60, 3, 32, 32), 0.4).double()
    for function, factor in ((noise.gaussian_noise, 1), (noise.speckle_noise, 0.4)):
        added = function(x, 0.1, Draws(torch.arange(60))) - x
        assert stats.kstest((added / (0.1 * factor)).flatten(), "norm").pvalue > 0.01


@pytest.mark.parametrize("photons", [500, 60, 3])
def test_shot_noise_is_poisson_on_the_grid_of_bytes(photons):
    """The tables give, of every level, exactly the probabilities of the levels that a count brings it to."""
    share, other = (table.view(256, 256).numpy() for table in noise._shot(photons, torch.device("cpu")))
    counts = np.arange(photons + 1)
    lands = np.minimum((255 * counts) // photons, 255)
    for level in (0, 1, 17, 128, 254, 255):
        given = np.zeros(256)
        np.add.at(given, np.arange(256), share[level] / 256)
        np.add.at(given, other[level], (1 - share[level]) / 256)
        probability = stats.poisson.pmf(counts, photons * level / 255)
        probability[-1] = stats.poisson.sf(photons - 1, photons * level / 255)
        assert np.abs(given - np.bincount(lands, probability, 256)).max() < 1e-9


def test_shot_noise_draws_from_its_tables():
    x = torch.full((200, 1, 32, 32), 100 / 255).double()
    counts = (noise.shot_noise(x, 60, Draws(torch.arange(200))) * 60).ceil().flatten().numpy()
    expected = stats.poisson.pmf(np.arange(12, 36), 60 * 100 / 255)
    observed = np.bincount(counts.astype(int), minlength=60)[12:36]
    assert stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 0.01


def test_impulse_noise_is_as_often_salt_as_pepper_and_on_every_channel_by_itself():
    x = torch.full((100, 3, 32, 32), 0.5).double()
    found = noise.impulse_noise(x, 0.07, Draws(torch.arange(100)))
    salt, pepper = (int((found == v).sum()) for v in (1, 0))
    assert stats.binomtest(salt + pepper, found.numel(), 0.07).pvalue > 0.01
    assert stats.binomtest(salt, salt + pepper, 0.5).pvalue > 0.01
    hit = found != 0.5
    assert stats.binomtest(int((hit[:, 0] & hit[:, 1]).sum()), hit[:, 0].numel(), 0.07**2).pvalue > 0.01


# the same draws, one pixel at a time


@pytest.mark.parametrize(("delta", "times"), [(1, 1), (1, 2), (3, 1), (4, 2)])
def test_glass_blur_is_the_generators_scan(delta, times):
    size, keys = 17, torch.arange(3)
    levels = torch.randint(256, (3, 2, size, size), generator=torch.Generator().manual_seed(0)).double()
    ours = levels
    draws, again = Draws(keys), Draws(keys)
    for _ in range(times):
        ours = blur._displaced(ours, delta, draws)
    scanned = levels.permute(0, 2, 3, 1).numpy().copy()
    for _ in range(times):
        shift = again.below(2 * delta, 2, size - 2 * delta, size - 2 * delta).numpy() - delta
        for n in range(3):
            x = scanned[n]
            for h in range(size - delta, delta, -1):
                for w in range(size - delta, delta, -1):
                    dy, dx = shift[n, :, h - delta - 1, w - delta - 1]
                    # arrays: both sides are the same memory
                    x[h, w], x[h + dy, w + dx] = (
                        x[h + dy, w + dx],
                        x[h, w],
                    )
    assert np.array_equal(ours.permute(0, 2, 3, 1).numpy(), scanned)
    assert not np.array_equal(scanned, levels.permute(0, 2, 3, 1).numpy())


def test_plasma_is_the_diamond_square_algorithm():
    """Point by point, each the mean of four neighbours on the torus and noise of its own."""
    side, decay = 16, 2.5
    ours, draws = weather.plasma(side, decay, Draws(torch.tensor([4]))), Draws(torch.tensor([4]))
    land, step, wibble = np.zeros((side, side)), side, 100.0
    while step >= 2:
        half = step // 2
        for offset, around in (
            ((half, half), ((-1, -1), (-1, 1), (1, -1), (1, 1))),
            ((0, half), ((-1, 0), (1, 0), (0, -1), (0, 1))),
            ((half, 0), ((-1, 0), (1, 0), (0, -1), (0, 1))),
        ):
            fresh = draws.uniform(side // step, side // step, low=-(wibble**2), high=wibble**2)[0]
            before = land.copy()
            for i, j in np.ndindex(side // step, side // step):
                y, x = offset[0] + i * step, offset[1] + j * step
                near = [before[(y + half * a) % side, (x + half * b) % side] for a, b in around]
                land[y, x] = sum(near) / 4 + fresh[i, j]
        step, wibble = half, wibble / decay
    land -= land.min()
    assert_close(ours[0], torch.from_numpy(land / land.max()))


def test_fog_adds_a_plasma_and_keeps_the_range(photos):
    for amount, decay in CIFAR.constants["fog"]:
        keys, x = torch.arange(len(photos)), photos.double()
        largest = x.amax((1, 2, 3), keepdim=True)
        layer = weather.plasma(32, decay, Draws(keys))[:, None]
        assert_close(
            weather.fog(x, (amount, decay), Draws(keys)) * (1 + amount / largest), x + amount * layer
        )


def test_snow_falls_alike_from_above_and_from_below():
    """On black the washed-out image is grey, and its flakes come with their half turn."""
    for severity in SEVERITIES:
        snowed = corrupt(torch.zeros(6, 3, 32, 32), "snow", severity)
        assert snowed.equal(snowed.flip((-2, -1)))
        floor = (1 - CIFAR.constants["snow"][severity - 1][-1]) * 0.5
        assert float(snowed.amin()) == pytest.approx(floor, abs=1 / 255)
        assert snowed.amax() > floor + 0.1


def test_water_only_adds_light_and_mud_covers():
    for severity in SEVERITIES:
        found = corrupt(torch.full((20, 3, 32, 32), 0.5), "spatter", severity)
        touched = (found - 127 / 255).abs().amax(1) > 1.5 / 255
        assert 0.001 < touched.float().mean() < 0.4
        if CIFAR.constants["spatter"][severity - 1][-1] == "water":
            assert found.amin() > 0.49
        else:
            assert_close(found.amin((0, 2, 3)), torch.tensor([63, 42, 20]) / 255, atol=1.5 / 255, rtol=0)
            assert found.amax() < 0.51


@pytest.mark.parametrize("recipe", [CIFAR, IMAGENET])
def test_the_affine_part_of_elastic_transform_moves_three_corners_to_where_they_were_drawn(recipe):
    side, keys = 48, torch.arange(8)
    centre, s = side // 2, side // 3
    corners = torch.tensor(
        [(centre + s, centre + s), (centre + s, centre - s), (centre - s, centre - s)]
    ).double()
    moved = corners + Draws(keys).uniform(3, 2, low=-0.05 * side, high=0.05 * side)
    y, x = torch.meshgrid(*(torch.arange(side).double(),) * 2, indexing="ij")
    for corner, places in zip(corners, moved.unbind(1), strict=True):
        blob = torch.exp(-((x - corner[0]) ** 2 + (y - corner[1]) ** 2) / 8).expand(8, 1, -1, -1)
        found = digital.elastic_transform(blob, (0, 0, 0.05), Draws(keys))[:, 0]
        inside = (x - places[:, :1, None]) ** 2 + (y - places[:, 1:, None]) ** 2 < 36
        weight = found * inside / (found * inside).sum((1, 2), keepdim=True)
        middle = torch.stack([(weight * x).sum((1, 2)), (weight * y).sum((1, 2))], 1)
        assert (middle - places).abs().max() < 0.25


def test_displacements_without_an_affine_part_have_the_strength_of_smoothed_noise():
    x = torch.linspace(0, 1, 64).double().expand(30, 1, 64, 64)
    found = digital.elastic_transform(x, (0.1, 0.04, 0.0), Draws(torch.arange(30)))
    shift = 63 * (found - x)[..., 12:-12, 12:-12]
    sigma = 0.04 * 64  # of a white field with deviation 1/sqrt 3, the Gaussian leaves 1 / (2 sqrt pi sigma)
    assert float(shift.std()) == pytest.approx(6.4 / 3**0.5 / (2 * np.pi**0.5 * sigma), rel=0.1)
