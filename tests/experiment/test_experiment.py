"""Experiments: exact descriptions, keys that mean what they say, nothing computed twice, nothing
half-written.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import specfreq
from specfreq import experiment, measures, models, train
from specfreq.core import devices, places, storage
from specfreq.core.errors import UserError
from specfreq.evidence import records
from specfreq.experiment import Experiment, description, grids, runs
from specfreq.measures.inference import logits
from specfreq.train import loop, state

SMALL = {
    "data": "digits",
    "train_size": 200,
    "test_size": 100,
    "epochs": 1,
    "batch": 50,
    "shift": 1,
    "flip": False,
}


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))


def forbid_training(monkeypatch):
    def no(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(loop, "fit", no)


def test_asking_twice_computes_once(monkeypatch):
    first = specfreq.run(Experiment(**SMALL))
    forbid_training(monkeypatch)
    monkeypatch.setattr(measures, "computed", None)
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
    answers = logits(run.classifier(), test.images).argmax(1)
    assert 100 * (answers == test.labels).double().mean().item() == pytest.approx(
        run.results["accuracy"]["accuracy"]
    )


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


def test_the_first_images_of_a_list_are_another_experiment_than_a_balanced_draw():
    drawn, first = (Experiment(**SMALL, train_draw=draw) for draw in ("balanced", "first"))
    assert drawn.key == Experiment(**SMALL).key != first.key
    counts = [e.image_set("train").labels.bincount() for e in (drawn, first)]
    assert counts[0].amax() - counts[0].amin() <= 1 < counts[1].amax() - counts[1].amin()
    assert torch.equal(drawn.image_set("test").images, first.image_set("test").images)


def test_a_field_that_is_as_by_default_leaves_the_key_alone():
    """So that a release with new fields finds older runs. Keys are frozen: published records name them."""
    base = Experiment(data="digits")
    assert (
        Experiment(data="digits", model="resnet8", momentum=0.9, augment="apr-p:p=0.6", ema=0).key != base.key
    )
    assert (
        Experiment(data="digits", model="resnet8:norm=batch", momentum=0.9, augment="none", ema=0).key
        == base.key
    )
    assert train.VERSION == 1 and base.key == "af56ed50e64b2489"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"data": "digits"}, {"data": " digits:"}),
        ({"data": "planted:snr=2,band=high"}, {"data": "planted: band=high"}),
        ({"schedule": "step", "milestones": (0.3, 0.6)}, {"schedule": "step", "milestones": "0.6,0.3"}),
        ({"schedule": "step", "milestones": (0.6, 0.3)}, {"schedule": "step", "milestones": [0.3, 0.6]}),
        ({"momentum": 0}, {"momentum": 0, "nesterov": False}),
        ({"optimizer": "adam"}, {"optimizer": "adam", "momentum": 0.5}),
        ({"schedule": "cosine"}, {"schedule": "cosine", "peak": 0.5, "decay": 0.5}),
        ({"shift": 0}, {"shift": 0, "border": "edge"}),
        ({"lr": 1}, {"lr": "1e0"}),
        ({}, {"train_draw": "first"}),
    ],
)
def test_what_has_no_effect_is_no_other_experiment(one, other):
    assert Experiment(**{"data": "digits"} | one).key == Experiment(**{"data": "digits"} | other).key


def test_another_version_of_the_measures_computes_anew(monkeypatch):
    run = specfreq.run(Experiment(**SMALL))
    assert run.results["accuracy"]["provenance"]["measures"] == measures.VERSION
    monkeypatch.setattr(measures, "VERSION", measures.VERSION + 1)
    monkeypatch.setattr(measures, "computed", lambda *_: ({"accuracy": -1}, {}))
    assert run.measure("accuracy")["accuracy"] == -1


@pytest.mark.parametrize("program", ["", ",as_published=cifar10"])
@pytest.mark.parametrize(
    "filter", ["gaussian-low-pass:sigma=1", "gaussian-high-pass:sigma=1", "whitening:floor=0.001"]
)
def test_every_filter_that_fits_is_let_through(filter, program):
    experiment.check(Experiment(**{**SMALL, "data": "photos", "shift": 1}, filter=filter + program))


def test_a_long_description_is_a_short_file():
    run = specfreq.run(Experiment(**SMALL))
    many = "feature-discrimination:radii=" + "+".join(f"{r / 40:g}" for r in range(1, 100))
    assert run.measure(many)["images"] == 100
    assert max(len(name) for name in run.results) == runs.LONGEST


def test_a_measure_that_names_a_path_is_found_again(imagenet_folder, tmp_path):
    run, folder = specfreq.run(Experiment(**SMALL)), imagenet_folder(tmp_path / "others")
    run.measure(f"out-of-distribution:other=folder:{folder}?size=8,size=10")
    assert [name.split()[0] for name in run.results] == ["accuracy", "out-of-distribution"]


def test_a_run_that_cannot_be_read_is_left_out_by_name(caplog):
    run = specfreq.run(Experiment(**SMALL))
    newer = places.runs_dir() / "0123456789abcdef"
    storage.write_json(newer / "experiment.json", {"data": "digits", "colour": 1})
    storage.write(newer / "model.safetensors", b"")
    assert [r.key for r in experiment.list_runs()] == [run.key]
    assert "run 0123456789abcdef is left out: " in caplog.text and "unknown field 'colour'" in caplog.text


def test_who_waited_for_a_training_leaves_the_results_being_written_alone():
    """The first to come measures when the second gets the lock."""
    run = specfreq.run(Experiment(**SMALL))
    part = run.path / "results" / ".accuracy.json.1f2e3d4c.specfreq-part"
    part.write_bytes(b"half a result")
    (run.path / "checkpoint.safetensors").write_bytes(b"left over")  # so that the lock is taken
    specfreq.run(Experiment(**SMALL))
    assert part.exists()


def test_what_a_killed_process_has_left_is_removed():
    """Half a checkpoint in a hidden file; a whole one beside the model, when the end came in between."""
    run = specfreq.run(Experiment(**SMALL))
    for name in (
        "checkpoint.safetensors",
        "checkpoint.safetensors.previous",
        ".checkpoint.safetensors.next.1f2e3d4c.specfreq-part",
    ):
        (run.path / name).write_bytes(b"left over")
    specfreq.run(Experiment(**SMALL))
    assert sorted(p.name for p in run.path.iterdir() if p.is_file()) == FILES


FILES = ["experiment.json", "history.csv", "lock", "model.safetensors", "provenance.json"]


def test_the_commit_is_ours_or_none(tmp_path):
    """Installed inside somebody's repository, the package must not name that repository's commit."""
    shutil.copytree(Path(specfreq.__file__).parent, tmp_path / "lib" / "specfreq")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True)
    program = "from specfreq.core import provenance; print(provenance._commit(), provenance.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.split() == ["None", str(tmp_path / "lib" / "specfreq" / "core" / "provenance.py")]


def test_another_version_of_the_trainer_is_another_run(monkeypatch):
    key = Experiment(**SMALL).key
    monkeypatch.setattr(state, "VERSION", train.VERSION + 1)
    assert Experiment(**SMALL).key != key


def pictures(folder, split, sizes):
    from PIL import Image

    for name, size in sizes.items():
        (folder / split / name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (size, size), 40 * i).save(folder / split / name / f"{i}.png")


def test_images_that_a_network_cannot_digest_are_refused_before_training(monkeypatch, tmp_path):
    forbid_training(monkeypatch)
    with pytest.raises(UserError, match="resnet50 needs images of at least"):
        specfreq.run(Experiment(**SMALL, model="resnet50"))
    pictures(tmp_path, "train", {"a": 8, "b": 8})
    pictures(tmp_path, "test", {"a": 9, "b": 9})
    with pytest.raises(UserError, match="shape of training and test images differ"):
        specfreq.run(Experiment(data=f"folder:{tmp_path}"))


def test_classes_that_differ_are_refused_before_training(monkeypatch):
    forbid_training(monkeypatch)
    real = description._load

    def other(name, split, size, **draw):
        images = real(name, split, size, **draw)
        return (
            images
            if split == "train"
            else type(images)(images.images, images.labels, (*images.classes[:-1], "ten"), name)
        )

    monkeypatch.setattr(description, "_load", other)
    with pytest.raises(UserError, match="classes of training and test images differ"):
        specfreq.run(Experiment(**SMALL))


def test_an_augmentation_is_part_of_a_run():
    plain, mixed = (
        specfreq.run(Experiment(**{**SMALL, "epochs": 4}, augment=a)) for a in ("none", "apr-p:p=1")
    )
    assert mixed.history[0]["loss"] > 1.5 * plain.history[0]["loss"]  # two cross-entropies
    assert mixed.key != plain.key


def test_the_filter_meets_training_and_test_images():
    """A network that is shown nothing but zeros says one class for everything: chance exactly, as was
    printed.
    """
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
    images = specfreq.ImageSet(
        torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1, 2]), ("a", "b", "c"), "toy"
    )
    out = measures.compute("accuracy", net, images)
    assert out["accuracy"] == 50 and out["per_class"] == [0, 100, 0]
    assert out["confusion"] == [[0, 1, 0], [0, 2, 0], [0, 1, 0]]


def test_a_damaged_checkpoint_is_named_and_the_run_still_ends_in_the_same_bits(monkeypatch, tmp_path, caplog):
    fit, asked = train.fit, Experiment(**{**SMALL, "epochs": 3})

    def stop(epoch, step):
        if (epoch, step) == (1, 3):
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "fit", functools.partial(fit, after_step=stop))
    with pytest.raises(KeyboardInterrupt):
        specfreq.run(asked, checkpoint_every=0)
    monkeypatch.setattr(loop, "fit", fit)
    directory = places.runs_dir() / asked.key
    assert not experiment.finished(directory)
    newest = directory / "checkpoint.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    resumed = specfreq.run(asked)
    assert f"{newest} is damaged" in caplog.text
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "other"))
    whole = specfreq.run(asked)
    assert (resumed.path / "model.safetensors").read_bytes() == (
        whole.path / "model.safetensors"
    ).read_bytes()
    assert resumed.history == whole.history


def test_the_precision_that_a_device_chose_is_kept_and_recorded(monkeypatch, tmp_path):
    """One that goes on after a kill trains on as it began, even if the device would now choose otherwise."""
    fit, asked = train.fit, Experiment(**{**SMALL, "epochs": 2, "precision": "auto"})

    def stop(epoch, step):
        if (epoch, step) == (0, 3):
            raise KeyboardInterrupt

    monkeypatch.setattr(devices, "fastest", lambda device: "bfloat16")
    monkeypatch.setattr(loop, "fit", functools.partial(fit, after_step=stop))
    with pytest.raises(KeyboardInterrupt):
        specfreq.run(asked, checkpoint_every=0)
    monkeypatch.setattr(loop, "fit", fit)
    monkeypatch.setattr(devices, "fastest", lambda device: "float32")
    chosen = specfreq.run(asked)
    assert chosen.provenance["precision"] == "bfloat16"
    assert records.of_run("one", chosen)["provenance"]["precision"] == ["bfloat16"]
    named = specfreq.run(asked.model_copy(update={"precision": "bfloat16"}))
    assert chosen.key != named.key and named.provenance["precision"] == "bfloat16"
    assert chosen.history == named.history
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "other"))
    assert specfreq.run(asked).provenance["precision"] == "float32"


def test_a_device_is_asked_by_the_clock(monkeypatch):
    """It is faster in half precision by a fifth at least, or trains in single."""
    for spent, answer in ((0.5, "bfloat16"), (0.9, "float32"), (3, "float32")):
        seconds = itertools.cycle([0, 1] * 6 + [0, spent] * 6)
        monkeypatch.setattr(devices.time, "perf_counter", lambda seconds=seconds: next(seconds))
        assert devices.fastest(torch.device("cpu")) == answer


def test_bfloat16_is_refused_where_it_is_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    for absent in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda absent=absent, **_: not absent)
        expected = (
            pytest.raises(UserError, match="Tesla T4 has no bfloat16") if absent else contextlib.nullcontext()
        )
        with expected:
            devices.check_precision(torch.device("cuda"), "bfloat16")
        devices.check_precision(torch.device("cuda"), "float32")
    devices.check_precision(torch.device("cpu"), "bfloat16")


TOGETHER = "import specfreq; print(specfreq.run(specfreq.Experiment(**{fields})).provenance['seconds'])"


def test_two_processes_that_want_one_run_train_it_once():
    """Whoever comes second waits, says so, and returns what the first has computed."""
    command = [
        sys.executable,
        "-c",
        TOGETHER.replace("{fields}", repr({**SMALL, "train_size": 1000, "epochs": 15})),
    ]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, env=os.environ, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0], "each took its own time"
    waited = sum("another process works on run" in errors for _, errors in said)
    assert waited <= 1  # on a busy machine the second may come when all is done


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
    description._load.cache_clear()
    with pytest.raises(UserError, match=f"the test images of .* have changed since run {run.key}"):
        run.measure("accuracy", filter="gaussian-low-pass:sigma=1")


def test_a_grid_varies_its_lists():
    points = specfreq.experiment.grid(**SMALL, filter=["none", "whitening"], seed=[0, 1, 0])
    assert [(p.filter.split(":")[0], p.seed) for p in points] == [
        ("none", 0),
        ("none", 1),
        ("whitening", 0),
        ("whitening", 1),
    ]


COLOURLESS = "gaussian-low-pass:sigma=1,as_published=fashion-mnist"


def test_nothing_is_computed_when_one_of_several_is_impossible(monkeypatch, tmp_path):
    forbid_training(monkeypatch)
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    impossible = {
        "cifar10": {"data": "cifar10"},
        "crop=random-resized does not fit": {"crop": "random-resized"},
        "batches of 1 images are too small": {"train_size": 11, "batch": 2},
        "moves images of 8 pixels out of sight": {"shift": 8},
        "as_published=fashion-mnist is a program for grey": {"data": "photos", "filter": COLOURLESS},
        "has one class": {"data": f"folder:{tmp_path}/one"},
    }
    pictures(tmp_path / "one", "train", {"only": 8})
    pictures(tmp_path / "one", "test", {"only": 8})
    for message, fields in impossible.items():
        with pytest.raises(UserError, match=message):
            specfreq.experiment.run_all(
                [Experiment(**SMALL), Experiment(**{**SMALL, "train_size": None, "test_size": None} | fields)]
            )
    assert not places.runs_dir().exists()


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
    monkeypatch.setattr(description, "_load", None)
    with pytest.raises(UserError, match=message):
        Experiment(**{**SMALL, **field})


def test_what_is_asked_later_is_refused_before_training(monkeypatch):
    forbid_training(monkeypatch)
    for measure, complaint in (("acuracy", "accuracy"), ("amplitude-phase-swap:other=svhm", "svhm")):
        with pytest.raises(UserError, match=complaint):
            experiment.run_all(experiment.grid(**SMALL), later=[measure])


def test_what_another_process_trains_comes_last(monkeypatch):
    """So that several, started on the same runs, share them; what is found stays in the order of the grid."""
    grid, order = experiment.grid(**SMALL, seed=[0, 1, 2]), []
    first = storage.alone(places.runs_dir() / grid[0].key, "trains it")
    first.__enter__()

    def run(one, *_, **__):
        order.append(one.seed)
        if len(order) == 2:
            first.__exit__(None, None, None)
        return one.seed

    monkeypatch.setattr(grids, "run", run)
    assert experiment.run_all(grid) == [0, 1, 2]
    assert order == [1, 2, 0]
    assert not storage.taken(places.runs_dir() / "0123456789abcdef"), "nothing there, nothing held"
    assert not (places.runs_dir() / "0123456789abcdef").exists()


def test_what_two_ask_of_a_run_at_once_is_measured_once(monkeypatch):
    """One waits for the other, and takes what it has measured."""
    run = specfreq.run(Experiment(**SMALL), measures=[])
    counted, both = [], threading.Barrier(2)
    compute = measures.computed

    def computed(*args):
        counted.append(1)
        assert storage.taken(run.path)  # so that others are measured first
        return compute(*args)

    def ask(_):
        both.wait()
        return runs.Run(run.path).measure("accuracy")

    monkeypatch.setattr(measures, "computed", computed)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second and len(counted) == 1
    assert not storage.taken(run.path)


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
    with pytest.raises(UserError, match=r"cannot write .*file"):
        specfreq.run(Experiment(**SMALL))
    assert (tmp_path / "file").read_text() == ""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of runs with two in it, as a release without checksums left them: the older form must stay
    readable.
    """
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(place))
        runs = [specfreq.run(Experiment(**SMALL, seed=seed)) for seed in (0, 1)]
    return place, [run.key for run in runs]


