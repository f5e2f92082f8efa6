r"""Derivatives of the ROF minimiser: what a change of the image or the weight does to it, without a record of
the iterations.

Where the dual field is shorter than 1 the minimiser is flat and stays flat; elsewhere p = q/|q| with q = p +
s K u. With r = (|q| - 1)/s there and 0 where it is flat, and Π = I - p p^T there and I where it is flat, the
differential of u = f - w K^T p is

.. math:: du = (I - K^T \Pi A^{-1} \Pi K) (df - dw \, K^T p), \qquad A = r / w + \Pi K K^T \Pi

and A, symmetric and not negative, is solved with by conjugate gradients.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from specfreq.tv.operators import adjoint, gradient, inner, total
from specfreq.tv.steps import NORM

ACCURACY = 1e-6  # of the solution of the linear system, in double precision
SOFT = (
    1e-6  # least |q| - 1: flat parts of 100 pixels across stay flat within 1 %, and A is not all but singular
)
# iterations: what the bound on the error of conjugate gradients asks for at this accuracy and softness
MOST = 10_000
STEEP = 1e100  # most of |s K u|, so that its square is finite
ROUNDING = 1e-14  # of the upstream gradient: a right hand side below it is zero


def pull_back(upstream: Tensor, u: Tensor, p: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients in f (B, C, H, W) and weight (B,) from that in u, for groups that share one dual norm."""
    kind = u.dtype
    upstream, u, p = (t.double() for t in (upstream, u, p))
    q = p + (gradient(u) / (NORM * weight[:, None, None, None, None])).clamp(-STEEP, STEEP)
    norm = inner(q, q).sqrt()[:, None, None]
    direction = q * torch.where(norm > 1, 1 / norm.clamp_min(1), 0)
    stiffness = NORM * (norm - 1).clamp_min(SOFT)

    def tangent(z: Tensor) -> Tensor:
        return z - direction * inner(direction, z)[:, None, None]

    def system(z: Tensor) -> Tensor:
        return stiffness * z + tangent(gradient(adjoint(tangent(z))))  # symmetric in spite of rounding

    z = conjugate_gradients(system, tangent(gradient(upstream)), ROUNDING**2 * total(upstream.square()))
    along = upstream - adjoint(tangent(z))
    return along.to(kind), -total(along * adjoint(p))


def conjugate_gradients(system: Callable[[Tensor], Tensor], right: Tensor, floor: Tensor) -> Tensor:
    """Solve a symmetric, not negative, consistent system for each group (B, ...) by itself.

    The energy z·Az of the solution grows from iteration to iteration, and what it lacks is the error. A group
    stops when its energy has grown by no more than ACCURACY² of it in a fifth of its iterations, or when
    |residual|² is below its floor.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return total(a * b, a.ndim - 1)

    def wide(scalar: Tensor) -> Tensor:
        return scalar.view(-1, *[1] * (right.ndim - 1))

    solution, residual, search = torch.zeros_like(right), right, right
    power = dot(residual, residual)
    energy, before, going = torch.zeros_like(power), torch.zeros_like(power), power > floor
    iteration = check = 0
    while going.any() and iteration < MOST:
        if iteration == check:
            going = going & ((energy - before > ACCURACY**2 * energy) | (iteration == 0))
            before, check = energy, iteration + max(10, iteration // 5)
        applied = system(search)
        curvature = dot(search, applied)
        going = going & (power > floor) & (curvature > 0)
        step = torch.where(going, power / curvature, 0)
        solution, residual = solution + wide(step) * search, residual - wide(step) * applied
        energy = energy + step * power
        following = dot(residual, residual)
        search = torch.where(wide(going), residual + wide(following / power) * search, search)
        power = torch.where(going, following, power)
        iteration += 1
    return solution
