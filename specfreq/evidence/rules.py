"""Rules that judge a claim from the rows that it compares: whether it holds, and the evidence in words."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from specfreq.evidence.claims import Claim
from specfreq.evidence.intervals import interval
from specfreq.evidence.rows import Row, paired


class Judgement(NamedTuple):
    """What a rule finds."""

    holds: bool | None  # None if the samples cannot tell
    evidence: str


def at_chance(claim: Claim, rows: Sequence[Row]) -> Judgement:
    """Every interval over seeds lies within a point of the accuracy of guessing. False if one does not hold
    it.
    """
    chance = rows[0]["chance"]
    evidence = f"{_list(claim, rows)} against {chance:.2f} % by guessing"
    if any(r["low"] is None for r in rows):
        return Judgement(None, evidence)
    near = all(chance - 1 <= r["low"] and r["high"] <= chance + 1 for r in rows)
    away = any(not r["low"] <= chance <= r["high"] for r in rows)
    return Judgement(_decided(near, away), evidence)


def falls(claim: Claim, rows: Sequence[Row]) -> Judgement:
    """Each is below the one before: the interval of the difference, paired by sample, lies above 0; False if
    one lies below.
    """
    return _steps(claim, rows, [_difference(a, b) for a, b in itertools.pairwise(rows)], "lower")


def rises(claim: Claim, rows: Sequence[Row]) -> Judgement:
    """Each is higher than the one before, as `falls` has it."""
    return _steps(claim, rows, [_difference(b, a) for a, b in itertools.pairwise(rows)], "higher")


def within_a_point(claim: Claim, rows: Sequence[Row]) -> Judgement:
    """No two differ by more than one point: all intervals of differences, paired by seed, lie within. False
    if one lies outside.
    """
    descending = sorted(rows, key=lambda r: -r["mean"])
    pairs = [_difference(a, b) for a, b in itertools.combinations(descending, 2)]
    near = all(low >= -1 and high <= 1 for _, low, high in pairs)
    away = any(low > 1 for _, low, _ in pairs)
    evidence = f"{_list(claim, rows)}; largest difference {_bounds(*max(pairs))}"
    return Judgement(_decided(near, away), evidence)


def at_most(claim: Claim, rows: Sequence[Row]) -> Judgement:
    """No sample is larger than the limit. False if one is: the statement is about each."""
    largest = max(max(r["values"]) for r in rows)
    samples = len(rows[0]["values"])
    evidence = f"{_list(claim, rows)}; largest of {samples}: {_short(largest)}{claim.unit}"
    return Judgement(largest <= claim.limit, evidence)


RULES = {f.__name__: f for f in (at_chance, falls, rises, within_a_point, at_most)}


def _steps(
    claim: Claim, rows: Sequence[Row], steps: Sequence[tuple[float, float, float]], word: str
) -> Judgement:
    all_so = all(low > 0 for _, low, _ in steps)
    one_not = any(high <= 0 for _, _, high in steps)
    evidence = f"{_list(claim, rows)}; {word} by {'; '.join(_bounds(*s) for s in steps)}"
    return Judgement(_decided(all_so, one_not), evidence)


def _decided(holds: bool, fails: bool) -> bool | None:
    if holds:
        return True
    return False if fails else None


def _difference(a: Row, b: Row) -> tuple[float, float, float]:
    """Mean and interval of a - b. A single pair proves no difference: its interval is unbounded."""
    pairs = paired(a, b)
    if len(pairs) > 1:
        return interval(list(pairs.values()))
    mean = next(iter(pairs.values()), a["mean"] - b["mean"])
    return mean, float("-inf"), float("inf")


def _list(claim: Claim, rows: Sequence[Row]) -> str:
    return ", ".join(_short(r["mean"]) for r in rows) + claim.unit


def _short(value: float) -> str:
    """Two decimals, or two digits of what would be zero then."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.1e}"


def _bounds(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"