@pytest.fixture
def two(trained, monkeypatch, tmp_path):
    """A copy of these runs to spoil, and the names of their folders."""
    place, keys = trained
    shutil.copytree(place, tmp_path / "runs")
    return [tmp_path / "runs" / key for key in keys]


def unsealed(path):
    value = json.loads(path.read_text())
    value.pop("sha256")
    value.pop("history", None)
    path.write_text(json.dumps(value))


def test_runs_of_releases_without_checksums_stay_readable(two, monkeypatch):
    for file in (two[0] / "provenance.json", two[0] / "results" / "accuracy.json"):
        unsealed(file)
    forbid_training(monkeypatch)
    monkeypatch.setattr(measures, "computed", None)
    old = specfreq.run(Experiment(**SMALL))
    assert old.results["accuracy"]["images"] == 100 and len(old.history) == 1


SPOILED = [
    ("experiment.json", "[]"),
    ("experiment.json", ""),
    ("experiment.json", '{"data": 3}'),
    ("experiment.json", '{"data": "folder:~nosuchuser/x"}'),
    ("experiment.json", json.dumps({**SMALL, "epochs": 2})),
    ("provenance.json", "{}"),
    ("provenance.json", "{"),
    ("provenance.json", "[]"),
    ("provenance.json", '{"data": []}'),
]


