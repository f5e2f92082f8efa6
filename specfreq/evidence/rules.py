"""Rules that judge a claim from the rows of one series: True, False, or None if the samples cannot tell; and
the evidence.
"""

import itertools
from collections.abc import Callable, Sequence

from specfreq.evidence import intervals
from specfreq.evidence.claims import Claim, Row


def at_chance(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """Every interval over seeds lies within a point of the accuracy of guessing. False if one does not hold
    it.
    """
    chance = rows[0]["chance"]
    evidence = f"{_list(claim, rows)} against {chance:.2f} % by guessing"
    if any(r["low"] is None for r in rows):
        return None, evidence
    if all(chance - 1 <= r["low"] and r["high"] <= chance + 1 for r in rows):
        return True, evidence
    return None if all(r["low"] <= chance <= r["high"] for r in rows) else False, evidence


def falls(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """Each is below the one before: the interval of the difference, paired by sample, lies above 0; False if
    one lies below.
    """
    return _steps(claim, rows, [_difference(a, b) for a, b in itertools.pairwise(rows)], "lower")


def rises(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """Each is higher than the one before, as `falls` has it."""
    return _steps(claim, rows, [_difference(b, a) for a, b in itertools.pairwise(rows)], "higher")


def within_a_point(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """No two differ by more than one point: all intervals of differences, paired by seed, lie within. False
    if one lies outside.
    """
    pairs = [_difference(a, b) for a, b in itertools.combinations(sorted(rows, key=lambda r: -r["mean"]), 2)]
    within, outside = (
        all(low >= -1 and high <= 1 for _, low, high in pairs),
        any(low > 1 for _, low, _ in pairs),
    )
    holds = True if within else False if outside else None
    return holds, f"{_list(claim, rows)}; largest difference {_bounds(*max(pairs))}"


def at_most(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """No sample is larger than the limit. False if one is: the statement is about each."""
    largest = max(max(r["values"]) for r in rows)
    return (
        largest <= claim.limit,
        f"{_list(claim, rows)}; largest of {len(rows[0]['values'])}: {_short(largest)}{claim.unit}",
    )


def _steps(
    claim: Claim, rows: Sequence[Row], steps: Sequence[tuple[float, float, float]], word: str
) -> tuple[bool | None, str]:
    holds = (
        True
        if all(low > 0 for _, low, _ in steps)
        else False
        if any(high <= 0 for _, _, high in steps)
        else None
    )
    return holds, f"{_list(claim, rows)}; {word} by {'; '.join(_bounds(*s) for s in steps)}"


_RULES: dict[str, Callable[[Claim, Sequence[Row]], tuple[bool | None, str]]] = {
    f.__name__: f for f in (at_chance, falls, rises, within_a_point, at_most)
}


def _difference(a: Row, b: Row) -> tuple[float, float, float]:
    theirs = dict(zip(b["seeds"], b["values"], strict=True))
    pairs = [v - theirs[s] for s, v in zip(a["seeds"], a["values"], strict=True) if s in theirs]
    if not pairs:
        return a["mean"] - b["mean"], float("-inf"), float("inf")
    mean, low, high = intervals.interval(pairs)
    # one seed proves no difference: its interval is unbounded
    return mean, float("-inf") if low is None else low, float("inf") if high is None else high


def _list(claim: Claim, rows: Sequence[Row]) -> str:
    return ", ".join(_short(r["mean"]) for r in rows) + claim.unit


def _short(value: float) -> str:
    """Two decimals, or two digits of what would be zero then."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.1e}"


def _bounds(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"
