"""Exact solutions: the taut string, proven by its tube, and the time at which a disc vanishes."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from specfreq import tv

each_engine = pytest.mark.parametrize("engine", ["plain", "fused"])


def disc(size, radius):
    y, x = (torch.arange(size) - (size - 1) / 2 for _ in range(2))
    return (y[:, None] ** 2 + x**2 < radius**2).float()


@pytest.mark.parametrize("weight", [0.02, 0.2, 1.0])
@each_engine
@pytest.mark.parametrize("axis", [-1, -2])
def test_in_one_dimension_it_is_the_taut_string(weight, axis, engine):
    generator = torch.Generator().manual_seed(2)
    f = torch.rand(4, 40, generator=generator, dtype=torch.float64)
    expected = tv.taut_string(f, weight)
    u = tv.denoise(f[:, None].unsqueeze(axis if axis == -1 else -2), weight, tol=1e-10, engine=engine).image
    assert_close(u.flatten(1), expected, rtol=0, atol=1e-4)


def test_a_disc_is_one_peak_where_theory_puts_it():
    size, radius, dt = 64, 16, 0.25
    spectrum = tv.transform(disc(size, radius), 30, dt).spectrum
    times = dt * torch.arange(1, 31)
    peak = spectrum.argmax()
    near = spectrum[peak - 1 : peak + 2]
    assert (times[peak - 1 : peak + 2] * near).sum() / near.sum() == pytest.approx(
        tv.disc_extinction(radius, 1.0, size), rel=0.06
    )
    assert near.sum() > 0.9 * spectrum.sum()


@pytest.mark.parametrize("weight", [1e-3, 0.3, 1.0, 20.0])
@pytest.mark.parametrize("n", [1, 2, 3, 50, 400])
def test_a_taut_string_touches_its_tube_wherever_it_bends(n, weight):
    f = np.random.default_rng(n).normal(size=n) + 5
    u = tv.taut_string(f, weight)
    spare = np.cumsum(u - f)[:-1]
    jump = np.diff(u)
    assert np.abs(spare).max(initial=0) <= weight * (1 + 1e-9) + 1e-9
    bends = np.abs(jump) > 1e-9
    # up at the ceiling
    np.testing.assert_allclose(spare[bends], weight * np.sign(jump[bends]), rtol=1e-6, atol=1e-9)
    assert np.sum(u) == pytest.approx(np.sum(f))


def test_a_taut_string_of_a_step_is_a_smaller_step():
    u = tv.taut_string([0.0, 0.0, 1.0, 1.0] @ np.eye(4), 0.5)
    np.testing.assert_allclose(u, [0.25, 0.25, 0.75, 0.75])


def test_taut_strings_of_many_sequences():
    f = torch.rand(2, 3, 30, generator=torch.Generator().manual_seed(12))
    weight = torch.tensor([0.1, 0.5, 1.0])
    u = tv.taut_string(f, weight)
    assert u.dtype == torch.float64 and u.shape == f.shape
    for i in range(2):
        for k in range(3):
            assert np.array_equal(u[i, k].numpy(), tv.taut_string(f[i, k].numpy(), weight[k].item()))
    assert tv.taut_string(f[:0], 0.1).shape == (0, 3, 30)
    assert tv.taut_string(torch.tensor([3, 3, 3]), 0.1).tolist() == [3, 3, 3]


def test_the_plane_is_the_limit_of_large_squares():
    assert tv.disc_extinction(6, 2.0) == 6
    assert tv.disc_extinction(6, 2.0, 10**5) == pytest.approx(6, rel=1e-6)
    assert tv.disc_extinction(16, 1.0, 64) == pytest.approx(6.43, abs=0.01)


def test_bad_sequences_and_discs_are_refused():
    for call in (
        lambda: tv.taut_string(np.array([1.0, math.nan]), 1.0),
        lambda: tv.taut_string(np.array([1j]), 1.0),
        lambda: tv.taut_string(np.zeros((2, 0)), 1.0),
        lambda: tv.taut_string(1.0, 1.0),
        lambda: tv.taut_string(np.ones(3), 0.0),
        lambda: tv.taut_string(np.ones(3), math.inf),
        lambda: tv.taut_string(np.ones((2, 3)), [1.0, 1.0, 1.0]),
        lambda: tv.disc_extinction(0),
        lambda: tv.disc_extinction(1, -1.0),
        lambda: tv.disc_extinction(5, 1.0, 10),
    ):
        with pytest.raises(ValueError):
            call()