@pytest.mark.parametrize(("file", "content"), SPOILED)
def test_a_spoiled_run_is_named_and_hides_no_other(two, caplog, file, content):
    (two[0] / file).write_text(content)
    assert [run.key for run in experiment.list_runs()] == [two[1].name]
    assert f"run {two[0].name} is left out" in caplog.text
    with pytest.raises(UserError, match=two[0].name):
        experiment.find_run(two[0].name)


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_spoiled_result_is_named_and_measured_anew(two, caplog, content):
    file = two[0] / "results" / "accuracy.json"
    before = experiment.Run(two[0]).results
    file.write_text(content)
    (two[0] / "results" / "._accuracy.json").write_text(content)
    run = experiment.Run(two[0])
    assert run.results == {} and str(file) in caplog.text
    run.measure("accuracy")
    assert run.results == before
    assert "._" not in caplog.text


def test_an_edited_result_is_never_shown(two, caplog):
    file = two[0] / "results" / "accuracy.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps({**found, "accuracy": 99.9}))
    run = experiment.Run(two[0])
    assert run.results == {} and f"{file} is not as it was written" in caplog.text
    assert run.measure("accuracy")["accuracy"] == found["accuracy"]


def test_a_result_of_another_run_is_noticed(two):
    shutil.copy(two[1] / "results" / "accuracy.json", two[0] / "results" / "accuracy.json")
    assert experiment.Run(two[0]).results == {}


