"""Intervals: what a mean over seeds or images says about another draw of them."""

import math
from collections.abc import Sequence


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float | None, float | None]:
    r"""Mean and Student-t interval, :math:`\bar v \pm t_{n-1} s / \sqrt n`; without bounds for one value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None, None
    from scipy import stats

    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return mean, mean - half, mean + half
