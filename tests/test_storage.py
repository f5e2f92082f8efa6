"""Files are whole or absent, and damage is named."""

import os

import pytest
import torch

from specfreq import storage
from specfreq.naming import UserError

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(3),
    "c": torch.zeros(0),
    "d": torch.ones(2, dtype=torch.bfloat16),
}


def test_tensors_and_their_meta_come_back_as_they_were(tmp_path):
    path = storage.write_tensors(tmp_path / "deep" / "x.safetensors", TENSORS, {"epoch": [1, 2.5]})
    tensors, meta = storage.read_tensors(path)
    assert meta == {"epoch": [1, 2.5]}
    assert tensors.keys() == TENSORS.keys()
    for name, t in TENSORS.items():
        assert torch.equal(tensors[name], t) and tensors[name].dtype == t.dtype


def test_equal_content_is_equal_bytes(tmp_path):
    shuffled = dict(reversed(TENSORS.items()))
    written = {storage.write_tensors(tmp_path / f"{i}", t, {"n": 1}).read_bytes() for i, t in enumerate([TENSORS, shuffled] * 10)}
    assert len(written) == 1


def test_every_damaged_byte_is_noticed(tmp_path):
    path = storage.write_tensors(tmp_path / "x.safetensors", {"a": torch.rand(5)}, {"n": 1})
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        try:
            tensors, meta = storage.read_tensors(path)
        except UserError as error:
            assert "x.safetensors is damaged" in str(error)
        else:  # a byte that carries nothing, such as padding
            path.write_bytes(good)
            want, wanted_meta = storage.read_tensors(path)
            assert torch.equal(tensors["a"], want["a"]) and meta == wanted_meta


def test_a_cut_file_is_named(tmp_path):
    path = storage.write_tensors(tmp_path / "x.safetensors", TENSORS)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"x\.safetensors is damaged"):
        storage.read_tensors(path)


def test_a_pickle_is_refused_unread(tmp_path):
    path = tmp_path / "x.safetensors"
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(UserError, match=r"x\.safetensors is damaged"):
        storage.read_tensors(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = storage.write(tmp_path / "x.txt", "old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*x\.txt: No space left on device"):
        storage.write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/x\.txt"):
        storage.write(tmp_path / "file" / "x.txt", "text")


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"x\.json is damaged"):
        storage.read_json(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    """Whoever reads that a checkpoint is damaged deletes it."""
    storage.write_tensors(tmp_path / "t", {"w": torch.zeros(2)})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UserError, match=r"cannot read .*t: Permission denied") as refused:
        storage.read_tensors(tmp_path / "t")
    assert not isinstance(refused.value, storage.Damaged)


def test_files_have_the_rights_that_the_user_gives_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        assert storage.write(tmp_path / "a", "x").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write(tmp_path / "a", "x")
    assert not list(tmp_path.iterdir())