def test_an_edited_history_or_another_runs_network_is_noticed(two):
    shutil.copy(two[1] / "history.csv", two[0] / "history.csv")
    shutil.copy(two[1] / "model.safetensors", two[0] / "model.safetensors")
    run = experiment.Run(two[0])
    with pytest.raises(UserError, match=r"history\.csv is not as it was written"):
        _ = run.history
    with pytest.raises(UserError, match=f"is of run {two[1].name}"):
        run.classifier()


@pytest.mark.parametrize("field", ["date", "seconds", "device"])
def test_an_edited_provenance_is_noticed(two, field):
    file = two[0] / "provenance.json"
    found = json.loads(file.read_text())
    file.write_text(json.dumps({**found, field: 1.0 if field == "seconds" else "x"}))
    with pytest.raises(UserError, match=r"provenance\.json is not as it was written"):
        experiment.Run(two[0])


def test_edited_settings_are_noticed_without_the_data(two, monkeypatch):
    monkeypatch.setattr(description, "_load", None)
    file = two[0] / "experiment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lr": 0.2}))
    unsealed(two[0] / "provenance.json")
    with pytest.raises(UserError, match=f"holds another run than {two[0].name}"):
        experiment.Run(two[0])
    experiment.Run(two[1])


def test_a_copied_folder_makes_no_key_ambiguous(two, caplog):
    key = two[0].name
    shutil.copytree(two[0], two[0].with_name(f"{key} 2"))
    shutil.copytree(two[0], two[0].with_name(f".{key}"))
    (two[0].parent / "__MACOSX").mkdir()
    assert experiment.find_run(key).key == experiment.find_run(key[:8]).key == key
    assert {run.key for run in experiment.list_runs()} == {path.name for path in two}
    assert f"run {key} 2 is left out" in caplog.text and caplog.text.count("left out") == 1


