"""Image sets: what they hold, how subsets are drawn, what the names mean, and the sets that need no download."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from specfreq import data
from specfreq.core.errors import UserError
from specfreq.data import embedded, sets


def image_set(drawn, **changes):
    count = len(drawn)
    fields = {
        "images": torch.arange(count * 12).reshape(count, 3, 2, 2).to(torch.uint8),
        "labels": torch.tensor(drawn),
        "classes": ("cat", "dog", "emu"),
        "name": "pets",
        "boxes": torch.arange(count * 4).reshape(count, 4),
    }
    return data.ImageSet(**(fields | changes))


# what a set holds


def test_the_digest_is_the_same_for_the_same_content():
    assert image_set([0, 1, 2]).digest == image_set([0, 1, 2], name="other").digest


def changed(tensor, index):
    tensor = tensor.clone()
    tensor[index] += 1
    return tensor


@pytest.mark.parametrize(
    "changes",
    [
        {"images": changed(image_set([0, 1, 2]).images, (2, 1, 0, 1))},  # one pixel of one channel
        {"images": image_set([0, 1, 2]).images.reshape(3, 3, 4, 1)},
        {"labels": torch.tensor([0, 1, 1])},
        {"classes": ("cat", "dog", "owl")},
        {"classes": ("cat", "dog", "em", "u")},
        {"boxes": None},
        {"boxes": changed(image_set([0, 1, 2]).boxes, (0, 0))},
    ],
)
def test_the_digest_changes_with_any_content(changes):
    assert image_set([0, 1, 2], **changes).digest != image_set([0, 1, 2]).digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(3, 3, 2, 2)}, "uint8"),
        ({"images": torch.zeros(3, 2, 2, dtype=torch.uint8)}, r"\(N, C, H, W\)"),
        ({"labels": torch.tensor([0, 1])}, "labels"),
        ({"labels": torch.tensor([0, 1, 3])}, r"\[0, 3\)"),
        ({"labels": torch.tensor([0, 1, -1])}, r"\[0, 3\)"),
        ({"labels": torch.tensor([0.0, 1.0, 2.0])}, "int64"),
        ({"boxes": torch.zeros(3, 4)}, "boxes"),
    ],
)
def test_content_that_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        image_set([0, 1, 2], **changes)


def test_a_set_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        image_set([0]).labels = torch.tensor([1])


# subsets


def test_a_subset_is_balanced_until_a_class_runs_out():
    labels = [0] * 50 + [1] * 3 + [2] * 50
    assert image_set(labels).subset(10).labels.bincount().tolist() in ([4, 3, 3], [3, 3, 4])
    assert image_set(labels).subset(43).labels.bincount().tolist() == [20, 3, 20]


def test_a_subset_keeps_order_pairs_and_boxes():
    whole = image_set([2, 0, 1] * 20)
    part = whole.subset(17, seed=3)
    rows = [int((whole.boxes == box).all(1).nonzero()) for box in part.boxes]
    assert rows == sorted(set(rows))
    assert part.images.equal(whole.images[rows])
    assert part.labels.equal(whole.labels[rows])


def test_a_subset_is_drawn_by_its_seed_alone():
    whole = image_set([0, 1, 2] * 20)
    torch.manual_seed(1)
    np.random.seed(1)
    assert whole.subset(12).digest == whole.subset(12).digest
    assert whole.subset(12, seed=1).digest != whole.subset(12).digest


def test_the_draw_is_the_same_on_every_machine():
    assert sets.choose(np.arange(30) % 3, 6, 0, "").tolist() == [2, 13, 24, 26, 27, 28]


def test_a_smaller_subset_lies_in_a_larger_one():
    whole = image_set([0, 1, 2] * 20)
    small, large = ({tuple(b) for b in whole.subset(size).boxes.tolist()} for size in (7, 19))
    assert small < large


def test_the_first_of_a_sorted_set_are_of_its_first_classes():
    """The photos are sorted by class, 500 of each."""
    half = data.load("photos", size=1000, draw="first")
    everything = data.load("photos")
    assert torch.equal(half.images, everything.images[:1000]) and half.labels.unique().tolist() == [0, 1]
    assert half.classes == everything.classes and half.digest == everything.subset(1000, draw="first").digest
    with pytest.raises(UserError, match="cannot take 3501"):
        everything.subset(3501, draw="first")


@pytest.mark.parametrize("size", [0, -1, 4])
def test_a_subset_larger_than_the_set_or_empty_is_refused(size):
    with pytest.raises(UserError, match="pets has 3 images"):
        image_set([0, 1, 2]).subset(size)


def test_loading_a_size_is_loading_all_and_taking_the_subset():
    assert data.load("digits", size=50, seed=4).digest == data.load("digits").subset(50, seed=4).digest


def test_a_seed_that_numpy_would_not_take_is_refused_by_name():
    with pytest.raises(
        UserError, match="pets: seed=-1 is refused; write a whole number from 0 to 4294967295"
    ):
        image_set([0, 1, 2]).subset(2, seed=-1)


# names


def test_either_spelling_of_a_name_is_one_set_and_one_run():
    assert data.normal_form("fashion_mnist") == "fashion-mnist" == data.normal_form(" fashion-mnist")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifra10", "did you mean 'cifar10'"),
        ("", "unknown data set"),
        ("photos:size=3", "unknown parameter 'size' for photos"),
    ],
)
def test_unknown_names_and_parameters_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        data.load(name)


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="unknown split 'tset' for digits; did you mean 'test'"):
        data.load("digits", "tset")


def test_data_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path / "there"))
    assert data.root() == tmp_path / "there"


def test_without_it_data_lies_in_the_checkout_or_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("SPECFREQ_DATA", raising=False)
    monkeypatch.setattr(data, "__file__", str(tmp_path / "checkout" / "specfreq" / "data" / "__init__.py"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "checkout" / "data").mkdir(parents=True)
    assert data.root() == tmp_path / "home" / ".cache" / "specfreq"  # some folder called data, no checkout
    (tmp_path / "checkout" / "_toc.yml").touch()
    assert data.root() == tmp_path / "checkout" / "data"


def test_the_catalogue_lists_every_name_once(monkeypatch, tmp_path):
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    rows = data.status()
    own = {
        "folder": "folder:PATH",
        "array": "array:FILE",
        "filtered": "filtered:...",
        "cdes": "cdes:...",
        "hars": "hars:...",
        "reduced": "reduced:...",
    }
    assert sorted(row.name for row in rows) == sorted(own.get(n, n) for n in data.names())
    assert [row.name for row in rows if row.present] == [
        "photos",
        "textures",
        "digits",
        "planted",
        *own.values(),
    ]
    assert all(str(tmp_path) in row.why and "is missing" in row.why for row in rows if not row.present)


def test_what_needs_no_download_says_so():
    assert data.get("photos") == "photos needs no download"
    with pytest.raises(UserError, match="pictures of your own"):
        data.get("folder:pets")
    with pytest.raises(UserError, match="did you mean 'svhn'"):
        data.get("shvn")


# the embedded sets


@pytest.mark.parametrize(
    ("name", "split", "digest"),
    [
        ("photos", "train", "01d17e74bd2f3d2577f24d6f119b40093e3575dda4565c3a83bb29aa587e5fcd"),
        ("photos", "test", "219416526b97bf942d086ad58b55ffa5d99ceb6ee2c2dcdd9ae4bcab7ca7bda8"),
        ("textures", "train", "474cf40a6636ef0948e1a904c845166d6936d8c147cb01825ad86ee4ce4f8811"),
        ("textures", "test", "0a960279c77aeca94c74f3654e86dddd69c6fec2bf7b8fb9b90b140f49f0f907"),
        ("digits", "train", "99ffb6e87088517e6224e41d5b79b2e5bc9f9ba29156e12fa5a38b05f510c5f3"),
        ("digits", "test", "85329d644b6534ac2acc118ffa5efdd84b3eaf4fcc6a4f4430b8f96afb87aa5c"),
        ("planted", "train", "7252774e6119e0978d58c70e00d4dd6c4d4a8bcec1b8d94c9a199290dd773ee9"),
    ],
)
def test_the_embedded_sets_are_the_same_everywhere(name, split, digest):
    assert data.load(name, split).digest == digest


def test_photos_has_500_and_100_crops_of_each_photograph():
    for split, count in (("train", 500), ("test", 100)):
        photos = data.load("photos", split)
        assert photos.shape == (3, 32, 32)
        assert photos.labels.bincount().tolist() == [count] * len(embedded.PHOTOS)


@pytest.mark.parametrize("name", embedded.PHOTOS)
def test_no_pixel_of_a_photograph_is_in_both_splits(name, monkeypatch):
    height, width = embedded.photograph(name).shape[:2]
    where = np.arange(height * width, dtype=np.int32).reshape(height, width, 1)  # each pixel says where it is
    monkeypatch.setattr(embedded, "photograph", lambda _: where)
    monkeypatch.setattr(embedded, "PHOTOS", {name: name})
    train, test = (embedded.photos(split) for split in ("train", "test"))
    train, test = (np.unique(s.read(np.arange(len(s.labels)))) for s in (train, test))
    assert not np.intersect1d(train, test).size
    assert test.size > 0.05 * where.size  # and yet each sees a good part of the picture
    assert train.size > 0.25 * where.size


def test_photos_are_crops_of_the_photographs():
    whole = embedded.photograph("cat")
    photos = data.load("photos", "test")
    crop = photos.images[photos.labels == photos.classes.index("cat")][0].numpy().transpose(1, 2, 0)
    windows = np.lib.stride_tricks.sliding_window_view(whole, crop.shape)[:, :, 0]
    assert (windows[:, :, 0, 0, 0] == crop[0, 0, 0]).any()
    assert (windows == crop).all(axis=(2, 3, 4)).sum() == 1


def test_textures_are_crops_of_the_surfaces_that_no_split_shares():
    import skimage.data

    for place, name in enumerate(embedded.TEXTURES):
        whole = getattr(skimage.data, name)()
        windows = np.lib.stride_tricks.sliding_window_view(whole, (32, 32))
        seen = {}
        for split in ("train", "test"):
            textures = data.load("textures", split)
            crop = textures.images[textures.labels == place][0, 0].numpy()
            (y, x), *others = np.argwhere((windows == crop).all(axis=(2, 3)))
            assert not others
            seen[split] = y // embedded.TILE, x // embedded.TILE
        assert seen["train"] != seen["test"]


def test_a_damaged_photograph_is_refused_by_name(monkeypatch):
    import skimage.data

    def damaged():
        raise ModuleNotFoundError("requires pooch")  # what scikit-image says when a checksum is wrong

    monkeypatch.setattr(skimage.data, "coffee", damaged)
    with pytest.raises(UserError, match=r"skimage\.data\.coffee.*reinstall scikit-image"):
        data.load("photos")


def test_digits_are_scikit_learns_stretched_to_bytes():
    from sklearn.datasets import load_digits

    splits = [data.load("digits", split) for split in ("train", "test")]
    ours = np.concatenate([s.images.numpy().reshape(-1, 64) for s in splits])
    theirs = np.rint(load_digits().data * 255 / 16)
    # each of them once
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.astype(int).tolist()))
    assert ours.max() == 255
    assert max(splits[1].labels.bincount()) - min(splits[1].labels.bincount()) <= 1


def test_the_embedded_sets_need_no_network_and_no_home(tmp_path):
    code = """
import socket
def refuse(*_, **__): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from specfreq import data
for name in ("photos", "digits", "planted:count=5"):
    data.load(name), data.load(name, "test")
"""
    where = {"HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=where, cwd=tmp_path)
    assert not list(tmp_path.rglob("*.png"))
