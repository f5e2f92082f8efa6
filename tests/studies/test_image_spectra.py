"""Spectra of image sets: planted gratings are found where they were planted."""

import math

import numpy as np
import pytest
import torch

from specfreq.core.errors import UserError
from specfreq.data import ImageSet
from specfreq.studies import image_spectra


def gratings(frequencies, side=32, brightness=0.5, count=4):
    """One class per horizontal frequency (cycles per image), gratings of random phase on a mean of
    ``brightness``.
    """
    g = torch.Generator().manual_seed(0)
    x = torch.arange(side) / side
    waves = [
        torch.sin(2 * math.pi * (f * x + torch.rand((), generator=g))).expand(3, side, side)
        for f in frequencies
        for _ in range(count)
    ]
    images = ((brightness + 0.2 * torch.stack(waves)) * 255).round().to(torch.uint8)
    labels = torch.arange(len(frequencies)).repeat_interleave(count)
    return ImageSet(images, labels, tuple(map(str, frequencies)), "gratings")


def test_the_centroid_of_a_grating_is_its_frequency_without_a_window():
    found = image_spectra.summarise(gratings([3, 8]), window=None)
    centroid = found.centroids[image_spectra.WITHOUT]
    assert centroid[:4].numpy() == pytest.approx(3 / 32, rel=0.02)
    assert centroid[4:].numpy() == pytest.approx(8 / 32, rel=0.02)


def test_with_a_window_the_mean_does_not_leak_into_the_centroid():
    """Dropping the bin at 0 alone would leave what the window spreads around it: brighter pictures would look
    smoother.
    """
    dark, bright = (image_spectra.summarise(gratings([8], brightness=b)).centroids for b in (0.25, 0.75))
    assert dark[image_spectra.WITHOUT].numpy() == pytest.approx(
        bright[image_spectra.WITHOUT].numpy(), rel=0.01
    )
    assert dark[image_spectra.WITHOUT].numpy() == pytest.approx(8 / 32, rel=0.02)
    assert (dark[image_spectra.WITH] > 1.5 * bright[image_spectra.WITH]).all()


def test_each_class_peaks_on_its_ring():
    found = image_spectra.summarise(gratings([3, 8]))
    assert [int(p.argmax()) for p in found.profiles.values()] == [3, 8]


def test_class_power_is_the_mean_over_its_images():
    images = gratings([3, 8])
    found = image_spectra.summarise(images, window=None)
    grey = images.images.double().mean(1) / 255
    expected = np.fft.fftshift(np.abs(np.fft.fft2(grey[4:].numpy())) ** 2, axes=(1, 2)).mean(0)
    assert found.power[1].numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_originals_score_is_the_centroid_over_the_number_of_bins():
    found = image_spectra.summarise(gratings([3]))
    assert found.score.numpy() == pytest.approx(found.centroids[image_spectra.WITH].numpy() / 1024)


def test_slopes_recover_a_planted_power_law():
    profile = {"a": torch.arange(17.0).clamp_min(1) ** -2.5, "b": torch.arange(17.0).clamp_min(1) ** -1.0}
    assert image_spectra.slopes(profile) == pytest.approx([-2.5, -1])


def test_halves_keep_what_they_say():
    rows = list(image_spectra.halves(gratings([3, 8]).images / 255).values())
    spectrum = [torch.fft.fft2(r) for r in rows]
    dc = torch.zeros(32, 32, dtype=bool)
    dc[0, 0] = True
    detail = spectrum[0].masked_fill(dc, 0)
    assert torch.allclose(spectrum[1].abs().masked_fill(dc, 0), detail.abs(), atol=1e-6)
    strong = detail.abs() > 1
    assert torch.allclose(spectrum[2].angle()[strong], detail.angle()[strong], atol=1e-6)


def test_a_class_without_images_is_named():
    full = gratings([3, 8])
    half = ImageSet(full.images[:4], full.labels[:4], full.classes, "half")
    with pytest.raises(UserError, match="half: class 8 has no image among these 4; raise size"):
        image_spectra.summarise(half)


def test_the_table_of_published_sets_has_a_line_for_each_number_and_the_name_it_is_given():
    table = image_spectra.published_table(
        ["cifar10", "fashion-mnist", "digits"], "Centroids.", "tbl-centroids"
    )
    assert (table.caption, table.name) == ("Centroids.", "tbl-centroids")
    assert table.columns == ["number", "CIFAR-10", "Fashion-MNIST"]  # digits have not been published
    assert len(table.rows) == 4


def test_sets_that_are_not_published_are_told_by_dashes():
    told = image_spectra.told(["cifar10", "digits"])
    assert told["cifar10 images"] == "50,000" and float(told["cifar10 spread"]) > 1
    assert told["digits spread"] == told["digits most"] == "–"
