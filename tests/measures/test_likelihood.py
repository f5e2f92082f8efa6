"""Negative log-likelihoods: known values, an independent implementation, and logits that overflow."""

import math

import pytest
import torch
from sklearn.metrics import log_loss

from specfreq.measures import compute

LABELS = torch.arange(300) % 4


@pytest.fixture
def logits():
    return 3 * torch.randn(300, 4, generator=torch.Generator().manual_seed(0))


def test_equal_logits_leave_log_of_the_number_of_classes(known):
    result = compute("nll", *known(torch.full((8, 5), 7.25), torch.arange(8) % 5))
    assert result["nll"] == result["chance"] == pytest.approx(math.log(5), rel=1e-15)


def test_it_is_the_log_loss_of_scikit_learn(known, logits):
    result = compute("nll", *known(logits, LABELS))
    assert result["nll"] == pytest.approx(log_loss(LABELS, logits.double().softmax(1)), rel=1e-12)


def test_classes_average_to_the_whole(known, logits):
    labels = LABELS.clamp_max(2)
    result = compute("nll", *known(logits, labels))
    counts = labels.bincount(minlength=4).tolist()
    assert result["per_class"][3] is None
    parts = [n * v for n, v in zip(counts, result["per_class"], strict=True) if n]
    assert sum(parts) / 300 == pytest.approx(result["nll"], rel=1e-12)


def test_a_common_shift_of_the_logits_does_not_matter(known, logits):
    logits = (logits * 1024).round() / 1024  # so that the sum is exact in float32
    assert compute("nll", *known(logits + 4096, LABELS)) == compute("nll", *known(logits, LABELS))


@pytest.mark.parametrize("size", [1e3, 1e10, 3e38])
def test_certain_and_wrong_costs_the_difference_certain_and_right_costs_nothing(known, size):
    result = compute("nll", *known([[size, -size], [size, -size]], [0, 1]))
    assert result["per_class"][0] == 0
    assert result["per_class"][1] == pytest.approx(2 * size, rel=1e-6)


def test_the_order_of_the_images_changes_no_bit(known, logits, shuffled):
    model, images = known(logits, LABELS)
    assert compute("nll", model, shuffled(images)) == compute("nll", model, images)
