"""Figures of total variation show the numbers they are given, on scales that can be compared, and leave no
trace.
"""

import numpy as np
import pytest
import torch

from specfreq import figures, tv

COLOUR, GREY = torch.rand(3, 8, 8), torch.rand(8, 8)
BANDS = torch.linspace(-1, 3, 10 * 64).reshape(10, 1, 8, 8)
TIMES = np.arange(1, 11) / 10
ROWS = [
    {"case": case, "solver": solver, "seconds": seconds, "suboptimality": accuracy, "version": "1"}
    for case in ("small", "large")
    for solver, seconds, accuracy in (
        ("ours", 1.0, 1e-4),
        ("theirs", 4.0, 1e-4),
        ("ours", 0.1, 1e-2),
        ("theirs", 5.0, 1e-2),
    )
]
DEPARTURES = [
    {"name": "transposed", "departure": 0.0, "group": "exact"},
    {"name": "twice as bright", "departure": 3e-6, "group": "within the tolerance"},
    {"name": "rotated", "departure": 0.04, "group": "in the continuum"},
]
EVERY = {
    "panels": lambda: figures.panels({"a": COLOUR, "b": GREY, "c": GREY - 0.5}, signed=["c"], note="foot"),
    "no panels": lambda: figures.panels({}),
    "bands": lambda: figures.bands(GREY[None], BANDS, GREY[None], 0.1, note="foot"),
    "profile": lambda: figures.profile(TIMES, {"a": TIMES / 2}, 0.3),
    "gaps": lambda: figures.gaps({"a": (TIMES, TIMES), "b": (TIMES, 2 * TIMES)}, 1e-4),
    "no gaps": lambda: figures.gaps({}),
    "time_to_accuracy": lambda: figures.time_to_accuracy(ROWS, note="foot"),
    "no times": lambda: figures.time_to_accuracy([]),
    "weights": lambda: figures.weights(TIMES, {"a": TIMES}, label="error"),
    "disc_flow": lambda: figures.disc_flow(TIMES, {"a": TIMES}, TIMES),
    "spectrum": lambda: figures.spectrum(TIMES, {"a": TIMES}, {"peak": 0.5}, note="foot"),
    "invariances": lambda: figures.invariances(DEPARTURES, 1e-4),
    "no invariances": lambda: figures.invariances([]),
}


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_drawing_sets_no_global_state_and_repeats_to_the_byte(make, drawn_twice):
    drawn_twice(make)


def drawn(axis):
    """The lines of an axis that have points of their own: (x, y) each; lines across are left out."""
    return [
        tuple(np.asarray(v, float).tolist() for v in line.get_data())
        for line in axis.lines
        if len(line.get_xdata()) > 2
    ]


def pictures_of(figure):
    return {axis.get_title(): axis.images[0] for axis in figure.axes if axis.images}


def test_signed_pictures_share_one_scale_round_zero_and_others_keep_their_values():
    faint, strong = (
        torch.full((3, 4, 4), -0.125),
        torch.tensor([0.5, -0.25, 0.5])[:, None, None].expand(3, 4, 4),
    )
    shown = pictures_of(
        figures.panels({"faint": faint, "plain": COLOUR, "strong": strong}, signed=["faint", "strong"])
    )
    assert shown["faint"].get_clim() == shown["strong"].get_clim() == (-0.25, 0.25)
    assert shown["faint"].get_cmap()(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.05)  # nothing is white
    assert (shown["strong"].get_array() == 0.25).all()  # the mean of the channels
    np.testing.assert_allclose(shown["plain"].get_array(), COLOUR.permute(1, 2, 0), atol=1e-7)


def test_what_is_shown_as_bands_adds_up_to_all_bands():
    shown = pictures_of(figures.bands(GREY[None], BANDS, GREY[None] / 2, 0.1))
    assert list(shown) == [
        "image",
        *(f"φ, t = {t}" for t in ("0.1", "0.2", "0.3 to 0.4", "0.5 to 0.8", "0.9 to 1")),
        "residual",
    ]
    groups = [shown[title] for title in list(shown)[1:-1]]
    np.testing.assert_allclose(sum(group.get_array() for group in groups), BANDS.sum((0, 1)), atol=1e-5)
    assert len({group.get_clim() for group in groups}) == 1
    np.testing.assert_allclose(shown["residual"].get_array(), GREY / 2, atol=1e-7)


def test_few_bands_are_shown_one_by_one():
    shown = pictures_of(figures.bands(GREY[None], BANDS[:3], GREY[None], 0.5))
    assert list(shown) == ["image", "φ, t = 0.5", "φ, t = 1", "φ, t = 1.5", "residual"]
    np.testing.assert_allclose(shown["φ, t = 1"].get_array(), BANDS[1, 0])


