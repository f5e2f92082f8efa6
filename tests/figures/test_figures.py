"""Figures show the numbers they are given, and leave no trace."""

import numpy as np
import pytest
import torch

from specfreq import figures

ROWS = [
    {
        "data": "a",
        "arm": "x",
        "series": "corrected",
        "values": [50.0, 60],
        "mean": 55.0,
        "low": 40.0,
        "high": 70.0,
        "chance": 10.0,
    },
    {
        "data": "a",
        "arm": "y",
        "series": "corrected",
        "values": [30.0],
        "mean": 30.0,
        "low": None,
        "high": None,
        "chance": 10.0,
    },
    {
        "data": "b",
        "arm": "x",
        "series": "as published",
        "values": [20.0],
        "mean": 20.0,
        "low": None,
        "high": None,
        "chance": 25.0,
    },
]
BANDS = {
    name: {
        "radii": [0, 1, 2, 3],
        "low": [25.0, 25.0, last, last],
        "high": [last, last, 25.0, 25.0],
        "low_fisher": [None, 0.01, 2.0, 2.5],
        "high_fisher": [2.5, 2.0, 0.01, None],
        "low_accuracy": [25.0, 25.0, last, last],
        "high_accuracy": [last, last, 25.0, 25.0],
        "fisher": 2.5,
        "fisher_chance": 0.02,
        "accuracy": last,
        "chance": 25.0,
    }
    for name, last in (("one", 80.0), ("other", 90.0))
}
SAID = {
    name: {
        "fixed_count": [0, 4, 96],
        "fixed_accuracy": [None, 50.0, right],
        "fixed_confidence": [None, 60.0, 90.0],
    }
    for name, right in (("one", 75.0), ("other", 95.0))
}


COSTS = [
    {"name": "bare loop", "median": 1.0, "lower": 1.0, "upper": 1.0, "target": None},
    {"name": "ours", "median": 1.02, "lower": 0.9, "upper": 1.1, "target": 1.03},
]


def every_figure():
    power = torch.rand(4, 16, 16) + 0.1
    yield lambda: figures.pictures(
        {"plain": torch.rand(3, 3, 8, 8), "signed": torch.randn(3, 1, 8, 8)}, note="foot"
    )
    yield lambda: figures.class_spectra(power, list("abcd"))
    yield lambda: figures.dominant_frequencies({"plain": power > 0.5}, list("abcd"))
    yield lambda: figures.radial_profiles({"a": np.arange(1, 18.0) ** -2}, 32)
    yield lambda: figures.centroids({"t": torch.rand(40)}, torch.arange(40) % 4, list("abcd"))
    yield lambda: figures.accuracies(ROWS)
    yield lambda: figures.accuracies([])
    yield lambda: figures.over_parameter(COINS, {"p=1": 1.0, "p=0": 0.0}, "probability")
    yield lambda: figures.over_parameter([], {}, "probability")
    yield lambda: figures.differences(APART)
    yield lambda: figures.differences([])
    yield lambda: figures.frontier(TRAININGS, [{"accuracy": 90, "seconds": 20}])
    yield lambda: figures.frontier([])
    yield lambda: figures.pictures({})
    yield lambda: figures.dominant_frequencies({}, [])
    yield lambda: figures.band_accuracy(BANDS, note="foot")
    yield lambda: figures.discrimination(BANDS)
    yield lambda: figures.reliability(SAID)
    yield lambda: figures.costs(COSTS)
    yield lambda: figures.costs([])
    for draw in (figures.band_accuracy, figures.discrimination, figures.reliability):
        yield lambda draw=draw: draw({})


@pytest.mark.parametrize("make", list(every_figure()))
def test_drawing_sets_no_global_state_and_repeats_to_the_byte(make, drawn_twice):
    drawn_twice(make)


APART = [
    {"data": "a", "label": "x", "values": [1.0, 3.0], "mean": 2.0, "low": -1.0, "high": 5.0},
    {"data": "a", "label": "y", "values": [-1.0], "mean": -1.0, "low": None, "high": None},
    {"data": "b", "label": "y", "values": [4.0], "mean": 4.0, "low": None, "high": None},
]


def test_differences_stand_about_zero_and_no_panel_has_a_line_without_an_arm():
    first, second = figures.differences(APART).axes
    assert [[t.get_text() for t in axis.get_yticklabels()] for axis in (first, second)] == [["x", "y"], ["y"]]
    marks = [line.get_xdata().tolist() for line in first.lines if line.get_marker() == "o"]
    assert marks == [[2.0], [-1.0]]
    assert [list(line.get_xdata()) for line in first.lines if line.get_linewidth() == 2] == [[-1.0, 5.0]]
    assert list(first.lines[-1].get_xdata()) == [0, 0]
    assert first.get_xlim() == second.get_xlim()


