"""Experiments: exact descriptions, keys that mean what they say, nothing computed twice, nothing half-written."""

import os
import subprocess
import sys

import pytest
import torch

import specfreq
from specfreq import experiment, measures, models, storage, train
from specfreq.experiment import Experiment
from specfreq.naming import UserError

SMALL = {"data": "digits", "train_size": 200, "test_size": 100, "epochs": 1, "batch": 50, "shift": 1, "flip": False}


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))


def forbid_training(monkeypatch):
    def no(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "fit", no)


def test_asking_twice_computes_once(monkeypatch):
    first = specfreq.run(Experiment(**SMALL))
    forbid_training(monkeypatch)
    monkeypatch.setattr(measures, "compute", None)
    second = specfreq.run(Experiment(**SMALL))
    assert first.results == second.results
    assert second.results["accuracy"]["images"] == 100


def test_a_run_learns_and_keeps_its_history():
    run = specfreq.run(Experiment(**{**SMALL, "epochs": 6}))
    assert run.results["accuracy"]["accuracy"] > 40  # ten classes
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5, 6]


def test_a_stored_classifier_answers_as_the_trained_one_did():
    run = specfreq.run(Experiment(**SMALL))
    test = run.experiment.image_set("test")
    answers = train.logits(run.classifier(), test.images).argmax(1)
    assert 100 * (answers == test.labels).double().mean().item() == pytest.approx(run.results["accuracy"]["accuracy"])


def test_two_spellings_are_one_experiment_and_every_field_matters():
    base = Experiment(**SMALL, filter="gaussian-low-pass:sigma=2")
    assert Experiment(**SMALL, filter="gaussian-low-pass: sigma=2.0").key == base.key
    others = [
        {"epochs": 2},
        {"seed": 1},
        {"train_size": 199},
        {"filter": "gaussian-low-pass:sigma=3"},
        {"lr": 0.2},
        {"model": "resnet20"},
    ]
    keys = {Experiment(**{**SMALL, "filter": "gaussian-low-pass:sigma=2", **o}).key for o in others}
    assert len(keys) == len(others) and base.key not in keys


def test_the_filter_meets_training_and_test_images():
    """A network that is shown nothing but zeros says one class for everything: chance exactly, as was printed."""
    run = specfreq.run(Experiment(**SMALL, filter="gaussian-high-pass:sigma=2,as_published=cifar10"))
    confusion = torch.tensor(run.results["accuracy"]["confusion"])
    assert (confusion.sum(0) > 0).sum() == 1
    assert run.results["accuracy"]["accuracy"] == 10.0


def test_a_network_can_be_shown_other_filters_than_its_own():
    run = specfreq.run(Experiment(**{**SMALL, "epochs": 6}))
    plain, blurred = run.measure("accuracy"), run.measure("accuracy", filter="gaussian-low-pass:sigma=2")
    assert blurred["accuracy"] < plain["accuracy"]
    assert run.measure("accuracy", filter="none") == plain
    assert "accuracy@gaussian-low-pass sigma=2" in run.results


def test_normalisation_uses_the_filtered_training_images():
    run = specfreq.run(Experiment(**SMALL, filter="gaussian-high-pass:sigma=1"))
    tensors, _ = storage.read_tensors(run.path / "model.safetensors")
    assert abs(tensors["mean"].item()) < 1e-5  # a high-pass has no mean; the digits themselves have 0.3
    assert 0.01 < tensors["std"].item() < 0.5


def test_measures_do_not_depend_on_the_order_of_the_images():
    run = specfreq.run(Experiment(**SMALL))
    test = run.experiment.image_set("test")
    net = run.classifier()
    shuffled = type(test)(test.images.flip(0), test.labels.flip(0), test.classes, test.name)
    assert measures.compute("accuracy", net, shuffled) == measures.compute("accuracy", net, test)


def test_accuracy_on_a_classifier_with_known_answers():
    """Planted truth: a network that always answers class 1, on labels 0 1 1 2."""

    class Always(torch.nn.Module):
        def forward(self, x):
            return torch.tensor([0.0, 5.0, 1.0]).expand(len(x), -1)

    net = models.Classifier(Always(), torch.zeros(1), torch.ones(1))
    images = specfreq.ImageSet(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1, 2]), ("a", "b", "c"), "toy")
    out = measures.compute("accuracy", net, images)
    assert out["accuracy"] == 50 and out["per_class"] == [0, 100, 0]
    assert out["confusion"] == [[0, 1, 0], [0, 2, 0], [0, 1, 0]]


