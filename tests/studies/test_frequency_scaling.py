"""The study of frequency scaling takes from runs and images what they hold."""

import numpy as np
import pytest
from filelock import FileLock

from specfreq import data, experiment
from specfreq.evidence import comparison, tables
from specfreq.experiment import Run
from specfreq.studies import frequency_scaling

SMALL = {"data": "digits", "train_size": 50, "test_size": 40, "epochs": 2, "batch": 20, "model": "resnet8"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        arms = experiment.grid(augment=["none", "fsda:width=2", "fsda-random"], seed=[0, 1], **SMALL)
        yield experiment.run_all(arms, experiment.baselines(arms))


def test_errors_are_what_accuracies_leave_with_intervals_turned_around(runs):
    rows = comparison.rows(runs, {"accuracy": ("accuracy", "accuracy")})
    for before, after in zip(rows, frequency_scaling.errors(rows), strict=True):
        assert after["quantity"] == "error" and after["mean"] == pytest.approx(100 - before["mean"])
        assert after["values"] == [100 - value for value in before["values"]]
        assert (after["low"], after["high"]) == (100 - before["high"], 100 - before["low"])
    gained = comparison.differences(rows, "none")
    lost = comparison.differences(frequency_scaling.errors(rows), "none")
    for one, other in zip(gained, lost, strict=True):
        assert other["mean"] == pytest.approx(-one["mean"])
        assert (other["low"], other["high"]) == pytest.approx((-one["high"], -one["low"]))


def test_arms_of_two_views_meet_plain_training_of_as_many_passes(runs):
    rows = comparison.rows(runs, {"accuracy": ("accuracy", "accuracy")})
    plain = {row["passes"]: row["mean"] for row in rows if row["arm"].startswith("none")}
    assert list(plain) == [100, 200]  # 50 images, 2 epochs; and as long as two views take
    found = {row["arm"]: row for row in comparison.differences(rows, "none")}
    for row in comparison.select(rows, arm=["fsda:width=2", "fsda-random"]):
        assert row["passes"] == 200
        assert found[row["arm"]]["mean"] == pytest.approx(row["mean"] - plain[200])


def test_a_course_is_the_mean_over_the_steps_of_an_epoch_and_over_seeds(runs):
    found = frequency_scaling.courses(runs)
    assert list(found) == ["FSDA, width = 2"]
    traces = [run.augmentation().trace for run in runs[2:4]]
    assert traces[0].shape == (6, 2, 3)  # three steps of two epochs
    expected = np.mean([[trace[:3, 0].mean(0).numpy(), trace[3:, 0].mean(0).numpy()] for trace in traces], 0)
    assert np.allclose(found["FSDA, width = 2"]["mean"], expected)
    assert found["FSDA, width = 2"]["epochs"] == [1, 2]


def test_arms_that_learn_no_weights_are_not_asked_for_them(runs, monkeypatch):
    """A restored run would be trained again."""
    asked, augmentation = [], Run.augmentation
    monkeypatch.setattr(Run, "augmentation", lambda run: asked.append(run.key) or augmentation(run))
    frequency_scaling.courses(runs)
    assert asked == [run.key for run in runs[2:4]]


def test_what_another_process_works_on_is_asked_last(runs, monkeypatch):
    asked, augmentation = [], Run.augmentation
    monkeypatch.setattr(Run, "augmentation", lambda run: asked.append(run.key) or augmentation(run))
    expected = frequency_scaling.courses(runs)
    asked.clear()
    lock = FileLock(runs[2].path / "lock")
    with lock:
        assert frequency_scaling.courses(runs) == expected
    assert asked == [runs[3].key, runs[2].key]


def test_batches_of_one_image_repeated_agree_with_all(monkeypatch):
    image = data.load("photos", size=1).images
    assert set(frequency_scaling.disagreement(image.expand(300, -1, -1, -1), "v2").values()) == {0.0}
    monkeypatch.setattr(frequency_scaling, "BATCH", 2)
    mixed = data.load("photos", size=40).images
    assert frequency_scaling.disagreement(mixed, "v2")["2° and 2 cycles"] > 1


def test_every_defect_of_each_version_has_a_line_and_changes_the_result():
    images = data.load("photos", size=12).images / 255
    lines = frequency_scaling.effects(images)
    assert [(line["version"], line["defect"]) for line in lines] == [
        *(("v1", d) for d in ("apart", "empty", "even", "rectified", "rolled")),
        *(("v2", d) for d in ("apart", "empty", "even")),
    ]
    of = {(line["version"], line["defect"]): line for line in lines}
    fine, coarse = "2° and 2 cycles", "10° and 10 cycles"
    moved, changed = "frequencies elsewhere (%)", "change of the result (%)"
    assert int(of["v1", "empty"][f"{fine}: {moved}"]) > 10  # labels of others
    assert of["v1", "rolled"][f"{coarse}: {moved}"] == "0"
    for version, defect in (("v1", "rolled"), ("v1", "rectified"), ("v1", "even"), ("v2", "even")):
        assert int(of[version, defect][f"{coarse}: {changed}"]) > 0


def test_without_a_record_the_page_says_so():
    assert "No record" in frequency_scaling.sentence([])


def test_what_was_found_is_said_with_its_intervals(runs):
    rows = frequency_scaling.errors(comparison.rows(runs, {"accuracy": ("accuracy", "accuracy")}))
    renamed = {"fsda:width=2": "fsda"}
    rows = [{**row, "arm": renamed.get(row["arm"], row["arm"])} for row in rows]
    v1 = [{**row, "arm": "fsda:version=v1"} for row in rows if row["arm"] == "fsda"]
    said = frequency_scaling.sentence([*rows, *v1])
    of = {row["arm"]: tables.change(row) for row in comparison.differences(rows, "none")}
    assert f"FSDA makes {of['fsda']} on clean images" in said and "errors" in of["fsda"]
    assert f"drawn at random {of['fsda-random']}." in said
    assert "With learned weights it makes" in said
