"""Total variation: optimality, certificates and invariances of the solver, exact solutions in one dimension and of a disc."""

import math
from itertools import islice, pairwise

import numpy as np
import pytest
import skimage.data
import torch
from skimage.restoration import denoise_tv_chambolle
from torch.testing import assert_close

from specfreq import tv

ENGINES = ["plain", "fused"]
each_engine = pytest.mark.parametrize("engine", ENGINES)
each_algorithm = pytest.mark.parametrize("algorithm", tv.ALGORITHMS)
each_kind = pytest.mark.parametrize("channels", ["separate", "joint"])


@pytest.fixture(scope="module")
def photos():
    """Three crops of a photograph, 16 x 20, RGB, float32 in [0, 1]."""
    picture = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1) / 255
    return torch.stack([picture[:, y : y + 32 : 2, x : x + 40 : 2] for y, x in ((0, 150), (100, 200), (300, 10))])


@pytest.fixture(scope="module")
def noisy(photos):
    return photos + 0.1 * torch.randn(photos.shape, generator=torch.Generator().manual_seed(0))


def energy(u, f, weight, channels="separate"):
    fidelity = (u.double() - f.double()).square().sum((-3, -2, -1)) / (2 * weight)
    return tv.total_variation(u, channels) + fidelity


def taut_string(f, weight):
    """The minimiser of Σ|u_{i+1} - u_i| + |u - f|² / 2 weight for a sequence: slopes of the shortest path through a tube.

    The path runs through Σf with the ends fixed and elsewhere `weight` to spare. From each knot it goes as straight as it can.
    """
    n = len(f)
    total = np.concatenate([[0], np.cumsum(f)])
    lower, upper = total - weight, total + weight
    lower[[0, n]] = upper[[0, n]] = total[[0, n]]
    u, knot, height = np.empty(n), 0, 0.0
    while knot < n:
        low, high, at_low, at_high = -math.inf, math.inf, knot, knot
        for i in range(knot + 1, n + 1):
            floor, ceiling = (lower[i] - height) / (i - knot), (upper[i] - height) / (i - knot)
            if floor > high:  # bends down at the ceiling
                end, slope = at_high, high
                break
            if ceiling < low:
                end, slope = at_low, low
                break
            if floor >= low:
                low, at_low = floor, i
            if ceiling <= high:
                high, at_high = ceiling, i
        else:
            end, slope = n, (total[n] - height) / (n - knot)
        u[knot:end] = slope
        height, knot = height + slope * (end - knot), end
    return u


def disc(size, radius):
    y, x = (torch.arange(size) - (size - 1) / 2 for _ in range(2))
    return (y[:, None] ** 2 + x**2 < radius**2).float()


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


def test_the_engines_agree_within_the_gap(noisy):
    one, other = (tv.denoise(noisy, 0.1, tol=1e-5, engine=engine).image for engine in ENGINES)
    assert_close(one, other, rtol=0, atol=1e-3)


