"""ROF denoising: optimality, certificates and invariances of its solutions."""

import math

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle
from torch.testing import assert_close

from specfreq import tv

each_engine = pytest.mark.parametrize("engine", ["plain", "fused"])
each_algorithm = pytest.mark.parametrize("algorithm", tv.ALGORITHMS)
each_kind = pytest.mark.parametrize("channels", ["separate", "joint"])


def energy(u, f, weight, channels="separate"):
    fidelity = (u.double() - f.double()).square().sum((-3, -2, -1)) / (2 * weight)
    return tv.total_variation(u, channels) + fidelity


def by_loops(u, f, p, weight, joint):
    """Primal energy of u and dual energy of p, pixel by pixel as the definitions read."""
    primal = np.sum((u - f) ** 2) / (2 * weight)
    colours, height, width = u.shape
    divergence = np.zeros_like(u)
    for y in range(height):
        for x in range(width):
            down = u[:, y + 1, x] - u[:, y, x] if y + 1 < height else np.zeros(colours)
            right = u[:, y, x + 1] - u[:, y, x] if x + 1 < width else np.zeros(colours)
            primal += math.sqrt(sum(down**2 + right**2)) if joint else sum(np.hypot(down, right))
            if y + 1 < height:
                divergence[:, y, x] -= p[:, 0, y, x]
                divergence[:, y + 1, x] += p[:, 0, y, x]
            if x + 1 < width:
                divergence[:, y, x] -= p[:, 1, y, x]
                divergence[:, y, x + 1] += p[:, 1, y, x]
    return primal, np.sum(f * divergence) - weight / 2 * np.sum(divergence**2)


def by_projection(f, weight, iterations=20000):
    """Chambolle's semi-implicit iteration on one grey image: another algorithm, written with rolls."""
    p = np.zeros((2, *f.shape))
    for _ in range(iterations):
        masked = p.copy()
        masked[0, -1], masked[1, :, -1] = 0, 0
        div = masked[0] - np.roll(masked[0], 1, 0) + masked[1] - np.roll(masked[1], 1, 1)
        u = f + weight * div
        slope = np.stack([np.roll(u, -1, 0) - u, np.roll(u, -1, 1) - u])
        slope[0, -1], slope[1, :, -1] = 0, 0
        p = (masked + slope / (4 * weight)) / (1 + np.hypot(*slope) / (4 * weight))
    return u


@pytest.mark.parametrize("size", [(7, 5), (1, 6), (4, 1), (1, 1)], ids=str)
def test_the_adjoint_is_one(size):
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    p = torch.randn(2, 3, 2, *size, generator=generator, dtype=torch.float64)
    assert_close((tv.gradient(u) * p).sum(), (u * tv.adjoint(p)).sum())


@each_kind
def test_total_variation_of_an_edge_is_its_length_times_its_height(channels):
    u = torch.zeros(3, 8, 6)
    u[:, :, 4:] = 0.5
    expected = 8 * 0.5 * {"separate": 3, "joint": math.sqrt(3)}[channels]
    assert tv.total_variation(u, channels).item() == pytest.approx(expected)


@each_engine
@each_algorithm
@each_kind
def test_gap_bounds_the_true_error(noisy, engine, algorithm, channels):
    options = {"channels": channels, "engine": engine}
    exact = tv.denoise(noisy.double(), 0.1, tol=1e-9, channels=channels)
    rough = tv.denoise(noisy, 0.1, tol=1e-3, algorithm=algorithm, **options)
    least, found = (energy(d.image, noisy, 0.1, channels) for d in (exact, rough))
    assert (rough.gap <= 1e-3).all()
    assert (found - least <= rough.gap * found * (1 + 1e-9)).all()
    assert (found >= least * (1 - 1e-8)).all()
    distance = (rough.image - exact.image).square().sum((-3, -2, -1))
    assert (distance <= 2 * 0.1 * (rough.gap * found + exact.gap * least) * 2 + 1e-9).all()


@each_kind
def test_no_change_of_the_minimiser_lowers_the_energy(noisy, channels):
    f = noisy.double()
    u = tv.denoise(f, 0.1, tol=1e-9, channels=channels).image
    generator = torch.Generator().manual_seed(1)
    least = energy(u, f, 0.1, channels)
    for scale in (1e-1, 1e-3):
        for other in (torch.randn(f.shape, generator=generator, dtype=f.dtype), f - u, torch.ones_like(f), u):
            assert (energy(u + scale * other, f, 0.1, channels) >= least * (1 - 1e-9)).all()


def test_the_dual_field_proves_the_gap(noisy):
    u, gap, _, p = tv.solve(noisy, 0.1)
    assert p.shape == (3, 3, 2, 16, 20)
    p, f = p.double(), noisy.double()
    assert p.square().sum(-3).max() <= 1
    divergence = tv.adjoint(p)
    dual = (f * divergence).sum((1, 2, 3)) - 0.05 * divergence.square().sum((1, 2, 3))
    primal = energy(u, f, 0.1)
    assert_close(gap, (primal - dual) / primal, rtol=1e-6, atol=1e-9)


def test_the_sense_of_weight_is_that_of_scikit_image(noisy):
    expected = denoise_tv_chambolle(
        noisy[0].double().numpy(), weight=0.1, eps=1e-8, max_num_iter=5000, channel_axis=0
    )
    assert_close(tv.denoise(noisy[0].double(), 0.1, tol=1e-7).image.numpy(), expected, rtol=0, atol=2e-3)


@each_engine
def test_the_mean_is_preserved(noisy, engine):
    for weight in (0.01, 0.1, 100):
        u = tv.denoise(noisy, weight, engine=engine).image
        assert_close(u.mean((-2, -1)), noisy.mean((-2, -1)), rtol=0, atol=1e-6)


