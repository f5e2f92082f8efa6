"""How the gap of a solver falls, iteration by iteration: what `denoise` sees on its way."""

from typing import NamedTuple

import torch
from torch import Tensor

from specfreq.tv.rof import Algorithm, Channels, Engine, certified, prepared, relative


class Convergence(NamedTuple):
    """Iterations (n,), int64, and the relative gap of each image after them (n, ...), float64."""

    iterations: Tensor
    gap: Tensor


@torch.no_grad()
def convergence(
    f: Tensor,
    weight: float | Tensor,
    tol: float = 1e-4,
    *,
    channels: Channels = "separate",
    algorithm: Algorithm = "condat",
    start: Tensor | None = None,
    engine: Engine = "auto",
) -> Convergence:
    """The gaps that `denoise` with these arguments sees each time it looks, from iteration 0 until no gap is
    above `tol`.

    It looks every ten iterations, from the hundredth on after every tenth of those so far. What is done keeps
    its gap; with the channels each by itself, an image's gap is that of all of them, after these iterations
    or as many as each took. What `denoise` finishes in float64 keeps the gap at which float32 stalled, until
    the last row.

    Args:
        As for `denoise`; the step sizes of "condat" and "chambolle-pock-1" are chosen for `tol`.

    Returns:
        iterations (n,) and gap (n, ...), the last not above tol.

    Raises:
        TypeError, ValueError: as `denoise`.
    """
    images, weight, start = prepared(
        f, weight, tol, channels=channels, algorithm=algorithm, start=start, engine=engine
    )
    if not images.numel():
        raise ValueError(f"convergence needs at least one image; got shape {tuple(f.shape)}")
    history: list[list[tuple]] = []
    *_, final, taken = certified(images, weight, start, tol, channels == "joint", algorithm, engine, history)
    longest = max(history, key=len)
    energies = torch.cat([_table(part, len(longest)) for part in history], dim=-1)
    iterations, gap = (
        [look[0] for look in longest],
        relative(energies[0], energies[1], (len(longest), *images.shape[:-3])),
    )
    if taken.max() > iterations[-1]:
        iterations, gap = [*iterations, taken.max().item()], torch.cat([gap, final[None]])
    gap[-1] = final
    return Convergence(torch.tensor(iterations), gap)


def _table(part: list[tuple], looks: int) -> Tensor:
    """Primal energies and gaps of some images at each look (2, looks, images); of those that are done, what
    they had at last.
    """
    table, now = [], torch.empty(2, len(part[0][1]), dtype=torch.float64, device=part[0][1].device)
    for _, active, primal, gap in part:
        now = now.clone()
        now[:, active] = torch.stack([primal, gap])
        table.append(now)
    return torch.stack(table + [now] * (looks - len(part)), dim=1)
