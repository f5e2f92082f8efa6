"""Intervals over seeds and images: known answers, and how often they cover the truth."""

import numpy as np
import pytest
from scipy import stats

from specfreq.evidence import crossed
from specfreq.evidence.crossed import Squares
from specfreq.evidence.intervals import interval


def drawn(generator, seeds, images, of_seed=1.0, of_image=1.0, rest=1.0, times=()):
    """What a model with random effects of these deviations gives, about 0: (..., seeds, images)."""
    return (
        of_seed * generator.standard_normal((*times, seeds, 1))
        + of_image * generator.standard_normal((*times, 1, images))
        + rest * generator.standard_normal((*times, seeds, images))
    )


def squares(x):
    found = crossed.products([x])
    return Squares(*found[:2], *(float(part[0, 0]) for part in found[2:]))


def test_mean_squares_are_those_of_the_analysis_of_variance():
    """Their expectations: rest; rest + N seed; rest + S image."""
    g = np.random.default_rng(0)
    each = [squares(drawn(g, 6, 40, 0.5, 2.0, 1.5)) for _ in range(400)]
    rest, of_seed, of_image = 1.5**2, 1.5**2 + 40 * 0.5**2, 1.5**2 + 6 * 2.0**2
    found = np.mean([[s.rest, s.seed, s.image] for s in each], 0)
    assert np.allclose(found, [rest, of_seed, of_image], rtol=0.1)


def test_of_many_images_that_are_alike_the_seeds_decide():
    x = np.random.default_rng(1).standard_normal((5, 1)) + np.zeros((5, 4000))
    mean, low, high = interval(list(x[:, 0]))
    assert np.allclose(squares(x).interval(mean), (low, high), rtol=1e-6)


def test_of_networks_that_are_alike_the_images_decide():
    x = np.random.default_rng(2).standard_normal(300) + np.zeros((4, 1))
    found, error = squares(x), x[0].std(ddof=1) / 300**0.5
    assert found.error == pytest.approx(error)
    half = stats.t.ppf(0.975, 299) * error
    assert found.interval(x.mean()) == pytest.approx((x.mean() - half, x.mean() + half))


@pytest.mark.parametrize(("seeds", "images"), [(3, 100), (5, 500), (10, 200)])
@pytest.mark.parametrize("effects", [(0.05, 1.0, 1.0), (0.3, 1.0, 1.0), (0.0, 1.0, 1.0), (0.3, 0.0, 2.0)])
def test_95_of_100_intervals_hold_the_truth(seeds, images, effects):
    """Never fewer than 93 of 100; more where one effect is missing, which the interval does not know."""
    g, held, times = np.random.default_rng(3), 0, 1500
    for _ in range(times):
        x = drawn(g, seeds, images, *effects)
        low, high = squares(x).interval(float(x.mean()))
        held += low <= 0 <= high
    assert held / times >= 0.93
    if min(effects) >= 0.3:  # all three matter
        assert held / times <= 0.97


def test_products_give_the_squares_of_every_difference():
    g = np.random.default_rng(4)
    common = drawn(g, 5, 60)
    a, b = common + drawn(g, 5, 60, 0.1, 0.1, 0.5), common + drawn(g, 5, 60, 0.2, 0.3, 0.5)
    both = crossed.products([a, b])
    parts = [[float(part[i, j]) for part in both[2:]] for i, j in ((0, 0), (0, 1), (1, 1))]
    found = crossed.difference(5, 60, *parts)
    assert np.allclose(found, squares(a - b))
    assert found.error < min(squares(a).error, squares(b).error)  # what they share is no difference
    assert crossed.difference(5, 60, parts[0], parts[0], parts[0]).error == 0
