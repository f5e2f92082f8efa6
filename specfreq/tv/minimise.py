"""The loop round the engines: it looks at the gap of each image now and then, and lets go of those that are
done.
"""

import logging
import math
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from specfreq.tv import steps
from specfreq.tv.operators import certificate, flattening, inner, total, within
from specfreq.tv.plain import Plain, Unusable

log = logging.getLogger(__name__)
# weight over spread below which the image is that which fits the dual field, since it all but equals f
FAINT = 1e-6
LEAST = 1e-30  # of a weight over a spread: with less the image is f, to the bit
_unusable: set[tuple] = set()  # for which images which engine did not work in this process
_named: set[str] = set()  # why, once said


def minimise(
    f: Tensor,
    weight: Tensor,
    start: Tensor,
    tol: float,
    algorithm: str,
    engine: str,
    history: list | None = None,
) -> tuple[Tensor, ...]:
    """Images (B, C, H, W), fields (B, C, 2, H, W), primal energies, gaps, iterations (B,). A gap that stalls
    is left above tol.

    To the history it adds, of each look: the iteration, which images it was at, their primal energies and
    gaps.
    """
    found = _engine(engine, f, algorithm)
    looks = 0 if history is None else len(history)
    try:
        return _descend(found, f, weight, start, tol, algorithm, history)
    except Unusable as error:
        cause = " ".join(str(error).split())[:300]
        if engine != "auto":
            raise ValueError(
                f"engine {engine!r} does not work here ({cause}): take engine='plain' or 'auto'"
            ) from error
        _unusable.add(_kind(found.__module__, f, algorithm))
        _warn(found.__module__, cause)
    if history is not None:
        del history[looks:]
    return _descend(Plain, f, weight, start, tol, algorithm, history)


def _descend(
    engine: type, f: Tensor, weight: Tensor, start: Tensor, tol: float, algorithm: str, history: list | None
) -> tuple[Tensor, ...]:
    problem = _Scaled(f, weight)
    start, warm = _first_fields(problem.f, problem.weight, start, problem.spread)
    state = problem.posed(engine, start, algorithm == "fgp")
    image, dual = torch.empty_like(f), torch.empty_like(start)
    primal, gap = torch.empty_like(weight), torch.empty_like(weight)
    iterations = torch.zeros(len(f), dtype=torch.int64, device=f.device)
    active, weights = torch.arange(len(f), device=f.device), problem.weight
    tau, sigma = steps.first_steps(algorithm, weights, problem.spread, tol, warm)
    best, before, iteration = torch.full_like(weight, math.inf), math.inf, 0
    mark = max(steps.PATIENCE, 8 * max(f.shape[-2:]))
    while True:
        energy, above, slack, misfit = state.certify()
        if history is not None:
            scale = problem.unit[active] * problem.shorter[active]
            history.append((iteration, active, energy * scale, above * scale))
        relative = above / energy.masked_fill(energy == 0, 1)
        done = ~(relative > tol)  # what is no number is done, and refused
        best = torch.minimum(best, relative)
        if iteration >= 2 * mark:
            done, before, mark = done | steps.stalled(best, before), best, iteration
        if done.any():
            finished, going = active[done], ~done
            image[finished], dual[finished] = state.take(done)
            primal[finished], gap[finished], iterations[finished] = energy[done], above[done], iteration
            if not going.any():
                return *problem.restored(image, dual, primal, gap), iterations
            active, weights, best = active[going], weights[going], best[going]
            tau, sigma, before, slack, misfit = (
                t[going] if isinstance(t, Tensor) else t for t in (tau, sigma, before, slack, misfit)
            )
        tau, sigma = steps.balanced(algorithm, iteration, tau, sigma, slack, misfit)
        count, lines = steps.next_check(iteration) - iteration, []
        for _ in range(count if steps.varies(algorithm) else 1):
            line, (tau, sigma) = steps.coefficients(algorithm, weights, tau, sigma)
            lines.append(line)
        state.advance(lines, count)
        iteration += count


