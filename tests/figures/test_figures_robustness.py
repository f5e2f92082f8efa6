"""Figures of robustness show the numbers they are given, all on one scale, and leave no trace."""

import numpy as np
import pytest
import torch

from specfreq import figures
from specfreq.measures.swap import Swap


def heat(error, mean=50.0, step=1):
    """A result of `fourier-heatmap` with this map."""
    rows, columns = np.shape(error)
    return {
        "ky": [step * (y - rows // 2) for y in range(rows)],
        "kx": [step * (x - columns // 2) for x in range(columns)],
        "error": np.asarray(error).tolist(),
        "mean_error": mean,
        "clean_error": 10.0,
        "radii": [0, 1, 2],
        "by_radius": [20.0, 30.0, 40.0],
    }


MAPS = {
    "one": heat(np.arange(12.0).reshape(3, 4)),
    "other": heat(np.full((3, 3), 60.0), step=4),
    "third": heat([[70.0]]),
}
SWAPS = [
    Swap(
        torch.rand(4, 3, 8, 8) * 2 - 0.5,
        ("cat", "dog"),
        {"net": [("cat", 90.0), ("dog", 80.0), ("cat", 70.4), ("cat", 60.6)]},
    ),
    Swap(
        torch.rand(4, 3, 8, 8),
        ("ship", "frog"),
        {"net": [("ship", 9.0), ("frog", 8.0), ("frog", 7.0), ("bird", 6.0)]},
    ),
]
TWO = [swap._replace(answers={"a": swap.answers["net"], "b": swap.answers["net"][::-1]}) for swap in SWAPS]


def rows(shift=0.0, arms=("none", "apr-p")):
    return [
        {
            "arm": arm,
            "quantity": q,
            "mean": m + i + shift,
            "low": m + i + shift - 1 if i else None,
            "high": m + i + shift + 1,
        }
        for i, arm in enumerate(arms)
        for m, q in ((30.0, "fog"), (40.0, "mean"), (50.0, "gaussian_noise"), (60.0, "jpeg_compression"))
    ]


def arm(name, clean, corrupted, passes, half=1.0):
    """The two rows of an arm, from its errors."""
    ends = {"accuracy": 100 - clean, "corruption error": corrupted}
    intervals = {"low": None, "high": None} if half is None else {}
    return [
        {"arm": name, "label": name.upper(), "quantity": quantity, "mean": mean, "passes": passes}
        | {"low": mean - (half or 0), "high": mean + (half or 0)}
        | intervals
        for quantity, mean in ends.items()
    ]


ARMS = [*arm("a", 10, 50, 100), *arm("b", 14, 30, 200, None), *arm("c", 14, 45, 400), *arm("d", 20, 31, 100)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: figures.heatmaps(MAPS, note="foot"),
        lambda: figures.heatmap_profiles(MAPS),
        lambda: figures.swaps(SWAPS, note="foot"),
        lambda: figures.swaps(TWO),
        lambda: figures.corruption_errors(rows(), rows(-30), "none"),
        lambda: figures.heatmaps({}),
        lambda: figures.heatmap_profiles({}),
        lambda: figures.swaps([]),
        lambda: figures.corruption_errors([]),
        lambda: figures.pareto(ARMS, note="foot"),
        lambda: figures.pareto([]),
    ],
)
def test_drawing_sets_no_global_state_and_repeats_to_the_byte(make, drawn_twice):
    drawn_twice(make)


def test_all_heat_maps_share_the_scale_of_all_errors_and_zero_is_in_the_middle():
    panels = [axis for axis in figures.heatmaps(MAPS).axes if axis.images]
    assert [axis.images[0].get_clim() for axis in panels] == [(0, 100)] * 3
    assert len({axis.images[0].get_cmap().name for axis in panels}) == 1
    for axis, result in zip(panels, MAPS.values(), strict=True):
        image = axis.images[0]
        assert image.get_array().tolist() == result["error"]
        left, right, bottom, top = image.get_extent()
        rows, columns = np.shape(result["error"])
        step = 4 if rows == columns == 3 else 1
        assert (right - left, bottom - top) == (step * columns, step * rows)
        # the middle of the cell of k = 0
        assert left + step * (columns // 2 + 0.5) == 0 == top + step * (rows // 2 + 0.5)
    assert [axis.get_title().partition("\n")[::2] for axis in panels] == [
        (n, "mean 50 %, clean 10 %") for n in MAPS
    ]


def test_axes_of_maps_are_labelled_at_the_left_and_below():
    first, second, third = (axis for axis in figures.heatmaps(MAPS).axes if axis.images)
    assert [axis.get_ylabel() for axis in (first, second, third)] == [
        "cycles per image",
        "",
        "cycles per image",
    ]
    assert [axis.get_xlabel() for axis in (first, second, third)] == [
        "",
        "cycles per image",
        "cycles per image",
    ]


def test_profiles_have_the_clean_error_dashed():
    axis = figures.heatmap_profiles(MAPS).axes[0]
    curves = [line for line in axis.lines if line.get_linestyle() == "-"]
    assert [(c.get_xdata().tolist(), c.get_ydata().tolist()) for c in curves] == [
        ([0, 1, 2], [20, 30, 40])
    ] * 3
    assert {line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"} == {10}
    assert len({c.get_marker() for c in curves}) == 3


def test_swaps_say_whose_class_was_named():
    axes = figures.swaps(SWAPS).axes
    assert [axis.get_title() for axis in axes[:4]] == [
        "picture 1",
        "picture 2",
        "amplitude of 1\nphase of 2",
        "amplitude of 2\nphase of 1",
    ]
    assert [axis.get_xlabel() for axis in axes[:4]] == [
        "cat 90 %",
        "dog 80 %",
        "cat 70 % amplitude",
        "cat 61 % phase",
    ]
    assert [axis.get_xlabel() for axis in axes[4:]] == ["ship 9 %", "frog 8 %", "frog 7 % phase", "bird 6 %"]
    shown = axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, SWAPS[0].pictures[0].permute(1, 2, 0).clamp(0, 1), atol=1e-6)


def test_answers_of_several_networks_stand_on_lines_of_their_own():
    first = figures.swaps(TWO).axes[0]
    assert first.get_xlabel() == "cat 90 %\ncat 61 %"
    assert [text.get_text() for text in first.texts] == ["a\nb"]


def labels_of(axis):
    return [tick.get_text() for tick in axis.get_yticklabels()]


def drawn(axis, labels):
    """What an axis shows: (label of its line, value) of each mark, and the ends of each interval."""
    marks = [line for line in axis.lines if line.get_marker() not in ("None", "")]
    bars = [
        line for line in axis.lines if line.get_marker() in ("None", "") and len(set(line.get_ydata())) == 1
    ]
    return (
        [(labels[round(line.get_ydata()[0])], line.get_xdata()[0]) for line in marks],
        [(labels[round(line.get_ydata()[0])], *line.get_xdata()) for line in bars],
    )


def test_errors_stand_at_their_corruption_by_group_with_their_intervals():
    axis = figures.corruption_errors(rows()).axes[0]
    labels = labels_of(axis)
    assert labels == ["noise", "Gaussian noise", "weather", "fog", "digital", "JPEG compression", "mean"]
    assert [t.get_fontweight() == "bold" for t in axis.get_yticklabels()] == [
        True,
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    bottom, top = axis.get_ylim()
    assert top < 0 < 6 < bottom  # the first is above
    marks, bars = drawn(axis, labels)
    expected = {"fog": 30, "mean": 40, "Gaussian noise": 50, "JPEG compression": 60}
    assert sorted(marks) == sorted((q, m + i) for q, m in expected.items() for i in (0, 1))
    assert sorted(bars) == sorted((q, m, m + 2) for q, m in expected.items())  # one seed has no interval
    assert len({line.get_marker() for line in axis.lines} - {"None"}) == 2


def test_differences_stand_beside_in_the_colours_of_their_arms():
    left, right = figures.corruption_errors(rows(), rows(-45, arms=("apr-p",)), "none").axes
    assert right.get_xlabel() == "minus none (points)" and left.get_ylim() == right.get_ylim()
    marks, _ = drawn(right, labels_of(left))
    assert sorted(marks) == [("Gaussian noise", 5), ("JPEG compression", 15), ("fog", -15), ("mean", -5)]

    def looks(axis):
        return {
            (line.get_color(), line.get_marker())
            for line in axis.lines
            if line.get_marker() not in ("None", "")
        }

    assert looks(right) < looks(left)


def test_extra_corruptions_belong_to_their_groups_too():
    from specfreq.corruptions import COMMON, EXTRA
    from specfreq.figures.robustness import GROUPS

    assert sorted(name for group in GROUPS.values() for name in group) == sorted(COMMON + EXTRA)


def test_arms_stand_at_their_two_errors_as_large_as_their_training_was_long():
    figure = figures.pareto([*ARMS, *arm("e", 1, 1, 100)[:1]])  # of one error nothing can be drawn
    (axis,) = figure.axes
    marks = {line.get_label(): line for line in axis.lines if line.get_marker() not in ("None", "")}
    at = {name: (line.get_xdata()[0], line.get_ydata()[0]) for name, line in marks.items()}
    assert at == {"A": (10, 50), "B": (14, 30), "C": (14, 45), "D": (20, 31)}
    areas = [marks[name].get_markersize() ** 2 / marks["A"].get_markersize() ** 2 for name in "ABCD"]
    assert areas == pytest.approx([1, 2, 4, 1])
    assert len({line.get_marker() for line in marks.values()}) == 4
    (front,) = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert [*zip(*front.get_data(), strict=True)] == [(10, 50), (14, 30)]
    bars = [
        [*map(list, line.get_data())]
        for line in axis.lines
        if line.get_marker() in ("None", "") and line is not front
    ]
    assert [[9, 11], [50, 50]] in bars and [[10, 10], [49, 51]] in bars
    assert len(bars) == 2 * 3  # one seed has no interval
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["A, 1 ×", "B, 2 ×", "C, 4 ×", "D, 1 ×", "not beaten in both"]
