"""Figures of frequency scaling show the numbers they are given, and leave no trace."""

import numpy as np
import pytest

from specfreq import figures

MAPS = {"one": np.arange(16).reshape(4, 4) % 4, "other": np.zeros((5, 4)), "third": np.ones((4, 4))}
COURSE = {"epochs": [1, 2], "mean": [[1.0, 2.0, 0.5], [1.5, 2.5, 0.2]], "deviation": [[0.1] * 3, [0.2] * 3]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: figures.cluster_maps(MAPS),
        lambda: figures.cluster_maps({}),
        lambda: figures.weights_over_epochs({"v1": COURSE, "v2": COURSE}),
        lambda: figures.weights_over_epochs({}),
    ],
)
def test_drawing_is_reproducible_and_sets_no_global_state(drawn_twice, make):
    drawn_twice(make)


def test_clusters_have_one_code_in_all_maps_and_zero_frequency_in_the_middle():
    drawn = figures.cluster_maps(MAPS)
    pictures = [axis.images[0] for axis in drawn.axes if axis.images]
    assert [picture.get_array().shape for picture in pictures] == [(4, 4), (5, 4), (4, 4)]
    assert {picture.get_clim() for picture in pictures} == {(-0.5, 3.5)}
    assert pictures[0].get_extent() == [-2.5, 1.5, 1.5, -2.5]  # from -2 to 1 in either direction
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [
        "left alone",
        "cluster 1",
        "cluster 2",
        "cluster 3",
    ]


def test_a_weight_has_a_line_and_a_band_in_each_panel():
    one, _ = figures.weights_over_epochs({"v1": COURSE, "v2": COURSE}).axes
    assert [line.get_ydata()[1] for line in one.lines[:3]] == [1.5, 2.5, 0.2]
    assert len({line.get_marker() for line in one.lines[:3]}) == 3, "never the colour alone"
    ends = one.collections[0].get_paths()[0].vertices[:, 1]
    assert (ends.min(), ends.max()) == (0.9, 1.7)