class _Scaled:
    """Images in units of a power of two each, about their spread, and weights (B,) in these, within the
    bounds beyond which they change nothing.
    """

    def __init__(self, f: Tensor, weight: Tensor):
        self.exponent = _exponent(f)
        self.unit = torch.ldexp(torch.ones_like(weight), self.exponent)
        self.f = f = _scaled(f, -self.exponent)
        low, high = f.amin((-2, -1)), f.amax((-2, -1))
        self.shift = low + (high - low) / 2  # small numbers are finer
        self.spread = (high - low).amax(-1).double()
        # more than enough for the mean, of which more is proven by a shorter field
        most = self.spread * f[0].numel() * f[0, 0].numel()
        given = weight / self.unit
        bounded = given.minimum(most).maximum(self.spread * LEAST)
        self.weight = torch.where(self.spread > 0, bounded, 1.0)
        self.shorter = (self.weight / given).clamp_max(1)
        self.least = given < self.weight

    def posed(self, engine: type, start: Tensor, momentum: bool) -> Any:
        """The state of an engine that starts from these fields."""
        centred = self.f.double() - self.shift[..., None, None]
        mean = (self.shift.double() + total(centred, 2) / self.f[0, 0].numel()).to(self.f)
        level = (mean - self.shift.double())[..., None, None]
        flat = 0.5 / self.weight * total((centred - level).square_())
        fitted = (self.weight < FAINT * self.spread) | momentum
        return engine(self.f, self.shift, mean, flat, self.weight, start, fitted, momentum)

    def restored(self, image: Tensor, dual: Tensor, primal: Tensor, gap: Tensor) -> tuple[Tensor, ...]:
        """What was found, of the images and weights that were given."""
        if self.least.any():
            image = torch.where(self.least[:, None, None, None], self.f, image)
        if (self.shorter < 1).any():
            dual = (dual * self.shorter[:, None, None, None, None]).to(self.f)
        result = _scaled(image, self.exponent)
        # results that may not be normal numbers are looked at again
        if self.exponent.min() < math.log2(torch.finfo(self.f.dtype).tiny) + 60:
            primal, along, rest = certificate(_scaled(result, -self.exponent), self.f, dual, self.weight)
            gap = along + rest
        return result, dual, primal * self.unit * self.shorter, gap * self.unit * self.shorter


def _exponent(f: Tensor) -> Tensor:
    """Of the powers of two (B,) that the images are measured in, about their spread: no square overflows or
    vanishes then.
    """
    low, high = (t.double() / 2 for t in f.aminmax(dim=-1))
    low, high = low.amin(-1), high.amax(-1)
    spread, size = (high - low).amax(-1), torch.maximum(high, -low).amax(-1)
    exponent = torch.maximum(torch.frexp(spread).exponent + 1, torch.frexp(size).exponent - 64)
    return torch.where(spread > 0, exponent, 0).clamp(-1000, 1000)


def _scaled(values: Tensor, exponent: Tensor) -> Tensor:
    """Images times powers of two, exactly; by two factors, as one may overflow."""
    half = exponent.div(2, rounding_mode="floor")
    for power in (half, exponent - half):
        values = values * torch.ldexp(torch.ones_like(values[:, 0, 0, 0]), power)[:, None, None, None]
    return values


def _first_fields(f: Tensor, weight: Tensor, start: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """The fields to start from, of vectors not longer than 1 in spite of rounding, and which of them were
    given (B,).

    A field that was shrunk already is left as it is; where the mean can be proven to be the minimiser the
    proof takes its place.
    """
    fields = torch.zeros_like(start)
    warm = start.flatten(1).any(1) & (spread > 0)
    if warm.any():
        fields[..., 0, :-1, :], fields[..., 1, :, :-1] = start[..., 0, :-1, :], start[..., 1, :, :-1]
        fields = within(fields).masked_fill(~warm[:, None, None, None, None], 0)
    likely = (spread > 0) & (spread < weight)
    if likely.any():
        proof = flattening(f[likely]) / weight[likely, None, None, None, None]
        proven = inner(proof, proof).flatten(1).amax(1) < 1 - 1e-6
        fields[likely] = torch.where(proven[:, None, None, None, None], proof.to(f), fields[likely])
    return fields, warm


def _engine(name: str, f: Tensor, algorithm: str) -> type:
    """The engine of this name, or the fastest that there is for these images."""
    if name == "plain":
        return Plain
    module, engine, needs = ("chip", "Chip", "Triton") if f.is_cuda else ("fused", "Fused", "numba")
    if name not in ("auto", module):
        raise ValueError(f"engine {name!r} does not work on {f.device}: take engine='plain' or 'auto'")
    if not f.is_cuda and f.device.type != "cpu":
        return Plain
    place = f"specfreq.tv.{module}"
    if name == "auto" and _kind(place, f, algorithm) in _unusable:
        return Plain
    try:
        found = getattr(import_module(place), engine)  # a second to import, some seconds to compile when new
    except Exception as error:  # not installed, or a broken installation
        if name != "auto":
            raise ValueError(
                f"engine {name!r} needs {needs}, which cannot be imported here ({error}): engine='plain' "
                "does not"
            ) from None
        _warn(place, f"{needs} cannot be imported: {error}")
        return Plain
    if not found.fits(f):
        if name == "auto":
            return Plain
        raise ValueError(
            f"engine {name!r} takes up to {found.MOST} values at a time; got {tuple(f.shape[1:])}: take "
            "engine='plain'"
        )
    return found


def _kind(module: str, f: Tensor, algorithm: str) -> tuple:
    """What a compiled engine's code is made for."""
    return module, f.device, f.dtype, f.shape[1:], algorithm == "fgp"


def _warn(module: str, cause: str) -> None:
    """Say, once in a process for each cause, that the plain engine takes this one's place."""
    if cause not in _named:
        _named.add(cause)
        name = module.rpartition(".")[2]
        log.warning(
            "specfreq: total variation is computed by engine 'plain', as %r does not work here: %s",
            name,
            cause,
        )
