"""Rows: one shape for all that is counted, with intervals that cover; those of older records become it."""

from pathlib import Path

import numpy as np
import pytest

from specfreq.evidence import comparison, crossed, intervals, records, rows, tables

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


def quantities_of_an_arm():
    """Rows of two quantities of an arm, each crossed with another arm; and what their values are means of."""
    random = np.random.default_rng(0)
    made, each = [], []
    for quantity, level in (("p", 20.0), ("q", 24.0)):
        each.append(level + random.normal(0, 1, (5, 1)) + random.normal(0, 40, (5, 300)))
        row = rows.row_of("d", "none", quantity, dict(enumerate(each[-1].mean(1).tolist())))
        made += rows.crossed_with([row, {**row, "arm": "other"}], [each[-1], each[-1]])[:1]
    return made, each


def test_two_quantities_of_an_arm_are_not_compared_by_the_products_of_one():
    """Products are of one quantity: those of two quantities under one arm's name would be another's."""
    made, _ = quantities_of_an_arm()
    found = rows.apart(*made)
    bare = rows.summary(rows.paired(*made))
    assert (found["low"], found["high"]) == (bare["low"], bare["high"])
    assert not rows.over_images(*made)


def test_two_quantities_of_an_arm_are_compared_over_images_by_their_own_products():
    made, each = quantities_of_an_arm()
    whole = rows.crossed_with(made, each, by="quantity")
    assert [row["products"] for row in whole] == [row["products"] for row in made]
    found = rows.apart(*whole)
    own = crossed.products([each[0] - each[1]])
    squares = crossed.Squares(5, 300, *(float(part[0, 0]) for part in own[2:]))
    assert (found["low"], found["high"]) == pytest.approx(squares.interval(found["mean"]))
    assert rows.over_images(*whole)


def test_rows_of_one_arm_in_two_series_take_their_own_products():
    """A filter as published answers one class, and varies over images alone; its corrected form does not."""
    random = np.random.default_rng(1)
    each = [
        60 + random.normal(0, 3, (5, 1)) + random.normal(0, 40, (5, 300)),
        np.tile([100.0, 0, 0], (5, 100)),
    ]
    made = [
        rows.row_of("d", "high-pass", "accuracy", dict(enumerate(e.mean(1).tolist())), series=series)
        for e, series in zip(each, (rows.CORRECTED, rows.PUBLISHED), strict=True)
    ]
    alone = [rows.crossed_with([row], [e])[0] for row, e in zip(made, each, strict=True)]
    both = rows.crossed_with(made, each)
    for row, single in zip(both, alone, strict=True):
        assert rows.bounds(row, 0.95) == pytest.approx(rows.bounds(single, 0.95))
    squares = crossed.Squares(5, 300, *(float(p[0, 0]) for p in crossed.products([each[0] - each[1]])[2:]))
    for a, b in (both, both[::-1]):
        found = rows.apart(a, b)
        assert found["high"] - found["low"] == pytest.approx(np.ptp(squares.interval(0.0)))
    with pytest.raises(ValueError, match="rows of one name"):
        rows.crossed_with([made[0], made[0]], each)


def test_records_with_products_by_arm_alone_are_still_read():
    made, _ = quantities_of_an_arm()
    named = {**made[0], "arm": "fsda:x", "series": rows.PUBLISHED}
    old = {**named, "products": {"fsda:x": made[0]["products"]["none"]}}
    assert rows.bounds(old, 0.95) == rows.bounds(made[0], 0.95)


def test_two_measures_of_one_name_are_not_taken_for_one():
    """As of the maps of a network and of a bell about the middle: they share no products."""
    made, each = quantities_of_an_arm()
    one, other = rows.crossed_with(made, each, by="quantity")
    bell = {**other, "quantity": one["quantity"], "beside": {one["quantity"]: other["beside"]["q"]}}
    assert not rows.over_images(one, bell)
    assert rows.apart(one, bell)["low"] == rows.summary(rows.paired(one, bell))["low"]


def test_values_of_images_are_kept_as_they_are():
    values = [1 / 3, 5.0000004]  # rules are about these, and no decision hangs on a rounded number
    assert rows.of_images("d", "a", "q", np.array(values))["values"] == values


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


@pytest.mark.parametrize(
    ("value", "places", "text", "signed"),
    [
        (2.345, 1, "2.3", "+2.3"),
        (-2.345, 1, "−2.3", "−2.3"),
        (-0.3, 0, "0", "0"),
        (0.004, 2, "0.00", "0.00"),
        (-0.0, 2, "0.00", "0.00"),
        (-0.05, 2, "−0.05", "−0.05"),
    ],
)
def test_numbers_have_true_signs_and_zero_has_none(value, places, text, signed):
    assert intervals.written(value, places) == text
    assert intervals.written(value, places, signed=True) == signed


@pytest.mark.parametrize(
    ("value", "text"), [(2.84e-5, "2.8 × 10⁻⁵"), (-1e-12, "−1.0 × 10⁻¹²"), (3.1e4, "3.1 × 10⁴"), (0.0, "0")]
)
def test_very_small_numbers_have_powers_of_ten(value, text):
    assert intervals.scientific(value) == text


def told(mean, low, high, chance, signed=False):
    row = rows.row_of("d", "a", "AUROC", {0: mean}, chance=chance) | {"low": low, "high": high}
    return tables.shown(row, signed)


def test_intervals_of_percentages_end_at_their_range():
    """What is left of an interval still covers the true mean, which is no less than 0 and at most 100."""
    assert told(96.2, 90.1, 102.3, 10) == "96.2 [90.1, 100.0]"
    assert told(5.4, -1.5, 12.3, 10) == "5.4 [0.0, 12.3]"
    assert told(96.2, 93.1, 99.3, 10) == "96.2 ± 3.1"
    assert told(96.2, 90.1, 102.3, None) == "96.2 ± 6.1"  # iterations have no such range
    assert told(-0.2, -17.4, 17, 10, signed=True) == "0 [−17, +17]"


def test_what_never_differs_has_no_interval():
    assert told(316.0, 316.0, 316.0, None) == "316"
    assert told(0.0, 0.0, 0.0, None) == "0"
    assert told(14.29, 14.29, 14.29, None) == "14.29"
