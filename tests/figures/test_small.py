"""Thumbnails: every row is drawn with its interval, maps share one scale, pictures keep their order."""

import numpy as np
import pytest

from specfreq.figures import small

ROWS = [
    {"name": "plain", "mean": 30.0, "low": 28.0, "high": 32.0, "second": False},
    {"name": "mixed", "mean": 25.0, "low": None, "high": None, "second": True},
]


def test_dots_have_their_means_intervals_and_different_marks():
    (axis,) = small.small_dots(ROWS, line=10).axes
    intervals = [line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    marks = {
        line.get_marker(): float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() != "None"
    }
    assert marks == {"o": 30.0, "s": 25.0}
    assert sorted(list(line.get_xdata()) for line in intervals) == [[10, 10], [28.0, 32.0]]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["plain", "mixed"]


def test_maps_that_are_compared_share_one_scale():
    figure = small.small_maps({"a": np.zeros((4, 4)), "b": np.full((4, 4), 50.0)})
    assert {axis.images[0].get_clim() for axis in figure.axes} == {(0.0, 50.0)}


@pytest.mark.parametrize("columns", [2, 3])
def test_pictures_stand_in_rows(columns):
    images = np.arange(6).repeat(4).reshape(6, 2, 2)
    (axis,) = small.small_pictures(images, columns).axes
    shown = axis.images[0].get_array()
    assert shown[::2, ::2].tolist() == np.arange(6).reshape(-1, columns).tolist()


def test_lines_are_as_many_as_names():
    (axis,) = small.small_lines({"a": [1, 2, 3], "b": [3, 2, 1]}, [1, 2, 4], log=True).axes
    assert len(axis.lines) == 2 and axis.get_xscale() == axis.get_yscale() == "log"