def test_the_sense_of_weight_is_that_of_scikit_image(noisy):
    expected = denoise_tv_chambolle(noisy[0].double().numpy(), weight=0.1, eps=1e-8, max_num_iter=5000, channel_axis=0)
    assert_close(tv.denoise(noisy[0].double(), 0.1, tol=1e-7).image.numpy(), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("weight", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("axis", [-1, -2])
def test_in_one_dimension_it_is_the_taut_string(weight, axis):
    generator = torch.Generator().manual_seed(2)
    f = torch.rand(4, 40, generator=generator, dtype=torch.float64)
    expected = torch.from_numpy(np.stack([taut_string(row.numpy(), weight) for row in f]))
    u = tv.denoise(f[:, None].unsqueeze(axis if axis == -1 else -2), weight, tol=1e-10).image
    assert_close(u.flatten(1), expected, rtol=0, atol=1e-4)


@each_engine
def test_the_mean_is_preserved(noisy, engine):
    for weight in (0.01, 0.1, 100):
        u = tv.denoise(noisy, weight, engine=engine).image
        assert_close(u.mean((-2, -1)), noisy.mean((-2, -1)), rtol=0, atol=1e-6)


@each_engine
@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_constants_stay_to_the_bit_with_gap_zero(engine, value):
    f = torch.full((2, 3, 5, 7), value, dtype=torch.float64)
    result = tv.denoise(f, 0.1, engine=engine, start=torch.rand(2, 3, 2, 5, 7))
    assert torch.equal(result.image, f)
    assert (result.gap == 0).all() and (result.iterations == 0).all()


def test_a_pixel_is_constant():
    f = torch.rand(2, 3, 1, 1)
    assert torch.equal(tv.denoise(f, 0.1).image, f)


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


@each_engine
@each_kind
@each_algorithm
def test_an_image_does_not_depend_on_its_batch(noisy, engine, channels, algorithm):
    options = {"engine": engine, "channels": channels, "algorithm": algorithm, "tol": 1e-3}
    f = torch.cat([noisy, torch.zeros(1, 3, 16, 20), 0.01 * noisy])
    together = tv.solve(f, 0.1, **options)
    for k in range(len(f)):
        for mine, alone in zip(together, tv.solve(f[k], 0.1, **options), strict=True):
            assert torch.equal(mine[k], alone)


@each_engine
def test_threads_and_memory_layout_do_not_matter(noisy, engine):
    u = tv.denoise(noisy, 0.1, engine=engine)
    layouts = noisy.contiguous(memory_format=torch.channels_last), noisy.flip(0).flip(0), noisy.mT.contiguous().mT
    threads = torch.get_num_threads()
    try:
        for count, f in zip((1, 2, 3), layouts, strict=True):
            torch.set_num_threads(count)
            assert torch.equal(tv.denoise(f, 0.1, engine=engine).image, u.image)
    finally:
        torch.set_num_threads(threads)


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
def test_derivatives_agree_with_finite_differences(channels):
    generator = torch.Generator().manual_seed(5)
    f = torch.rand(2, 2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.1, 0.3], dtype=torch.float64, requires_grad=True)

    def minimiser(f, weight):
        return tv.denoise(f, weight, tol=1e-12, channels=channels).image

    assert torch.autograd.gradcheck(minimiser, (f, weight), eps=1e-5, atol=1e-3, rtol=1e-3)


def test_the_derivative_of_the_mean_is_that_of_the_mean(noisy):
    f = noisy[0].clone().requires_grad_()
    tv.denoise(f, 100.0).image[0, 3, 3].backward()
    assert_close(f.grad[0], torch.full((16, 20), 1 / 320), rtol=0, atol=1e-5)
    assert (f.grad[1:] == 0).all()


def test_a_disc_is_one_peak_where_theory_puts_it():
    size, radius, dt = 64, 16, 0.25
    perimeter, area = 2 * math.pi * radius, math.pi * radius**2
    expected = 1 / (perimeter / area + perimeter / (size**2 - area))
    spectrum = tv.transform(disc(size, radius), 30, dt).spectrum
    times = dt * torch.arange(1, 31)
    peak = spectrum.argmax()
    near = spectrum[peak - 1 : peak + 2]
    assert (times[peak - 1 : peak + 2] * near).sum() / near.sum() == pytest.approx(expected, rel=0.06)
    assert near.sum() > 0.9 * spectrum.sum()


@each_kind
def test_bands_and_residual_add_up(photos, channels):
    parts = tv.transform(photos, 4, channels=channels)
    assert parts.phi.shape == (4, 3, 3, 16, 20) and parts.spectrum.shape == (4, 3)
    assert_close(parts.phi.sum(0) + parts.residual, photos, rtol=0, atol=2e-7)
    assert_close(parts.spectrum, parts.phi.abs().sum((-3, -2, -1)))
    flow = tv.flow(photos, 5, channels=channels)
    assert_close(parts.residual, 5 * flow[4] - 4 * flow[5], rtol=0, atol=1e-5)
    assert_close(parts.phi[2], 3 * (flow[2] - 2 * flow[3] + flow[4]), rtol=0, atol=1e-5)


def test_steps_of_the_flow_are_rof_solutions_and_it_ends_in_the_mean(photos):
    flow = tv.flow(photos, 3, 0.5)
    assert torch.equal(flow[0], photos)
    for before, after in pairwise(flow):
        assert_close(after, tv.denoise(before, 0.5).image, rtol=0, atol=0.02)
        assert (tv.total_variation(after) <= tv.total_variation(before)).all()
    end = tv.flow(photos, 2, 20.0)[-1]
    assert_close(end, photos.mean((-2, -1), keepdim=True).expand_as(end), rtol=0, atol=1e-6)


def test_warm_starts_save_iterations(noisy):
    def count(warm):
        return sum(step.iterations.sum() for step in islice(tv.evolve(noisy, 0.005, warm=warm), 10))

    assert count(True) < 0.8 * count(False)


def test_scaling_an_image_moves_its_bands_to_later_times(photos):
    parts, scaled = tv.transform(photos, 3, 0.05), tv.transform(4 * photos, 3, 0.2)
    assert_close(scaled.phi, 4 * parts.phi, rtol=0, atol=1e-6)


def test_filters_split_the_image(photos):
    parts = tv.transform(photos, 5)
    assert_close(tv.combine(parts, torch.ones(5)), photos, rtol=0, atol=1e-6)
    assert_close(tv.high_pass(parts, 2), parts.phi[:2].sum(0))
    for cut in range(6):
        assert_close(tv.high_pass(parts, cut) + tv.low_pass(parts, cut), photos, rtol=0, atol=1e-6)
    assert_close(tv.band_pass(parts, 2, 3), parts.phi[1:3].sum(0))
    assert_close(tv.band_pass(parts, 2, 3) + tv.band_stop(parts, 2, 3), photos, rtol=0, atol=1e-6)
    assert_close(tv.amplify(parts, 2, 2, 3.0), photos + 2 * parts.phi[1], rtol=0, atol=1e-6)
    gains = torch.tensor([1.0, 2.0, 0.5])
    assert_close(tv.amplify(parts, 1, 1, gains)[2], photos[2] - 0.5 * parts.phi[0, 2], rtol=0, atol=1e-6)
    assert_close(tv.combine(parts, lambda n: 1 / n, 0), sum(parts.phi[n] / (n + 1) for n in range(5)))


def test_the_flow_has_derivatives(photos):
    f = photos[:1].clone().requires_grad_()
    parts = tv.transform(f, 2)
    (parts.phi.sum(0) + parts.residual).sum().backward()
    assert_close(f.grad, torch.ones_like(f), rtol=0, atol=1e-3)


def test_as_published_the_mean_drifts_and_the_problem_is_another(photos):
    ours, theirs = (tv.denoise(photos, 1 / 14, as_published=flag) for flag in (False, True))
    drift = [(d.image - photos).mean((-3, -2, -1)).abs().max() for d in (ours, theirs)]
    assert drift[0] < 1e-6 < 1e-3 < drift[1]
    assert (theirs.gap > 0.01).all() and (theirs.iterations == theirs.iterations[0]).all()
    grey = torch.full((1, 8, 8), 0.75)
    assert (tv.denoise(grey, 1 / 14, as_published=True).image - grey).abs().max() > 0.01
    assert_close(ours.image[..., 4:-4, 4:-4], theirs.image[..., 4:-4, 4:-4], rtol=0, atol=0.1)


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.complex64), np.zeros((4, 4))]
)
def test_what_is_no_float_tensor_is_refused(bad):
    with pytest.raises(TypeError, match="float32 or float64"):
        tv.denoise(bad, 0.1)


