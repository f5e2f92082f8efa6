"""Derivatives of the minimiser and of what is built on it."""

import pytest
import torch
from torch.testing import assert_close

from specfreq import tv

each_kind = pytest.mark.parametrize("channels", ["separate", "joint"])


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


def test_the_flow_has_derivatives(photos):
    f = photos[:1].clone().requires_grad_()
    parts = tv.transform(f, 2)
    (parts.phi.sum(0) + parts.residual).sum().backward()
    assert_close(f.grad, torch.ones_like(f), rtol=0, atol=1e-3)


def test_the_transform_agrees_with_finite_differences():
    f = torch.rand(
        1, 3, 3, generator=torch.Generator().manual_seed(10), dtype=torch.float64, requires_grad=True
    )

    def bands(f):
        return tv.transform(f, 2, 0.05, tol=1e-12).phi

    assert torch.autograd.gradcheck(bands, f, eps=1e-5, atol=2e-3, rtol=1e-3)


def test_a_weight_has_a_derivative_of_its_own_shape_and_precision(noisy):
    for shape, kind in (((), torch.float32), ((3,), torch.float64), ((1,), torch.float32)):
        weight = torch.full(shape, 0.1, dtype=kind, requires_grad=True)
        tv.denoise(noisy, weight).image.square().sum().backward()
        slope = weight.grad
        assert slope.shape == shape and slope.dtype == kind
        more, less = (
            tv.denoise(noisy.double(), 0.1 + d, tol=1e-9).image.square().sum((1, 2, 3)) for d in (1e-4, -1e-4)
        )
        expected = (more - less) / 2e-4
        assert_close(
            slope.double(), expected if shape == (3,) else expected.sum().reshape(shape), rtol=0.05, atol=0
        )


@pytest.mark.parametrize("weight", [1e-320, 1e-30, 1e30, 1e300])
def test_derivatives_at_tiny_and_huge_weights_are_those_of_the_identity_and_of_the_mean(noisy, weight):
    f = noisy[0].clone().requires_grad_()
    weight = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
    upstream = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(11))
    tv.denoise(f, weight).image.backward(upstream)
    expected = upstream if weight < 1 else upstream.mean((-2, -1), keepdim=True).expand_as(f)
    assert_close(f.grad, expected, rtol=0, atol=1e-4)
    assert weight.grad.isfinite()


def test_no_images_have_no_derivatives():
    f = torch.zeros(0, 3, 4, 4, requires_grad=True)
    tv.denoise(f, 0.1).image.sum().backward()
    assert f.grad.shape == f.shape
