"""Checkpoints: two are kept, the newest intact one is used, and time is counted over all processes."""

import logging

import pytest
import torch

from specfreq.core.errors import UserError
from specfreq.train.checkpoints import Checkpoints


@pytest.fixture
def kept(tmp_path):
    """Three checkpoints written one after another; two of them are left."""
    kept = Checkpoints(tmp_path / "c.safetensors", every=0)
    for value in (1.0, 2.0, 3.0):
        kept.save({"w": torch.full((4,), value)}, {"step": value})
    return kept


def damage(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 255
    path.write_bytes(content)


def test_the_newest_is_loaded(kept):
    tensors, meta = kept.load()
    assert meta == {"step": 3.0} and torch.equal(tensors["w"], torch.full((4,), 3.0))


def test_a_damaged_one_is_named_and_the_one_before_it_used(kept, caplog):
    damage(kept.path)
    with caplog.at_level(logging.WARNING):
        assert kept.load()[1] == {"step": 2.0}
    assert f"{kept.path} is damaged" in caplog.text and "going on from the one before it" in caplog.text


def test_a_process_killed_between_the_two_renames_loses_one_interval(kept):
    """save: the newest becomes the previous; here the process died; the next one would have become the
    newest.
    """
    kept.path.replace(kept.previous)
    assert kept.load()[1] == {"step": 3.0}


def test_when_all_are_damaged_the_newest_is_refused_by_name(kept):
    damage(kept.path)
    kept.previous.write_bytes(b"")
    with pytest.raises(UserError, match=r"c\.safetensors is damaged .*delete it and run again"):
        kept.load()


def test_there_may_be_none_and_they_can_be_cleared(kept, tmp_path):
    kept.clear()
    assert kept.load() is None and not list(tmp_path.iterdir())


def test_they_are_due_after_their_interval_only(tmp_path):
    assert Checkpoints(tmp_path / "c", every=0).due()
    assert not Checkpoints(tmp_path / "c", every=3600).due()


def test_seconds_count_over_the_processes_that_worked_on_it(kept, monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: kept._began + 100)
    kept.save({}, None)
    later = Checkpoints(kept.path)
    later.load()
    assert later.seconds == 100
