"""The corruption measure counts what is wrong on `corrupt`'s images, and means are taken by name."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn

from specfreq import ImageSet, corruptions, data
from specfreq.core.errors import UserError
from specfreq.corruptions import ALEXNET, COMMON, EXTRA
from specfreq.data import corrupted
from specfreq.measures import compute, inference


class Same(nn.Module):
    """Always answers with one class."""

    def __init__(self, classes, answer):
        super().__init__()
        self.register_buffer("logits", torch.eye(classes)[answer])

    def forward(self, images):
        return self.logits.expand(len(images), -1)


def of_class(count, side=32, classes=("n00000001", "n00000002")):
    pixels = torch.randint(
        256, (count, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), classes, "noise")


def test_errors_are_those_on_corrupted_images(digits):
    model, images = digits
    result = compute("corruption:corruptions=fog+gaussian_noise+spatter,severities=1+4,seed=3", model, images)
    assert result["corruptions"] == ["gaussian_noise", "fog", "spatter"]
    pixels = images.images.float() / 255
    for name, row in zip(result["corruptions"], result["error"], strict=True):
        for severity, error in zip((1, 4), row, strict=True):
            answers = inference.logits(model, corruptions.corrupt(pixels, name, severity, seed=3)).argmax(1)
            assert error == pytest.approx(100 * float((answers != images.labels).double().mean()))
    noise, fog, spatter = (sum(row) / 2 for row in result["error"])
    assert result["by_corruption"] == pytest.approx([noise, fog, spatter])
    assert result["mean_error"] == pytest.approx((noise + fog) / 2)
    assert result["extra_error"] == pytest.approx(spatter)
    assert result["clean_error"] == pytest.approx(100 - compute("accuracy", model, images)["accuracy"])
    assert result["mce"] is None
    assert result["made"] == "regenerated, cifar10-c"
    assert len({*result["error"][0], *result["error"][1]}) > 1


def test_a_subset_meets_the_corruptions_that_it_meets_in_the_whole(digits):
    model, images = digits
    part = compute("corruption:corruptions=gaussian_noise,size=10", model, images)
    assert part == compute("corruption:corruptions=gaussian_noise", model, images.subset(10))
    assert part["images"] == 10
    assert (
        part["mean_error"]
        != compute("corruption:corruptions=gaussian_noise,size=10,seed=1", model, images)["mean_error"]
    )


def test_mce_divides_by_alexnet_name_by_name():
    images = of_class(2)
    wrong = compute("corruption:recipe=imagenet-c,corruptions=all", Same(2, 1), images)
    assert wrong["mean_error"] == wrong["extra_error"] == 100
    assert wrong["mce"] == pytest.approx(100 * np.mean([1 / ALEXNET[name] for name in COMMON]))
    assert wrong["made"] == "regenerated, imagenet-c, frost computed"
    assert compute("corruption:recipe=imagenet-c", Same(2, 0), images)["mce"] == 0
    assert compute("corruption:recipe=imagenet-c,severities=1+2+3+4", Same(2, 1), images)["mce"] is None
    assert compute("corruption:recipe=imagenet-c,corruptions=fog", Same(2, 1), images)["mce"] is None
    assert compute("corruption", Same(2, 1), images)["mce"] is None


def test_a_network_as_good_as_alexnet_has_an_mce_of_100(monkeypatch):
    """Each corruption marks its images, and the network errs on a mark as AlexNet does, to one in a thousand
    images.
    """
    count = 1000
    images = of_class(count, 8)
    order = list(COMMON)

    def mark(x, name, severity, **_):
        share = torch.arange(len(x), device=x.device) < round(count * ALEXNET[name])
        return share.float()[:, None, None, None].expand_as(x)

    class Marked(Same):
        def forward(self, images):
            return torch.stack([1 - images[:, 0, 0, 0], images[:, 0, 0, 0]], 1)

    monkeypatch.setattr(importlib.import_module("specfreq.measures.corruption"), "corrupt", mark)
    result = compute("corruption:recipe=imagenet-c", Marked(2, 0), images, batch=count)
    assert result["mce"] == pytest.approx(100, abs=0.1)
    assert result["by_corruption"] == pytest.approx([100 * ALEXNET[name] for name in order], abs=0.051)


def test_grey_and_small_images_are_measured():
    images = data.load("digits", "test", 9)
    assert compute("corruption:corruptions=all", Same(10, 0), images)["images"] == 9


def test_the_generators_frost_is_taken_from_the_data_folder(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"frost has no frost1\.png"):
        compute("corruption:corruptions=frost,frost=photographs", *digits)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Of six images the published fog of severity s has the first s wrong: they are white."""
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    monkeypatch.setattr(corrupted, "PER_SEVERITY", 6)
    (tmp_path / "CIFAR-100-C").mkdir()
    pixels = np.zeros((30, 32, 32, 3), np.uint8)
    for severity in range(1, 6):
        pixels[(severity - 1) * 6 : (severity - 1) * 6 + severity] = 255
    np.save(tmp_path / "CIFAR-100-C" / "fog.npy", pixels)
    np.save(tmp_path / "CIFAR-100-C" / "labels.npy", np.zeros(30, np.uint8))
    return ImageSet(
        torch.zeros(6, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(6, dtype=torch.int64),
        ("a", "b"),
        "cifar100",
    )


class White(Same):
    def forward(self, images):
        return torch.stack([1 - images.mean((1, 2, 3)), images.mean((1, 2, 3))], 1)


def test_the_published_set_is_measured_as_it_is(published):
    for batch in (4, 500):
        result = compute(
            "corruption:source=official,corruptions=fog,severities=1+3+5", White(2, 0), published, batch=batch
        )
        assert result["error"] == [pytest.approx([100 / 6, 300 / 6, 500 / 6])]
        assert result["made"] == "CIFAR-100-C"
        assert result["clean_error"] == 0
    few = compute("corruption:source=official,corruptions=fog,severities=5,size=3", White(2, 0), published)
    assert few["error"][0][0] in (pytest.approx(200 / 3), 100)
    asked = []
    part = published.subset(2)
    compute("corruption:source=official,corruptions=fog,severities=5", Watched(asked), part)
    assert sum(asked) == 2 * len(part), "of a part of the images, as many"


class Watched(White):
    """Keeps the sizes of the batches that it is asked about."""

    def __init__(self, asked):
        super().__init__(2, 0)
        self.asked = asked

    def forward(self, images):
        self.asked.append(len(images))
        return super().forward(images)


def test_options_of_regenerated_images_are_refused_with_the_published_set(published):
    for option in ("seed=1", "recipe=imagenet-c", "frost=photographs"):
        with pytest.raises(UserError, match="recipe, frost and seed are of regenerated images"):
            compute(f"corruption:source=official,corruptions=fog,{option}", White(2, 0), published)


def test_a_published_set_that_is_not_there_is_said_to_be_missing(published, digits):
    with pytest.raises(UserError, match=r"snow\.npy is missing"):
        compute("corruption:source=official,corruptions=snow", White(2, 0), published)
    asked = []
    with pytest.raises(UserError, match=r"brightness\.npy is missing"):  # after fog, but before any work
        compute("corruption:source=official,corruptions=fog+brightness", Watched(asked), published)
    assert not asked
    with pytest.raises(UserError, match="no corrupted set was published for digits"):
        compute("corruption:source=official", *digits)


def test_every_group_of_corruptions_has_its_names():
    images = of_class(1, 8)
    for group, names in (("common", COMMON), ("extra", EXTRA), ("all", COMMON + EXTRA)):
        assert compute(f"corruption:corruptions={group},severities=1", Same(2, 0), images)[
            "corruptions"
        ] == list(names)
