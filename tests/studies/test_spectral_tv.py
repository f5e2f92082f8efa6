"""What the page on scales computes: peaks of discs, spectra of sets, textures, invariances."""

import pytest
import torch
from torch.testing import assert_close

from specfreq import tv
from specfreq.data import load
from specfreq.studies import spectral_tv


@pytest.fixture(scope="module")
def small():
    return load("photos", "test", 7)


@pytest.mark.parametrize("height", [1.0, 2.0])
def test_a_disc_peaks_where_theory_says(height):
    peak = spectral_tv.disc_peak(48, 12.0, 0.25 * height, height)
    assert peak.time == pytest.approx(peak.theory, rel=0.06)
    assert peak.share > 0.9


def test_spectra_of_classes_are_means_of_their_images(small):
    found = spectral_tv.summarise(small, 3, 1 / 14)
    parts = tv.transform(small.images[small.labels == 2].float() / 255, 3, 1 / 14)
    assert_close(
        found.spectra[small.classes[2]], parts.phi.double().abs().mean((1, 2, 3, 4)), rtol=1e-5, atol=0
    )
    assert found.fine.shape == (7,) and ((found.fine >= 0) & (found.fine <= 1)).all()
    assert found.radial.shape[0] == 4
    assert_close(found.times, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) / 14)


def test_power_of_band_sits_at_higher_frequencies_than_that_of_the_residual(small):
    radial = spectral_tv.summarise(small, 3, 1 / 14).radial
    high = radial[:, 8:].sum(1) / radial[:, 1:].sum(1)
    assert high[0] > high[-1]


def test_exchanged_textures_come_back(small):
    two = small.images[:2].float() / 255
    parts = tv.transform(two, 4, 1 / 14)
    swapped = spectral_tv.exchange(two, 2, 4, 1 / 14)
    assert_close(swapped[0], two[0] + parts.phi[:2, 1].sum(0) - parts.phi[:2, 0].sum(0), rtol=0, atol=1e-5)
    assert_close(swapped.sum(0), two.sum(0), rtol=0, atol=1e-5)


def test_filters_that_part_the_image_add_up(small):
    f = small.images[0].float() / 255
    named = spectral_tv.filters(tv.transform(f, 6, 1 / 14), 2)
    assert_close(named["low pass"] + named["high pass"], f, rtol=0, atol=1e-5)
    assert_close(named["band pass"] + named["band stop"], f, rtol=0, atol=1e-5)
    assert_close(named["amplified"], f + 2 * named["high pass"], rtol=0, atol=1e-5)


def test_what_must_not_change_does_not_and_mirroring_does(small):
    changes = {c.name: c for c in spectral_tv.invariances(small.images[[1, 6]].float() / 255, 2, 1 / 14)}
    for name in ("transposed", "negative", "twice the contrast", "brightened"):
        assert changes[name].bands.max() < 1e-9 and changes[name].flow.max() < 1e-9
    assert changes["moved"].bands.max() < 0.01
    assert changes["mirrored"].bands.min() > 0.05 > 0.001 > changes["transposed"].bands.max()


def test_a_warm_start_saves_iterations(small):
    counts = spectral_tv.starts(small.images.float() / 255, 4, 1 / 14)
    assert counts["warm"][0] == counts["cold"][0]
    assert counts["warm"].sum() < counts["cold"].sum()


def test_the_record_holds_departures_in_percent(small):
    x = small.images[:2].float() / 255
    content = spectral_tv.content(
        small,
        spectral_tv.summarise(small, 2, 1 / 14),
        spectral_tv.invariances(x, 2, 1 / 14),
        [8.0, 12.0],
        2,
        1 / 14,
    )
    rows = {(row["arm"], row["quantity"]): row for row in content["arms"]}
    assert rows["disc", "departure of the peak"]["seeds"] == [0, 1]
    assert 0 < rows["disc", "departure of the peak"]["mean"] < 8
    assert rows["bands and residual", "departure of the bands"]["mean"] < 1e-3
    assert set(content["spectra"]) == set(small.classes)


def test_costs_come_from_the_published_record(monkeypatch):
    row = {
        "case": "1 x 1x8x8",
        "start": "warm",
        "tol": 1e-4,
        "seconds": 1.234,
        "iterations": 4321,
        "error": 0.0567,
    }
    monkeypatch.setattr(spectral_tv.records, "content", lambda study, key: {"spectral": [row]}[key])
    (line,) = spectral_tv.published_costs()
    assert (
        line["seconds"] == "1.23"
        and line["iterations"] == "4,321"
        and line["error of the bands (%)"] == "5.7"
    )


SPECTRA = {"plain": [1.0, 1.0, 6.0], "furry": [5.0, 3.0, 0.0], "mixed": [2.0, 2.0, 4.0]}


def test_of_the_published_spectra_the_mean_and_the_classes_of_most_and_least_texture_are_shown(monkeypatch):
    monkeypatch.setattr(
        spectral_tv.records, "content", lambda _, key: {"spectra": SPECTRA}.get(key, [1, 2, 3])
    )
    shown = spectral_tv.published_spectra()["spectra"]
    assert list(shown) == ["all classes", "furry", "plain"]
    assert shown["all classes"].tolist() == pytest.approx([8 / 3, 2, 10 / 3])
    told = spectral_tv.fine_told()
    assert told == {"record bands": "3", "record fine": "58", "record most": "furry", "record least": "plain"}


def test_without_a_record_there_are_no_spectra_and_their_numbers_are_dashes(monkeypatch):
    monkeypatch.setattr(spectral_tv.records, "content", lambda *_: {})
    assert spectral_tv.published_spectra()["spectra"] == {}
    assert set(spectral_tv.fine_told().values()) == {"–"}


def test_published_departures_are_shares_grouped_by_where_theory_promises_none():
    rows = spectral_tv.published_departures()["rows"]
    by_name = {row["name"]: row for row in rows}
    assert len(rows) == 14 and by_name["transposed, bands"]["departure"] < 1e-9
    assert by_name["mirrored, bands"]["group"] == spectral_tv.CONTINUUM
    assert by_name["mirrored, bands"]["departure"] > 0.01 > by_name["moved, bands"]["departure"]
