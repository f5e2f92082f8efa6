"""Pictures in a NumPy file: what is read, split and labelled, and what is refused by name."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from specfreq import data
from specfreq.core import memory
from specfreq.core.errors import UserError

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
GREY = COLOUR[..., 0]


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
    ],
)
def test_one_array_of_pictures_without_labels_is_a_test_set_of_one_class(root, stored, expected):
    np.savez_compressed(root / "pets.npz", X=stored)
    pets = data.load("array:pets.npz", "test")
    assert (pets.images.numpy() == expected).all()
    assert (pets.labels.tolist(), pets.classes, pets.name) == ([0] * 6, ("pets",), "array:pets.npz")
    assert len(data.load("array:pets.npz", "test", size=4)) == 4
    with pytest.raises(UserError, match=r"pets\.npz has no pictures for train; it holds X"):
        data.load("array:pets.npz", "train")


def test_splits_and_labels_are_read_as_medmnist_lays_them_out(root):
    labels = np.array([[0], [2], [1], [0]], np.uint8)
    np.savez(
        root / "a.npz",
        train_images=GREY[:4],
        train_labels=labels,
        test_images=GREY[4:],
        test_labels=labels[:2],
        note=[1.5],
    )
    train, test = (data.load("array:a.npz", split) for split in ("train", "test"))
    assert (train.images[:, 0].numpy() == GREY[:4]).all() and (test.images[:, 0].numpy() == GREY[4:]).all()
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 2, 1, 0], [0, 2])
    assert train.classes == test.classes == ("0", "1", "2")
    assert test.labels.dtype == torch.int64


def test_a_lone_array_may_have_labels(root):
    np.savez(root / "a.npz", pictures=GREY, labels=np.arange(6) % 2)
    assert data.load("array:a.npz", "test").labels.tolist() == [0, 1] * 3


def test_files_are_found_as_written_here_or_among_the_data(root, tmp_path, monkeypatch):
    np.savez(tmp_path / "here.npz", GREY)
    monkeypatch.chdir(tmp_path)
    assert data.normal_form("array:here.npz") == f"array:{tmp_path / 'here.npz'}"
    assert data.normal_form("array:elsewhere.npz") == "array:elsewhere.npz"
    digests = {data.load(f"array:{path}", "test").digest for path in ("here.npz", tmp_path / "here.npz")}
    (tmp_path / "here.npz").rename(root / "here.npz")
    assert digests | {data.load("array:here.npz", "test").digest} != digests | {""} and len(digests) == 1
    with pytest.raises(UserError, match=r"array:there\.npz: no such file, neither in .* nor in .*data"):
        data.load("array:there.npz", "test")
    with pytest.raises(UserError, match="pictures of your own; nothing can be downloaded"):
        data.get("array:here.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": GREY.astype(np.float32)}, r"a\.npz: X must be uint8 .*, not float32"),
        ({"X": COLOUR[..., :2]}, r"1 or 3 channels, not uint8 \(6, 4, 5, 2\)"),
        ({"X": GREY[0]}, r"not uint8 \(4, 5\)"),
        ({"X": GREY[:0]}, r"not uint8 \(0, 4, 5\)"),
        ({"X": GREY, "Y": GREY}, "holds X, Y; wanted: test_images, or one array of pictures"),
        ({"labels": np.arange(6)}, "holds labels; wanted"),
        ({}, "holds nothing; wanted"),
        ({"train_images": GREY}, "has no pictures for test; it holds train_images"),
        ({"X": GREY, "labels": np.arange(5)}, r"labels must be 6 labels for 6 pictures, .* not int64 \(5,\)"),
        ({"X": GREY, "labels": np.eye(6)}, r"not float64 \(6, 6\)"),
        ({"X": GREY, "labels": np.arange(6) / 2}, "float64 with fractions, NaN or numbers too large"),
        ({"X": GREY, "labels": [0, 1, np.nan, 0, 1, 0]}, "float64 with fractions, NaN or numbers too large"),
        ({"X": GREY, "labels": [0, 1, np.inf, 0, 1, 0]}, "float64 with fractions, NaN or numbers too large"),
        ({"X": GREY, "labels": np.arange(6) + 1j}, "holds complex128; labels are whole numbers or text"),
        ({"X": GREY, "labels": np.array([{}] * 6)}, "holds object; labels are whole numbers or text"),
        (
            {"X": GREY, "labels": np.arange(6) + 20230101},
            "6 distinct labels for 6 pictures are no classes .20230101, ",
        ),
        ({"X": GREY, "labels": list("abcdee")}, "5 distinct labels for 6 pictures are no classes"),
        (
            {
                "test_images": GREY,
                "test_labels": list("ababab"),
                "train_images": GREY,
                "train_labels": [0, 1] * 3,
            },
            "train_labels are labels of different kinds, <U1, int64",
        ),
        ({"X": np.array([{}])}, r"X must be uint8 .*, not object \(1,\)"),
        ({"test_images": GREY, "labels": [0, 1] * 3}, "no test_labels, but labels: call its labels"),
        (
            {"train_images": GREY, "train_labels": [0, 1] * 3, "test_images": GREY},
            "no test_labels, but train_labels",
        ),
    ],
)
def test_what_is_laid_out_otherwise_is_refused_by_name(root, arrays, message):
    np.savez(root / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        data.load("array:a.npz", "test")


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        ([0, 255, 0, 255, 0, 0], ("0", "255")),
        (np.array([20230101, 20230102, 20230101, 7, 7, 7]), ("7", "20230101", "20230102")),
        (np.array([-1, 3, -1, 3, 3, 3]).astype(np.uint32), ("3", "4294967295")),
        (np.array([-1, 3, -1, 3, 3, 3]), ("-1", "3")),
        ([10**12, 1, 1, 1, 1, 10**12], ("1", "1000000000000")),
        (np.array([2**64 - 1, 0, 0, 0, 0, 0], np.uint64), ("0", "18446744073709551615")),
        ([9, 10, 9, 10, 9, 10], ("9", "10")),
        ([1.0, 2.0, 1.0, 2.0, 2.0, 2.0], ("1", "2")),
        ([True, False, True, True, True, True], ("False", "True")),
        (["dog", "cat", "dog", "dog", "cat", "élan"], ("cat", "dog", "élan")),
        ([b"dog", b"cat", b"dog", b"dog", b"cat", b"\xe9lan"], ("\\xe9lan", "cat", "dog")),
        ([[3], [5], [3], [5], [3], [5]], ("3", "5")),
        (range(6), tuple("012345")),  # an example of each class
    ],
)
def test_labels_are_mapped_and_keep_their_names(root, stored, names):
    np.savez(root / "a.npz", X=GREY, labels=stored)
    pets = data.load("array:a.npz", "test")
    assert pets.classes == names
    values = np.ravel(stored).tolist()
    numbers = {value: int(label) for value, label in zip(values, pets.labels, strict=True)}
    assert len(numbers) == len(names)
    for value, label in numbers.items():
        text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
        assert names[label] == str(int(text) if isinstance(text, float) else text)


def test_classes_are_those_of_all_splits(root):
    np.savez(
        root / "a.npz",
        train_images=GREY,
        train_labels=[5, 7] * 3,
        test_images=GREY,
        test_labels=[9, 7] * 3,
        note=[1],
    )
    train, test = (data.load("array:a.npz", split) for split in ("train", "test"))
    assert train.classes == test.classes == ("5", "7", "9")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1] * 3, [2, 1] * 3)


def forged(file, shape):
    """A file whose header says a shape, over a thousand bytes."""
    with zipfile.ZipFile(file, "w") as archive, archive.open("X.npy", "w") as stored:
        np.lib.format.write_array_header_2_0(stored, {"descr": "|u1", "fortran_order": False, "shape": shape})
        stored.write(bytes(1000))


@pytest.mark.parametrize(
    "shape", [(10**12, 32, 32), (10**30, 1, 1), (11, 10, 10), (-10, 10, -10), (9, 10, 10)]
)
def test_a_header_that_does_not_fit_its_file_is_refused_before_anything_is_allocated(root, shape):
    forged(root / "a.npz", shape)
    with pytest.raises(
        UserError, match=r"a\.npz is damaged or no \.npz file of NumPy \(the header of X does not fit"
    ):
        data.load("array:a.npz", "test")


def test_large_arrays_in_small_files_are_refused_by_arithmetic(root, monkeypatch):
    with (
        zipfile.ZipFile(root / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("X.npy", "w") as stored,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (200_000, 32, 32)}
        np.lib.format.write_array_header_2_0(stored, header)
        for _ in range(200):
            stored.write(bytes(1000 * 32 * 32))
    assert (root / "a.npz").stat().st_size < 300_000
    monkeypatch.setattr(memory, "memory", lambda: 409_000_000)
    monkeypatch.setattr(np.lib.format, "read_array", None)  # nothing of it is read
    with pytest.raises(
        UserError, match=r"X in .*a\.npz would take 0\.2 GB, more than half of the memory here \(0\.4 GB\)"
    ):
        data.load("array:a.npz", "test")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(root, make):
    make(root / "a.npz")
    with pytest.raises(UserError, match=r"a\.npz is no regular file"):
        data.load("array:a.npz", "test")


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_damaged_files_are_refused_by_name_and_objects_are_never_made(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez_compressed(root / "a.npz", X=COLOUR)
    whole = bytearray((root / "a.npz").read_bytes())
    whole[80] ^= 255
    np.savez(root / "trap.npz", X=COLOUR, labels=np.array([Trap()] * 6, object))
    np.save(root / "bare.npy", COLOUR)
    others = [(root / name).read_bytes() for name in ("trap.npz", "bare.npy")]
    for content in (bytes(whole), bytes(whole[:90]), b"", pickle.dumps(Trap()), *others):
        (root / "a.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.npz is damaged or no \.npz file|labels holds object"):
            data.load("array:a.npz", "test")
    assert not Path("sprung").exists()
