"""Intervals: what a mean over seeds or images says about another draw of them; and numbers as text."""

import functools
import math
from collections.abc import Sequence

MINUS = "\u2212"  # as wide as a plus, and no hyphen
MOST = 6  # decimals
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@functools.lru_cache(maxsize=10_000)
def student(confidence: float, freedom: float) -> float:
    """Half the width of an interval of that confidence, in standard errors."""
    from scipy import stats

    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def decimals(half: float | None) -> int:
    """How many decimals an interval of that half-width warrants: two digits of it; 2 without one."""
    if not half or not math.isfinite(half):
        return 2
    return min(MOST, max(0, 1 - math.floor(math.log10(half))))


def places(low: float, high: float) -> int:
    """How many decimals an interval warrants, more where a bound would be rounded to 0: its sign decides."""
    if low == high:
        return 2 if low % 1 else 0
    found = decimals((high - low) / 2)
    while found < MOST and any(bound and not float(f"{bound:.{found}f}") for bound in (low, high)):
        found += 1
    return found


def written(value: float, places: int, *, signed: bool = False) -> str:
    """A number with so many decimals and a true sign; what is rounded to zero has none."""
    text = f"{abs(value):.{places}f}"
    if not float(text):
        return text
    sign = "+" if signed else ""
    return f"{MINUS if value < 0 else sign}{text}"


def scientific(value: float) -> str:
    """Two digits of a number of any size: ``2.8 × 10⁻⁵``."""
    if value == 0:
        return "0"
    digits, exponent = f"{value:.1e}".replace("-", MINUS, int(value < 0)).split("e")
    return f"{digits} × 10{str(int(exponent)).translate(RAISED)}"


def span_of(low: float, high: float, places: int, *, signed: bool = False) -> str:
    """The ends of an interval: ``[1.9, 4.9]``."""
    return f"[{written(low, places, signed=signed)}, {written(high, places, signed=signed)}]"


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float | None, float | None]:
    r"""Mean and Student-t interval, :math:`\bar v \pm t_{n-1} s / \sqrt n`; without bounds for one value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None, None
    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = student(confidence, n - 1) * error
    return mean, mean - half, mean + half
