"""Intervals: what a mean over seeds or images says about another draw of them."""

import functools
import math
from collections.abc import Sequence


@functools.lru_cache(maxsize=10_000)
def student(confidence: float, freedom: float) -> float:
    """Half the width of an interval of that confidence, in standard errors."""
    from scipy import stats

    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def decimals(half: float | None) -> int:
    """How many decimals an interval of that half-width warrants: two digits of it; 2 without one."""
    if not half or not math.isfinite(half):
        return 2
    return min(6, max(0, 1 - math.floor(math.log10(half))))


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float | None, float | None]:
    r"""Mean and Student-t interval, :math:`\bar v \pm t_{n-1} s / \sqrt n`; without bounds for one value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None, None
    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = student(confidence, n - 1) * error
    return mean, mean - half, mean + half
