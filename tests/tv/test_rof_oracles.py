"""ROF denoising of the smallest pictures against solutions found otherwise, and what other packages promise
of theirs.
"""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from specfreq import tv

each_kind = pytest.mark.parametrize("channels", ["separate", "joint"])


def by_matrices(f, weight, joint, iterations=1500):
    """Minimiser of f (C, H, W), by fast projected gradients on the dual problem with the matrix of
    differences; and its gap.
    """
    colours, height, width = f.shape
    place = np.arange(height * width).reshape(height, width)
    matrix = np.zeros((2, height * width, height * width))
    for axis, here, there in ((0, place[:-1], place[1:]), (1, place[:, :-1], place[:, 1:])):
        matrix[axis, here, here], matrix[axis, here, there] = -1, 1
    values = f.reshape(colours, -1)
    p = ahead = np.zeros((colours, 2, height * width))
    momentum = 1.0
    for _ in range(iterations):
        u = values - weight * np.einsum("cak,akn->cn", ahead, matrix)
        q = ahead + np.einsum("akn,cn->cak", matrix, u) / (8 * weight)
        length = np.sqrt((q**2).sum((0, 1) if joint else 1, keepdims=True))
        new = q / np.maximum(length, 1)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead, p, momentum = new + (momentum - 1) / following * (new - p), new, following
    u = values - weight * np.einsum("cak,akn->cn", p, matrix)
    slope = np.einsum("akn,cn->cak", matrix, u)
    primal = np.sqrt((slope**2).sum((0, 1) if joint else 1)).sum()
    return u.reshape(f.shape), primal - (slope * p).sum()


@each_kind
@pytest.mark.parametrize("weight", [0.01, 0.2, 5.0])
def test_two_pixels_approach_each_other_by_twice_the_weight(channels, weight):
    f = torch.rand(6, 3, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    difference = f[..., 1] - f[..., 0]
    length = difference.norm(dim=1, keepdim=True) if channels == "joint" else difference.abs()
    left = difference * (1 - 2 * weight / length).clamp_min(0)
    middle = f.mean(-1)
    expected = torch.stack([middle - left / 2, middle + left / 2], -1)
    for way in (lambda t: t, lambda t: t.mT):
        assert_close(
            tv.denoise(way(f), weight, tol=1e-12, channels=channels).image, way(expected), rtol=0, atol=1e-6
        )
        found = tv.denoise(way(f).float(), weight, channels=channels).image
        assert_close(found.double(), way(expected), rtol=0, atol=2e-2)


@each_kind
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 2), (2, 3)], ids=str)
def test_the_smallest_colour_pictures_by_matrices(size, channels):
    f = torch.rand(3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for weight in (0.03, 0.15):
        expected, gap = by_matrices(f.numpy(), weight, channels == "joint")
        assert abs(gap) < 1e-8
        for engine in ("plain", "fused"):
            found = tv.denoise(f, weight, tol=1e-10, channels=channels, engine=engine).image
            assert_close(found.numpy(), expected, rtol=0, atol=1e-4)


def test_colours_by_themselves_are_pictures_by_themselves(noisy):
    """As scikit-image's tests ask of a channel axis."""
    u = tv.denoise(noisy, 0.1)
    for channel in range(3):
        alone = tv.denoise(noisy[:, channel : channel + 1], 0.1)
        assert torch.equal(u.image[:, channel : channel + 1], alone.image)


@each_kind
def test_noise_is_taken_from_a_disc_and_its_edge_is_kept(channels):
    """As scikit-image's and deepinv's tests ask: less gradient than the noisy picture has, and closer to the
    clean one.
    """
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    clean = 0.2 + 0.6 * ((x - 12) ** 2 + (y - 12) ** 2 < 64).float().expand(3, 24, 24)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    found = tv.denoise(noisy, 0.15, channels=channels).image
    assert found.dtype == torch.float32
    assert tv.total_variation(found, channels) < 0.5 * tv.total_variation(noisy, channels)
    assert (found - clean).norm() < 0.5 * (noisy - clean).norm()


@each_kind
def test_the_minimiser_is_a_proximal_point(noisy, channels):
    """Firmly nonexpansive, as deepinv's tests ask of the proximal operator of a convex prior."""
    f, g = noisy[:1].double(), noisy[1:2].double()
    u, v = (tv.denoise(t, 0.1, tol=1e-9, channels=channels).image for t in (f, g))
    assert (u - v).square().sum() <= ((u - v) * (f - g)).sum() * (1 + 1e-6)
