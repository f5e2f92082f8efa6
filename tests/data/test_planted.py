"""The planted set: linear probes find the class where it was planted, with the strength asked for, and
nowhere else.
"""

from fractions import Fraction

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from specfreq import data
from specfreq.core import memory
from specfreq.core.errors import UserError
from specfreq.data import planted
from specfreq.data.planted import BANDS, distance, in_band

CHANCE = (0.20, 0.30)  # of 1,000 test images in 4 classes: 0.25 within 3.6 standard deviations
PLACES = [(half, band) for half in ("amplitude", "phase") for band in BANDS]


def pair(spec):
    return data.load(spec), data.load(spec, "test")


def inside_boxes(images):
    return np.stack(
        [
            i[:, y0:y1, x0:x1]
            for i, (x0, y0, x1, y1) in zip(images.images.numpy(), images.boxes.numpy(), strict=True)
        ]
    )


def features(pixels, half, band):
    """Log-amplitude, or cosine and sine of the phase, of the bins of one band; (N, features)."""
    spectrum = np.fft.rfft2(pixels.astype(float) - 127.5)[..., in_band(pixels.shape[-1], band)]
    if half == "amplitude":
        return np.log(np.abs(spectrum) + 1e-9).reshape(len(pixels), -1)
    return np.stack([np.cos(np.angle(spectrum)), np.sin(np.angle(spectrum))], -1).reshape(len(pixels), -1)


def accuracy(train, train_labels, test, test_labels):
    mean, scale = train.mean(0), train.std(0) + 1e-9
    probe = RidgeClassifier(alpha=100).fit((train - mean) / scale, np.asarray(train_labels))
    return probe.score((test - mean) / scale, np.asarray(test_labels))


def assert_found_only_where_planted(train, test, train_pixels, test_pixels, evidence, planted_band):
    for half, band in PLACES:
        found = accuracy(
            features(train_pixels, half, band), train.labels, features(test_pixels, half, band), test.labels
        )
        if band == planted_band and evidence in (half, "both"):
            assert found > 0.9, (half, band, found)
        else:
            assert CHANCE[0] < found < CHANCE[1], (half, band, found)


@pytest.mark.parametrize("evidence", ["amplitude", "phase", "both"])
@pytest.mark.parametrize("band", BANDS)
def test_a_probe_finds_the_class_where_it_was_planted_and_nowhere_else(band, evidence):
    train, test = pair(f"planted:band={band},evidence={evidence},count=1000,snr=1")
    assert_found_only_where_planted(train, test, train.images.numpy(), test.images.numpy(), evidence, band)


@pytest.mark.parametrize("evidence", ["amplitude", "phase"])
@pytest.mark.parametrize("band", BANDS)
def test_in_a_box_a_probe_finds_the_class_where_it_was_planted_and_nowhere_else(band, evidence):
    train, test = pair(f"planted:band={band},evidence={evidence},boxes=true,count=1000,snr=2")
    assert_found_only_where_planted(train, test, inside_boxes(train), inside_boxes(test), evidence, band)


@pytest.mark.parametrize("evidence", ["amplitude", "phase"])
def test_outside_the_box_and_in_its_place_there_is_no_class(evidence):
    train, test = pair(f"planted:band=high,evidence={evidence},boxes=true,count=1000,snr=2")

    def outside(images):
        pixels = images.images.numpy().copy()
        for pixel, (x0, y0, x1, y1) in zip(pixels, images.boxes.numpy(), strict=True):
            pixel[:, y0:y1, x0:x1] = 127
        return pixels

    views = {f"{half} {band}": lambda s, h=half, b=band: features(outside(s), h, b) for half, band in PLACES}
    views |= {
        "pixels": lambda s: outside(s).reshape(len(s), -1).astype(float),
        "corners": lambda s: s.boxes.double().numpy(),
    }
    for name, view in views.items():
        found = accuracy(view(train), train.labels, view(test), test.labels)
        assert CHANCE[0] < found < CHANCE[1], (name, found)


@pytest.mark.parametrize("snr", [0.5, 1])
def test_the_signal_to_noise_ratio_is_the_one_asked_for(snr):
    images = data.load(f"planted:band=middle,evidence=both,snr={snr},count=4000")
    spectrum = np.fft.rfft2(images.images.numpy()[:, 0] - 127.5)[:, in_band(32, "middle")]
    for feature in (np.log(np.abs(spectrum)), spectrum / np.abs(spectrum)):
        classes = [feature[images.labels.numpy() == c] for c in range(4)]
        means = np.stack([c.mean(0) for c in classes])
        between = np.mean(np.abs(means - means.mean(0)) ** 2, axis=0)
        within = np.mean([np.mean(np.abs(c - c.mean(0)) ** 2, axis=0) for c in classes], axis=0)
        assert np.median(np.sqrt(between / within)) == pytest.approx(snr, rel=0.03)


@pytest.mark.parametrize("band", BANDS)
def test_the_spectrum_averaged_over_the_classes_is_the_envelope(band):
    images = data.load(f"planted:band={band},evidence=both,count=4000").images.numpy()[:, 0]
    power = np.mean(np.abs(np.fft.rfft2(images - 127.5)) ** 2, axis=0)
    flat = power * np.maximum(distance(32), 1) ** 2
    assert np.median(flat[in_band(32, band)]) == pytest.approx(np.median(flat), rel=0.1)


@pytest.mark.parametrize(
    "parameters", ["band=low", "band=low,boxes=true", "band=high,evidence=phase,snr=10", "slope=0"]
)
def test_no_pixel_is_black_or_white(parameters):
    images = data.load(f"planted:{parameters}").images
    assert images.min() > 0
    assert images.max() < 255


