"""Files are whole or absent, and damage is named."""

import os
from pathlib import Path

import pytest
import torch
import yaml

from specfreq import data
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.evidence import records

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


def test_tensors_that_share_memory_come_back_as_each_was(tmp_path):
    row = torch.arange(6.0)
    shared = {"all": row, "again": row, "some": row[2:4], "end": row[4:]}
    path = storage.write_tensors(tmp_path / "x.safetensors", shared)
    apart = {name: tensor.clone() for name, tensor in shared.items()}
    assert path.read_bytes() == storage.write_tensors(tmp_path / "y.safetensors", apart).read_bytes()
    tensors, _ = storage.read_tensors(path)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in shared.items())


def test_equal_content_is_equal_bytes(tmp_path):
    shuffled = dict(reversed(TENSORS.items()))
    written = {
        storage.write_tensors(tmp_path / f"{i}", t, {"n": 1}).read_bytes()
        for i, t in enumerate([TENSORS, shuffled] * 10)
    }
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


@pytest.mark.parametrize(
    "name", [".x", "._x.json", ".DS_Store", "__MACOSX", "Thumbs.db", "thumbs.db", "desktop.ini", "x.json~"]
)
def test_files_of_systems_and_editors_are_hidden(name):
    assert places.hidden(Path("deep") / name)


@pytest.mark.parametrize("name", ["x", "x.json", "_x", "~x", "Thumbs.db.png", "cat.desktop.ini.png"])
def test_files_of_users_are_not_hidden(name):
    assert not places.hidden(Path(".deep") / name)


def test_tidying_removes_what_a_killed_write_left_and_nothing_else(tmp_path, monkeypatch):
    users = [".my.notes", ".notes.12345678", "x.specfreq-part.txt", "x", ".x"]
    for name in users:
        (tmp_path / name).write_text("mine")

    def kill(*_):
        monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", kill)
        with pytest.raises(KeyboardInterrupt):
            storage.write(tmp_path / "a.json", "half")
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == len(users) + 1
    storage.tidy(tmp_path, age=60)
    assert len(list(tmp_path.iterdir())) == len(users) + 1, "another may be at work on it"
    storage.tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(users)


@pytest.mark.parametrize("variable", ["SPECFREQ_RUNS", "SPECFREQ_DATA", "SPECFREQ_RECORDS"])
def test_a_tilde_is_the_home_in_every_variable(variable, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/x")
    found = {
        "SPECFREQ_RUNS": places.runs_dir,
        "SPECFREQ_DATA": data.root,
        "SPECFREQ_RECORDS": records.records_dir,
    }[variable]
    assert found() == tmp_path / "x"
    monkeypatch.setenv(variable, "~nosuchuser/x")
    with pytest.raises(UserError, match=r"cannot find ~nosuchuser/x: .*write the path in full"):
        found()


@pytest.mark.parametrize("name", ["folder:~nosuchuser/x", "array:~nosuchuser/x.npz"])
def test_a_home_that_is_nobodys_is_refused_in_names(name):
    for look in (data.normal_form, data.load):
        with pytest.raises(UserError, match="cannot find ~nosuchuser/x"):
            look(name)


def test_what_is_sealed_comes_back_and_every_change_is_noticed(tmp_path):
    path = storage.write_sealed(tmp_path / "x.json", {"a": 1.5, "b": {"c": (1, None)}, 3: "é"}, "run/x")
    assert storage.read_sealed(path, "run/x") == {"a": 1.5, "b": {"c": [1, None]}, "3": "é"}
    with pytest.raises(storage.Damaged, match=r"x\.json is not as it was written"):
        storage.read_sealed(path, "run/y")
    path.write_text(path.read_text().replace("1.5", "1.6"))
    with pytest.raises(storage.Damaged, match=r"x\.json is not as it was written"):
        storage.read_sealed(path, "run/x")


def test_what_was_not_sealed_is_read_as_it_is(tmp_path):
    assert storage.read_sealed(storage.write_json(tmp_path / "x.json", {"a": 1}), "x") == {"a": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_what_is_no_object_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(storage.Damaged, match=r"x\.json is damaged"):
        storage.read_sealed(tmp_path / "x.json", "x")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no such pipes")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x")
    for read in (storage.read_json, storage.read_yaml, storage.read_tensors):
        with pytest.raises(UserError, match="no regular file"):
            read(tmp_path / "x")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 2, c: 3}", r"x\.yaml, line 2: 'c' is given twice"),
        ("a: 1\n'a': 2", r"x\.yaml, line 2: 'a' is given twice"),
        (BOMB, r"x\.yaml, line \d+: more than 100000 values"),
        ("a: &x [*x]", r"an alias stands for what it lies in"),
        ("[" * 5000, r"x\.yaml is no YAML"),
        ("- " * 10**6, r"x\.yaml is no YAML"),  # a depth at which the loader in C crashes
        ("a: [1", r"x\.yaml, line \d: .*expected"),
        ("? [1, 2]\n: 3", r"a key that is a list"),
        ("a: !!python/object/apply:os.getpid []", r"could not determine a constructor"),
        ("2020-13-45", r"x\.yaml is no YAML"),
    ],
)
def test_yaml_that_says_a_thing_twice_or_is_a_trap_is_refused(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        storage.read_yaml(tmp_path / "x.yaml")


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="this PyYAML was built without the parser in C")
def test_yaml_is_parsed_in_c():
    assert issubclass(storage._Strict, yaml.cyaml.CParser)


def test_yaml_is_read_as_ever_otherwise(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &x {p: 1, q: [1, 2.5]}\nb: {<<: *x, p: 2}\nc: *x\nd:\n")
    assert storage.read_yaml(tmp_path / "x.yaml") == {
        "a": {"p": 1, "q": [1, 2.5]},
        "b": {"p": 2, "q": [1, 2.5]},
        "c": {"p": 1, "q": [1, 2.5]},
        "d": None,
    }