def test_a_run_stays_what_it_is_whatever_lies_in_the_working_directory(two, tmp_path, monkeypatch):
    """Its data were found below the data folder; by now a folder of that name lies here."""
    described = json.loads((two[0] / "experiment.json").read_text())
    digests = experiment.Run(two[0]).provenance["data"]
    settings = {**Experiment(**described).effective(), "data": "folder:pets"}
    text = json.dumps([train.VERSION, settings, [digests["train"], digests["test"]]], sort_keys=True)
    moved = two[0].rename(two[0].with_name(hashlib.sha256(text.encode()).hexdigest()[:16]))
    unsealed(moved / "provenance.json")
    (moved / "experiment.json").write_text(json.dumps({**described, "data": "folder:pets"}))
    assert experiment.Run(moved).key == moved.name
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path)
    assert experiment.Run(moved).key == moved.name


def test_what_is_said_of_each_image_is_kept_beside_the_result(two, monkeypatch):
    one = experiment.Run(two[0])
    right = one.each("accuracy", "accuracy")
    assert right.shape == (100,) and set(right) == {0.0, 100.0}
    assert right.mean() == one.results["accuracy"]["accuracy"]
    assert one.each("accuracy", "per_class.0") is None
    views = one.each("corruption:corruptions=fog,severities=1+2,size=20", "by_corruption.0")
    assert views.shape == (20,) and set(views) <= {0.0, 50.0, 100.0}
    monkeypatch.setattr(measures, "computed", None)
    assert np.array_equal(one.each("accuracy", "accuracy"), right)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(b"x")])
