"""Arms side by side: what is one arm, differences paired by seed, and what an original's departures are
compared with.
"""

import contextlib

import numpy as np
import pytest

from specfreq import augment, experiment
from specfreq.core import storage
from specfreq.core.errors import UserError
from specfreq.evidence import comparison, crossed, tables
from specfreq.evidence import rows as evidence_rows

SMALL = {"data": "digits", "train_size": 100, "test_size": 100, "batch": 50, "shift": 0, "flip": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        specs = ["none", "apr-p", augment.as_published("apr-p")]
        yield experiment.run_all(
            experiment.grid(**SMALL, augment=specs, epochs=1, seed=[0, 1]),
            experiment.grid(**SMALL, epochs=2, seed=[0, 1]),
        )


def row(arm, values, seeds=None, quantity="q", **more):
    mean = sum(values) / len(values)
    seeds = list(range(len(values))) if seeds is None else seeds
    fields = {
        "data": "d",
        "arm": arm,
        "label": arm,
        "stands_for": arm,
        "series": "corrected",
        "quantity": quantity,
    }
    return {**fields, "seeds": seeds, "values": values, "mean": mean, "low": None, "high": None, **more}


def test_an_arm_is_named_by_its_augmentation_and_what_else_is_not_as_in_the_first(runs):
    names = ["none", "apr-p", "apr-p:channels=True,donor=batch,per=batch", "none, epochs=2"]
    assert list(comparison.arms(runs)) == names
    assert all([r.experiment.seed for r in group] == [0, 1] for group in comparison.arms(runs).values())


def test_rows_hold_what_the_measures_found(runs):
    rows = comparison.rows(
        runs, {"accuracy": ("accuracy", "accuracy"), "of zeros": ("accuracy", "per_class.0")}
    )
    first = runs[0].results["accuracy"]
    assert rows[0]["values"][0] == first["accuracy"] and rows[1]["values"][0] == first["per_class"][0]
    assert rows[0]["chance"] == 10 and rows[0]["keys"] == [r.key for r in runs[:2]]
    published = comparison.select(rows, series="as published", quantity="accuracy")
    assert [r["stands_for"] for r in published] == ["apr-p"]
    assert {r["arm"]: r["stands_for"] for r in rows}["none, epochs=2"] == "none, epochs=2"


def test_rows_have_intervals_over_seeds_and_images_and_differences_too(runs):
    """Of the differences, as of the arms, what the analysis of variance of their own numbers gives."""
    rows = comparison.rows(runs, {"accuracy": ("accuracy", "accuracy")})
    each = {
        arm: np.stack([run.each("accuracy", "accuracy") for run in group])
        for arm, group in comparison.arms(runs).items()
    }
    assert [each[r["arm"]].mean(1).tolist() for r in rows] == [pytest.approx(r["values"]) for r in rows]
    for row in rows:
        own = crossed.products([each[row["arm"]]])
        squares = crossed.Squares(2, 100, *(float(part[0, 0]) for part in own[2:]))
        assert (row["low"], row["high"]) == pytest.approx(squares.interval(row["mean"]))
        assert row["images"] == 100
    for row in comparison.differences(rows, "none"):
        base = "none" if row["arm"] != "apr-p" else "none, epochs=2"  # as many passes
        base = "none, epochs=2" if row["spec"].startswith("apr-p") else base
        own = crossed.products([each[row["arm"]] - each[base]])
        squares = crossed.Squares(2, 100, *(float(part[0, 0]) for part in own[2:]))
        assert (row["low"], row["high"]) == pytest.approx(squares.interval(row["mean"]), abs=1e-6)


def test_a_network_that_another_process_works_on_is_asked_last(runs, monkeypatch):
    """So that two processes at one study share the measures."""
    asked, measure = [], type(runs[0]).measure

    def noted(run, name):
        asked.append(run.key)
        if len(set(asked)) == len(runs) - 1:
            other.close()
        return measure(run, name)

    other = contextlib.ExitStack()
    other.enter_context(storage.alone(runs[0].path, "is at work"))
    monkeypatch.setattr(type(runs[0]), "measure", noted)
    rows = comparison.rows(runs, {"accuracy": ("accuracy", "accuracy")})
    assert list(dict.fromkeys(asked))[-1] == runs[0].key
    assert rows[0]["keys"][0] == runs[0].key


def test_two_quantities_of_a_measure_have_an_interval_over_images(runs, tmp_path, monkeypatch):
    """As of the arms' own numbers; two measures can have other images, and have one over seeds."""
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    grey = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "few.npz", images=grey)
    swap = "amplitude-phase-swap:other=array:few.npz,size=40"
    asked = {"p": (swap, "phase"), "accuracy": ("accuracy", "accuracy"), "a": (swap, "amplitude")}
    asked["other"] = (swap, "other_confidence")  # of other images, and other in number
    found = {(r["arm"], r["quantity"]): r for r in comparison.rows(runs, asked)}
    for arm, group in comparison.arms(runs).items():
        one, other = found[arm, "p"], found[arm, "a"]
        each = np.stack([run.each(swap, "phase") - run.each(swap, "amplitude") for run in group])
        own = crossed.products([each])
        squares = crossed.Squares(*each.shape, *(float(part[0, 0]) for part in own[2:]))
        apart = evidence_rows.apart(one, other)
        assert (apart["low"], apart["high"]) == pytest.approx(squares.interval(apart["mean"]))
        assert not evidence_rows.over_images(one, found[arm, "accuracy"])
        assert not evidence_rows.over_images(one, found[arm, "other"])
        assert found[arm, "other"]["images"] == 20