KILLED = """
import os, specfreq
from specfreq import train
real = train._save
def save_then_die(*a):
    real(*a)
    if len(a[-1]) == 2:
        os._exit(9)
train._save = save_then_die
specfreq.run(specfreq.Experiment(**{fields}))
"""


def test_a_killed_run_resumes_to_the_same_bits(monkeypatch, tmp_path):
    fields = {**SMALL, "epochs": 3}
    killed = subprocess.run([sys.executable, "-c", KILLED.replace("{fields}", repr(fields))], env=os.environ, capture_output=True)
    assert killed.returncode == 9, killed.stderr.decode()
    experiment_ = Experiment(**fields)
    directory = experiment.runs_dir() / experiment_.key
    assert not (directory / "model.safetensors").exists() and (directory / "checkpoint.safetensors").exists()
    resumed = specfreq.run(experiment_)
    assert not (directory / "checkpoint.safetensors").exists()
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "other"))
    whole = specfreq.run(experiment_)
    assert (resumed.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    assert resumed.history == whole.history


def test_a_damaged_model_is_refused_by_name():
    run = specfreq.run(Experiment(**SMALL))
    file = run.path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        specfreq.run(Experiment(**SMALL)).classifier()


def test_a_run_is_not_measured_on_other_images_than_its_own(tmp_path):
    from PIL import Image

    for split, count in (("train", 8), ("test", 4)):
        for name, value in (("dark", 40), ("light", 200)):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("L", (8, 8), value + i).save(tmp_path / split / name / f"{i}.png")
    described = {"data": f"folder:{tmp_path}", "epochs": 1, "batch": 8}
    run = specfreq.run(Experiment(**described))
    Image.new("L", (8, 8), 0).save(tmp_path / "test" / "light" / "0.png")
    experiment._load.cache_clear()
    with pytest.raises(UserError, match=f"the test images of .* have changed since run {run.key}"):
        run.measure("accuracy", filter="gaussian-low-pass:sigma=1")


def test_a_grid_varies_its_lists():
    points = specfreq.experiment.grid(**SMALL, filter=["none", "whitening"], seed=[0, 1, 0])
    assert [(p.filter.split(":")[0], p.seed) for p in points] == [("none", 0), ("none", 1), ("whitening", 0), ("whitening", 1)]


def test_nothing_is_computed_when_one_of_several_is_impossible(monkeypatch):
    forbid_training(monkeypatch)
    points = [Experiment(**SMALL), Experiment(**{**SMALL, "data": "nonesuch"})]
    with pytest.raises(UserError, match="nonesuch"):
        specfreq.experiment.run_all(points)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"epohcs": 3}, r"unknown field 'epohcs' for Experiment; did you mean 'epochs'"),
        ({"epochs": "many"}, r"epochs='many' is refused"),
        ({"epochs": -1}, r"epochs=-1 is refused"),
        ({"model": "resnet21"}, r"did you mean 'resnet20'"),
        ({"filter": "gaussian-low-pas:sigma=2"}, r"did you mean 'gaussian-low-pass'"),
        ({"filter": "gaussian-low-pass:sigma=0"}, r"sigma must be a positive number"),
    ],
)
def test_wrong_descriptions_are_refused_before_data_is_read(field, message, monkeypatch):
    monkeypatch.setattr(experiment, "_load", None)
    with pytest.raises(UserError, match=message):
        Experiment(**{**SMALL, **field})


def test_an_unknown_measure_is_refused_before_training(monkeypatch):
    forbid_training(monkeypatch)
    with pytest.raises(UserError, match="did you mean 'accuracy'"):
        specfreq.run(Experiment(**SMALL), measures=["acuracy"])


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_training(monkeypatch, device):
    forbid_training(monkeypatch)
    with pytest.raises(UserError, match=f"device '{device}' cannot be used"):
        specfreq.run(Experiment(**SMALL), device=device)


def test_an_unwritable_place_is_named_and_nothing_is_left(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write .*experiment\.json"):
        specfreq.run(Experiment(**SMALL))
    assert (tmp_path / "file").read_text() == ""
