"""The study of learning priority takes from the series what they hold."""

import numpy as np
import pytest

import specfreq
from specfreq import Experiment, experiment
from specfreq.core.errors import UserError
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
    assert "no record" not in learning_priority.sentence(of).lower()
    assert "No record" in learning_priority.sentence({})
    accuracies = {"low-pass 8": of["low-pass 2"], "high-pass 8": of["high-pass 2"]}
    told = learning_priority.sentence(of | accuracies)
    assert told.startswith(learning_priority.sentence(of)) and "recognises" in told


def test_runs_of_one_kind_can_be_called_otherwise_in_rows(runs):
    """As those on derived sets are, by the set that they are compared on."""
    found = learning_priority.shares_of(runs[:2], "a set", "WCR", "cdes", IMAGE)
    same = [r for r in learning_priority.shares(runs, IMAGE, BEHIND) if r["arm"] == "none"]
    assert [r["values"] for r in found] == [r["values"] for r in same] and len(found) == 9
    assert {(r["data"], r["arm"]) for r in found} == {("a set", "WCR")}
    first, *_ = learning_priority.over_epochs(runs, IMAGE, BEHIND).values()
    assert learning_priority.means(runs[:2], IMAGE) == first


def test_a_run_without_a_series_is_refused_by_name(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    bare = specfreq.run(Experiment(**{**SMALL, "epochs": 1}), [])
    with pytest.raises(UserError, match=f"run {bare.key} has recorded no series"):
        learning_priority.over_epochs([bare], IMAGE)