def test_what_is_missing_of_each_image_is_measured_anew(two, spoil):
    """As in runs of older versions, which kept nothing of each image."""
    one = experiment.Run(two[0])
    right = one.each("accuracy", "accuracy")
    spoil(one.path / "results" / "accuracy.safetensors")
    assert one.measure("accuracy")["images"] == 100  # does not need it
    assert np.array_equal(one.each("accuracy", "accuracy"), right)


def test_what_belongs_to_another_result_is_measured_anew(two):
    one, other = map(experiment.Run, two)
    right = one.each("accuracy", "accuracy")
    other.each("accuracy", "accuracy")
    shutil.copy(other.path / "results/accuracy.safetensors", one.path / "results/accuracy.safetensors")
    assert np.array_equal(one.each("accuracy", "accuracy"), right)


def test_a_run_that_holds_no_new_result_is_refused_before_measuring(two, monkeypatch):
    one = experiment.Run(two[0])
    shutil.rmtree(one.path / "results")
    (one.path / "results").write_text("a file where the folder should be")
    monkeypatch.setattr(measures, "computed", None)
    with pytest.raises(UserError, match=r"cannot write .*results"):
        one.measure("nll")


@pytest.mark.parametrize("every", [float("nan"), -1, float("inf")])
def test_an_interval_that_is_none_is_refused_before_training(every, monkeypatch):
    monkeypatch.setattr(runs, "check", None)
    with pytest.raises(UserError, match="checkpoint-every must be a number of seconds, 0 or more"):
        specfreq.run(Experiment(**SMALL), checkpoint_every=every)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("calibration:bins=1000000000", "bins=1000000000 is refused"),
        ("calibration:severities=3", "severities and seed are those of corruptions"),
        ("corruption:source=official", "no corrupted set was published"),
        ("corruption:source=official,seed=3", "recipe, frost and seed are of regenerated images"),
        ("corruption:corruptions=frost,frost=photographs", r"has no frost1\.png"),
        ("out-of-distribution:other=svhn", r"svhn \(test\): .* is missing"),
        ("out-of-distribution:other=folder:nosuch", "no such folder"),
        ("out-of-distribution:other=constant,eps=0.1", "max-logit has no eps"),
        ("out-of-distribution:other=constant,score=odin,temperature=1e300", "temperature=1e300 is refused"),
        ("amplitude-phase-swap:other=planted:channels=2", "do not fit those of the classifier"),
        ("fourier-heatmap", "published norm for 32x32"),
        ("fourier-heatmap:norm=1e300", "norm=1e300 is refused"),
        ("adversarial:queries=1000000000", "queries=1000000000 is refused"),
    ],
)
def test_a_measure_that_would_be_refused_is_refused_before_training(monkeypatch, tmp_path, measure, message):
    forbid_training(monkeypatch)
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    with pytest.raises(UserError, match=message):
        specfreq.run(Experiment(**SMALL), ["accuracy", measure])
    with pytest.raises(UserError, match=message):
        experiment.run_all([Experiment(**SMALL)], measures=[measure])


