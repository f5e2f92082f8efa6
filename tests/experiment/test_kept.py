"""Runs that travel without their weights: found as they were, trained again where the weights are needed."""

import contextlib
import shutil
import zipfile

import numpy as np
import pytest
import torch

import specfreq
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.experiment import Experiment, find_run, kept, list_runs, run, runs
from specfreq.measures import compute
from specfreq.train import loop

SMALL = {"data": "digits", "train_size": 200, "test_size": 100, "epochs": 2, "batch": 50}
WATCHED = {"watch": ("accuracy",), "watch_epochs": (1,)}


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def trained():
    made = specfreq.run(Experiment(**SMALL, **WATCHED), ["accuracy", "calibration"])
    return made


@pytest.fixture
def archive(trained, tmp_path):
    return kept.keep(trained, tmp_path / "kept")


def moved(tmp_path, monkeypatch):
    """Another machine: a folder of runs that is empty."""
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "elsewhere"))


def forbid_training(monkeypatch):
    def no(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(loop, "fit", no)


def test_a_restored_run_says_all_that_the_first_one_said_without_training(
    trained, archive, tmp_path, monkeypatch
):
    moved(tmp_path, monkeypatch)
    forbid_training(monkeypatch)
    found = kept.restore(archive)
    assert found.key == trained.key and not found.trained and trained.trained
    assert found.results == trained.results and found.history == trained.history
    assert found.provenance == trained.provenance and found.outline == trained.outline
    assert torch.equal(found.series["accuracy"]["accuracy"], trained.series["accuracy"]["accuracy"])
    again = run(Experiment(**SMALL, **WATCHED), ["accuracy", "calibration"])
    assert again.results == trained.results
    number = ("accuracy", "accuracy")
    assert np.array_equal(again.each(*number), trained.each(*number))
    assert [r.key for r in list_runs()] == [trained.key] and find_run(trained.key[:5]).key == trained.key
    assert not any(path.suffix == ".safetensors" for path in found.path.glob("model*"))


def test_where_weights_are_needed_it_is_trained_again_and_what_was_measured_of_them_stays(
    trained, archive, tmp_path, monkeypatch, caplog
):
    moved(tmp_path, monkeypatch)
    found = kept.restore(archive)
    before = found.results
    asked = found.measure("band-accuracy:step=8")
    assert "without its weights" in caplog.text and "otherwise" not in caplog.text
    assert found.trained and found.results == {**before, "band-accuracy step=8": asked}
    assert not (found.path / "again").exists() and found.history == trained.history


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("weights", ["there", "restored"])
def test_a_training_anew_that_is_killed_takes_nothing_away_and_goes_on(
    trained, archive, tmp_path, monkeypatch, weights
):
    if weights == "restored":
        moved(tmp_path, monkeypatch)
        kept.restore(archive)
    more = Experiment(**SMALL, watch=("accuracy", "nll"))
    epochs = []

    def killed(*args, after_epoch, **fields):
        def after(epoch, model):
            after_epoch(epoch, model)
            epochs.append(epoch)
            (there,) = list_runs()  # others see it as it was
            assert there.results == trained.results and there.series["accuracy"]["accuracy"].numel() == 1
            if len(epochs) == 2:
                raise Killed

        return fit(*args, after_epoch=after, **fields)

    fit = loop.fit
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "fit", killed)
        run(more, [], checkpoint_every=0)
    found = find_run(trained.key)
    assert found.results == trained.results and found.trained == (weights == "there")
    assert found.series.epochs == [1] and list(found.series.results) == ["accuracy"]
    done = run(more, [])
    assert epochs == [1, 2] and done.results == trained.results
    assert done.series.epochs == [1, 2] and list(done.series.results) == ["accuracy", "nll"]


def test_a_kill_while_the_new_network_takes_the_place_of_the_old_one_is_made_good(
    trained, monkeypatch, tmp_path
):
    """At every step: what is left is a finished run, which the next call puts right without training."""
    more = Experiment(**SMALL, watch=("nll",))
    whole = shutil.copytree(trained.path, tmp_path / "whole")
    fit, replace = loop.fit, type(trained.path).replace
    for step in range(4):
        shutil.rmtree(trained.path)
        shutil.copytree(whole, trained.path)
        monkeypatch.setattr(loop, "fit", fit)
        moves = []

        def killed(path, target, step=step, moves=moves):
            if path.parent.name == "ready":
                moves.append(path.name)
                if len(moves) > step:
                    raise Killed
            return replace(path, target)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(type(trained.path), "replace", killed)
            run(more, [])
        forbid_training(monkeypatch)
        done = run(more, [])
        assert done.results == trained.results and done.trained
        assert list(done.series.results) == ["accuracy", "nll"] and not (done.path / "ready").exists()


