"""Rows: one shape for all that is counted, with intervals that cover; those of older records become it."""

from pathlib import Path

import numpy as np
import pytest

from specfreq.evidence import comparison, intervals, records, rows

RESULTS = Path(__file__).parents[2] / "book" / "results"
FIELDS = rows.Row.__required_keys__


def test_every_row_of_every_published_record_has_the_same_fields():
    found = 0
    for path in RESULTS.glob("*.json"):
        name, _, profile = path.stem.rpartition(".")
        for part in filter(rows.are_rows, records.published(name, profile).values()):
            found += len(part)
            assert all(FIELDS <= r.keys() <= FIELDS | rows.Row.__optional_keys__ for r in part), name
    assert found > 500


def test_rows_of_filters_in_older_records_name_quantity_and_filter():
    old = {
        "data": "d",
        "filter": "gaussian-high-pass:sigma=2",
        "arm": "high-pass σ = 2 px",
        "series": "corrected",
        "chance": 10.0,
        "seeds": [0],
        "values": [12.0],
        "answers": [3],
        "mean": 12.0,
        "low": None,
        "high": None,
        "keys": ["k"],
    }
    new = rows.read(old)
    spec = "gaussian-high-pass:sigma=2"
    assert (new["spec"], new["stands_for"], new["quantity"]) == (spec, spec, "accuracy")
    assert new["answers"] == [3] and new.keys() == FIELDS | {"answers"}


def test_rows_of_augmentations_in_older_records_keep_their_augmentation():
    new = rows.row_of("d", "apr-s:x", "q", {0: 1.0}, spec="apr-s:x", stands_for="apr-s")
    old = {k: v for k, v in new.items() if k != "spec"} | {"augment": "apr-s:x"}
    assert rows.read(old) == new and rows.read(new) == new


def test_what_is_no_list_of_rows_is_left_alone():
    costs = [{"name": "none", "median": 1.0, "lower": 0.9, "upper": 1.1, "target": None}]
    assert not rows.are_rows(costs) and not rows.are_rows({"data": 1}) and not rows.are_rows(["text"])


def test_arms_of_filters_images_and_differences_are_rows_alike():
    one = rows.of_images("d", "ours", "q", [1.0, 2.0])
    other = rows.row_of("d", "none", "q", {1: 5.0, 2: 7.0})
    (difference,) = comparison.differences([one, other], "none")
    assert FIELDS == one.keys() == other.keys() == difference.keys()
    assert (difference["seeds"], difference["values"]) == ([1], [-3.0])


def test_values_of_images_are_kept_to_six_digits():
    assert rows.of_images("d", "a", "q", np.array([1 / 3, 1e-9 / 3]))["values"] == [0.333333, 3.33333e-10]


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    samples = random.normal(3, 2, (4000, 3))
    covered = [low <= 3 <= high for _, low, high in map(intervals.interval, samples.tolist())]
    assert 0.94 < np.mean(covered) < 0.96


@pytest.mark.parametrize("seed", [0, 7])
def test_one_seed_has_no_interval(seed):
    assert intervals.interval([5.0]) == (5.0, None, None)
    row = rows.row_of("d", "a", "q", {seed: 5.0})
    assert (row["seeds"], row["mean"], row["low"], row["high"]) == ([seed], 5.0, None, None)
