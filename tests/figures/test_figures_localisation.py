"""Figures of maps and boxes show what they are given, and leave no trace."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from specfreq import figures

RANDOM = np.random.default_rng(0)
IMAGES = {"plain": RANDOM.integers(0, 256, (2, 1, 8, 8)), "other": RANDOM.random((2, 3, 8, 8))}
MAPS = {"plain": RANDOM.random((2, 8, 8)), "other": np.zeros((2, 8, 8))}
BOXES = [[1, 2, 5, 4], [0, 0, 8, 8]]
ABOUT = {
    "plain": {"clean": [[0.1, 0.2], [0.3, None]], "noise": [[0.0, 0.0], [0.0, 0.1]]},
    "other": {"clean": [[0.5, 0.2], [0.3, 0.4]], "noise": [[0.1, 0.0], [0.0, 0.1]]},
}
CHECKS = {"plain": {"shares": [0.01, 1.0], "correlation": [0.4, 0.0]}}


@pytest.mark.parametrize(
    "make",
    [
        lambda: figures.overlays(IMAGES, MAPS, BOXES, note="x"),
        lambda: figures.about_box(ABOUT, 3.0),
        lambda: figures.about_box({}, 3.0),
        lambda: figures.sanity(CHECKS),
        lambda: figures.sanity({}),
    ],
)
def test_a_figure_drawn_twice_is_the_same_and_leaves_no_trace(make, drawn_twice):
    drawn_twice(make)


def test_every_picture_has_its_box_where_its_pixels_are():
    figure = figures.overlays(IMAGES, MAPS, BOXES)
    assert len(figure.axes) == 4
    for place, axis in enumerate(figure.axes):
        (box,) = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
        left, top, right, bottom = BOXES[place % 2]
        assert box.get_xy() == (left - 0.5, top - 0.5)
        assert (box.get_width(), box.get_height()) == (right - left, bottom - top)


def test_an_empty_map_leaves_the_picture_as_it_is():
    figure = figures.overlays(IMAGES, MAPS, BOXES)
    assert np.asarray(figure.axes[2].images[1].get_alpha()).max() == 0
    assert np.asarray(figure.axes[0].images[1].get_alpha()).max() == pytest.approx(0.65)


def test_maps_about_the_box_share_one_scale_and_the_box_is_from_minus_one_to_one():
    figure = figures.about_box(ABOUT, 3.0)
    shown = [axis for axis in figure.axes if axis.images]
    assert {image.get_clim() for axis in shown for image in axis.images} == {(0, 0.5)}
    assert all(axis.patches[0].get_xy() == (-1, -1) for axis in shown)
    kinds = list(next(iter(ABOUT.values())))
    assert [axis.get_title() for axis in shown[: len(kinds)]] == kinds


def test_the_check_begins_with_the_network_as_it_is():
    (line,) = [line for line in figures.sanity(CHECKS).axes[0].lines if len(line.get_xdata()) == 3]
    assert list(line.get_xdata()) == [0, 1, 100] and list(line.get_ydata()) == [1, 0.4, 0]
