"""Images whose gap stalls in float32 are finished in float64: certified as returned, by themselves, on every
engine.
"""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from specfreq import data, tv
from specfreq.tv import rof

each_engine = pytest.mark.parametrize("engine", ["plain", "fused"])
each_kind = pytest.mark.parametrize("channels", ["separate", "joint"])


@pytest.fixture
def stalls(monkeypatch):
    """Leave the float32 images of weight 0.1 where they have a gap of some percent, as if it stalled there."""
    run = rof.run

    def stalling(images, weight, start, tol, *others):
        if images.dtype == torch.float64:
            return run(images, weight, start, tol, *others)
        stuck = (weight == 0.1).reshape(-1)
        rough = run(images, weight, start, 0.05, *others[:3])
        fine = run(images, weight, start, tol, *others)
        groups = stuck.repeat_interleave(len(rough[2]) // len(stuck))
        return tuple(
            torch.where(groups.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(rough, fine, strict=True)
        )

    monkeypatch.setattr(rof, "run", stalling)


def test_a_photograph_that_stalls_in_float32_has_its_flow():
    f = data.load("photos", "train").images[1943:1944].float() / 255
    steps = list(islice(tv.evolve(f), 3))
    assert all((step.gap <= 1e-4).all() and step.image.dtype == torch.float32 for step in steps)
    exact = tv.flow(f.double(), 3, tol=1e-5)[3]
    assert_close(steps[2].image.double(), exact, rtol=0, atol=2e-3)


@each_engine
@each_kind
def test_the_gap_is_that_of_the_rounded_image_and_field(noisy, stalls, engine, channels):
    weight, start = torch.full((3,), 0.1, dtype=torch.float64), torch.zeros(3, 3, 2, 16, 20)
    _, _, primal, above, _ = rof.run(noisy, weight, start, 1e-4, False, "condat", engine)
    assert (above > 1e-3 * primal).all()
    u, gap, iterations, p = tv.solve(noisy, 0.1, engine=engine, channels=channels)
    assert u.dtype == p.dtype == torch.float32 and (gap <= 1e-4).all() and (iterations > 10).all()
    lengths = p.double().square().sum(-3)
    assert (lengths if channels == "separate" else lengths.sum(-3)).max() <= 1
    divergence, f = tv.adjoint(p.double()), noisy.double()
    primal = tv.total_variation(u, channels) + (u - f).square().sum((1, 2, 3)) / 0.2
    dual = (f * divergence).sum((1, 2, 3)) - 0.05 * divergence.square().sum((1, 2, 3))
    assert_close(gap, (primal - dual) / primal, rtol=1e-6, atol=1e-9)


@each_engine
@each_kind
def test_what_is_finished_depends_on_no_other_image_nor_changes_one(noisy, stalls, engine, channels):
    f, weight = (
        torch.cat([noisy, noisy.flip(0)]),
        torch.tensor([0.1, 0.2, 0.1, 0.05, 0.3, 0.1], dtype=torch.float64),
    )
    together = tv.solve(f, weight, engine=engine, channels=channels)
    for k in range(6):
        for mine, alone in zip(
            together, tv.solve(f[k], weight[k], engine=engine, channels=channels), strict=True
        ):
            assert torch.equal(mine[k], alone)


def test_images_that_do_not_stall_keep_their_bits_beside_one_that_does(noisy, monkeypatch, request):
    weight = torch.tensor([0.2, 0.1, 0.3], dtype=torch.float64)
    expected = tv.solve(noisy, weight)
    request.getfixturevalue("stalls")
    found = tv.solve(noisy, weight)
    for k in (0, 2):
        assert all(torch.equal(mine[k], other[k]) for mine, other in zip(found, expected, strict=True))
    assert not torch.equal(found.image[1], expected.image[1])
    assert_close(found.image[1], expected.image[1], rtol=0, atol=5e-3)


def test_convergence_ends_with_the_gap_of_what_was_finished(noisy, stalls):
    weight = torch.tensor([0.1, 0.2, 0.1], dtype=torch.float64)
    result, curve = tv.denoise(noisy, weight), tv.convergence(noisy, weight)
    assert torch.equal(curve.gap[-1], result.gap) and curve.iterations[-1] == result.iterations.max()
    assert (curve.iterations.diff() > 0).all() and len(curve.gap) == len(curve.iterations)


def test_derivatives_go_through_what_was_finished(noisy, stalls):
    noisy = noisy[:, :1, :8, :9]
    f = noisy.clone().requires_grad_()
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    upstream = torch.rand(noisy.shape, generator=torch.Generator().manual_seed(2))
    tv.denoise(f, weight).image.backward(upstream)
    exact, exact_weight = (
        noisy.double().requires_grad_(),
        torch.tensor(0.1, dtype=torch.float64, requires_grad=True),
    )
    tv.denoise(exact, exact_weight, tol=1e-4).image.backward(upstream.double())
    assert f.grad.isfinite().all() and f.grad.dtype == torch.float32
    assert (f.grad - exact.grad).norm() < 0.1 * exact.grad.norm()
    assert_close(f.grad.sum((-2, -1)), upstream.sum((-2, -1)), rtol=1e-4, atol=1e-4)  # as the means are kept


def test_what_no_float32_image_comes_close_to_is_refused_by_name(photos):
    f = photos[:, :1, :6, :8] + torch.tensor([0, 1e5, 0])[:, None, None, None]
    with pytest.raises(ValueError, match=r"rounding stops the gap of image 1: .*float64"):
        tv.denoise(f, 0.1)


def pictures(random, side, channels):
    """One byte picture (channels, *side) of each kind."""
    (height, width), level = side, random.integers(0, 256, (channels, 1, 1))
    y, x = np.mgrid[:height, :width]
    constant = np.zeros((channels, height, width)) + level
    pixel = constant.copy()
    pixel[:, random.integers(height), random.integers(width)] += random.choice([-200, -1, 1, 200])
    bright = 254 + random.integers(0, 2, constant.shape)
    faint = 255 - (random.random(constant.shape) < 0.03)
    board = np.where((x + y) % 2, level, random.integers(0, 256, level.shape))
    ramp = level + (x * random.integers(0, 9) + y * random.integers(0, 9)) // random.integers(1, 9)
    steps = level + x // 3
    noise = random.integers(0, 256, constant.shape)
    scene = ramp + random.normal(0, random.integers(1, 40), constant.shape)
    every = constant, pixel, bright, faint, board, ramp, steps, noise, scene
    return torch.from_numpy(np.clip(np.round(np.stack(np.broadcast_arrays(*every))), 0, 255)).float() / 255


@each_kind
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 2), (3, 3), (1, 7), (9, 6), (32, 32)], ids=str)
def test_pictures_of_bytes_are_never_refused(size, channels):
    random = np.random.default_rng(sum(size))
    for colours in (1, 3):
        f = pictures(random, size, colours)
        for low, high in ((-4, 1), (-4, 1), (-300, 300)):
            weight = torch.from_numpy(10 ** random.uniform(low, high, len(f)))
            result = tv.denoise(f, weight, channels=channels)
            assert (result.gap <= 1e-4).all() and result.image.isfinite().all()
        assert all((step.gap <= 1e-4).all() for step in islice(tv.evolve(f, channels=channels), 3))