def test_what_was_measured_is_given_even_if_its_other_set_is_gone(two, monkeypatch, tmp_path):
    asked, name = Experiment(**SMALL), "out-of-distribution:other=array:x.npz,size=5"
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    np.savez(tmp_path / "x.npz", images=np.zeros((5, 8, 8), np.uint8))
    first = specfreq.run(asked, [name]).measure(name)
    (tmp_path / "x.npz").unlink()
    assert specfreq.run(asked, [name]).measure(name) == first


@pytest.mark.parametrize(
    "field",
    [
        {"epochs": 10**18},
        {"batch": 10**18},
        {"lr": 1e300},
        {"lr": 1e-300},
        {"weight_decay": 1e300},
        {"filter": "gaussian-low-pass:sigma=1e300"},
        {"filter": "gaussian-high-pass:sigma=1e-300"},
        {"filter": "gaussian-high-pass:sigma=nan"},
        {"filter": "whitening:floor=1e-300"},
        {"augment": "tv:bands=1000000"},
        {"augment": "tv:high=1e300"},
    ],
)
def test_numbers_beyond_all_use_are_refused_at_once(field, monkeypatch):
    monkeypatch.setattr(description, "_load", None)
    with pytest.raises(UserError, match="is refused"):
        Experiment(**{**SMALL, **field})


@pytest.mark.parametrize(
    "name", ["planted:count=1000000000,side=512", "planted:classes=100,channels=16,side=512"]
)
def test_planted_sets_beyond_all_memory_are_refused_at_once(name):
    with pytest.raises(UserError, match=r"planted: .* are more than memory should hold"):
        specfreq.data.load(name)


def test_fields_are_understood_as_options_are_written():
    assert Experiment(**{"train-size": 5, "weight-decay": 0}) == Experiment(train_size=5, weight_decay=0)
    with pytest.raises(UserError, match="given twice"):
        Experiment(**{"train-size": 5, "train_size": 6})


def test_baselines_record_the_series_of_their_arms():
    asked = {"watch": ("accuracy",), "watch_epochs": (1,)}
    for plain in experiment.baselines(experiment.grid(augment=["apr-p", "apr-s"], **SMALL, **asked)):
        assert (plain.watch, plain.watch_epochs, plain.epochs) == (("accuracy",), (1,), 2)


def test_baselines_take_as_many_passes_as_the_arms_with_several_views_and_each_is_trained_once():
    arms = experiment.grid(
        data="digits",
        train_size=20,
        epochs=3,
        adversary=["none", "fgsm"],
        augment=["none", "apr-s", "apr-p", "apr-sp", "augmix"],
    )
    plain = experiment.baselines(arms)
    assert [(e.augment, e.epochs, e.adversary) for e in plain] == [
        ("none", epochs, adversary) for adversary in ("none", "fgsm") for epochs in (6, 9)
    ]
    several = {e.passes for e in arms if e.passes != 3 * 20 and e.passes != 2 * 3 * 20}
    assert several <= {e.passes for e in plain}
