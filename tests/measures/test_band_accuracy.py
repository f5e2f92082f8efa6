"""Accuracy over the radius of ideal filters: it begins and ends where it must, and finds where the evidence
lies.
"""

import math

import pytest
import torch
from torch import nn

from specfreq import ImageSet, fourier, models
from specfreq.core.images import unit
from specfreq.measures import compute
from specfreq.measures.answers import halves


class Grating(nn.Module):
    """Whether a grating of so many cycles is in phase (class 1) or not (class 0), read off its Fourier
    coefficient.
    """

    def __init__(self, side, cycles):
        super().__init__()
        wave = torch.cos(2 * math.pi * cycles * torch.arange(side) / side)
        self.register_buffer("wave", wave.expand(side, -1) / side**2)

    def forward(self, images):
        return torch.stack(
            [torch.full((len(images),), 1e-3, device=images.device), (images * self.wave).sum((1, 2, 3))], 1
        )


def gratings(side=16, cycles=5, count=24):
    """Gratings on grey of that frequency, half of them in phase; and the classifier that knows which."""
    labels = torch.arange(count) % 2
    wave = torch.cos(2 * math.pi * cycles * torch.arange(side) / side)
    images = (128 + 80 * (2 * labels[:, None] - 1) * wave).round().to(torch.uint8)
    images = images[:, None, None].expand(-1, 1, side, -1).contiguous()
    model = models.Classifier(Grating(side, cycles), torch.zeros(1), torch.ones(1)).eval()
    return model, ImageSet(images, labels, ("out of phase", "in phase"), "gratings")


@pytest.mark.parametrize("cycles", [1, 5, 8])
def test_the_curves_break_where_the_evidence_lies(cycles):
    result = compute("band-accuracy", *gratings(16, cycles))
    assert result["radii"] == list(range(13))  # the corner lies at 11.3
    # the edge belongs to the high frequencies
    assert result["low"] == [50] * (cycles + 1) + [100] * (12 - cycles)
    assert result["high"] == [100] * (cycles + 1) + [50] * (12 - cycles)
    assert (result["low_half"], result["high_half"]) == (cycles + 1, cycles)
    assert result["high_area"] == pytest.approx((100 * cycles + 75 + 50 * (11 - cycles)) / 12)
    assert result["low_area"] == pytest.approx(150 - result["high_area"])
    assert (result["accuracy"], result["chance"], result["images"]) == (100, 50, 24)


def test_the_curves_begin_and_end_at_the_accuracy_on_whole_images(digits):
    result, accuracy = compute("band-accuracy", *digits), compute("accuracy", *digits)["accuracy"]
    assert result["low"][-1] == result["high"][0] == result["accuracy"] == accuracy > 80
    assert len(set(result["low"])) > 3  # curves, not lines


@pytest.mark.parametrize("level", ["set", "zero"])
def test_the_curves_are_the_accuracies_on_filtered_images(digits, level):
    model, images = digits
    result, x = compute("band-accuracy", model, images, level=level), unit(images.images)
    grey = x.mean() if level == "set" else torch.tensor(0.0)
    filtered = {
        "low": [grey.expand_as(x), *(fourier.low_pass(x, r) for r in result["radii"][1:])],
        "high": [x, *(grey + fourier.high_pass(x, r) for r in result["radii"][1:])],
    }
    for half, views in filtered.items():
        right = [float((model(view).argmax(1) == images.labels).double().mean()) for view in views]
        assert result[half] == pytest.approx([100 * share for share in right]), half


@pytest.mark.parametrize("shape", [(8, 8), (9, 13), (16, 7), (1, 1)])
def test_halves_are_the_ideal_filters_and_nothing_is_left_after_the_last(shape):
    x = torch.rand(3, 2, *shape, generator=torch.Generator().manual_seed(0))
    last, level = math.floor(fourier.radius(*shape).max()) + 1, torch.tensor([0.2, 0.5])[:, None, None]
    for radius, (low, high) in zip(range(last + 1), halves(x, range(last + 1), level), strict=True):
        torch.testing.assert_close(low, fourier.low_pass(x, radius) + level * (radius == 0))
        torch.testing.assert_close(high, fourier.high_pass(x, radius) + level * (radius > 0))
    assert low.equal(x) and high.equal(level.expand_as(x))
    before, _ = next(halves(x, [last - 1], level))
    assert not torch.allclose(before, x)


def test_steps_take_points_of_the_whole_curve_and_its_end(digits):
    whole, steps = compute("band-accuracy", *digits), compute("band-accuracy:step=4", *digits)
    assert (whole["radii"], steps["radii"]) == ([0, 1, 2, 3, 4, 5, 6], [0, 4, 6])
    for half in ("low", "high"):
        assert steps[half] == [whole[half][r] for r in steps["radii"]]


def test_a_size_is_a_balanced_subset_and_never_too_large(digits):
    model, images = digits
    assert compute("band-accuracy:size=40", model, images) == compute(
        "band-accuracy", model, images.subset(40)
    )
    assert compute("band-accuracy:size=4000", model, images) == compute("band-accuracy", model, images)


def test_what_is_not_above_chance_has_no_half_way(known):
    result = compute("band-accuracy", *known([[1.0, 0.0], [0.0, 1.0]], [1, 0]))
    assert result["accuracy"] == 0
    assert result["low_half"] is result["high_half"] is None
