"""Pictures in a NumPy file: what is read, split and labelled, and what is refused by name."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from specfreq import data
from specfreq.naming import UserError

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
    np.savez(root / "a.npz", train_images=GREY[:4], train_labels=labels, test_images=GREY[4:], test_labels=labels[:2], note=[1.5])
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
        ({"X": GREY, "labels": np.arange(5)}, r"labels must be 6 whole numbers from 0, not int64 \(5,\)"),
        ({"X": GREY, "labels": np.arange(6) - 1}, "whole numbers from 0"),
        ({"X": GREY, "labels": np.arange(6) / 2}, "whole numbers from 0, not float64"),
    ],
)
def test_what_is_laid_out_otherwise_is_refused_by_name(root, arrays, message):
    np.savez(root / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        data.load("array:a.npz", "test")


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_damaged_files_are_refused_by_name_and_objects_are_never_made(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez_compressed(root / "a.npz", X=COLOUR)
    whole = bytearray((root / "a.npz").read_bytes())
    whole[80] ^= 255
    np.savez(root / "trap.npz", X=np.array([Trap()], object))
    np.save(root / "bare.npy", COLOUR)
    others = [(root / name).read_bytes() for name in ("trap.npz", "bare.npy")]
    for content in (bytes(whole), bytes(whole[:90]), b"", pickle.dumps(Trap()), *others):
        (root / "a.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.npz is damaged or no \.npz file"):
            data.load("array:a.npz", "test")
    assert not Path("sprung").exists()
