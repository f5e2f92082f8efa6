"""A run by itself: used where its training set is not, shown the images of another set."""

import json

import numpy as np
import pytest
import torch

import specfreq
from specfreq import cli, data
from specfreq.core import storage
from specfreq.core.errors import UserError
from specfreq.experiment import Experiment, Run, description
from specfreq.measures.inference import logits

SMALL = {"epochs": 1, "batch": 50, "shift": 1, "flip": False}
WHITENED = "whitening:floor=0.001"


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))
    description._load.cache_clear()  # what other tests have read, and what lies here now


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", "train", 200), data.load("digits", "test", 100)


def write(file, digits, turn=0):
    """Digits as an array of one's own, the classes named 0 to 9 as the digits' own are."""
    train, test = digits
    np.savez(
        file,
        train_images=train.images[:, 0].numpy(),
        test_images=test.images[:, 0].numpy() if not turn else np.rot90(test.images[:, 0], turn, (1, 2)),
        train_labels=train.labels.numpy(),
        test_labels=test.labels.numpy(),
    )
    return f"array:{file}"


@pytest.mark.parametrize("filter", ["none", WHITENED])
def test_a_run_is_used_without_the_images_that_it_learned_from(tmp_path, digits, filter):
    """The filter is not fitted anew: the answers are those of before, to the bit."""
    run = specfreq.run(Experiment(**SMALL, data=write(tmp_path / "mine.npz", digits), filter=filter), [])
    pixels = digits[1].images
    before = logits(run.classifier(), pixels)
    (tmp_path / "mine.npz").unlink()
    description._load.cache_clear()
    alone = Run(run.path)
    assert torch.equal(logits(alone.classifier(), pixels), before)
    found = alone.measure("accuracy", data="digits")
    assert found["images"] == len(data.load("digits", "test"))
    assert found["provenance"]["data"]["name"] == "digits"
    with pytest.raises(UserError, match="no such file"):
        alone.measure("accuracy")


def test_a_file_of_an_older_version_opens_with_its_training_set(tmp_path, digits):
    """It says the key and nothing else, and holds the network alone."""
    name = write(tmp_path / "mine.npz", digits)
    run = specfreq.run(Experiment(**SMALL, data=name, filter=WHITENED), [])
    before = logits(run.classifier(), digits[1].images)
    file = run.path / "model.safetensors"
    tensors, meta = storage.read_tensors(file)
    assert meta == {"key": run.key, "classes": [str(n) for n in range(10)], "shape": [1, 8, 8]}
    older = {k: v for k, v in tensors.items() if "/" not in k}
    assert tensors.keys() - older.keys() == {"filter/mean_power"}
    storage.write_tensors(file, older, run.key)
    assert torch.equal(logits(Run(run.path).classifier(), digits[1].images), before)
    (tmp_path / "mine.npz").unlink()
    description._load.cache_clear()
    with pytest.raises(UserError, match="no such file"):
        Run(run.path).classifier()


def test_results_on_other_images_lie_apart_and_are_kept(tmp_path, digits, monkeypatch):
    run = specfreq.run(Experiment(**{**SMALL, "epochs": 6}, data=write(tmp_path / "mine.npz", digits)))
    own = run.results
    turned = write(tmp_path / "turned.npz", digits, turn=1)
    found = run.measure("accuracy", data=turned)
    assert found["accuracy"] < own["accuracy"]["accuracy"]
    assert run.results == own
    monkeypatch.setattr(specfreq.measures, "computed", None)
    assert run.measure("accuracy", data=turned) == found
    assert run.measure("accuracy", data=f"array:{tmp_path / 'mine.npz'}") == own["accuracy"]


def test_a_result_on_other_images_is_none_on_ones_own(tmp_path, digits):
    run = specfreq.run(Experiment(**SMALL, data=write(tmp_path / "mine.npz", digits)))
    run.measure("accuracy", data=write(tmp_path / "turned.npz", digits, turn=1))
    (other,) = (run.path / "results").glob("*/accuracy.json")
    other.replace(run.path / "results" / "accuracy.json")
    assert Run(run.path).results == {}


def test_other_images_that_do_not_fit_are_refused(tmp_path, digits):
    run = specfreq.run(Experiment(**SMALL, data=write(tmp_path / "mine.npz", digits), filter=WHITENED), [])
    larger = np.zeros((10, 9, 9), np.uint8)
    np.savez(tmp_path / "large.npz", images=larger, labels=np.arange(10))
    np.savez(tmp_path / "colour.npz", images=np.zeros((10, 8, 8, 3), np.uint8), labels=np.arange(10))
    refused = {
        "photos": r"the classes of photos are not those of run .*\(10\); choose a set",
        f"array:{tmp_path / 'colour.npz'}": r"have 3 channel\(s\)",
        f"array:{tmp_path / 'large.npz'}": "have another size: 9x9 and 8x8",
        "digts": "did you mean 'digits'",
    }
    for name, message in refused.items():
        with pytest.raises(UserError, match=message):
            run.measure("accuracy", data=name)
    assert run.measure("accuracy", filter="none", data=f"array:{tmp_path / 'large.npz'}")["images"] == 10


def test_the_command_measures_a_run_on_other_images(tmp_path, digits, capsys):
    name = write(tmp_path / "mine.npz", digits)
    run = specfreq.run(Experiment(**SMALL, data=name), [])
    (tmp_path / "mine.npz").unlink()
    description._load.cache_clear()
    out = tmp_path / "found.json"
    command = ["measure", run.key, "accuracy", "--data", "digits", "-o", str(out)]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0
    assert f"{run.key}  digits" in capsys.readouterr().out
    assert json.loads(out.read_text())["data"] == "digits"
