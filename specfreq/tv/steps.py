r"""The four algorithms as the step sizes of one iteration, and when it is looked at: arithmetic for numbers
and tensors alike.

With K = ∇ and ‖K‖² <= 8, an iteration takes the image x and the dual field y to

.. math::
    x' &= a x + b f - c K^T y, &\quad x &\leftarrow x + \rho (x' - x), \\
    y' &= P\bigl(y + \sigma K (x' + \theta (x' - x))\bigr), &\quad y &\leftarrow y + \rho (y' - y)

or, for FGP, y <- y' + β (y' - p), p <- y'. P shrinks the vectors of the field to length 1. For primal-dual
algorithms a, b, c make x' the proximal point of step τ; for FGP x' = f - weight K^T y.
"""

ALGORITHMS = ("condat", "chambolle-pock-1", "chambolle-pock-2", "fgp")
NORM = 8  # bounds ‖K‖²
RELAXATION = 1.9  # below 2; 1.8 to 1.95 are alike
# τ / (∛tol √(weight spread)) to begin with: fewest iterations for tol from 1e-2 to 1e-8 on photographs
BALANCE = 0.4
WARM = 2  # τ of a warm start in units of that of a cold one
# ratio of the two parts of the gap at which τ is best, within a factor of ten, on photographs and along their
# flow
PARTS = 60
# changes of τ are multiples of 1 / GRID, so that the last bits of the parts, which depend on the engine, do
# not matter
GRID = 64
# share of 1/weight, the strong convexity of the data term, that algorithm 2 is told of, as by its authors
CONVEXITY = 0.7
PATIENCE = (
    2048  # iterations before a gap can count as stalled; 8 for each pixel of the longer side, if that is more
)


def first_steps(algorithm, weight, spread, tol, warm):
    """τ and σ to begin with; for FGP its t and σ. `spread` is max f - min f, so that scaling f and weight
    changes nothing else.
    """
    if algorithm == "fgp":
        return 1.0, 1 / (NORM * weight)
    if algorithm == "chambolle-pock-2":
        tau = spread / NORM**0.5
    else:
        tau = BALANCE * WARM**warm * tol ** (1 / 3) * (weight * spread) ** 0.5
    return tau, 1 / (NORM * tau)


def varies(algorithm):
    """Whether the step sizes change from one iteration to the next."""
    return algorithm in ("chambolle-pock-2", "fgp")


def coefficients(algorithm, weight, tau, sigma):
    """(a, b, c, σ, θ, ρ, β) of this iteration, and (τ, σ) of the next."""
    if algorithm == "fgp":
        ahead = (1 + (1 + 4 * tau * tau) ** 0.5) / 2
        return (0.0, 1.0, weight, sigma, 0.0, 1.0, (tau - 1) / ahead), (ahead, sigma)
    theta, relaxation, step = 1.0, 1.0, tau
    if algorithm == "condat":
        relaxation = RELAXATION
    elif algorithm == "chambolle-pock-2":
        theta = 1 / (1 + 2 * CONVEXITY * tau / weight) ** 0.5
        tau, sigma = theta * tau, sigma / theta
    total = weight + step
    return (weight / total, step / total, weight * step / total, sigma, theta, relaxation, 0.0), (tau, sigma)


def balanced(algorithm, iteration, tau, sigma, slack, misfit):
    """τ and σ after a look at the two parts of the gap, tensors: a larger τ makes the image fit the dual
    field sooner.

    They are what they were but for "condat", and change less and less, so that it converges.
    """
    if algorithm != "condat" or iteration < 20:
        return tau, sigma
    limit = 1 + 10 / (20 + iteration / 10)
    change = (PARTS * misfit / slack).sqrt().sqrt().sqrt()
    change = ((change * GRID).round() / GRID).nan_to_num(1.0).clamp(1 / limit, limit)
    return tau * change, sigma / change


def next_check(iteration):
    """The iteration after which the gap is evaluated next: it costs about as much as five iterations."""
    return iteration + max(10, iteration // 10)


def stalled(gap, before):
    """Whether the gap all but stopped falling while the iterations doubled: only rounding is left."""
    return gap > 0.9 * before
