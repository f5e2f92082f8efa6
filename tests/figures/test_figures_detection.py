"""Figures of detection show the numbers they are given, and leave no trace."""

import numpy as np
import pytest

from specfreq import figures


def result(others, auroc, score="energy"):
    """What `out-of-distribution` gives, of four bins and three points."""
    return {
        "score": score,
        "others": others,
        "auroc": [auroc + i for i, _ in enumerate(others)],
        "oscr": [auroc - 10 + i for i, _ in enumerate(others)],
        "edges": [0.0, 1, 2, 3, 4],
        "histogram": [1, 2, 3, 4],
        "other_histograms": [[5 + i, 3, 2, 0] for i, _ in enumerate(others)],
        "fpr": [[0.0, 20 + i, 100] for i, _ in enumerate(others)],
        "tpr": [[0.0, 70, 100]] * len(others),
        "ccr": [[0.0, 60, 80]] * len(others),
    }


RESULTS = {"one": result(["a", "b"], 80), "other": result(["b"], 60)}


@pytest.mark.parametrize("draw", [figures.detection_scores, figures.detection_curves])
@pytest.mark.parametrize("results", [RESULTS, {}])
def test_drawing_sets_no_global_state_and_repeats_to_the_byte(draw, results, drawn_twice):
    drawn_twice(lambda: draw(results, note="foot"))


def points(axis):
    """The lines of an axis that have marks: their points."""
    return [
        (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines if line.get_marker() != "None"
    ]


def test_histograms_are_shares_of_each_set_in_a_panel_for_each_name():
    first, second = figures.detection_scores(RESULTS).axes
    assert (first.get_title(), second.get_title()) == ("one", "other")
    middle = [0.5, 1.5, 2.5, 3.5]
    assert points(first) == [
        (middle, [50, 30, 20, 0]),
        (middle, pytest.approx([600 / 11, 300 / 11, 200 / 11, 0])),
    ]
    assert points(second) == [(middle, [50, 30, 20, 0])]
    outline = first.collections[0].get_paths()[0].vertices
    for left, height in zip(range(4), (10, 20, 30, 40), strict=True):
        assert {(left, height), (left + 1, height)} <= {tuple(np.round(v, 9)) for v in outline}
    assert second.get_xlabel() == "score (energy)"


def test_panels_of_one_score_share_both_scales_whatever_the_width_of_their_bins():
    """The same images in bins of half the width: half as many in each, and as many for each unit."""
    thin = {
        **result(["b"], 60),
        "edges": [i / 2 for i in range(9)],
        "histogram": [1, 1, 2, 2, 3, 3, 4, 4],
        "other_histograms": [[5, 5, 3, 3, 2, 2, 0, 0]],
    }
    first, second = figures.detection_scores({"one": result(["b"], 60), "thin": thin}, "largest logit").axes
    assert (first.get_xlim(), first.get_ylim()) == (second.get_xlim(), second.get_ylim())
    tops = [[y for _, y in axis.collections[0].get_paths()[0].vertices] for axis in (first, second)]
    assert max(tops[0]) == pytest.approx(max(tops[1])) == pytest.approx(40)
    steep = figures.detection_scores({"one": result(["b"], 60), "thin": thin | {"histogram": [20] + 7 * [0]}})
    assert steep.axes[0].get_ylim()[1] == steep.axes[1].get_ylim()[1] > 200
    assert points(second)[0][1] == pytest.approx([50, 50, 30, 30, 20, 20, 0, 0])
    assert (second.get_xlabel(), second.get_ylabel()) == ("largest logit", "images (% per unit)")


def test_scores_of_several_kinds_do_not_share_their_scale():
    mixed = {
        "one": result(["a"], 80),
        "other": {**result(["a"], 60, "odin"), "edges": [0.1, 0.101, 0.102, 0.103, 0.104]},
    }
    first, second = figures.detection_scores(mixed).axes
    assert second.get_xlim()[1] < 0.2 < first.get_xlim()[1]
    assert second.get_ylim()[1] > 10_000 > first.get_ylim()[1]
    assert second.get_xlabel() == "score (energy, odin)"


def test_curves_are_drawn_with_their_areas_for_each_other_set():
    axes = figures.detection_curves(RESULTS).axes
    assert [axis.get_title("left") for axis in axes] == ["a", "", "b", ""]
    assert points(axes[0]) == [([0, 20, 100], [0, 70, 100])]
    assert points(axes[1]) == [([0, 20, 100], [0, 60, 80])]
    assert points(axes[2]) == [([0, 21, 100], [0, 70, 100]), ([0, 20, 100], [0, 70, 100])]
    shown = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in axes]
    assert shown == [["80.0"], ["70.0"], ["81.0", "60.0"], ["71.0", "50.0"]]
    assert len({axis.get_xlim() for axis in axes}) == len({axis.get_ylim() for axis in axes}) == 1


def test_no_two_lines_differ_in_colour_alone():
    many = {str(i): RESULTS["one"] for i in range(6)}
    for figure in (
        figures.detection_curves(many),
        figures.detection_scores({"one": result([str(i) for i in range(6)], 70)}),
    ):
        assert all(len({line.get_marker() for line in axis.lines} - {"None"}) == 6 for axis in figure.axes)
