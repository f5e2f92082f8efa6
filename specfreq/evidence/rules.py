"""Rules that judge a claim from the rows that it compares: whether it holds, and the evidence in words."""

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, create_model

from specfreq.core.errors import UserError
from specfreq.evidence.rows import Row, apart, bounds


class Judgement(NamedTuple):
    """What a rule finds."""

    holds: bool | None  # None if the samples cannot tell
    evidence: str


class Rule(NamedTuple):
    """A rule of the registry."""

    judge: Callable[..., Judgement]
    least: int  # rows that it compares
    options: type[BaseModel]  # what a claim may, or must, say beside its name
    tested: bool  # whether it decides by intervals, and so can err by chance


CONFIDENCE = "confidence"  # of the intervals that a rule decides by: no option of a claim
RULES: dict[str, Rule] = {}


def rule(*, least: int) -> Callable[[Callable[..., Judgement]], Callable[..., Judgement]]:
    """Register a function of rows as a rule, under its own name; its keyword parameters are its options."""

    def register(judge: Callable[..., Judgement]) -> Callable[..., Judgement]:
        parameters = inspect.signature(judge, eval_str=True).parameters.values()
        options: dict[str, Any] = {
            p.name: (p.annotation, ... if p.default is p.empty else p.default)
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name != CONFIDENCE
        }
        model = create_model(judge.__name__, __config__=ConfigDict(extra="forbid"), **options)
        tested = CONFIDENCE in inspect.signature(judge).parameters
        RULES[judge.__name__] = Rule(judge, least, model, tested)
        return judge

    return register


@rule(least=1)
def at_chance(
    rows: Sequence[Row], *, confidence: float = 0.95, margin: float = 1.0, unit: str = " %"
) -> Judgement:
    """Every interval over seeds lies within a margin of the accuracy of guessing. False if one misses it."""
    chance = rows[0]["chance"]
    if chance is None:
        raise UserError(f"{rows[0]['quantity']} has no accuracy of guessing; at_chance judges accuracies")
    evidence = f"{_means(rows, unit)} against {chance:.2f}{unit} by guessing"
    intervals = [found for found in (bounds(r, confidence) for r in rows) if found]
    if len(intervals) < len(rows):
        return Judgement(None, evidence)
    near = all(chance - margin <= low and high <= chance + margin for low, high in intervals)
    away = any(not low <= chance <= high for low, high in intervals)
    return Judgement(_decided(near, away), evidence)


@rule(least=2)
def falls(rows: Sequence[Row], *, confidence: float = 0.95, unit: str = " %") -> Judgement:
    """Each is lower than the one before: paired differences have intervals above 0. False if one is below."""
    return _steps(rows, [_difference(a, b, confidence) for a, b in itertools.pairwise(rows)], "lower", unit)


@rule(least=2)
def rises(rows: Sequence[Row], *, confidence: float = 0.95, unit: str = " %") -> Judgement:
    """Each is higher than the one before, as `falls` has it."""
    return _steps(rows, [_difference(b, a, confidence) for a, b in itertools.pairwise(rows)], "higher", unit)


@rule(least=2)
def alike(
    rows: Sequence[Row], *, confidence: float = 0.95, margin: float = 1.0, unit: str = " %"
) -> Judgement:
    """No two differ by more than a margin, by intervals of paired differences. False if one lies outside."""
    descending = sorted(rows, key=lambda r: -r["mean"])
    pairs = [_difference(a, b, confidence) for a, b in itertools.combinations(descending, 2)]
    near = all(low >= -margin and high <= margin for _, low, high in pairs)
    away = any(low > margin for _, low, _ in pairs)
    evidence = f"{_means(rows, unit)}; largest difference {_bounds(*max(pairs))}"
    return Judgement(_decided(near, away), evidence)


@rule(least=1)
def at_most(rows: Sequence[Row], *, limit: float, unit: str = " %") -> Judgement:
    """No sample is larger than the limit. False if one is: the statement is about each."""
    largest = max(max(r["values"]) for r in rows)
    samples = len(rows[0]["values"])
    evidence = f"{_means(rows, unit)}; largest of {samples}: {_short(largest)}{unit}"
    return Judgement(largest <= limit, evidence)


def _steps(
    rows: Sequence[Row], steps: Sequence[tuple[float, float, float]], word: str, unit: str
) -> Judgement:
    all_so = all(low > 0 for _, low, _ in steps)
    one_not = any(high <= 0 for _, _, high in steps)
    evidence = f"{_means(rows, unit)}; {word} by {'; '.join(_bounds(*s) for s in steps)}"
    return Judgement(_decided(all_so, one_not), evidence)


def _decided(holds: bool, fails: bool) -> bool | None:
    if holds:
        return True
    return False if fails else None


def _difference(a: Row, b: Row, confidence: float) -> tuple[float, float, float]:
    """Mean and interval of a - b. A single pair proves no difference: its interval is unbounded."""
    found = apart(a, b, confidence)
    if found is None:
        return a["mean"] - b["mean"], float("-inf"), float("inf")
    if found["low"] is None or found["high"] is None:
        return found["mean"], float("-inf"), float("inf")
    return found["mean"], found["low"], found["high"]


def _means(rows: Sequence[Row], unit: str) -> str:
    return ", ".join(_short(r["mean"]) for r in rows) + unit


def _short(value: float) -> str:
    """Two decimals, or two digits of what would be zero then."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.1e}"


def _bounds(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"
