"""Figures of generated images: what they draw is what they were given."""

import numpy as np
import pytest
import torch

from specfreq import figures

ROWS = [
    {"arm": arm, "quantity": quantity, "values": [v, 2 * v], "mean": 1.5 * v, "low": low, "high": 2.5 * v}
    for arm, v, low in (("image", 1.0, 0.5), ("bands", 2.0, -3.0))
    for quantity in ("FID", "FID, band 1")
]


def test_a_montage_has_a_block_for_each_arm_and_every_image_in_it():
    images = torch.arange(7.0).view(7, 1, 1, 1).expand(7, 1, 4, 4) / 7
    figure = figures.montage({"image": images, "bands": 1 - images, "flow": images}, columns=3)
    blocks = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in blocks] == ["image", "bands", "flow"]
    drawn = blocks[0].images[0].get_array()
    assert drawn.shape == (18, 18)
    assert {round(float(v), 4) for v in images.flatten()} <= {round(float(v), 4) for v in np.unique(drawn)}
    assert drawn[13:, 7:].min() == 1  # what no image fills is white


def test_distances_show_each_mean_with_its_interval_even_where_that_goes_below_zero():
    axis = figures.part_distances(ROWS).axes[0]
    assert axis.get_xscale() == "log"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["FID", "FID, band 1"]
    marks = [
        line.get_xdata()[0]
        for line in axis.lines
        if line.get_marker() not in ("|", "None", "") and len(line.get_xdata()) == 1
    ]
    assert marks == [1.5, 1.5, 3.0, 3.0]
    assert all(
        np.min(line.get_xdata()) > 0
        for line in axis.lines
        if len(set(line.get_ydata())) == 1 and line.get_lw() == 1.6
    )


def test_real_images_are_1_in_spectra_over_real_ones():
    real = {"power": [9.0, 4.0, 2.0], "variation": [3.0, 2.0]}
    figure = figures.against_real(
        {"twice": {k: [2 * v for v in values] for k, values in real.items()}}, real, 0.25, 8
    )
    power, variation = figure.axes
    assert power.lines[0].get_ydata() == pytest.approx([2, 2])
    assert power.lines[0].get_xdata() == pytest.approx([1 / 8, 2 / 8])
    assert variation.lines[0].get_xdata() == pytest.approx([0.25, 0.5])
    assert variation.lines[0].get_ydata() == pytest.approx([2, 2])


def test_losses_of_discriminators_that_know_nothing_are_marked():
    figure = figures.losses({"image": [{"epoch": 1.0, "discriminator": 1.2, "generator": 0.9}]})
    marked = [
        next(line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == ":")
        for axis in figure.axes
    ]
    assert marked == pytest.approx([2 * np.log(2), np.log(2)])


def test_figures_without_a_record_are_empty():
    for figure in (
        figures.montage({}),
        figures.part_distances([]),
        figures.against_real({}, {}, 0.1, 32),
        figures.losses({}),
    ):
        figure.canvas.draw()
