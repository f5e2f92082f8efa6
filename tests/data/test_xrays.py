"""Chest X-rays: three sets that are checked, split by patient, refused where they are others."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from specfreq import data
from specfreq.core.errors import UserError
from specfreq.data import published, xrays

RANDOM = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    return tmp_path


def saved(file, side=16, mode="L"):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, (side, side), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)
    return pixels


# ---- the NIH's


@pytest.fixture
def nih(root, monkeypatch):
    """Twelve pictures of each class; patient 3 is in both, 1 and 5 have a box, as has 6, of another finding."""
    base = root / xrays.NIH
    for label, patients in (("normal", (2, 3, 4, 7, 8, 9)), ("pneumonia", (1, 3, 5, 6, 10, 11))):
        for number in patients:
            for visit in range(2):
                saved(base / label / f"{number:08}_{visit:03}.png")
    rows = [
        "pneumonia/00000001_001.png,Pneumonia,2,3,4,5",
        "pneumonia/00000005_000.png,Pneumonia,0.5,0,8,8",
        "pneumonia/00000006_000.png,Mass,0,0,8,8",
        "normal/00000002_000.png,,,,,",
    ]
    (base / "boxes.csv").write_text("\n".join(["file,finding,x,y,width,height", *rows]))
    monkeypatch.setattr(xrays, "NIH_COUNT", 12)
    monkeypatch.setattr(xrays, "NIH_TEST", 6)
    monkeypatch.setattr(xrays.tested, "__defaults__", (6,))
    monkeypatch.setattr(xrays, "NIH_SIDE", 16)
    names = xrays._nih_names(base)
    every = [*(name for found in names.values() for name in found), "boxes.csv"]
    monkeypatch.setattr(xrays, "NIH_SHA256", xrays.contents(base, every))
    return base


def test_no_patient_is_in_both_splits_and_those_with_a_box_are_tested(nih):
    train, test = data.load("nih-chest"), data.load("nih-chest", "test")
    assert (len(train), len(test)) == (12, 12)
    assert train.classes == ("normal", "pneumonia") and train.shape == (1, 16, 16)
    assert not train.boxes.any() and int(test.boxes.any(1).sum()) == 2
    files = {hashlib.sha256(np.asarray(Image.open(f))).digest(): f.name for f in nih.glob("*/*.png")}
    patients = [
        {xrays.patient(files[hashlib.sha256(image[0].numpy()).digest()]) for image in each.images}
        for each in (train, test)
    ]
    assert not patients[0] & patients[1]
    assert {"00000001", "00000005"} <= patients[1]


def test_a_box_covers_its_pixels(nih):
    test = data.load("nih-chest", "test")
    assert sorted(box for box in test.boxes.tolist() if any(box)) == [[0, 0, 9, 8], [2, 3, 6, 8]]


def test_smaller_pictures_are_of_the_same_patients_and_boxes_shrink_with_them(nih):
    whole, small = data.load("nih-chest", "test"), data.load("nih-chest:size=8", "test")
    assert small.shape == (1, 8, 8) and torch.equal(small.labels, whole.labels)
    means = whole.images.double().unflatten(2, (8, 2)).unflatten(4, (8, 2)).mean((3, 5))
    assert float((means - small.images).abs().mean()) < 25, (
        "of noise of 74 levels: those of another picture differ by 50"
    )
    assert sorted(box for box in small.boxes.tolist() if any(box)) == [[0, 0, 5, 4], [1, 1, 3, 4]]


def test_by_picture_patients_leak_into_the_test(nih):
    names = xrays._nih_names(nih)
    test = xrays.tested(names, {"pneumonia/00000001_001.png"}, "picture")
    assert "pneumonia/00000001_001.png" in test and len(test) == 12
    rest = {name for found in names.values() for name in found} - test
    assert {xrays.patient(name) for name in test} & {xrays.patient(name) for name in rest}
    assert data.load("nih-chest:split=picture").digest != data.load("nih-chest").digest


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_patients_no_class_has_more_than_asked_for(seed):
    random = np.random.default_rng(seed)
    names = {
        label: [
            f"{label}/{patient:08}_{place:03}.png" for place, patient in enumerate(random.integers(0, 40, 60))
        ]
        for label in ("normal", "pneumonia")
    }
    test = xrays.tested(names, set(), "patient", 20)
    for label, found in names.items():
        assert 15 <= len(test & set(found)) <= 20, label
    of = {name: xrays.patient(name) for found in names.values() for name in found}
    assert not {of[n] for n in test} & {of[n] for n in of.keys() - test}


@pytest.mark.parametrize("harm", ["changed", "gone", "table", "folder"])
def test_what_is_not_as_it_was_is_refused_by_name(nih, harm):
    file = nih / "normal" / "00000002_000.png"
    if harm == "changed":
        saved(file)
        message = r"files in .*nih-chest-128 are damaged or others \(SHA-256"
    elif harm == "gone":
        file.unlink()
        message = r"normal holds 11 pictures, not 12"
    elif harm == "table":
        (nih / "boxes.csv").unlink()
        message = r"boxes\.csv is missing"
    else:
        (nih / "pneumonia").rename(nih / "other")
        message = r"pneumonia is missing"
    with pytest.raises(UserError, match=message):
        data.load("nih-chest")
    row = next(row for row in data.status() if row.name == "nih-chest")
    assert row.state == "not here" and row.why
    with pytest.raises(UserError, match="cannot be downloaded"):
        data.get("nih-chest")


def test_names_have_one_spelling(root):
    assert data.normal_form("nih-chest:split=patient") == "nih-chest"
    assert data.normal_form("nih-chest:split=picture") == "nih-chest:split=picture"
    assert data.normal_form("nih-chest:size=128") == "nih-chest"
    assert data.normal_form("nih-chest:size=64,split=picture") == "nih-chest:size=64,split=picture"
    assert data.normal_form("chest-xray:size=64") == "chest-xray:size=64"
    for wrong in (
        "nih-chest:split=child",
        "chest-xray:size=7",
        "nih-chest:size=7",
        "nih-chest:size=129",
        "pneumonia-reordered:size=3",
        "nih-chest:spilt=patient",
    ):
        with pytest.raises(UserError):
            data.normal_form(wrong)


# ---- the children's


@pytest.fixture
def children(root, monkeypatch):
    base = root / xrays.CHILDREN
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        for folder in xrays.CHILDREN_FOLDERS:
            for place in range(count):
                saved(base / split / folder / f"person{place}.jpeg", 20 + place, "RGB" if place else "L")
    (base / "train" / "NORMAL" / ".DS_Store").write_bytes(b"x")
    monkeypatch.setattr(xrays, "CHILDREN_COUNTS", {"train": (4, 4), "test": (2, 2)})
    return base


def test_the_full_layout_is_read_in_grey_and_one_size(children):
    train, test = data.load("chest-xray:size=16"), data.load("chest-xray", "test")
    assert train.images.shape == (8, 1, 16, 16) and test.images.shape == (4, 1, 128, 128)
    assert train.labels.tolist() == [0] * 4 + [1] * 4
    assert test.classes == ("normal", "pneumonia")


def test_pictures_that_are_missing_are_counted(children):
    (children / "test" / "PNEUMONIA" / "person1.jpeg").unlink()
    with pytest.raises(UserError, match=r"holds 2 and 1 pictures .* not 2 and 2"):
        data.load("chest-xray", "test")
    assert next(row for row in data.status() if row.name == "chest-xray").state == "train only"


# ---- PneumoniaMNIST


def test_the_file_of_medmnist_is_known_by_its_own_digest():
    medmnist = pytest.importorskip("medmnist")
    assert medmnist.INFO["pneumoniamnist"]["MD5"] == published.PNEUMONIA_MD5


def test_each_file_goes_by_its_own_name_alone(root, monkeypatch):
    arrays = {}
    for split, count in (("train", 3), ("test", 2)):
        arrays[f"{split}_images"] = RANDOM.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    np.savez_compressed(root / "pneumoniamnist.npz", **arrays)
    monkeypatch.setattr(published, "PNEUMONIA", {"train": 3, "test": 2})
    with pytest.raises(UserError, match="is called pneumonia-reordered"):
        data.load("pneumonia")
    with pytest.raises(UserError, match=r"is called pneumonia$"):
        data.load("pneumonia-reordered")
    md5 = hashlib.md5((root / "pneumoniamnist.npz").read_bytes()).hexdigest()
    monkeypatch.setattr(xrays, "REORDERED_MD5", md5)
    assert data.load("pneumonia-reordered").labels.tolist() == [0, 1, 0]