TRAININGS = [
    {"name": name, "epochs": epochs, "seconds": seconds, "accuracy": accuracy}
    for name, epochs, seconds, accuracy in (
        ("wide", 3, 35, 85),
        ("wide", 1, 10, 70),
        ("wide", 3, 31, 87),
        ("wide", 3, 33, 89),
        ("deep", 1, 20, 60),
    )
]


def test_a_frontier_goes_through_the_medians_of_the_seeds():
    (axis,) = figures.frontier(TRAININGS, [{"accuracy": 90, "seconds": 20}]).axes
    wide, deep, goal = (line.get_xydata().tolist() for line in axis.lines)
    assert (wide, deep, goal) == ([[10, 70], [33, 87]], [[20, 60]], [[20, 90]])
    assert axis.get_xscale() == "log"


COINS = [
    {
        "arm": arm,
        "quantity": quantity,
        "values": [mean - 1, mean + 1],
        "mean": mean,
        "low": mean - 2,
        "high": mean + 2,
    }
    for arm, quantity, mean in (("p=1", "error", 30), ("p=0", "error", 40), ("p=1", "accuracy", 80))
]


def test_quantities_over_a_parameter_are_drawn_in_its_order():
    figure = figures.over_parameter(COINS, {"p=1": 1.0, "p=0": 0.0}, "probability")
    errors, accuracy = figure.axes
    assert errors.lines[0].get_xydata().tolist() == [[0, 40], [1, 30]]
    assert accuracy.lines[0].get_xydata().tolist() == [[1, 80]]
    intervals = [line.get_ydata().tolist() for line in errors.lines if line.get_linewidth() == 2]
    assert intervals == [[38, 42], [28, 32]]
    assert accuracy.get_xlabel() == "probability" and errors.get_ylabel() == "error (%)"


def test_accuracies_are_drawn_where_they_are():
    first, second = figures.accuracies(ROWS).axes
    assert (first.get_title(), second.get_title()) == ("a", "b")
    drawn = {tuple(np.round(line.get_xdata(), 6)) for line in first.lines}
    assert {(50.0, 60.0), (40.0, 70.0), (55.0,), (30.0,)} <= drawn
    assert [line.get_xdata()[0] for line in second.lines if line.get_linestyle() == ":"] == [25.0]


def test_a_panel_of_accuracies_has_the_arms_of_its_own_data_by_their_labels():
    row = {**ROWS[0], "data": "a", "arm": "x"}
    others = [{**row, "data": "b", "arm": "x", "label": "X"}, {**row, "data": "b", "arm": "y", "label": "Y"}]
    first, second = figures.accuracies([{**row, "label": "X"}, *others]).axes
    assert [[t.get_text() for t in a.get_yticklabels()] for a in (first, second)] == [["X"], ["X", "Y"]]


def test_rows_about_which_nobody_guesses_have_no_line_of_chance():
    (axis,) = figures.accuracies([{**ROWS[0], "chance": None}]).axes
    assert not [line for line in axis.lines if line.get_linestyle() == ":"]


def test_all_classes_share_one_scale_and_zero_is_in_the_middle():
    power = torch.rand(3, 8, 8) * torch.tensor([1.0, 10, 100])[:, None, None]
    axes = [a for a in figures.class_spectra(power, list("abc")).axes if a.images]
    assert len({a.images[0].get_clim() for a in axes}) == 1
    left, right, bottom, top = axes[0].images[0].get_extent()
    assert left + 8 * (4 + 0.5) / 8 == 0 and top + 8 * (4 + 0.5) / 8 == 0 and (right, bottom) == (3.5, 3.5)


def test_zero_is_grey_in_signed_pictures_and_unsigned_ones_keep_their_values():
    signed = torch.zeros(1, 1, 2, 2)
    signed[0, 0, 0] = torch.tensor([-3.0, 1.5])
    plain = torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]])
    first, second = (a.images[0].get_array() for a in figures.pictures({"s": signed, "p": plain}).axes)
    assert first.ravel().tolist() == [0, 0.75, 0.5, 0.5]
    assert second.ravel().tolist() == [0, 0.25, 0.5, 1]


def test_profiles_are_drawn_over_cycles_per_pixel_without_the_mean():
    line = figures.radial_profiles({"a": np.arange(17.0)}, {"a": 32}).axes[0].lines[0]
    assert line.get_xdata()[[0, -1]].tolist() == [1 / 32, 0.5]
    assert line.get_ydata()[[0, -1]].tolist() == [1, 16]


