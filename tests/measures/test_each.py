"""What measures say of each image: its mean is the number that it belongs to, its variance that number's."""

import pytest
import torch
from torch.testing import assert_close

from specfreq import data, measures, models
from specfreq.core.randomness import keyed
from specfreq.evidence import comparison
from specfreq.measures import calibration, separation

SPECS = {
    "accuracy": {"accuracy"},
    "nll": {"nll"},
    "calibration": {"adaptive_rms"},
    "calibration:corruptions=fog+contrast,severities=2+3,size=60": {"adaptive_rms"},
    "corruption:corruptions=fog+speckle_noise+contrast,severities=1+4,size=50": {
        *("clean_error", "mean_error"),
        *(f"by_corruption.{place}" for place in range(3)),
    },
    "out-of-distribution:other=gaussian-noise+uniform-noise,size=70": {"auroc.0", "auroc.1", "mean_auroc"},
    "adversarial:attacks=fgsm+pgd+apgd-ce,steps=2,apgd_steps=4,size=20": {
        *("accuracy", "robust", "noise_accuracy", "after.0", "after.1", "after.2", "alone.0", "alone.1"),
        *(f"curve_accuracy.{place}" for place in range(5)),
    },
    "fourier-heatmap:step=3,norm=1,size=30": {
        *("clean_error", "mean_error", "low_error", "middle_error", "high_error"),
    },
    "fourier-heatmap:step=1,norm=1,size=9": {
        *("clean_error", "mean_error", "low_error", "middle_error", "high_error"),
    },
    "amplitude-phase-swap": {
        *("phase", "amplitude", "neither", "accuracy"),
        *("confidence", "phase_confidence", "amplitude_confidence"),
    },
    "amplitude-phase-swap:other=gaussian-noise,size=60": {
        *("phase", "amplitude", "accuracy"),
        *("confidence", "phase_confidence", "amplitude_confidence", "other_confidence"),
    },
    "diagnosis:resamples=0": {"accuracy", "precision", "recall", "f1", "auc"},
    "gradient-spectrum:size=60": {"low_share", "middle_share", "high_share", "centroid"},
    "frequency-shortcuts:block=0,size=60": {
        "accuracy",
        *(f"kept_{what}.{place}" for what in ("accuracy", "alarm") for place in range(3)),
    },
    "band-accuracy:step=5,size=60": {
        "accuracy",
        *(f"{half}.{place}" for half in ("low", "high") for place in range(6)),
    },
}


@pytest.fixture(scope="module")
def asked():
    """A network that is right now and then, and colour images."""
    images = data.load("photos", "test", size=100)
    net = models.build("resnet8", len(images.classes), 3, seed=3)
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.1)
    return models.Classifier(net, mean, std).eval(), images


@pytest.mark.parametrize("spec", SPECS)
def test_a_number_is_the_mean_of_what_is_said_of_each_image(asked, spec):
    result, each = measures.computed(spec, *asked)
    assert set(each) >= SPECS[spec] - {"high.5", "low.5"}
    assert "each" not in result
    lengths = {}
    for name, values in each.items():
        mean = values.double().mean() * (100 if values.dtype == torch.bool else 1)
        assert float(mean) == pytest.approx(comparison.number(result, name), rel=1e-9, abs=1e-9), name
        lengths[name] = values.shape[-1]
    assert measures.compute(spec, *asked) == result


def shares(known, other):
    """How often a known image scores higher, ties counting half: the matrix of all pairs."""
    return (known[:, None] > other).double() + (known[:, None] == other).double() / 2


def test_the_variance_of_an_area_is_that_of_delong():
    g = keyed("delong")
    known = (torch.randn(300, generator=g) + 1).mul(4).round().div(4).double()  # with ties
    other = torch.randn(120, generator=g).mul(4).round().div(4).double()
    each = separation.of_each(known, [other])["auroc.0"]
    wins = shares(known, other)
    assert_close(each.mean(), 100 * wins.mean())
    by_known, by_other = wins.mean(1), wins.mean(0)
    exact = by_known.var(correction=0) / 300 + by_other.var(correction=0) / 120
    assert_close(each.var(correction=0) / len(each), 1e4 * exact)


def test_the_mean_of_several_areas_shares_the_known_images():
    """By the bootstrap of all images."""
    g = keyed("several")
    known = torch.randn(200, generator=g).double() + 0.7
    others = [torch.randn(n, generator=g).double() for n in (80, 150)]
    each = separation.of_each(known, others)["mean_auroc"]

    def drawn(x):
        return x[torch.randint(len(x), (len(x),), generator=g)]

    again = []
    for _ in range(600):
        mine = drawn(known)
        again.append(torch.stack([100 * shares(mine, drawn(part)).mean() for part in others]).mean())
    assert_close(each.std() / len(each) ** 0.5, torch.stack(again).std(), rtol=0.12, atol=0)


def test_of_a_calibration_error_it_is_what_leaving_an_image_out_changes():
    g = keyed("calibration")
    sure = torch.rand(4000, generator=g).double()
    gap = (torch.rand(4000, generator=g) < 0.8 * sure).double() - sure
    order = sure.argsort()
    places = torch.arange(4000) // 400

    def error(kept):
        sums = torch.bincount(places[kept], gap[order][kept])
        return 100 * (sums**2 / torch.bincount(places[kept]) / len(kept)).sum().sqrt()

    each = calibration._jackknife(gap[order], places, order.argsort(), 4000)
    whole = error(torch.arange(4000))
    assert_close(each.mean(), whole)
    for image in range(0, 4000, 371):
        left = (order != image).nonzero()[:, 0]
        pseudo = 4000 * whole - 3999 * error(left)
        assert_close(each[image], pseudo, rtol=0.02, atol=0.3)


def test_a_perfect_calibration_has_no_spread():
    nothing = torch.zeros(10, dtype=torch.float64)
    each = calibration._jackknife(nothing, torch.zeros(10, dtype=torch.int64), torch.arange(10), 5)
    assert torch.equal(each, torch.zeros(5, dtype=torch.float64))