def test_the_sum_of_what_denoising_added_to_a_row_stays_in_its_tube_and_ends_at_zero():
    row = torch.rand(1, 1, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    figure = figures.profile(row[0, 0], {"denoised": tv.denoise(row, 0.2, 1e-10).image[0, 0]}, 0.2)
    values, string = figure.axes
    assert drawn(values)[0][1] == row.flatten().tolist()
    sums = np.array(drawn(string)[0][1])
    assert np.abs(sums).max() == pytest.approx(0.2, abs=1e-6) and sums[-1] == pytest.approx(0, abs=1e-9)
    band = string.patches[0]
    assert (band.get_y(), band.get_y() + band.get_height()) == (-0.2, 0.2)


def test_gaps_of_nothing_and_before_the_first_iteration_have_no_place_on_logarithmic_axes():
    figure = figures.gaps(
        {"a": ([0, 1, 10, 100], [0.5, 0.1, 0.01, 0.0]), "b": ([1, 2, 3], [0.3, 0.2, 0.1])}, 1e-4
    )
    axis = figure.axes[0]
    assert [line.get_data()[1].tolist() for line in axis.lines[:2]] == [[0.1, 0.01], [0.3, 0.2, 0.1]]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert axis.lines[2].get_ydata() == [1e-4, 1e-4]


def test_a_panel_per_case_has_every_solver_from_coarse_to_fine_and_one_legend_names_them():
    figure = figures.time_to_accuracy(ROWS)
    assert [axis.get_title() for axis in figure.axes] == ["small", "large"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    for axis in figure.axes:
        curves = [line.get_data() for line in axis.lines]
        assert [(list(x), list(y)) for x, y in curves] == [([0.1, 1], [1e-2, 1e-4]), ([5, 4], [1e-2, 1e-4])]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ours", "theirs"]


@pytest.mark.parametrize(("best", "at"), [("lowest", 0.1), ("highest", 1.0)])
def test_the_best_weight_is_ringed_and_named(best, at):
    figure = figures.weights(
        [0.01, 0.1, 1.0], {"a": torch.tensor([2.0, 1.0, 3.0])}, label="PSNR (dB)", best=best
    )
    ring = next(line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none")
    assert ring.get_xdata() == [at]
    assert figure.legends[0].get_texts()[0].get_text() == f"a: {best} at {at:g}"
    assert figure.axes[0].get_ylabel() == "PSNR (dB)"


def test_the_disc_is_drawn_as_measured_and_as_it_should_be():
    axis = figures.disc_flow([0, 1, 2], {"flow": [1, 0.6, 0.1], "other": [1, 0.7, 0.2]}, [1, 0.5, 0]).axes[0]
    assert drawn(axis) == [([0, 1, 2], [1, 0.5, 0]), ([0, 1, 2], [1, 0.6, 0.1]), ([0, 1, 2], [1, 0.7, 0.2])]
    assert [line.get_linewidth() > 0 for line in axis.lines] == [True, False, False]


def test_spectra_may_have_times_of_their_own_and_peaks_stand_where_they_are_expected():
    times = {"a": [1, 2, 3], "b": [2, 4, 6]}
    axis = figures.spectrum(times, {"a": [5, 6, 7], "b": [7, 6, 5]}, {"radius 8": 2.5}).axes[0]
    assert drawn(axis) == [([1, 2, 3], [5, 6, 7]), ([2, 4, 6], [7, 6, 5])]
    assert [line.get_xdata() for line in axis.lines if line.get_linestyle() == ":"] == [[2.5, 2.5]]
    assert [text.get_text() for text in axis.texts] == ["radius 8"]


def test_departures_stand_where_they_are_and_none_at_all_stands_hollow_at_the_edge():
    axis = figures.invariances(DEPARTURES, 1e-4).axes[0]
    first, second, third = axis.lines[:3]
    assert [label.get_text() for label in axis.get_yticklabels()] == [row["name"] for row in DEPARTURES]
    assert (second.get_xdata(), third.get_xdata()) == ([3e-6], [0.04])
    assert first.get_xdata() == [axis.get_xlim()[0]] and axis.get_xlim()[0] < 3e-6
    assert [line.get_markerfacecolor() == "white" for line in (first, second, third)] == [True, False, False]
    assert len({line.get_marker() for line in (first, second, third)}) == 3


def test_no_two_lines_differ_in_colour_alone():
    many = {str(i): TIMES * (i + 1) for i in range(8)}
    for figure in (
        figures.gaps({name: (TIMES, values) for name, values in many.items()}),
        figures.spectrum(TIMES, many),
        figures.weights(TIMES, many, label="error"),
        figures.disc_flow(TIMES, many, TIMES),
    ):
        lines = [
            line
            for line in figure.axes[0].lines
            if line.get_marker() not in ("None", "") and len(line.get_xdata()) > 2
        ]
        assert len({line.get_marker() for line in lines}) == 8
