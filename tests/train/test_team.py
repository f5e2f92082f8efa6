"""Several processes on one training: two of them, started by torchrun, compute what one does.

Run as a script by torchrun, this file trains in float64, where nothing but rounding can differ.
"""

import os
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from specfreq import Experiment
from specfreq.core import storage
from specfreq.core.errors import UserError
from specfreq.train import team

RECIPE = {"epochs": 3, "batch": 24, "lr": 0.05, "shift": 2, "ema": 0.5, "seed": 4}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def columns(history):
    return torch.tensor([[row["loss"], row["accuracy"], row["lr"]] for row in history], dtype=torch.float64)


def tinted():
    """A view beside the images, of colours that are learned; the number of batches that it has seen is in a
    buffer.
    """
    from specfreq.augment import Augmentation

    class Tinted(Augmentation):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.full((1, 1, 1), 0.8, dtype=torch.float64))
            self.idle = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))  # no gradient reaches it
            self.register_buffer("seen", torch.zeros(()))

        def views(self, images, rows, donors=None):
            self.seen += 1
            return images, images * self.gain

    return Tinted()


def trained(norm: str, checkpoints=None, after_step=None, mixed=None):
    """A small network after three epochs on noise whose brightness tells the class, all in float64."""
    from specfreq import augment, models, train
    from specfreq.train import team

    team, g = team.join("cpu"), torch.Generator().manual_seed(0)
    labels = torch.arange(101) % 3  # batches of 20 and 21: the two shares of some differ in size
    images = torch.rand(101, 1, 8, 8, generator=g, dtype=torch.float64) / 2 + labels[:, None, None, None] / 6
    model = models.Classifier(
        models.build(f"resnet8:norm={norm}", 3, 1), torch.zeros(1), torch.ones(1)
    ).double()
    mixed = mixed or augment.build("apr-p:p=0.5")
    recipe = train.Recipe(**RECIPE)
    history = train.fit(
        model,
        images,
        labels,
        recipe,
        augmentation=mixed,
        team=team,
        checkpoints=checkpoints,
        after_step=after_step,
    )
    learned = {f"augment/{name}": value for name, value in mixed.state_dict().items()}
    return model.state_dict() | learned, history, team


def main(folder: str) -> None:
    from pathlib import Path

    from specfreq.train.checkpoints import Checkpoints

    results = {}
    for norm in ("group", "batch"):
        state, history, team = trained(norm)
        results |= {f"{norm}/{k}": v for k, v in state.items()}
        results[f"{norm}/history"] = columns(history)

    state, history, _ = trained("group", mixed=tinted())
    results |= {f"learned/{k}": v for k, v in state.items()} | {"learned/history": columns(history)}

    def stop(epoch, step):
        if (epoch, step) == (1, 3):
            raise KeyboardInterrupt

    for name, made in (("group", lambda: None), ("learned", tinted)):
        kept = Checkpoints(Path(folder) / name, every=0)
        try:
            trained("group", kept, stop, made())
        except KeyboardInterrupt:
            team.told(None)  # the first has written before the second reads
        state, history, _ = trained("group", kept, mixed=made())
        results |= {f"{name} resumed/{k}": v for k, v in state.items()}
        results[f"{name} resumed/history"] = columns(history)
    storage.write_tensors(Path(folder) / f"{team.rank}.safetensors", results)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    done = subprocess.run([*TORCHRUN, __file__, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [storage.read_tensors(folder / f"{rank}.safetensors")[0] for rank in (0, 1)]


def named(results, what):
    return {k.removeprefix(f"{what}/"): v for k, v in results.items() if k.startswith(f"{what}/")}


@pytest.mark.parametrize("what", ["group", "learned"])
def test_two_processes_take_the_steps_of_one(both, what):
    """Without batch statistics there is nothing else that could differ: weights, averages and loss curve, and
    what an augmentation learns.
    """
    state, history, _ = trained("group", mixed=tinted() if what == "learned" else None)
    expected = {**state, "history": columns(history)}
    for results in both:
        found = named(results, what)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert_close(value, expected[name], rtol=1e-8, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_without_synchronised_batches_two_processes_are_near_one_and_agree_with_each_other(both):
    """On CPUs each normalises by its own share: near, not equal; weights are the same everywhere all the
    same.
    """
    _, history, _ = trained("batch")
    first, second = (named(results, "batch") for results in both)
    losses = torch.tensor([row["loss"] for row in history], dtype=torch.float64)
    assert_close(first["history"][:, 0], losses, rtol=0.3, atol=0)
    assert not torch.allclose(first["history"][:, 0], losses, rtol=1e-6)
    for name in first:
        if "running" not in name:
            assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("what", ["group", "learned"])
def test_two_processes_resume_to_the_same_bits(both, what):
    for results in both:
        whole, resumed = named(results, what), named(results, f"{what} resumed")
        assert whole.keys() == resumed.keys() != set()
        for name, value in resumed.items():
            assert torch.equal(value, whole[name]), name


def test_what_an_augmentation_learns_is_the_same_in_both_processes(both):
    first, second = (named(results, "learned/augment") for results in both)
    assert first["gain"] != 0.8 and first["seen"] > 0
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_torchrun_trains_an_experiment_once_and_one_process_speaks(tmp_path):
    options = "--data digits --train-size 60 --test-size 20 --epochs 1 --batch 20 --model resnet8:norm=group"
    environment = {**os.environ, "SPECFREQ_RUNS": str(tmp_path)}
    command = [*TORCHRUN, "-m", "specfreq", "train", *options.split()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked = Experiment(
        data="digits", train_size=60, test_size=20, epochs=1, batch=20, model="resnet8:norm=group"
    )
    assert done.stdout.count(asked.key) == 2 and done.stdout.count("images") == 1
    assert "lightning" not in done.stderr.lower() and "distributed" not in done.stderr.lower()
    origin = storage.read_json(tmp_path / asked.key / "provenance.json")
    assert origin["device"].startswith("2 x CPU")


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK"])
def test_a_variable_that_is_empty_says_nothing(monkeypatch, name):
    monkeypatch.setenv(name, "")
    assert team.first() and team.join("cpu").size == 1


def test_a_number_of_processes_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE='two' is no number of processes"):
        team.join("cpu")


if __name__ == "__main__":
    main(sys.argv[1])
