"""Figures show the numbers they are given, and leave no trace."""

import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from specfreq import figures

ROWS = [
    {"data": "a", "arm": "x", "series": "corrected", "values": [50.0, 60], "mean": 55.0, "low": 40.0, "high": 70.0, "chance": 10.0},
    {"data": "a", "arm": "y", "series": "corrected", "values": [30.0], "mean": 30.0, "low": None, "high": None, "chance": 10.0},
    {"data": "b", "arm": "x", "series": "as published", "values": [20.0], "mean": 20.0, "low": None, "high": None, "chance": 25.0},
]


def every_figure():
    power = torch.rand(4, 16, 16) + 0.1
    yield lambda: figures.pictures({"plain": torch.rand(3, 3, 8, 8), "signed": torch.randn(3, 1, 8, 8)}, note="foot")
    yield lambda: figures.class_spectra(power, list("abcd"))
    yield lambda: figures.radial_profiles({"a": np.arange(1, 18.0) ** -2}, 32)
    yield lambda: figures.centroids({"t": torch.rand(40)}, torch.arange(40) % 4, list("abcd"))
    yield lambda: figures.accuracies(ROWS)
    yield lambda: figures.accuracies([])
    yield lambda: figures.pictures({})


@pytest.mark.parametrize("make", list(every_figure()))
def test_drawing_sets_no_global_state_and_repeats_to_the_byte(make):
    before = dict(matplotlib.rcParams)
    torch.manual_seed(0)
    pages = []
    for _ in range(2):
        torch.manual_seed(0)
        page = io.BytesIO()
        make().savefig(page, format="png")
        pages.append(page.getvalue())
    assert pages[0] == pages[1]
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []


def test_accuracies_are_drawn_where_they_are():
    first, second = figures.accuracies(ROWS).axes
    assert (first.get_title(), second.get_title()) == ("a", "b")
    drawn = {tuple(np.round(line.get_xdata(), 6)) for line in first.lines}
    assert {(50.0, 60.0), (40.0, 70.0), (55.0,), (30.0,)} <= drawn
    assert [line.get_xdata()[0] for line in second.lines if line.get_linestyle() == ":"] == [25.0]


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