@pytest.mark.parametrize("weight", [0, -1.0, math.nan, math.inf, torch.tensor([0.1, 0.1])])
def test_a_bad_weight_is_refused(photos, weight):
    with pytest.raises(ValueError, match="weight must"):
        tv.denoise(photos, weight)


@pytest.mark.parametrize("tol", [0, 1e-7, -1.0, 1.0, math.nan])
def test_a_tolerance_out_of_reach_is_refused(photos, tol):
    with pytest.raises(ValueError, match="tol must"):
        tv.denoise(photos, 0.1, tol=tol)


@each_engine
def test_a_gap_that_rounding_stops_is_an_error_that_names_the_image(photos, engine):
    f = torch.stack([photos[0], 1e5 + photos[1]])
    with pytest.raises(ValueError, match=r"rounding stops the gap of image 1: .*float64"):
        tv.denoise(f, 0.1, engine=engine)
    assert (tv.denoise(f.double(), 0.1).gap <= 1e-4).all()


def test_other_bad_input_is_refused(photos):
    broken = photos.clone()
    broken[1, 1, 1, 1] = math.nan
    for call, message in (
        (lambda: tv.denoise(broken, 0.1), "not finite"),
        (lambda: tv.denoise(torch.zeros(3, 0, 4), 0.1), "shape"),
        (lambda: tv.denoise(torch.zeros(3), 0.1), "shape"),
        (lambda: tv.denoise(photos, 0.1, channels="rgb"), "channels must be one of separate, joint"),
        (lambda: tv.denoise(photos, 0.1, algorithm="admm"), "algorithm must be one of condat"),
        (lambda: tv.denoise(photos, 0.1, engine="gpu"), "engine must be one of"),
        (lambda: tv.denoise(photos, 0.1, start=torch.zeros(3, 3, 2, 4, 4)), "start must be"),
        (lambda: tv.denoise(photos, torch.tensor([0.1, 0.2, 0.3]), as_published=True), "one weight for all"),
        (lambda: tv.flow(photos, -1), "steps must"),
        (lambda: tv.flow(photos, 1, 0.0), "dt must"),
        (lambda: tv.transform(photos, 0), "bands must"),
        (lambda: tv.band_pass(tv.transform(photos, 2), 1, 3), "first <= last <= 2"),
        (lambda: tv.combine(tv.transform(photos, 2), torch.ones(3)), "each of the 2 bands"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
