"""Exact solutions to judge a solver by: sequences by the taut string, a disc by its perimeter and area."""

import math
from collections import deque

import numpy as np
import torch
from torch import Tensor


def taut_string(f: Tensor | np.ndarray, weight: float | Tensor | np.ndarray) -> Tensor | np.ndarray:
    r"""The exact ROF minimiser of sequences, in a number of steps proportional to their length.

    .. math:: u = \arg\min_u \sum_i |u_{i+1} - u_i| + \frac{1}{2 \, \mathrm{weight}} |u - f|^2

    u is the slope of the shortest path through the tube round the running sum of f that is `weight` wide on
    either side and closed at both ends.

    Args:
        f: sequences (..., n), real and finite, NumPy or torch, n >= 1.
        weight: > 0, a number, or one for each sequence (...).

    Returns:
        u like f, float64.

    Raises:
        ValueError: values or weights are not finite, the weight is not positive, shapes do not fit.

    Source: Davies and Kovac, Annals of Statistics 2001.
    """
    values, weights = (np.asarray(t.detach().cpu() if isinstance(t, Tensor) else t) for t in (f, weight))
    if (
        values.ndim < 1
        or not values.shape[-1]
        or values.dtype.kind not in "biuf"
        or not np.isfinite(values).all()
    ):
        raise ValueError(
            f"expected finite real sequences (..., n); got {values.dtype} values of shape {values.shape}"
        )
    if weights.dtype.kind not in "iuf" or not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError("weight must be positive and finite")
    try:
        weights = np.broadcast_to(weights, values.shape[:-1]).ravel()
    except ValueError:
        raise ValueError(
            f"weight must be a number or broadcast to {values.shape[:-1]}; got {weights.shape}"
        ) from None
    values = values.astype(np.float64)
    rows = zip(values.reshape(-1, values.shape[-1]), weights, strict=True)
    u = np.array([_slopes(row, float(width)) for row, width in rows]).reshape(values.shape)
    return torch.from_numpy(u).to(f.device) if isinstance(f, Tensor) else u


def disc_extinction(radius: float, height: float = 1.0, size: int | None = None) -> float:
    r"""When a disc vanishes in the total variation flow: at which time the transform of its image has its one
    peak.

    .. math:: t = \frac{h}{P / A + P / (N^2 - A)}, \qquad P = 2 \pi R, \quad A = \pi R^2

    Args:
        radius: R in pixels, > 0. height: h > 0, of the disc over its ground, in units of value.
        size: N, of the side of the image; None: the plane, t = h R / 2.

    Returns:
        t, in units of value times pixels: the sum of the weights of the steps of the flow.

    Raises:
        ValueError: numbers that are not positive, or a disc that does not fit in.

    Source: Bellettini, Caselles and Novaga, JDE 2002, for the plane; in a square the ground rises by as much
    as the disc loses.
    """
    if not (0 < radius < math.inf and 0 < height < math.inf) or (size is not None and not 2 * radius < size):
        raise ValueError(
            f"need a disc of positive radius and height, with 2 radius < size; got {radius}, {height}, {size}"
        )
    perimeter, area = 2 * math.pi * radius, math.pi * radius**2
    ground = 0 if size is None else perimeter / (size**2 - area)
    return height / (perimeter / area + ground)


def _slopes(f: np.ndarray, weight: float) -> np.ndarray:
    """Of the shortest path through the tube: it follows from knot to knot the hull of the ceiling or that of
    the floor.
    """
    n, mean = len(f), f.mean()
    sums = [0.0, *np.cumsum(f - mean).tolist()]
    u, knot = np.empty(n), (0, 0.0)
    ceiling, floor = deque([knot]), deque([knot])  # convex from below, concave from above

    def slope(one: tuple[int, float], other: tuple[int, float]) -> float:
        return (other[1] - one[1]) / (other[0] - one[0])

    for i in range(1, n + 1):
        spare = weight if i < n else 0.0
        above, below = (i, sums[i] + spare), (i, sums[i] - spare)
        while len(ceiling) > 1 and slope(ceiling[-2], ceiling[-1]) >= slope(ceiling[-1], above):
            ceiling.pop()
        while len(floor) > 1 and slope(floor[-2], floor[-1]) <= slope(floor[-1], below):
            floor.pop()
        ceiling.append(above)
        floor.append(below)
        while slope(floor[0], floor[1]) > slope(
            ceiling[0], ceiling[1]
        ):  # they cross: the one that is older is a bend
            older, newer, end = (floor, ceiling, above) if ceiling[1][0] == i else (ceiling, floor, below)
            older.popleft()
            u[knot[0] : older[0][0]] = slope(knot, older[0])
            knot = older[0]
            newer.clear()
            newer.extend((knot, end))
    u[knot[0] :] = slope(knot, (n, sums[n]))
    return u + mean
