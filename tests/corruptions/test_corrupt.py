"""What holds for every corruption: the image alone decides, bytes come out, and input that cannot be
corrupted is refused.
"""

import numpy as np
import pytest
import torch

from specfreq import corruptions, data
from specfreq.core.errors import UserError
from specfreq.corruptions import ALEXNET, COMMON, EXTRA, RECIPES, corrupt

DETERMINISTIC = {
    *("defocus_blur", "zoom_blur", "gaussian_blur"),
    *("brightness", "contrast", "saturate", "pixelate", "jpeg_compression"),
}
RANDOM = set(COMMON + EXTRA) - DETERMINISTIC
PER_VALUE = {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"}


@pytest.fixture(scope="module")
def photos():
    return data.load("photos", "test", 7).images.float() / 255


@pytest.fixture(scope="module")
def oblong(photos):
    """Grey, neither square nor even."""
    return photos[:, :1, :28, :21].contiguous()


@pytest.mark.parametrize("name", corruptions.names())
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_an_image_does_not_depend_on_its_batch(photos, oblong, name, severity, monkeypatch):
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    for images in (photos, oblong):
        expected = corrupt(images, name, severity)
        assert corrupt(images[order], name, severity).equal(expected[order])
        assert torch.cat([corrupt(one[None], name, severity) for one in images]).equal(expected)
        monkeypatch.setattr(corruptions, "_VALUES", {False: 2 * images[0].numel()})
        assert corrupt(images, name, severity).equal(expected)
        monkeypatch.undo()


@pytest.mark.parametrize("name", corruptions.names())
def test_bytes_of_the_same_shape_and_type_come_out(photos, oblong, name):
    before = photos.clone()
    for images in (photos, oblong.double(), photos[:0]):
        found = corrupt(images, name, 5)
        assert found.shape == images.shape
        assert found.dtype == images.dtype
        assert found.equal((found * 255).round().clamp(0, 255) / 255)
    assert photos.equal(before)


@pytest.mark.parametrize("name", corruptions.names())
def test_the_seed_decides_where_anything_is_random_and_the_global_stream_nowhere(photos, name):
    torch.manual_seed(1)
    state, expected = torch.get_rng_state(), corrupt(photos, name, 3)
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(2)
    assert corrupt(photos, name, 3).equal(expected)
    changed = (corrupt(photos, name, 3, seed=1) != expected).flatten(1).any(1)
    assert changed.all() if name in RANDOM else not changed.any()


def test_keys_take_the_place_of_content(photos):
    same = photos[:1].expand(3, -1, -1, -1)
    first, second, third = corrupt(same, "gaussian_noise", 3, keys=torch.tensor([8, 9, 8]))
    assert first.equal(third)
    assert not first.equal(second)
    assert corrupt(same, "gaussian_noise", 3)[0].equal(corrupt(same, "gaussian_noise", 3)[2])


def test_severities_and_corruptions_draw_apart(photos):
    """Noise of one severity is not that of another, scaled."""
    grey = torch.full((1, 3, 32, 32), 0.5)
    noises = [corrupt(grey, "gaussian_noise", s).flatten() - 0.5 for s in (1, 5)] + [
        corrupt(grey, "speckle_noise", 5).flatten()
    ]
    assert (torch.corrcoef(torch.stack(noises)) - torch.eye(3)).abs().max() < 5 / 3072**0.5


@pytest.mark.parametrize(
    "name", sorted(set(corruptions.names()) - PER_VALUE - {"saturate", "frost", "spatter"})
)
def test_a_grey_image_is_a_channel_of_its_colour_twin(photos, name):
    grey = photos[:, 1:2]
    keys = torch.arange(len(grey))
    colour = corrupt(grey.expand(-1, 3, -1, -1), name, 5, keys=keys)
    difference = (corrupt(grey, name, 5, keys=keys) - colour).abs() * 255
    assert difference.max() < (1.5 if name in ("jpeg_compression", "snow") else 0.5)


def test_images_in_between_bytes_are_those_of_the_next_byte(photos):
    jitter = (photos + 0.4 / 255 * torch.rand_like(photos)).clamp(0, 1)
    assert corrupt(jitter, "fog", 4).equal(corrupt(photos, "fog", 4))


def test_gradients_and_autocast_change_nothing(photos):
    expected = corrupt(photos, "zoom_blur", 5)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert corrupt(photos, "zoom_blur", 5).equal(expected)
    assert not corrupt(photos.clone().requires_grad_(), "glass_blur", 2).requires_grad


@pytest.mark.parametrize("name", corruptions.names())
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_works_on_small_images(name, recipe):
    tiny = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    if name == "defocus_blur" and recipe == "imagenet-c":
        with pytest.raises(UserError, match="11 pixels"):
            corrupt(tiny, name, 5, recipe=recipe)
    else:
        assert corrupt(tiny, name, 5, recipe=recipe).isfinite().all()


@pytest.mark.parametrize(
    ("side", "recipe"),
    [
        *((side, "cifar10-c") for side in (8, 28, 32, 45)),
        *((side, "tiny-imagenet-c") for side in (46, 64, 119)),
        *((side, "imagenet-c") for side in (120, 128, 224, 600)),
    ],
)
def test_the_recipe_is_that_of_the_nearest_size(side, recipe):
    assert corruptions.recipe_for(side, side + 100).name == recipe


def test_a_recipe_can_be_chosen(photos):
    chosen = corrupt(photos, "contrast", 1, recipe="imagenet-c")
    assert chosen.equal(corrupt(photos, "contrast", 3))  # both have 0.4
    assert not chosen.equal(corrupt(photos, "contrast", 1))


def test_every_recipe_has_every_corruption_at_five_severities():
    assert corruptions.names() == [*COMMON, *EXTRA]
    for recipe in RECIPES.values():
        assert set(recipe.constants) == set(COMMON + EXTRA)
        assert all(len(constants) == 5 for constants in recipe.constants.values())


def test_alexnets_errors_are_kept_by_name():
    assert tuple(ALEXNET) == COMMON
    assert ALEXNET["brightness"] == min(ALEXNET.values())
    assert np.mean(list(ALEXNET.values())) == pytest.approx(0.78899, abs=1e-5)


@pytest.mark.parametrize("name", corruptions.names())
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x * 255, r"in \[0, 1\]; some values are outside"),
        (lambda x: x - 0.5, "some values are outside"),
        (lambda x: x.masked_fill(x == x.max(), torch.nan), "or NaN"),
        (lambda x: x.mul(255).byte(), "not torch.uint8 values"),
        (lambda x: x[0], r"\(N, C, H, W\)"),
        (lambda x: x[:, :2], "C = 1 or 3"),
        (lambda x: x[..., :7], "8 pixels a side"),
    ],
)
def test_no_corruption_takes_what_is_no_image(photos, name, spoil, message):
    with pytest.raises(UserError, match=message):
        corrupt(spoil(photos), name, 3)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.rand(1, 3, 32, 32), {"name": "foog"}, "unknown corruption 'foog'; did you mean 'fog'"),
        (torch.rand(1, 3, 32, 32), {"recipe": "cifar-c"}, "did you mean 'cifar10-c'"),
        (torch.rand(1, 3, 32, 32), {"severity": 0}, "severity must be 1, 2, 3, 4 or 5, not 0"),
        (torch.rand(1, 3, 32, 32), {"seed": -1}, "seed must be a whole number"),
        (torch.rand(1, 3, 32, 32), {"keys": torch.zeros(2, dtype=torch.int64)}, "one for each image"),
        (torch.rand(1, 3, 32, 32), {"keys": torch.zeros(1)}, "keys must be int64"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), {}, r"x / 255"),
        (np.zeros((1, 3, 32, 32)), {}, "not ndarray"),
        (torch.rand(3, 32, 32), {}, r"\(N, C, H, W\)"),
        (torch.rand(1, 4, 32, 32), {}, "C = 1 or 3"),
        (torch.rand(1, 3, 32, 7), {}, "8 pixels"),
        (torch.rand(1, 3, 32, 32) + 0.5, {}, r"\[0, 1\]"),
        (torch.full((1, 1, 8, 8), torch.nan), {}, "NaN"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(images, options, message):
    given = {"name": "fog", "severity": 1} | options
    with pytest.raises(UserError, match=message):
        corrupt(images, given.pop("name"), given.pop("severity"), **given)
