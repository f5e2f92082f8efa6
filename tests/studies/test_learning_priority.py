"""The study of learning priority takes from the series what they hold."""

import numpy as np
import pytest

import specfreq
from specfreq import Experiment, experiment
from specfreq.core.errors import UserError
from specfreq.evidence.rows import over_images
from specfreq.studies import learning_priority

SMALL = {"data": "digits", "train_size": 60, "test_size": 40, "epochs": 2, "batch": 20, "shift": 1}
IMAGE, BEHIND = "gradient-spectrum:size=20", "gradient-spectrum:at=filtered,size=20"
FEATURES = "feature-discrimination:radii=2+3,size=20"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        blurred = {**SMALL, "filter": "gaussian-low-pass:sigma=1"}
        plain = experiment.grid(seed=[0, 1], watch=(IMAGE, FEATURES), **SMALL)
        yield experiment.run_all(plain, experiment.grid(seed=[0], watch=(BEHIND, FEATURES), **blurred))


def test_a_map_is_the_mean_over_seeds_of_what_each_arm_has_recorded(runs):
    found = learning_priority.over_epochs(runs, IMAGE, BEHIND)
    plain, blurred = found.values()
    each = [run.series[IMAGE] for run in runs[:2]]
    assert plain["epochs"] == [1, 2] and plain["radii"] == list(range(7)) == blurred["radii"]
    assert plain["density"] == np.mean([np.asarray(s["density"]) for s in each], 0).tolist()
    assert blurred["density"] == runs[2].series[BEHIND]["density"].tolist()
    features, _ = learning_priority.over_epochs(runs, FEATURES).values()
    assert features["radii"] == [2, 3] and features["chance"] == 10
    assert np.shape(features["low_accuracy"]) == (2, 2)


def test_rows_have_the_shares_of_the_first_and_last_epoch_and_the_epoch_of_the_peak(runs):
    rows = learning_priority.rows({"digits": runs}, FEATURES, IMAGE, BEHIND)
    of = learning_priority.plain(rows, "digits")
    for place, seed in enumerate(of["low first"]["seeds"]):
        share = runs[seed].series[IMAGE]["low_share"]
        assert of["low first"]["values"][place] == share[0] and of["low last"]["values"][place] == share[-1]
        assert of["low peak"]["values"][place] == 1 + int(share[1] > share[0])
        last = runs[seed].measure(FEATURES)["high_accuracy"][1]
        assert of["high-pass 3"]["values"][place] == last
    assert len({row["arm"] for row in rows}) == 2 and all(row["passes"] == 120 for row in rows)


def test_a_longer_training_is_looked_at_where_it_has_made_as_many_passes(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))
    both = experiment.grid(augment="apr-p", seed=[0], watch=(IMAGE,), **SMALL)
    longer = experiment.run_all(both, experiment.baselines(both))
    rows = learning_priority.shares(longer, IMAGE)
    of = {(row["arm"], row["quantity"]): row for row in rows}
    twice = of["none, epochs=4", "low first"]
    assert twice["values"] == [longer[1].series[IMAGE]["low_share"][1]]
    assert of["apr-p", "low first"]["values"] == [longer[0].series[IMAGE]["low_share"][0]]


def test_what_was_found_is_said_beside_what_a_network_without_preference_would_have(runs):
    rows = learning_priority.rows({"digits": runs}, FEATURES, IMAGE, BEHIND)
    told = learning_priority.sentence(rows, "digits", 8)
    even = learning_priority.even(8)
    assert set(even) == set(learning_priority.BANDS) and sum(even.values()) == pytest.approx(100 - 100 / 64)
    assert f"has {even['low']:.1f} and {even['high']:.1f} %." in told
    assert "recognises" not in told and "Compared" not in told
    eight = [{**row, "quantity": row["quantity"].replace("pass 2", "pass 8")} for row in rows]
    assert "recognises" in learning_priority.sentence(eight, "digits", 8)
    names = {"none, filter=gaussian-low-pass:sigma=1": "apr-sp"}
    other = [{**row, "arm": names.get(row["arm"], row["arm"])} for row in rows]
    assert "Compared with Plain, " in learning_priority.sentence(other, "digits", 8)
    assert "No record" in learning_priority.sentence([], "digits", 8)


def test_a_discriminated_half_has_an_interval_over_images(runs):
    """Of two quantities of one arm too."""
    rows = learning_priority.rows({"digits": runs[:2]}, FEATURES, IMAGE)
    of = learning_priority.plain(rows, "digits")
    assert over_images(of["low-pass 3"], of["high-pass 3"])
    each = np.array([run.each(FEATURES, "low_accuracy.1") for run in runs[:2]])
    assert each.mean(1).tolist() == of["low-pass 3"]["values"]


def test_runs_of_one_kind_can_be_called_otherwise_in_rows(runs):
    """As those on derived sets are, by the set that they are compared on."""
    found = learning_priority.shares_of(runs[:2], "a set", "WCR", "cdes", IMAGE)
    same = [r for r in learning_priority.shares(runs, IMAGE, BEHIND) if r["arm"] == "none"]
    assert [r["values"] for r in found] == [r["values"] for r in same] and len(found) == 9
    assert {(r["data"], r["arm"]) for r in found} == {("a set", "WCR")}
    first, *_ = learning_priority.over_epochs(runs, IMAGE, BEHIND).values()
    assert learning_priority.means(runs[:2], IMAGE) == first


def test_of_a_filtered_network_the_gradient_behind_the_filter_is_shown_whatever_else_it_recorded(runs):
    both = runs[2].experiment.model_copy(update={"watch": (IMAGE, BEHIND, FEATURES), "seed": 3})
    (run,) = experiment.run_all([both])
    (found,) = learning_priority.over_epochs([run], IMAGE, BEHIND).values()
    assert found["density"] == run.series[BEHIND]["density"].tolist() != run.series[IMAGE]["density"].tolist()


def test_a_run_without_a_series_is_refused_by_name(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    bare = specfreq.run(Experiment(**{**SMALL, "epochs": 1}), [])
    with pytest.raises(UserError, match=f"run {bare.key} has recorded no series"):
        learning_priority.over_epochs([bare], IMAGE)
