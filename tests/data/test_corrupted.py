"""Published sets, in small: CIFAR's arrays are mapped and checked, ImageNet-C's folders found, labels matched
by name.
"""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from specfreq import ImageSet
from specfreq.core.errors import UserError
from specfreq.data import corrupted


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    monkeypatch.setattr(corrupted, "PER_SEVERITY", 4)
    return tmp_path


@pytest.fixture
def cifar():
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    return ImageSet(images, torch.tensor([2, 0, 1, 1]), ("cat", "dog", "emu"), "cifar10")


@pytest.fixture
def published(place, cifar):
    """Row r, of severity r // 4 + 1, is all r, but 100 more in green and 200 in its first pixel."""
    folder = place / "CIFAR-10-C"
    folder.mkdir()
    pixels = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 32, 32, 3)).copy()
    pixels[..., 1] += 100
    pixels[:, 0, 0] = 200
    np.save(folder / "fog.npy", pixels)
    np.save(folder / "labels.npy", np.tile(cifar.labels.numpy(), 5))
    return folder


def test_a_severity_is_its_rows(published, cifar):
    found = corrupted.source(cifar, "fog", 3)
    pixels = found.read(np.array([1, 3]))
    assert pixels.shape == (2, 3, 32, 32)
    assert pixels[:, :, 5, 7].tolist() == [[9, 109, 9], [11, 111, 11]]
    assert pixels[:, :, 0, 0].tolist() == [[200] * 3] * 2
    assert found.labels.tolist() == cifar.labels.tolist()
    assert found.labels.dtype == np.int64


def test_arrays_are_mapped_not_read(published, cifar, monkeypatch):
    modes = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda path, **given: modes.append(given) or load(path, **given))
    corrupted.source(cifar, "fog", 1)
    assert modes == [{"mmap_mode": "r", "allow_pickle": False}] * 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "fog.npy").unlink(), r"fog\.npy is missing"),
        (lambda f: (f / "labels.npy").unlink(), r"labels\.npy is missing"),
        (lambda f: (f / "fog.npy").write_bytes((f / "fog.npy").read_bytes()[:-9]), r"fog\.npy is damaged"),
        (
            lambda f: np.save(f / "fog.npy", np.zeros((19, 32, 32, 3), np.uint8)),
            r"fog\.npy is damaged \(it holds uint8 \(19",
        ),
        (lambda f: np.save(f / "fog.npy", np.zeros((20, 32, 32, 3), np.float32)), "float32"),
        (lambda f: np.save(f / "labels.npy", np.full(20, 3)), "labels outside 0 .. 2"),
        (lambda f: np.save(f / "fog.npy", np.array([{}] * 20), allow_pickle=True), r"fog\.npy is damaged"),
    ],
)
def test_missing_and_damaged_files_are_named(published, cifar, damage, message):
    damage(published)
    with pytest.raises(UserError, match=message):
        corrupted.source(cifar, "fog", 1)


@pytest.fixture
def imagenet(place):
    """Classes in an order of their own; a picture is as bright as its name says."""
    for wnid, files in {"n00000001": ("b", "a"), "n00000002": ("c",)}.items():
        folder = place / "ImageNet-C" / "weather" / "fog" / "5" / wnid
        folder.mkdir(parents=True)
        for name in files:
            Image.new("RGB", (24, 24), (10 * "abc".index(name),) * 3).save(folder / f"{name}.JPEG")
    images = torch.zeros(1, 3, 24, 24, dtype=torch.uint8)
    return ImageSet(images, torch.tensor([0]), ("n00000002", "n00000009", "n00000001"), "folder:somewhere")


def test_imagenet_c_is_found_below_the_folders_of_its_archives(imagenet, place):
    found = corrupted.source(imagenet, "fog", 5)
    assert found.labels.tolist() == [2, 2, 0]
    assert found.read(np.array([0, 2]))[:, 0, 3, 3].tolist() == [0, 20]
    (place / "ImageNet-C" / "weather" / "fog").rename(place / "ImageNet-C" / "fog")
    assert corrupted.source(imagenet, "fog", 5).labels.tolist() == [2, 2, 0]


def test_pictures_that_do_not_fit_are_named(imagenet, place):
    folder = place / "ImageNet-C" / "weather" / "fog" / "5"
    Image.new("RGB", (24, 25)).save(folder / "n00000001" / "a.JPEG")
    with pytest.raises(UserError, match=r"a\.JPEG is 24x25; folder:somewhere has 24x24"):
        corrupted.source(imagenet, "fog", 5).read(np.arange(3))
    (folder / "n00000004").mkdir()
    with pytest.raises(UserError, match="has no class n00000004"):
        corrupted.source(imagenet, "fog", 5)
    with pytest.raises(UserError, match=r"fog.4 is missing"):
        corrupted.source(imagenet, "fog", 4)


def test_what_is_no_picture_or_an_empty_class_is_named_and_what_systems_leave_is_not(imagenet, place):
    folder = place / "ImageNet-C" / "weather" / "fog" / "5"
    for name in ("n00000001/._a.JPEG", "n00000001/Thumbs.db", ".DS_Store"):
        (folder / name).touch()
    (folder / "__MACOSX").mkdir()
    assert corrupted.source(imagenet, "fog", 5).labels.tolist() == [2, 2, 0]
    (folder / "n00000002" / "gone.JPEG").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"n00000002.gone\.JPEG is no picture"):
        corrupted.source(imagenet, "fog", 5)
    (folder / "n00000002" / "gone.JPEG").unlink()
    (folder / "n00000002" / "c.JPEG").unlink()
    with pytest.raises(UserError, match="n00000002 holds no pictures"):
        corrupted.source(imagenet, "fog", 5)


@pytest.mark.parametrize("name", ["fog", "labels"])
def test_a_pipe_in_place_of_an_array_is_refused_at_once(published, cifar, name):
    (published / f"{name}.npy").unlink()
    os.mkfifo(published / f"{name}.npy")
    with pytest.raises(UserError, match=rf"{name}\.npy is no regular file"):
        corrupted.source(cifar, "fog", 1)


def test_sets_without_a_published_corrupted_one_are_refused(cifar):
    other = ImageSet(cifar.images, cifar.labels, cifar.classes, "photos")
    with pytest.raises(UserError, match="no corrupted set was published for photos"):
        corrupted.source(other, "fog", 1)
    with pytest.raises(UserError, match=r"fogg\.npy"):
        corrupted.source(cifar, "fogg", 1)