def test_rows_of_other_seeds_or_without_images_have_intervals_over_seeds(runs):
    alone = comparison.rows(runs[:1], {"accuracy": ("accuracy", "accuracy")})
    assert alone[0]["low"] is None and "products" not in alone[0]
    none = comparison.rows(runs[:2], {"bins": ("calibration", "fixed_max")})  # is no mean over images
    assert "products" not in none[0] and none[0]["low"] < none[0]["mean"] < none[0]["high"]


def test_entries_of_a_list_become_quantities_by_their_names(runs):
    rows = comparison.entries(
        runs[:2], "corruption:corruptions=fog+contrast,size=20", "by_corruption", "corruptions"
    )
    whole = [r.measure("corruption:corruptions=fog+contrast,size=20") for r in runs[:2]]
    assert {r["quantity"]: r["values"] for r in rows} == {
        name: [w["by_corruption"][w["corruptions"].index(name)] for w in whole]
        for name in ("fog", "contrast")
    }


def test_an_average_is_over_seeds(runs):
    found = comparison.average(runs, "accuracy", "per_class")
    a, b = (r.results["accuracy"]["per_class"] for r in runs[:2])
    assert found["none"]["per_class"] == pytest.approx([(x + y) / 2 for x, y in zip(a, b, strict=True)])
    assert found["none"]["accuracy"] == runs[0].results["accuracy"]["accuracy"]


def test_differences_are_paired_by_seed():
    """The arms of each seed differ by exactly 1; the seeds differ by much more."""
    (found,) = comparison.differences(
        [row("none", [10.0, 50, 90]), row("a", [91.0, 51, 11], seeds=[2, 1, 0])], "none"
    )
    assert found["mean"] == 1 and found["low"] == found["high"] == 1


