"""ROF denoising of any input: constants and single pixels, values and weights of any size, and what is
refused.
"""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from specfreq import tv

each_engine = pytest.mark.parametrize("engine", ["plain", "fused"])
each_precision = pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)


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


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.complex64), np.zeros((4, 4))],
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
def test_a_gap_that_rounding_stops_is_an_error_that_names_the_image(photos, engine, monkeypatch):
    monkeypatch.setattr("specfreq.tv.steps.PATIENCE", 128)
    photos = photos[:, :1, :6, :8]
    f = torch.stack([photos[0], 1e5 + photos[1]])
    with pytest.raises(ValueError, match=r"rounding stops the gap of image 1: .*float64"):
        tv.denoise(f, 0.1, engine=engine)
    with pytest.raises(ValueError, match="rounding stops the gap of image 1"):
        tv.convergence(f, 0.1, engine=engine)
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
        (lambda: tv.denoise(photos, 0.1, engine="gpu"), "engine must be one of auto, fused, chip, plain"),
        (
            lambda: tv.denoise(photos, 0.1, start=torch.zeros(3, 3, 2, 16, 20).long()),
            "start must be dual fields, a tensor of floats",
        ),
        (lambda: tv.denoise(photos, 0.1, start=0), "start must be dual fields, a tensor of floats; got int"),
        (
            lambda: tv.denoise(photos, 0.1, start=torch.full((3, 3, 2, 16, 20), math.nan)),
            "start must be finite",
        ),
        (lambda: tv.convergence(photos[:0], 0.1), "at least one image"),
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


@each_engine
@each_precision
@pytest.mark.parametrize("weight", [5e-324, 1e-100, 1e-30, 1e-12, 1e-9, 1e-7, 1e-5])
def test_a_weight_may_be_tiny(photos, engine, kind, weight):
    f = photos.to(kind)
    u, gap, *_ = tv.denoise(f, weight, engine=engine)
    assert (gap <= 1e-4).all()
    assert torch.equal(u, f) if weight <= 1e-30 else (u - f).abs().max() <= 4 * weight + torch.finfo(kind).eps


@each_engine
@each_precision
@pytest.mark.parametrize("weight", [1e4, 1e30, 1e50, 1e300, 1.7e308])
def test_a_weight_may_be_huge(photos, engine, kind, weight):
    u, gap, *_ = tv.denoise(photos.to(kind), weight, engine=engine)
    assert (gap <= 1e-12).all()
    assert_close(u, photos.to(kind).mean((-2, -1), keepdim=True).expand_as(u), rtol=0, atol=1e-6)


@each_engine
@pytest.mark.parametrize(
    "kind, power",
    [(torch.float32, -100), (torch.float32, 120), (torch.float64, -900), (torch.float64, 1000)],
    ids=str,
)
def test_values_may_be_tiny_or_huge(photos, engine, kind, power):
    f = photos.to(kind) - 0.5
    u = tv.denoise(f, 0.1, engine=engine).image
    assert torch.equal(tv.denoise(f * 2.0**power, 0.1 * 2.0**power, engine=engine).image, u * 2.0**power)


@each_engine
@each_precision
def test_the_whole_range_of_a_precision_is_contrast_like_any_other(engine, kind):
    f = torch.zeros(1, 6, 6, dtype=kind)
    f[:, :3], f[:, 3:] = torch.finfo(kind).min, torch.finfo(kind).max
    u, gap, *_ = tv.denoise(f, torch.finfo(kind).max / 4, engine=engine)
    assert gap <= 1e-4 and u.isfinite().all()
    expected = f / torch.finfo(kind).max * (1 - 1 / 12)  # the two halves approach each other by weight / rows
    assert_close(u / torch.finfo(kind).max, expected, rtol=0, atol=1e-3)


@each_engine
@each_precision
def test_values_that_are_not_normal_are_certified_as_they_are_returned_or_refused(
    photos, engine, kind, monkeypatch
):
    monkeypatch.setattr("specfreq.tv.steps.PATIENCE", 128)
    tiny = torch.finfo(kind).tiny
    f = photos.to(kind) * tiny
    u, gap, _, p = tv.solve(f, 0.1 * tiny, engine=engine)
    divergence, g, v = tv.adjoint(p.double()), f.double() / tiny, u.double() / tiny
    primal = tv.total_variation(v) + (v - g).square().sum((1, 2, 3)) / 0.2
    dual = (g * divergence).sum((1, 2, 3)) - 0.05 * divergence.square().sum((1, 2, 3))
    assert_close(gap, (primal - dual) / primal, rtol=1e-3, atol=1e-7)
    with pytest.raises(ValueError, match="rounding stops the gap"):
        tv.denoise(
            photos.to(kind) * (tiny * torch.finfo(kind).eps * 4),
            2 * tiny * torch.finfo(kind).eps,
            engine=engine,
        )


@each_engine
def test_a_channel_of_another_size_does_not_matter(engine):
    f = torch.rand(3, 6, 7, generator=torch.Generator().manual_seed(8))
    f[1], f[2] = 1e-30 * f[1], 1e30
    u, gap, *_ = tv.denoise(f, 0.1, channels="joint", engine=engine)
    assert gap <= 1e-4 and torch.equal(u[2], f[2])
    assert_close(u[:1], tv.denoise(f[:1], 0.1, tol=1e-5).image, rtol=0, atol=5e-3)


@each_engine
@pytest.mark.parametrize("shape", [(2, 3, 1, 9), (2, 3, 9, 1), (2, 1, 1, 2), (2, 3, 2, 2)], ids=str)
def test_narrow_images(engine, shape):
    f = torch.rand(shape, generator=torch.Generator().manual_seed(9))
    for channels in ("separate", "joint"):
        u = tv.denoise(f, 0.1, engine=engine, channels=channels)
        exact = tv.denoise(f.double(), 0.1, tol=1e-10, engine="plain", channels=channels)
        assert_close(u.image, exact.image.float(), rtol=0, atol=1e-2)


def test_an_offset_costs_no_accuracy_that_the_values_have(photos):
    f = (photos * 64).round()
    far = f + 2**16
    assert_close(tv.denoise(far, 5.0).image - 2**16, tv.denoise(f, 5.0).image, rtol=0, atol=0.3)
