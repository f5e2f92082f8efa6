"""HARS: donors of other classes, each once; bands that are the donor's and the image's own."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from specfreq import data, fourier
from specfreq.augment import hars
from specfreq.augment.derived import ForeignLow
from specfreq.core.errors import UserError

BASE = "planted:count=40,side=16"
DRAWN = [hars.donors, hars.donors_as_published]
# sizes of the classes; the last have exactly half of the images in one
SIZES = [(5, 5, 5), (1, 1), (7, 2, 5), (1, 2, 3), (4, 0, 4), (3, 1, 1, 1), (50, 30, 20)]


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    return tmp_path


def labels_of(sizes, seed=0):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_every_image_gives_once_and_never_to_its_own_class(drawn, sizes, seed):
    labels = labels_of(sizes, seed)
    found = drawn(labels, seed)
    assert torch.equal(found.sort().values, torch.arange(len(labels)))
    assert (labels[found] != labels).all()


@pytest.mark.parametrize("drawn", DRAWN)
def test_donors_are_of_all_other_classes_alike(drawn):
    labels = labels_of([900] * 4)
    found = drawn(labels)
    pairs = torch.bincount(4 * labels + labels[found], minlength=16).view(4, 4)
    assert pairs.diagonal().sum() == 0
    others = pairs[~torch.eye(4, dtype=torch.bool)].double()
    assert (others - 300).abs().max() < 5 * (900 * 2 / 9) ** 0.5  # else the donor would tell the class


def test_donors_of_any_class_are_of_the_own_as_often_as_by_chance():
    labels = labels_of([900] * 4)
    found = hars.donors_of_any_class(labels)
    assert torch.equal(found.sort().values, torch.arange(3600))
    share = float((labels[found] == labels).double().mean())
    assert abs(share - 1 / 4) < 5 * (3 / 16 / 3600) ** 0.5


def test_donors_depend_on_the_seed_and_on_nothing_else():
    labels = labels_of([30, 20, 25])
    assert torch.equal(hars.donors(labels, 4), hars.donors(labels, 4))
    assert not torch.equal(hars.donors(labels, 4), hars.donors(labels, 5))


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize(("sizes", "named"), [((6, 3, 2), "cat has 6 of 11"), ((1, 0, 0), "cat has 1 of 1")])
def test_a_class_with_more_than_half_of_the_images_is_refused_by_name(drawn, sizes, named):
    with pytest.raises(UserError, match=f"class {named} images, more than half"):
        drawn(labels_of(sizes), 0, ("cat", "dog", "ship"))


@pytest.mark.parametrize("mirror", [False, True])
def test_the_low_band_is_the_donors_and_the_high_band_the_own(mirror):
    """Before rounding: the sum is rounded and cut off once, at the end."""
    base = data.load(BASE)
    x = base.images.double() / 255
    made = ForeignLow(radius=3, mirror=mirror).fit(base.images, base.labels, base.classes)
    donor = made.donors(base.labels, "train")
    low, high = (x, x[donor]) if mirror else (x[donor], x)
    sums = fourier.low_pass(low, 3) + fourier.high_pass(high, 3)
    assert_close(fourier.low_pass(sums, 3), fourier.low_pass(low, 3))
    assert_close(fourier.high_pass(sums, 3), fourier.high_pass(high, 3))
    expected = (255 * sums.clamp(0, 1) + 0.5).floor().to(torch.uint8)
    assert torch.equal(made(base.images, base.labels, "train"), expected)


def test_the_two_bands_of_an_image_are_that_image():
    x = data.load("photos", size=20).images.double() / 255
    assert_close(fourier.low_pass(x, 12) + fourier.high_pass(x, 12), x)


def test_test_images_stay_clean_or_are_mixed_among_themselves():
    base = data.load(BASE, "test")
    clean, mixed = (data.load(f'hars:of="{BASE}",radius=3,test={t}', "test") for t in ("clean", "mixed"))
    assert torch.equal(clean.images, base.images) and clean.left_out == ""
    assert not torch.equal(mixed.images, base.images) and torch.equal(mixed.labels, base.labels)


def test_the_published_form_stretches_each_channel_and_draws_class_by_class():
    published = ",".join(f"{k}={v}" for k, v in ForeignLow.published.items())
    found = data.load(f'hars:of="{BASE}",radius=3,{published}')
    assert found.images.amin((2, 3)).max() == 0 and found.images.amax((2, 3)).min() == 255
    assert "cut off" in data.load("hars:of=photos,radius=3").left_out


def test_the_low_frequencies_say_nothing_of_the_label():
    """A nearest mean of low-passed training images is right by chance on mixed ones, and often on the base."""

    def right(name):
        sets = [data.load(name, split) for split in ("train", "test")]
        train, test = (fourier.low_pass(s.images.double() / 255, 4).flatten(1) for s in sets)
        means = torch.stack([train[sets[0].labels == k].mean(0) for k in range(7)])
        return float((torch.cdist(test, means).argmin(1) == sets[1].labels).double().mean())

    assert right("photos") > 0.3
    assert abs(right("hars:of=photos,radius=4,test=mixed") - 1 / 7) < 4 * (6 / 49 / 700) ** 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f'hars:of="{BASE}",radius=12', "radius=12 is refused: .* none beyond 11.31 cycles per image"),
        ("hars:of=digits", "radius=12 is refused: .* write radius=2.8"),
        (f'hars:of="{BASE}",radius=-1', "radius=-1 is refused"),
        ("hars:radius=3", "write hars:of=NAME"),
    ],
)
def test_what_cannot_be_made_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        data.load(name)


@pytest.mark.parametrize("shape", [(9, 9, 1), (13, 8, 3)])
def test_grey_odd_and_oblong_images_with_one_image_a_class_can_be_mixed(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8)
    file = tmp_path / "few.npz"
    np.savez(
        file, train_images=images, train_labels=np.arange(3), test_images=images, test_labels=np.arange(3)
    )
    assert len(data.load(f'hars:of="array:{file}",radius=3,test=mixed', "test")) == 3


def test_a_set_with_one_class_is_refused_by_name(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    file = tmp_path / "one.npz"
    np.savez(
        file,
        train_images=images,
        train_labels=np.zeros(4, int),
        test_images=images,
        test_labels=np.zeros(4, int),
    )
    with pytest.raises(UserError, match="class 0 has 4 of 4 images, more than half"):
        data.load(f'hars:of="array:{file}",radius=3')


def test_a_single_pixel_has_no_radius_to_be_advised():
    with pytest.raises(UserError, match="single pixel have no high frequencies"):
        hars.check_radius(1, 1, 1)