def test_runs_that_were_asked_about_other_pictures_of_one_name_are_not_put_side_by_side(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    made = experiment.run_all(experiment.grid(**SMALL, epochs=1, seed=[0, 1]))
    asked = "out-of-distribution:other=array:other.npz"
    for run, level in zip(made, (10, 200), strict=True):
        images, labels = np.full((40, 8, 8), level, np.uint8), np.arange(40) % 10
        parts = {
            f"{s}_{k}": v for s in ("train", "test") for k, v in (("images", images), ("labels", labels))
        }
        np.savez("other.npz", **parts)
        run.measure(asked)
    with pytest.raises(
        UserError, match=rf"run {made[1].key} was asked about other pictures of array:.*other\.npz"
    ):
        comparison.rows(made, {"AUROC": (asked, "mean_auroc")})
    (row,) = comparison.rows(made[:1], {"AUROC": (asked, "mean_auroc")})
    assert row["tested"] == made[0].measure(asked)["images"] == 100


def test_an_arm_is_compared_with_the_baseline_of_as_many_passes():
    found = [
        row("none", [10, 20], passes=100),
        row("none, epochs=4", [12, 22], passes=200),
        row("apr-p", [15, 25], passes=200),
        row("apr-s", [15, 25], passes=100),
        row("augmix", [15, 25], passes=300),  # nobody trained plainly for as long
    ]
    gained = {r["arm"]: r["mean"] for r in comparison.differences(found, "none")}
    assert gained == {"none, epochs=4": 2, "apr-p": 3, "apr-s": 5, "augmix": 5}
    labels = [r["label"] for r in comparison.differences(found, "none")]
    assert labels == ["none, epochs=4", "apr-p", "apr-s", "augmix (unequal passes)"]


def test_a_seed_that_the_baseline_has_not_is_left_out():
    (found,) = comparison.differences([row("none", [10.0, 20]), row("a", [13.0, 99], seeds=[0, 7])], "none")
    assert found["values"] == [3] and found["low"] is None
    assert comparison.differences([row("none", [1.0]), row("a", [2.0], seeds=[5])], "none") == []


def test_sets_are_pooled_by_the_mean_of_each_seed_that_all_of_them_have():
    one, other = row("a", [1.0, 2.0, 9.0]), row("a", [3.0, 6.0], seeds=[1, 0])
    found = comparison.pooled([one, other])
    assert found["seeds"] == [0, 1] and found["values"] == [3.5, 2.5] and found["mean"] == 3
    assert found["high"] - 3 == pytest.approx(12.7062 * 0.5, rel=1e-4)  # Student's t of one degree of freedom
    assert comparison.pooled([]) is comparison.pooled([one, row("a", [1.0], seeds=[7])]) is None


def test_departures_are_compared_with_the_arm_that_has_none():
    rows = [
        row("none", [50.0, 51, 52]),
        row("apr-s", [40.0, 41, 42]),
        row("apr-s:overflow=wrap", [38.0, 39, 40], stands_for="apr-s", series="overflow=wrap"),
    ]
    (found,) = comparison.departures(rows)
    assert (found["arm"], found["mean"]) == ("apr-s:overflow=wrap", -2)


def test_words_say_sign_and_interval():
    rows = [row("apr-s:overflow=wrap", [1.0], quantity="error", low=0.5, high=1.5)]
    assert tables.told(rows) == {"apr-s overflow=wrap error": "1.00 ± 0.50"}
    assert tables.told(rows, signed=True, suffix=" apart") == {
        "apr-s overflow=wrap error apart": "+1.00 [+0.50, +1.50]"
    }
    html = tables.arms_table([row("a", [1.0]), row("b", [2.0], quantity="other")]).to_html()
    assert html.count("–") == 2


def test_a_table_of_several_sets_loses_none_of_them():
    rows = [
        {**row("none", [value], quantity="accuracy"), "data": name}
        for name, value in (("digits", 10.0), ("photos", 20.0))
    ]
    several, one = tables.arms_table(rows, whole=True).rows, tables.arms_table(rows[:1], whole=True).rows
    assert [(line["data"], line["accuracy"]) for line in several] == [
        ("handwritten digits", "10"),
        ("embedded photographs", "20"),
    ]
    assert "data" not in one[0]


def test_what_is_no_number_is_refused(runs):
    complaints = {
        "acuracy": "did you mean 'accuracy'",
        "per_class": r"a list, not a number; .* per_class\.0",
        "per_class.10": r"no per_class\.10, but a list of 10",
        "per_class.-1": "but a list of 10",
        "per_class.first": "but a list of 10",
        "accuracy.0": r"no accuracy\.0, but \d",
        "provenance.torch": "not a number",
    }
    for key, complaint in complaints.items():
        with pytest.raises(UserError, match=complaint):
            comparison.rows(runs[:1], {"x": ("accuracy", key)})
    with pytest.raises(UserError, match="unknown arm"):
        comparison.differences([row("a", [1.0])], "none")
    assert comparison.differences([], "none") == comparison.departures([]) == []


@pytest.mark.parametrize(
    ("spec", "series", "published"),
    [
        ("none", "corrected", "none"),
        ("augmix", "corrected", "augmix"),
        ("apr-s", "corrected", "apr-s:channels=True,overflow=wrap"),
        ("apr-s:overflow=wrap", "overflow=wrap", "apr-s:channels=True,overflow=wrap"),
        (
            "apr-p:channels=1,donor=batch,p=0.5,per=batch",
            "as published",
            "apr-p:channels=True,donor=batch,p=0.5,per=batch",
        ),
    ],
)
def test_an_augmentation_has_a_published_form_and_a_corrected_one(spec, series, published):
    assert augment.series(spec) == series and augment.as_published(spec) == published
    assert augment.series(augment.corrected(spec)) == "corrected"
    assert augment.series(published) == (
        "as published" if published != spec.partition(":")[0] else "corrected"
    )


def test_fields_are_read_as_on_the_command_line():
    given = experiment.fields(["lr=0.3", "milestones=0.3,0.6", "flip=false"])
    built = experiment.Experiment(**given)
    assert (built.lr, built.milestones, built.flip) == (0.3, (0.3, 0.6), False)
    for wrong in (["lr"], ["lr=1", "lr=2"]):
        with pytest.raises(UserError, match="no field"):
            experiment.fields(wrong)
