"""The dissertation's ROF solver, with what is wrong with it, so that the effect can be shown. Use
`tv.denoise` for anything else.

Its program works on grey images in [-1, 1] with λ = 1 / weight there. It differs from its own text, and from
ROF, in four places, which can be put back one by one; they are called

- ``border``: it takes pixels beyond the border as 0 when it forms differences, so that the mean drifts, and
  constants change;
- ``steps``: τ σ ‖K‖² is 8/7 and not at most 1, outside the condition for convergence;
- ``dual``: the dual field that is carried on is never projected, only a copy of it is, so that it keeps
  growing;
- ``stop``: it stops for the whole batch at once, when the iterates move little, or silently after 5000
  iterations.

Without ``stop`` it goes on until they move ten times less.
"""

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn.functional import pad

from specfreq.tv.operators import adjoint, certificate, gradient, shrink, total

QUIRKS = ("border", "steps", "dual", "stop")
MOST, STILL = 5000, 1e-5
STEP, CONVEXITY = 0.08, 0.35


def minimise(
    f: Tensor, weight: float, start: Tensor, quirks: Collection[str] = QUIRKS
) -> tuple[Tensor, Tensor, int, Tensor]:
    """Images, relative gaps to the problem of `tv.denoise`, iterations, accumulated dual fields; images (B,
    C, H, W) in [0, 1].

    `weight` is that for [0, 1], half of that for [-1, 1]. Each channel by itself.
    """
    difference, transposed = (_gradient, _adjoint) if "border" in quirks else (gradient, adjoint)
    still, most = (STILL, MOST) if "stop" in quirks else (STILL / 10, MOST)
    images, rate = 2 * f - 1, 1 / (2 * weight)
    x, ahead, y, p = images, images, start, start
    tau, iterations = STEP, 0
    sigma = 1 / (rate * STEP) if "steps" in quirks else 1 / (8 * STEP)
    while iterations < most:
        iterations += 1
        y = y + sigma * difference(ahead)
        p = shrink(y.unsqueeze(2)).squeeze(2)
        y = y if "dual" in quirks else p
        new = (x - tau * transposed(p) + tau * rate * images) / (1 + tau * rate)
        theta = 1 / (1 + 2 * CONVEXITY * rate * tau) ** 0.5
        tau, sigma = theta * tau, sigma / theta
        ahead, change, x = new + theta * (new - x), new - x, new
        if 0.5 * torch.linalg.vector_norm(change) < still * torch.linalg.vector_norm(x):
            break
    image = (x + 1) / 2
    return image, _gap(image, f, p, weight), iterations, y


def _gradient(u: Tensor) -> Tensor:
    """Forward differences with zeros beyond the border: -u in the last row and column."""
    return torch.stack([pad(u, (0, 0, 0, 1)).diff(dim=-2), pad(u, (0, 1)).diff(dim=-1)], dim=-3)


def _adjoint(p: Tensor) -> Tensor:
    down, right = p[..., 0, :, :], p[..., 1, :, :]
    return -(pad(down, (0, 0, 1, 0)).diff(dim=-2) + pad(right, (1, 0)).diff(dim=-1))


def _gap(u: Tensor, f: Tensor, p: Tensor, weight: float) -> Tensor:
    """The relative gap by the standard of `tv.denoise`: with nothing across the border."""
    p = torch.stack([pad(p[..., 0, :-1, :], (0, 0, 0, 1)), pad(p[..., 1, :, :-1], (0, 1))], dim=-3).double()
    p = shrink(p.unsqueeze(2)).flatten(0, 1)
    image, data = (t.flatten(0, 1).unsqueeze(1) for t in (u, f))
    primal, slack, misfit = certificate(
        image, data, p, torch.full((len(p),), weight, dtype=torch.float64, device=p.device)
    )
    primal, gap = (total(energy.view(u.shape[:2]), 1) for energy in (primal, slack + misfit))
    return gap / primal.masked_fill(primal == 0, 1)