def test_as_the_weight_vanishes_nothing_changes_and_as_it_grows_the_mean_is_left(noisy):
    assert_close(tv.denoise(noisy, 1e-6).image, noisy, rtol=0, atol=1e-5)
    for weight in (10, 1e6):
        u = tv.denoise(noisy, weight).image
        assert_close(u, noisy.mean((-2, -1), keepdim=True).expand_as(u), rtol=0, atol=1e-6)


@each_engine
def test_scaling_image_and_weight_scales_the_result(noisy, engine):
    u = tv.denoise(noisy, 0.1, engine=engine)
    for power in (-20, 10):
        scaled = tv.denoise(noisy * 2.0**power, 0.1 * 2.0**power, engine=engine)
        assert torch.equal(scaled.image, u.image * 2.0**power)
    assert_close(tv.denoise(noisy * 3, 0.3, engine=engine).image, u.image * 3, rtol=0, atol=1e-4)


@each_engine
@each_kind
def test_the_transposed_image_gives_the_transposed_result_to_the_bit(noisy, engine, channels):
    u = tv.denoise(noisy, 0.1, engine=engine, channels=channels).image
    assert torch.equal(tv.denoise(noisy.mT, 0.1, engine=engine, channels=channels).image, u.mT)


def test_translation_away_from_the_border_translates():
    patch = torch.rand(6, 6, generator=torch.Generator().manual_seed(3))
    here, there = torch.zeros(2, 24, 24, dtype=torch.float64)
    here[7:13, 7:13], there[9:15, 8:14] = patch, patch
    u, v = (tv.denoise(f, 0.05, tol=1e-8).image for f in (here, there))
    assert_close(v[4:20, 4:20], u[2:18, 3:19], rtol=0, atol=1e-4)


def test_each_image_may_have_its_own_weight(noisy):
    weights = torch.tensor([0.02, 0.1, 0.3])
    u = tv.denoise(noisy, weights).image
    for k, weight in enumerate(weights):
        assert torch.equal(u[k], tv.denoise(noisy[k], weight).image)


def test_batches_of_any_shape(noisy):
    u = tv.denoise(noisy, 0.1)
    nested = tv.denoise(noisy.view(3, 1, 3, 16, 20), 0.1)
    assert torch.equal(nested.image, u.image[:, None]) and torch.equal(nested.gap, u.gap[:, None])
    grey = tv.solve(noisy[0, 0], 0.1)
    assert torch.equal(grey.image, u.image[0, 0]) and grey.gap.shape == () and grey.dual.shape == (2, 16, 20)
    empty = tv.solve(torch.zeros(0, 3, 8, 8), 0.1)
    assert [t.shape for t in empty] == [(0, 3, 8, 8), (0,), (0,), (0, 3, 2, 8, 8)]


@each_algorithm
def test_a_solution_is_a_start_that_needs_no_iteration(noisy, algorithm):
    first = tv.solve(noisy, 0.1, algorithm=algorithm)
    again = tv.solve(noisy, 0.1, tol=1e-2, start=first.dual, algorithm=algorithm)
    assert (first.iterations > 0).all() and (again.iterations == 0).all()


def test_the_result_does_not_remember_a_bad_start(noisy):
    start = 1e6 * torch.randn(3, 3, 2, 16, 20, generator=torch.Generator().manual_seed(4))
    found = tv.denoise(noisy, 0.1, start=start)
    assert (found.gap <= 1e-4).all()
    assert_close(found.image, tv.denoise(noisy, 0.1, tol=1e-5).image, rtol=0, atol=5e-3)


@each_kind
@pytest.mark.parametrize("weight", [0.02, 0.3])
def test_the_gap_is_that_of_energies_summed_pixel_by_pixel(noisy, channels, weight):
    u, gap, _, p = tv.solve(noisy, weight, channels=channels)
    for k in range(3):
        values = (t[k].double().numpy() for t in (u, noisy, p))
        primal, dual = by_loops(*values, weight, channels == "joint")
        assert gap[k].item() == pytest.approx((primal - dual) / primal, rel=1e-6, abs=1e-12)
    lengths = p.double().square().sum(-3) if channels == "separate" else p.double().square().sum((-4, -3))
    assert lengths.max() <= 1


def test_another_algorithm_finds_the_same(noisy):
    f = noisy[0, 0, :9, :11].double()
    expected = by_projection(f.numpy(), 0.1)
    assert_close(tv.denoise(f, 0.1, tol=1e-10).image.numpy(), expected, rtol=0, atol=1e-4)


@each_algorithm
@each_engine
def test_many_channels_share_a_norm(engine, algorithm):
    f = torch.rand(20, 5, 6, generator=torch.Generator().manual_seed(6))
    u, gap, _, p = tv.solve(f, 0.3, tol=1e-4, channels="joint", engine=engine, algorithm=algorithm)
    assert gap <= 1e-4 and p.double().square().sum((0, 1)).max() <= 1
    assert_close(u, tv.denoise(f.double(), 0.3, tol=1e-9, channels="joint").image.float(), rtol=0, atol=5e-3)


@pytest.mark.parametrize("kind", [np.float32, torch.float16, torch.float32, list, int], ids=str)
def test_a_weight_may_be_given_in_many_ways(noisy, kind):
    number = 2.0**-3 if kind is not int else 1
    given = {np.float32: np.float32(number), list: [number] * 3, int: 1}.get(kind)
    given = torch.tensor(number, dtype=kind) if given is None else given
    assert torch.equal(tv.denoise(noisy, given).image, tv.denoise(noisy, float(number)).image)