def test_an_old_series_that_cannot_be_taken_again_is_refused_before_anything_is_lost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.zeros((40, 8, 8), np.uint8)
    np.savez(
        "other.npz",
        **{
            f"{s}_{k}": v
            for s in ("train", "test")
            for k, v in (("images", images), ("labels", np.arange(40) % 10))
        },
    )
    watched = Experiment(**SMALL, watch=("out-of-distribution:other=array:other.npz",))
    made = run(watched, ["accuracy"])
    (tmp_path / "other.npz").unlink()
    with pytest.raises(UserError, match=r"other\.npz"):
        run(Experiment(**SMALL, watch=("nll",)), [])
    assert find_run(made.key).trained and find_run(made.key).series.epochs == [1, 2]


@pytest.mark.parametrize("of", ["this network", "another"])
def test_an_interrupted_restore_is_taken_for_the_training_that_follows_if_the_network_is_the_same(
    trained, archive, tmp_path, monkeypatch, caplog, of
):
    moved(tmp_path, monkeypatch)
    write = storage.write

    def killed(path, content):
        if path.name == "network.json" and path.parent.parent == places.runs_dir():
            raise Killed
        return write(path, content)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(storage, "write", killed)
        kept.restore(archive)
    there = places.runs_dir() / trained.key
    if of == "another":
        (there / "history.csv").write_text("epoch,loss,accuracy,lr\n1,2.0,50.0,0.1\n")
    plain = run(Experiment(**SMALL), [])
    assert plain.results == (trained.results if of == "this network" else {}) and plain.series is None
    assert ("came out otherwise" in caplog.text) == (of == "another")
    assert not (there / "before").exists()


def test_deleted_weights_are_trained_again_and_what_was_measured_stays(trained, monkeypatch):
    """As the refusal of damaged weights advises; also if it is killed once more at the very end."""
    results = trained.results
    (trained.path / "model.safetensors").unlink()

    def killed(path):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("specfreq.experiment.runs._put_back", killed)
        run(Experiment(**SMALL, **WATCHED), [])
    forbid_training(monkeypatch)
    (trained.path / "results" / "0123456789abcdef").mkdir(parents=True)  # by one that asks about other images
    assert run(Experiment(**SMALL, **WATCHED), []).results == results


