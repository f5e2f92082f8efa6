"""Figures of learning show the numbers they are given, all on one scale, and leave no trace."""

import numpy as np
import pytest

from specfreq import figures


def learned(peak, epochs=3, rings=6):
    density = np.full((epochs, rings), 0.5)
    density[:, peak] = 4
    density[:, 0] = 500  # the mean of the image does not set the scale
    return {
        "epochs": list(range(1, epochs + 1)),
        "radii": list(range(rings)),
        "density": density.tolist(),
        "published_radii": [1, 2, 3],
        "published": np.arange(3.0 * epochs).reshape(epochs, 3).tolist(),
        **{f"{band}_share": [10.0 * i for i in range(epochs)] for band in ("low", "middle", "high")},
    }


MAPS = {"plain": learned(1), "other": learned(4, epochs=1), "third": learned(2)}
OVER = {
    "epochs": [1, 2],
    "radii": [4.0, 8.0],
    **{
        f"{half}_{key}": [[1.0, 2.0], [30.0, 40.0]]
        for half in ("low", "high")
        for key in ("fisher", "accuracy")
    },
    "fisher": [2.0, float("nan")],
    "accuracy": [50.0, 60.0],
    "chance": 10.0,
}
BY_CLASS = {
    "radii": [4.0, 8.0],
    "axis": [0.0, 1.0, 2.0],
    "curve": [[0.0, 1.0, 0.0], [1.0, 0.0, 0.5]],
    "low_curve": [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.5]]] * 2,
    "high_curve": [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.5]]] * 2,
}


@pytest.mark.parametrize(
    "make",
    [
        lambda: figures.learning_maps(MAPS),
        lambda: figures.learning_maps(MAPS, published=True),
        lambda: figures.learning_maps({}),
        lambda: figures.learning_shares(MAPS, {"low": 4.3, "middle": 14.5, "high": 81.2}),
        lambda: figures.discrimination_over_epochs(OVER),
        lambda: figures.class_distributions(BY_CLASS, ["cat", "dog"]),
        lambda: figures.discrimination_over_epochs({}),
        lambda: figures.class_distributions({}, []),
    ],
)
def test_drawing_is_reproducible_and_sets_no_global_state(drawn_twice, make):
    drawn_twice(make)


def test_maps_share_a_scale_whose_middle_is_no_preference():
    *panels, bar = figures.learning_maps(MAPS).axes
    drawn = [axis.collections[0] for axis in panels if axis.collections]
    assert [len(d.get_array().ravel()) for d in drawn] == [18, 6, 18]
    for each in drawn:
        assert each.norm(1.0) == pytest.approx(0.5) and each.norm(4.0) == 1
    assert drawn[0].get_array()[2][1] == 4
    assert panels[0].get_ylabel() == "epoch" and "relative" in bar.get_ylabel()
    assert panels[0].get_ylim() == (2.5, -0.5), "epochs go down"


def test_the_published_map_reaches_from_0_to_1():
    drawn = figures.learning_maps(MAPS, published=True).axes[0].collections[0]
    assert (drawn.get_array().min(), drawn.get_array().max()) == (0, 1)


def test_every_radius_and_class_has_a_line():
    above, *_ = figures.discrimination_over_epochs(OVER).axes
    assert [list(line.get_ydata()) for line in above.lines[:2]] == [[1, 30], [2, 40]]
    drawn = figures.class_distributions(BY_CLASS, ["cat", "dog"])
    assert len(drawn.axes) == 5 and all(len(axis.lines) == 2 for axis in drawn.axes)
    assert len({line.get_linestyle() for line in drawn.axes[0].lines}) == 2, "never the colour alone"
