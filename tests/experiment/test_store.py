"""The store of runs: what is written is read back, edits are refused, a finished run is not trained again."""

import pytest
import torch

from specfreq.core import storage
from specfreq.experiment import store
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.team import Team


def test_a_history_is_read_back_to_the_bit_and_refused_once_edited(tmp_path):
    rows = [{"epoch": 1.0, "loss": 0.1 + 0.2}, {"epoch": 2.0, "loss": 1 / 3}]
    origin = {"history": store.write_history(tmp_path, rows, ["epoch", "loss"])}
    assert store.history(tmp_path, origin) == rows
    file = tmp_path / "history.csv"
    file.write_text(file.read_text().replace("0.3333", "0.2333"))
    with pytest.raises(storage.Damaged, match="not as it was written"):
        store.history(tmp_path, origin)


def test_a_run_is_trained_until_it_is_finished_and_never_again(tmp_path):
    checkpoints, calls = Checkpoints(tmp_path / "run" / "checkpoint", every=0), []

    def train():
        calls.append(checkpoints.load())
        checkpoints.save({"w": torch.zeros(1)}, len(calls))
        if len(calls) == 1:
            raise KeyboardInterrupt
        storage.write(tmp_path / "run" / "model.safetensors", "done")

    with pytest.raises(KeyboardInterrupt):
        store.ensure(tmp_path / "run", Team(torch.device("cpu")), checkpoints, train)
    for _ in range(2):
        store.ensure(tmp_path / "run", Team(torch.device("cpu")), checkpoints, train)
    assert len(calls) == 2 and calls[1] == ({"w": torch.zeros(1)}, 1)
    assert checkpoints.load() is None