def curves(axis):
    """The curves of an axis, each with its points; horizontal and vertical lines left out."""
    return [
        (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axis.lines
        if line.get_marker() != "None"
    ]


def levels(axis):
    """Where an axis has dashed and dotted lines across."""
    return {
        style: {line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == style}
        for style in ("--", ":")
    }


def test_curves_over_the_radius_are_drawn_on_one_scale_with_the_accuracy_of_whole_images_and_guessing():
    low, high = figures.band_accuracy(BANDS).axes
    assert low.get_ylim() == high.get_ylim()
    for axis, half in ((low, "low"), (high, "high")):
        assert [([*map(int, x)], y) for x, y in curves(axis)] == [
            (r["radii"], r[half]) for r in BANDS.values()
        ]
        assert levels(axis) == {"--": {80, 90}, ":": {25}}


def test_discrimination_leaves_out_what_has_no_ratio():
    figure = figures.discrimination(BANDS)
    ratios, accuracies = figure.axes[:2], figure.axes[2:]
    assert [np.isnan(y).tolist() for axis in ratios for _, y in curves(axis)] == [
        [True, False, False, False]
    ] * 2 + [[False, False, False, True]] * 2
    assert [levels(axis) for axis in ratios] == [{"--": {2.5}, ":": {0.02}}] * 2
    assert [levels(axis) for axis in accuracies] == [{"--": {80, 90}, ":": {25}}] * 2


def test_no_two_lines_differ_in_colour_alone():
    many = {str(i): BANDS["one"] for i in range(8)}
    for axis in figures.band_accuracy(many).axes:
        assert len({line.get_marker() for line in axis.lines if line.get_marker() != "None"}) == 8


def test_reliability_is_drawn_where_bins_have_images_with_wilsons_intervals():
    diagram, counts = figures.reliability(SAID).axes
    assert curves(diagram) == [([60, 90], [50, 75]), ([60, 90], [50, 95])]
    assert curves(counts) == [([50, pytest.approx(250 / 3)], [4, 96])] * 2
    low, high = diagram.collections[0].get_paths()[0].vertices[:, 1]  # 2 of 4: 15 % to 85 %, as in tables
    assert (low, high) == pytest.approx((15.004, 84.996), abs=0.01)


def test_the_intervals_of_a_reliability_diagram_are_wilsons_by_formula():
    count, right, z = np.array([3, 40, 7]), np.array([0, 12, 7]), 1.959964
    said = {"count": count, "accuracy": 100 * right / count, "confidence": np.array([20.0, 50.0, 90.0])}
    axis = figures.reliability({"net": {f"fixed_{k}": v.tolist() for k, v in said.items()}}).axes[0]
    drawn = [path.vertices[:, 1] for path in axis.collections[0].get_paths()]
    share, total = right / count, count + z**2
    middle = (right + z**2 / 2) / total
    half = z * np.sqrt(count * share * (1 - share) + z**2 / 4) / total
    assert np.array(drawn) == pytest.approx(100 * np.stack([middle - half, middle + half], 1), abs=1e-3)


def test_costs_show_median_quartiles_and_target():
    axis = figures.costs(COSTS).axes[0]
    drawn = [
        line.get_xdata().tolist() if hasattr(line.get_xdata(), "tolist") else list(line.get_xdata())
        for line in axis.lines
    ]
    for shown in ([1.02], [0.9, 1.1], [1.03]):
        assert shown in drawn
    assert [t.get_text() for t in axis.get_yticklabels()] == ["bare loop", "ours"]


def test_densities_are_lines_over_cycles_per_image_beside_a_dashed_target():
    figure = figures.densities({"a": [1.0, 0.5, 0.0], "b": torch.tensor([0.2, 1.0, 0.1])}, [0.0, 1.0, 0.5])
    first, second, target = figure.axes[0].lines
    assert first.get_xdata().tolist() == [1, 2, 3] and first.get_ydata().tolist() == [1, 0.5, 0]
    assert second.get_marker() != first.get_marker() and target.get_linestyle() == "--"


@pytest.mark.parametrize(
    "draw", [lambda n: figures.learning_maps({}, note=n), lambda n: figures.accuracies(rows=[], note=n)]
)
def test_before_a_record_is_published_a_figure_says_that_it_has_nothing(draw):
    drawn = draw("no published record x.laptop")
    (axis,) = drawn.axes  # IPython shows no figure that has none
    assert [text.get_text() for text in axis.texts] == ["nothing to show yet"] and not axis.axison
    assert [text.get_text() for text in drawn.texts] == ["no published record x.laptop"]


def test_dominant_frequencies_have_a_panel_for_each_name_and_class_with_zero_in_the_middle():
    counts = np.zeros((2, 7, 8, 9))
    counts[0, 6, 4, 4] = 3  # the frequency 0 of the seventh class
    counts[1, 0, 0, 0] = 2
    found = figures.dominant_frequencies(dict(zip(("one", "two"), counts, strict=True)), list("abcdefg"))
    shown = [axis for axis in found.axes if axis.images]
    assert [axis.get_title() for axis in shown] == 2 * list("abcdefg")
    assert [axis.get_ylabel() for axis in shown if axis.get_ylabel()] == ["one", "two"]
    last, first = shown[6].images[0], shown[7].images[0]
    assert last.norm(3) == first.norm(2) == 1, "each name on its own scale"
    left, right, bottom, top = last.get_extent()
    assert (left, right, bottom, top) == (-4.5, 4.5, 3.5, -4.5)
    assert last.get_array()[4, 4] == 3 and first.get_array()[0, 0] == 2
