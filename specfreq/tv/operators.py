"""Gradient, adjoint and total variation of images, and the certificate of a solution: plain arithmetic on
tensors.

Sums are taken in double precision and in a fixed order, by folding, so that they do not depend on what else
is in a batch.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad


def gradient(u: Tensor) -> Tensor:
    """Forward differences K u of images (..., H, W): (..., 2, H, W), down and right; 0 across the border."""
    down = pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))
    right = pad(u[..., 1:] - u[..., :-1], (0, 1))
    return torch.stack([down, right], dim=-3)


def adjoint(p: Tensor) -> Tensor:
    """K^T p of fields (..., 2, H, W): images (..., H, W), minus the divergence. ⟨K u, p⟩ = ⟨u, K^T p⟩ for all
    p.
    """
    down, right = p[..., 0, :-1, :], p[..., 1, :, :-1]
    return (pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1))) + (pad(right, (1, 0)) - pad(right, (0, 1)))


def inner(p: Tensor, q: Tensor) -> Tensor:
    """Inner products of the vectors of two fields (..., C, 2, H, W), over channels and directions: (..., H,
    W).
    """
    products = p * q
    both = products[..., 0, :, :] + products[..., 1, :, :]
    result = both[..., 0, :, :]
    for channel in range(
        1, both.shape[-3]
    ):  # one by one: an order of summation of our own, symmetric in the directions
        result = result + both[..., channel, :, :]
    return result


def shrink(p: Tensor) -> Tensor:
    """The field (..., C, 2, H, W) with the vectors that are longer than 1 shrunk to length 1."""
    return p * (1 / inner(p, p).clamp_min(1).sqrt())[..., None, None, :, :]


def within(p: Tensor) -> Tensor:
    """The field with its vectors that are longer than 1 made a little shorter, so that none is longer in
    spite of rounding.
    """
    longer = (inner(p.double(), p.double()) > 1)[..., None, None, :, :]
    margin = 1 - (4 + p.shape[-4]) * torch.finfo(p.dtype).eps
    return torch.where(longer, shrink(p) * margin, p)


def total(values: Tensor, axes: int = 3) -> Tensor:
    """Sum over the last axes in double precision, in an order that depends on their sizes alone."""
    values = values.double().flatten(-axes)
    while (n := values.shape[-1]) > 1:
        half = (n + 1) // 2
        values = torch.cat(
            [values[..., : n - half] + values[..., half:], values[..., n - half : half]], dim=-1
        )
    return values.squeeze(-1)


def total_variation(u: Tensor, channels: str = "separate") -> Tensor:
    r"""Isotropic total variation :math:`\sum_n |(\nabla u)(n)|` of images (..., C, H, W): (...), float64.

    Args:
        channels: "separate": the sum over the channels; "joint": the length of the gradient is that over all
            channels.
    """
    field = gradient(u.double())
    field = field.unsqueeze(-4) if channels == "separate" else field
    lengths = inner(field, field).sqrt()
    return total(lengths, 3 if channels == "separate" else 2)


def flattening(f: Tensor) -> Tensor:
    """Fields p (B, C, 2, H, W) with f - K^T p = mean f, for images f (B, C, H, W): p = K φ, K^T K φ = f -
    mean f.

    If its vectors are not longer than the weight, the mean is the ROF minimiser of f, and p / weight proves
    it. By NumPy: its transforms are of one row at a time, whatever the batch and the threads are.
    """
    values = f.double().cpu().numpy()
    values = np.concatenate([values, values[..., ::-1]], -1)  # mirrored, an image is periodic
    values = np.concatenate([values, values[..., ::-1, :]], -2)
    height, width = f.shape[-2:]
    down, right = (
        2 - 2 * np.cos(math.pi / n * np.arange(m)) for n, m in ((height, 2 * height), (width, width + 1))
    )
    eigenvalues = down[:, None] + right
    eigenvalues[0, 0] = math.inf
    potential = np.fft.irfft2(np.fft.rfft2(values) / eigenvalues, s=values.shape[-2:])[..., :height, :width]
    return gradient(torch.from_numpy(np.ascontiguousarray(potential))).to(f)


def certificate(u: Tensor, f: Tensor, p: Tensor, weight: Tensor) -> Tensor:
    r"""Primal energy of u and the two parts of its distance from the dual energy of p: (3, B), double
    precision.

    .. math:: E(u) - D(p) = \sum (|K u| - K u \cdot p) + |u - f + w K^T p|^2 / 2 w

    for groups (B, C, H, W), weights (B,) and fields of vectors not longer than 1. No term is negative, none
    cancels another.
    """
    u, f, p = u.double(), f.double(), p.double()
    field, half = gradient(u), 0.5 / weight
    lengths, products = inner(field, field).sqrt(), inner(field, p)
    best = f - weight[:, None, None, None] * adjoint(p)
    primal = total(lengths, 2) + half * total((u - f).square())
    return torch.stack([primal, total(lengths - products, 2), half * total((u - best).square())])