@pytest.mark.parametrize("side", [16, 33, 32])
@pytest.mark.parametrize("bands", ["low+high", "low+middle+high"])
def test_several_bands_have_as_many_frequencies_each(bands, side):
    what = planted.Planted(band=bands, side=side, count=8)
    inside = np.fft.fftshift(np.fft.fft2(np.fft.irfft2(planted.planted_at(what, side), s=(side, side))).real)
    assert np.abs(inside - inside.round()).max() < 1e-9  # symmetric about 0, and so all that is planted
    squared = np.add.outer(*[(np.arange(side) - side // 2) ** 2] * 2) / side**2
    counts = [int((inside * (squared >= a**2) * (squared < b**2)).sum().round()) for a, b in BANDS.values()]
    named = [count for band, count in zip(BANDS, counts, strict=True) if band in bands]
    assert len(set(named)) == 1 and sum(named) == inside.sum().round() and named[0] > 1
    other = planted.planted_at(planted.Planted(band=bands, side=side, count=8, seed=1), side)
    assert (other != planted.planted_at(what, side)).any()


def test_several_bands_have_equal_evidence():
    """A probe of the planted frequencies of one band does as well as that of the other, however dense these are."""
    spec = "band=low+high,evidence=phase,snr=0.3"
    inside = planted.planted_at(planted.Planted(band="low+high"), 32)
    for slope in (0, 1):
        train, test = pair(f"planted:{spec},slope={slope}")
        found = []
        for band in ("low", "high"):
            seen = [
                np.angle(np.fft.rfft2(part.images.numpy()[:, 0] - 127.5))[:, inside & in_band(32, band)]
                for part in (train, test)
            ]
            waves = [np.concatenate([np.cos(angle), np.sin(angle)], 1) for angle in seen]
            found.append(accuracy(waves[0], train.labels, waves[1], test.labels))
        assert min(found) > 0.55
        assert abs(found[0] - found[1]) < 0.05  # 2,000 images: three standard deviations of a difference


def test_the_bands_share_the_disc_and_nothing_else():
    held = sum(in_band(33, band).astype(int) for band in BANDS)
    # no |k| is half a whole number
    np.testing.assert_array_equal(held, (distance(33) > 0) & (distance(33) < 33 / 2))


@pytest.mark.parametrize("side", [20, 32, 33, 40, 70, 140, 212])
def test_the_edges_of_the_bands_are_exact_on_every_processor(side, other_rounding):
    for band, edges in BANDS.items():
        low, high = ((Fraction(edge) * side) ** 2 for edge in edges)
        expected = [
            [max(low, 1) <= k * k + x * x < high for x in range(side // 2 + 1)] for k in range(side // 2)
        ]
        assert in_band(side, band)[: side // 2].tolist() == expected
        assert in_band(side, band)[1:].tolist() == in_band(side, band)[:0:-1].tolist()


def test_boxes_are_half_the_side_and_inside_the_image():
    images = data.load("planted:boxes=true,side=40,count=200")
    x0, y0, x1, y1 = images.boxes.T
    assert set((x1 - x0).tolist()) == set((y1 - y0).tolist()) == {20}
    assert (x0.min(), y0.min(), x1.max(), y1.max()) == (0, 0, 40, 40)


def test_an_image_depends_on_its_index_and_not_on_how_many_there_are():
    few, many = data.load("planted:count=8"), data.load("planted:count=80")
    assert few.images.equal(many.images[:8])


def test_splits_and_seeds_give_other_noise():
    train, test, other = (
        data.load("planted:count=9"),
        data.load("planted:count=9", "test"),
        data.load("planted:count=9,seed=1"),
    )
    assert not train.images.equal(test.images)
    assert not train.images.equal(other.images)


def test_odd_sides_many_channels_and_classes_work():
    images = data.load("planted:side=33,channels=3,classes=7,count=70,snr=1")
    assert images.shape == (3, 33, 33)
    assert images.labels.bincount().tolist() == [10] * 7


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("bnad=high", "did you mean 'band'"),
        ("band=hihg", "'low', 'middle', 'high', 'low.middle', "),
        ("snr=0", "snr=0"),
        ("classes=1", "classes=1"),
        ("count=2.5", "count=2.5"),
        ("boxes=maybe", "boxes=maybe"),
        ("side=16,band=low,boxes=true,side=16", "given twice"),
        ("side=8,band=low,boxes=true", "take a larger side"),
        ("band=high,evidence=amplitude,snr=8", "rounding to 8 bits"),
        ("band=high,evidence=phase,slope=4", "rounding to 8 bits"),
    ],
)
def test_impossible_parameters_are_refused(parameters, message):
    with pytest.raises(UserError, match=message):
        data.load(f"planted:{parameters}")


def test_what_memory_cannot_hold_is_refused_by_arithmetic(monkeypatch):
    """The machine's memory decides, so what is asked for in part can be had from a set that is too large as a
    whole.
    """
    name, drawn = "planted:count=20000,side=64", data.load("planted:count=20000,side=64", "test", 8)
    monkeypatch.setattr(memory, "memory", lambda: 2 * 20000 * 64**2 - 1)
    monkeypatch.setattr(planted._Noise, "draw", None)
    with pytest.raises(
        UserError, match=r"planted: 20,000 images would take 0\.1 GB, more than half of the memory here"
    ):
        data.load(name, "test")
    monkeypatch.undo()
    monkeypatch.setattr(memory, "memory", lambda: 2 * 20000 * 64**2 - 1)
    assert data.load(name, "test", 8).images.equal(drawn.images)
    for labels in ("planted:count=200000000,side=8", "planted:count=2000000,boxes=1"):
        with pytest.raises(
            UserError, match=r"planted: labels of .* images would take .* take a smaller count"
        ):
            data.load(labels, "test", 8)
