"""The loop round the engines: it looks at the gap of each image now and then, and lets go of those that are done."""

import math
from importlib.util import find_spec

import torch
from torch import Tensor

from specfreq.tv import steps
from specfreq.tv.operators import flattening, inner, shrink, total
from specfreq.tv.plain import Plain


def minimise(f: Tensor, weight: Tensor, start: Tensor, tol: float, algorithm: str, engine: str) -> tuple[Tensor, ...]:
    """Images (B, C, H, W), fields (B, C, 2, H, W), primal energies, gaps, iterations (B,). A gap that stalls is left above tol."""
    low, high = f.amin((-2, -1)), f.amax((-2, -1))
    shift, spread = low / 2 + high / 2, (high - low).amax(-1).double()  # small numbers are finer
    offset = shift.double() + total(f.double() - shift[..., None, None], 2) / f[0, 0].numel()
    mean = offset.to(f.dtype)
    flat = 0.5 / weight * total((f.double() - mean[..., None, None]).square())
    inside = torch.zeros_like(start)
    inside[..., 0, :-1, :], inside[..., 1, :, :-1] = start[..., 0, :-1, :], start[..., 1, :, :-1]
    start = _feasible(inside).masked_fill((spread == 0)[:, None, None, None, None], 0)
    for k in ((spread > 0) & (spread < weight)).nonzero().flatten().tolist():  # one by one, for the same bits
        field = flattening(f[k]) / weight[k]
        if inner(field, field).amax() < 1 - 1e-6:
            start[k] = field
    state = _engine(engine, f)(f, shift, mean, flat, weight, start, algorithm == "fgp")
    image, dual = torch.empty_like(f), torch.empty_like(start)
    primal, gap = torch.empty_like(weight), torch.empty_like(weight)
    iterations = torch.zeros(len(f), dtype=torch.int64, device=f.device)
    active = torch.arange(len(f), device=f.device)
    tau, sigma = steps.first_steps(algorithm, weight, spread, tol)
    best, before, iteration, mark = torch.full_like(weight, math.inf), math.inf, 0, steps.PATIENCE
    while True:
        energy, above, slack, misfit = state.certify()
        relative = above / energy.masked_fill(energy == 0, 1)
        done, best = relative <= tol, torch.minimum(best, relative)
        if iteration >= 2 * mark:
            done, before, mark = done | steps.stalled(best, before), best, iteration
        if done.any():
            finished, going = active[done], ~done
            image[finished], dual[finished] = state.take(done)
            primal[finished], gap[finished], iterations[finished] = energy[done], above[done], iteration
            if not going.any():
                return image, dual, primal, gap, iterations
            active, weight, best = active[going], weight[going], best[going]
            tau, sigma, before, slack, misfit = (
                t[going] if isinstance(t, Tensor) else t for t in (tau, sigma, before, slack, misfit)
            )
        tau, sigma = steps.balanced(algorithm, iteration, tau, sigma, slack, misfit)
        count, lines = steps.next_check(iteration) - iteration, []
        for _ in range(count if steps.varies(algorithm) else 1):
            line, (tau, sigma) = steps.coefficients(algorithm, weight, tau, sigma)
            lines.append(line)
        state.advance(lines, count)
        iteration += count


def _feasible(field: Tensor) -> Tensor:
    """The field with no vector longer than 1, in spite of rounding: one that was shrunk already is left as it is."""
    longer = inner(field, field) > 1
    return torch.where(longer[..., None, None, :, :], shrink(field) * (1 - 4 * torch.finfo(field.dtype).eps), field)


def _engine(name: str, f: Tensor) -> type:
    if name == "plain" or (name == "auto" and (f.device.type != "cpu" or not find_spec("numba"))):
        return Plain
    if f.device.type != "cpu":
        raise ValueError(f"the fused engine works on a CPU; the images are on {f.device}: take engine='plain' or 'auto'")
    try:
        from specfreq.tv.fused import Fused  # a second to import, some seconds to compile when new
    except ImportError:
        raise ValueError("the fused engine needs numba (pip install numba); engine='plain' does not") from None
    return Fused