def test_a_network_is_trained_again_in_the_precision_that_it_had(archive, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("specfreq.core.devices.fastest", lambda device: "float32")
    auto = Experiment(**SMALL, precision="auto")
    made = run(auto, ["accuracy"])
    archive = kept.keep(made, tmp_path / "kept")
    moved(tmp_path, monkeypatch)
    monkeypatch.setattr("specfreq.core.devices.fastest", lambda device: "bfloat16")
    found = kept.restore(archive)
    found.measure("nll")
    assert found.provenance["precision"] == "float32" and found.results.keys() == {"accuracy", "nll"}
    assert "otherwise" not in caplog.text


def test_what_is_measured_is_the_network_that_is_there_when_it_is(trained, monkeypatch):
    """Another process trains the run once more while this one waits for it, and other weights come out."""
    alone, other = storage.alone, trained.path.parent / "other"
    shutil.copytree(trained.path, other)

    @contextlib.contextmanager
    def waited(folder, busy):
        with alone(folder, busy):
            tensors, meta = storage.read_tensors(trained.path / "model.safetensors")
            changed = {name: t * 1.5 if t.is_floating_point() else t for name, t in tensors.items()}
            storage.write_tensors(trained.path / "model.safetensors", changed, meta)
            yield

    monkeypatch.setattr(storage, "alone", waited)
    told = trained.measure("nll")
    assert told["nll"] == compute("nll", trained.classifier(), trained.image_set("test"))["nll"]


def test_two_that_ask_for_other_series_at_once_both_get_theirs(trained, monkeypatch):
    ensure, asked = runs.ensure, []

    def other_first(path, *rest):
        if not asked:
            asked.append(path)
            run(Experiment(**SMALL, watch=("nll",)), [])  # it begins before this one has the lock
        return ensure(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_train_again", _delayed(runs._train_again, other_first))
        done = run(Experiment(**SMALL, watch=("calibration",)), [])
    assert sorted(done.series.results) == ["accuracy", "calibration", "nll"]


def _delayed(train_again, other_first):
    def delayed(*args, **fields):
        kept_ensure = runs.ensure
        runs.ensure = other_first
        try:
            return train_again(*args, **fields)
        finally:
            runs.ensure = kept_ensure

    return delayed


def test_a_restored_run_has_nothing_of_an_unfinished_training(trained, tmp_path, monkeypatch):
    bare = shutil.copytree(trained.path, tmp_path / "x" / trained.key)
    (bare / "series.safetensors").unlink()
    archive = kept.keep(kept.Run(bare), tmp_path / "kept")
    moved(tmp_path, monkeypatch)
    begun = places.runs_dir() / trained.key
    begun.mkdir(parents=True)
    shutil.copy(trained.path / "series.safetensors", begun)
    assert kept.restore(archive).series is None


def test_an_archive_keeps_what_it_has_of_the_same_network_and_is_not_replaced_by_less_of_another(
    trained, archive, tmp_path, monkeypatch
):
    first = archive.read_bytes()
    (trained.path / "results" / "calibration.json").unlink()
    assert kept.keep(kept.Run(trained.path), archive.parent).read_bytes() == first
    with monkeypatch.context() as patch:
        patch.setattr(kept.Run, "outline", property(lambda run: {"weights": "of another"}))
        with pytest.raises(UserError, match=r"another training of this run.* results/calibration\.json"):
            kept.keep(kept.Run(trained.path), archive.parent)
    assert archive.read_bytes() == first


def test_what_does_not_fit_is_refused_before_weights_are_trained(trained, archive, tmp_path, monkeypatch):
    moved(tmp_path, monkeypatch)
    forbid_training(monkeypatch)
    with pytest.raises(UserError, match="boxes"):
        kept.restore(archive).measure("localisation")


@pytest.mark.parametrize("differs", ["weights", "history"])
def test_where_another_network_comes_out_it_is_measured_again(
    trained, archive, tmp_path, monkeypatch, caplog, differs
):
    moved(tmp_path, monkeypatch)
    found = kept.restore(archive)
    result, outline = found.path / "results" / "accuracy.json", found.path / "network.json"
    forged = storage.read_sealed(result, f"{found.key}/accuracy") | {"accuracy": 1.5}
    storage.write_sealed(result, forged, f"{found.key}/accuracy")  # what another machine's network reached
    told = storage.read_sealed(outline, found.key)
    storage.write_sealed(outline, told | {"weights": None if differs == "history" else "0"}, found.key)
    if differs == "history":
        (found.path / "history.csv").write_text("epoch,loss,accuracy,lr\n1,2.0,50.0,0.1\n")
    asked = run(Experiment(**SMALL, **WATCHED), ["accuracy", "band-accuracy:step=8"]).results
    assert "came out otherwise" in caplog.text and asked.keys() == {"accuracy", "band-accuracy step=8"}
    found = kept.Run(found.path)
    asked = asked["band-accuracy step=8"]
    assert asked == {**trained.measure("band-accuracy:step=8"), "provenance": asked["provenance"]}
    assert found.measure("accuracy")["accuracy"] == trained.results["accuracy"]["accuracy"] != 1.5
    for name, value in trained.classifier().state_dict().items():
        assert torch.equal(value, found.classifier().state_dict()[name]), name
    assert torch.equal(found.series["accuracy"]["accuracy"], trained.series["accuracy"]["accuracy"])
    assert not (found.path / "network.json").exists()


def test_results_on_other_images_travel_too(trained, tmp_path, monkeypatch):
    other = "array:other.npz"
    monkeypatch.chdir(tmp_path)
    images = trained.image_set("test")
    noisy = 255 - images.images.permute(0, 2, 3, 1).numpy()
    split = {"test_images": noisy.squeeze(-1), "test_labels": images.labels.numpy()}
    np.savez("other.npz", train_images=split["test_images"], train_labels=split["test_labels"], **split)
    try:
        told = trained.measure("accuracy", data=other)
    except UserError as error:  # the classes of an array are called by numbers, as those of digits are
        pytest.fail(str(error))
    archive = kept.keep(trained, tmp_path / "kept")
    moved(tmp_path, monkeypatch)
    forbid_training(monkeypatch)
    assert kept.restore(archive).measure("accuracy", data=other) == told


def test_an_archive_is_the_same_bytes_each_time_and_after_a_restore(trained, archive, tmp_path, monkeypatch):
    first = archive.read_bytes()
    assert kept.keep(trained, tmp_path / "again").read_bytes() == first
    moved(tmp_path, monkeypatch)
    assert kept.keep(kept.restore(archive), tmp_path / "further").read_bytes() == first


def test_runs_that_are_here_or_in_training_stay_as_they_are(trained, archive, tmp_path, monkeypatch):
    assert kept.restore(archive) is None and trained.trained
    moved(tmp_path, monkeypatch)
    begun = places.runs_dir() / trained.key
    storage.write(begun / "checkpoint.safetensors", "of a training")
    assert kept.restore(archive) is None and [p.name for p in begun.iterdir()] == ["checkpoint.safetensors"]
    (begun / "checkpoint.safetensors").unlink()
    storage.write(begun / "experiment.json", "{}")  # of a training that ended before its first checkpoint
    assert kept.restore(archive).results == trained.results


def test_a_run_that_begins_meanwhile_stays_as_it_is(trained, archive, tmp_path, monkeypatch):
    moved(tmp_path, monkeypatch)
    begun = places.runs_dir() / trained.key
    with storage.alone(begun, "trains"):
        assert kept.restore(archive) is None

    class Elsewhere(kept.Run):  # another process begins while the archive is looked through
        def __init__(self, path):
            super().__init__(path)
            if path != begun:
                storage.write(begun / "checkpoint.safetensors", "of a training")

    monkeypatch.setattr(kept, "Run", Elsewhere)
    assert kept.restore(archive) is None and not (begun / "experiment.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda names: {**names, "../evil.json": b"{}"},
        lambda names: {**names, "model.safetensors": b""},
        lambda names: {**names, "results/../../x.json": b"{}"},
        lambda names: {n: c for n, c in names.items() if n != "history.csv"},
        lambda names: {**names, "history.csv": names["history.csv"].replace(b"\n1", b"\n3", 1)},
        lambda names: {
            **names,
            "experiment.json": names["experiment.json"].replace(b'"batch": 50', b'"batch": 60'),
        },
        lambda names: {**names, "network.json": names["network.json"].replace(b'"9"', b'"7"', 1)},
        lambda names: {
            **names,
            "results/accuracy.json": names["results/accuracy.json"].replace(
                b'"images": 100', b'"images": 99'
            ),
        },
        lambda names: {},
    ],
)
def test_an_archive_that_was_edited_is_refused_and_leaves_nothing(archive, tmp_path, monkeypatch, change):
    with zipfile.ZipFile(archive) as packed:
        names = {name: packed.read(name) for name in packed.namelist()}
    changed = change(names)
    assert changed != names
    edited = tmp_path / "edited" / archive.name
    edited.parent.mkdir()
    with zipfile.ZipFile(edited, "w") as packed:
        for name, content in changed.items():
            packed.writestr(name, content)
    moved(tmp_path, monkeypatch)
    with pytest.raises(storage.Damaged, match=archive.name):
        kept.restore(edited)
    assert not (places.runs_dir() / archive.stem).exists() and not (tmp_path / "evil.json").exists()


def test_what_is_no_archive_is_refused_by_name_and_another_runs_name_is_not_believed(
    archive, tmp_path, monkeypatch
):
    moved(tmp_path, monkeypatch)
    damaged = tmp_path / f"{'a' * 16}.zip"
    damaged.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(storage.Damaged, match="is damaged"):
        kept.restore(damaged)
    for place, value in ((6, 1), (8, 99)):  # behind a password; packed in an unknown way
        packed = bytearray(archive.read_bytes())
        for start, offset in ((b"PK\x03\x04", place), (b"PK\x01\x02", place + 2)):
            packed[packed.index(start) + offset] = value
        damaged.write_bytes(packed)
        with pytest.raises(storage.Damaged, match="is damaged"):
            kept.restore(damaged)
    shutil.copy(archive, damaged)
    with pytest.raises(storage.Damaged, match="holds no intact run"):
        kept.restore(damaged)
    with pytest.raises(UserError, match="cannot read"):
        kept.restore(tmp_path / f"{'b' * 16}.zip")


def test_archives_of_a_folder_are_those_named_by_a_key(archive):
    (archive.parent / "notes.zip").touch()
    (archive.parent / f".{archive.name}").touch()
    assert kept.archives(archive.parent) == [archive]
