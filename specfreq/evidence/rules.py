"""Rules that judge a claim from the rows that it compares: whether it holds, and the evidence in words."""

import inspect
import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, create_model

from specfreq.core.errors import UserError
from specfreq.evidence.intervals import decimals, places, scientific, span_of, written
from specfreq.evidence.rows import Row, apart, bounds


class Effect(NamedTuple):
    """The difference that a claim rests on, with its interval; bounds are None for a single seed."""

    mean: float
    low: float | None
    high: float | None
    unit: str


class Judgement(NamedTuple):
    """What a rule finds."""

    holds: bool | None  # None if the samples cannot tell
    evidence: str  # in words
    effect: Effect  # in the direction of the claim: it holds if this is above 0, or small enough


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
    """Every interval lies within a margin of the accuracy of guessing. False if one lies outside."""
    chance = rows[0]["chance"]
    if chance is None:
        raise UserError(f"{rows[0]['quantity']} has no accuracy of guessing; at_chance judges accuracies")
    found = [bounds(r, confidence) for r in rows]
    furthest = max(range(len(rows)), key=lambda k: abs(rows[k]["mean"] - chance))
    low, high = found[furthest] or (float("-inf"), float("inf"))
    step = (rows[furthest]["mean"] - chance, low - chance, high - chance)
    effect = _effect(step, unit)
    evidence = f"{told(effect, GUESSING)}: {_named(rows, unit)}; {chance:.4g}{unit} by guessing"
    intervals = [each for each in found if each]
    if len(intervals) < len(rows):
        return Judgement(None, evidence, effect)
    near = all(chance - margin <= low and high <= chance + margin for low, high in intervals)
    wider = filter(None, (bounds(r, _of_all(confidence, len(rows))) for r in rows))
    away = any(low > chance + margin or high < chance - margin for low, high in wider)
    return Judgement(_decided(near, away), evidence, effect)


@rule(least=2)
def falls(rows: Sequence[Row], *, confidence: float = 0.95, unit: str = " %") -> Judgement:
    """Each is lower than the one before: each paired difference has an interval below 0. It fails if one lies
    above.
    """
    return _steps(rows, list(itertools.pairwise(rows)), confidence, -1, unit)


@rule(least=2)
def rises(rows: Sequence[Row], *, confidence: float = 0.95, unit: str = " %") -> Judgement:
    """Each is higher than the one before: each paired difference has an interval above 0. It fails if one
    lies below.
    """
    return _steps(rows, [(b, a) for a, b in itertools.pairwise(rows)], confidence, 1, unit)


@rule(least=2)
def alike(
    rows: Sequence[Row], *, confidence: float = 0.95, margin: float = 1.0, unit: str = " %"
) -> Judgement:
    """No two differ by more than a margin, by intervals of paired differences. False if one lies outside."""
    descending = sorted(rows, key=lambda r: -r["mean"])
    twos = list(itertools.combinations(descending, 2))
    pairs = [_difference(a, b, confidence) for a, b in twos]
    near = all(low >= -margin and high <= margin for _, low, high in pairs)
    wider = [_difference(a, b, _of_all(confidence, len(twos))) for a, b in twos]
    away = any(low > margin for _, low, _ in wider)
    largest = max(pairs)
    effect = _effect(largest, unit)
    said = told(effect, Words("{points}", "{points}"))
    evidence = f"they differ by at most {said}: {_named(rows, unit)}"
    return Judgement(_decided(near, away), evidence, effect)


@rule(least=1)
def at_most(rows: Sequence[Row], *, limit: float, unit: str = " %") -> Judgement:
    """No sample is larger than the limit. False if one is: the statement is about each."""
    largest = max(max(r["values"]) for r in rows)
    quantity = rows[0]["quantity"].removesuffix(" (%)")
    samples = len(rows[0]["values"])
    means = ", ".join(f"{row['label']} {beside(row['mean'], limit)}" for row in rows)
    evidence = (
        f"{quantity}: at most {beside(largest, limit)}{unit} in {samples} sample{'s' * (samples > 1)}, "
        f"the limit is {limit:g}{unit}; mean: {means}{unit}"
    )
    return Judgement(largest <= limit, evidence, Effect(largest, None, None, unit))


def short(rows: Sequence[Row], confidence: float) -> str:
    """The last of some rows minus the first, for a list: ``+8.6 [2.1, 15.1]``."""
    mean, low, high = _difference(rows[-1], rows[0], confidence)
    known = math.isfinite(low)
    digits = places(low, high) if known else decimals(None)
    ends = span_of(low, high, digits) if known else "(one seed)"
    return f"{written(mean, digits, signed=True)} {ends}"


# -- in words


class Words(NamedTuple):
    """How a difference is told, ``{points}`` with its unit and ``{n}`` without: if less, and if more."""

    less: str
    more: str


GUESSING = Words("{points} below guessing", "{points} above guessing")
_PLAIN = Words("{points} lower", "{points} higher")
_ACCURACY = Words("{points} lower accuracy", "{points} higher accuracy")
_SHARE = Words("{points} less of the gradient's power", "{points} more of the gradient's power")
_ERRORS = Words("{points} fewer errors", "{points} more errors")
_OFTEN = Words("{points} less often", "{points} more often")
_SURE = Words("{points} less sure", "{points} surer")
_AUROC = Words("{points} lower AUROC", "{points} higher AUROC")
_ATTACKED = Words("{points} less accuracy under attack", "{points} more accuracy under attack")
_BANDS = ("all", "low", "middle", "high", "clean")  # whole names of errors; what only begins so is no error
# what a quantity's name begins with -> its words; the first that fits
_WORDS = {
    **dict.fromkeys(("low peak", "middle peak", "high peak"), Words("{points} earlier", "{points} later")),
    **{f"{band} {epoch}": _SHARE for band in ("low", "middle", "high") for epoch in ("first", "last")},
    **dict.fromkeys(("accuracy", "low-pass", "high-pass"), _ACCURACY),
    "calibration error": Words("{points} lower calibration error", "{points} higher calibration error"),
    **dict.fromkeys(("error", "corruption error"), _ERRORS),
    **dict.fromkeys(("phase donor", "amplitude donor", "neither"), _OFTEN),
    "sure of": _SURE,
    "energy in box": Words("{points} less in the box", "{points} more in the box"),
    "AUC": Words("{points} lower AUC", "{points} higher AUC"),
    **dict.fromkeys(("AUROC", "max-logit", "max-softmax", "energy", "odin", "mahalanobis"), _AUROC),
    **dict.fromkeys(("fgsm", "pgd", "apgd-ce", "apgd-t", "fab-t", "square"), _ATTACKED),
    "iterations": Words("{n} fewer iterations", "{n} more iterations"),
    "PSNR": Words("{points} lower PSNR", "{points} higher PSNR"),
    **{name: Words(f"{name} {{n}} lower", f"{name} {{n}} higher") for name in ("FID", "KID x 1000")},
}


def words(quantity: str) -> Words:
    """How differences of a quantity are told: fewer errors, higher accuracy, more iterations."""
    if quantity in _BANDS:
        return _ERRORS
    fits = (of for name, of in _WORDS.items() if re.match(rf"{re.escape(name)}\b", quantity))
    return next(fits, _PLAIN)


def _of_all(confidence: float, count: int) -> float:
    """The confidence of each of so many intervals, at which the chance that any errs is that of one."""
    return 1 - (1 - confidence) / count


def _steps(
    rows: Sequence[Row], pairs: Sequence[tuple[Row, Row]], confidence: float, sign: int, unit: str
) -> Judgement:
    """Of the steps from each row to the next, as claimed if above 0: upwards for a sign of 1, else down."""
    steps = [_difference(a, b, confidence) for a, b in pairs]
    all_so = all(low > 0 for _, low, _ in steps)
    wider = [_difference(a, b, _of_all(confidence, len(pairs))) for a, b in pairs]
    one_not = any(high < 0 for _, _, high in wider)  # at 0 itself all values are equal
    known = {words(row["quantity"]) for row in rows}
    of = known.pop() if len(known) == 1 else _PLAIN
    of = of if sign > 0 else Words(of.more, of.less)
    said = "; then ".join(told(_effect(step, unit), of) for step in steps)
    weakest = min(steps, key=lambda step: step[1])
    return Judgement(_decided(all_so, one_not), f"{said}: {_named(rows, unit)}", _effect(weakest, unit))


def told(effect: Effect, of: Words) -> str:
    """A difference in words, never a negative amount of less: ``5.8 points fewer errors [3.0, 8.2]``."""
    mean, low, high, unit = effect
    word = of.more
    if mean < 0:
        mean, word = -mean, of.less
        low, high = (None, None) if low is None or high is None else (-high, -low)
    digits, ends = decimals(None), "(one seed)"
    if low is not None and high is not None:
        digits = places(low, high)
        ends = span_of(low, high, digits)
    amount = written(mean, digits)
    if unit == " %":  # percentages differ by points
        unit = " point" if amount == "1" else " points"
    return f"{word.format(points=amount + unit, n=amount)} {ends}"


def _effect(step: tuple[float, float, float], unit: str) -> Effect:
    mean, low, high = step
    return Effect(mean, low, high, unit) if math.isfinite(low) else Effect(mean, None, None, unit)


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


def _named(rows: Sequence[Row], unit: str) -> str:
    """Each mean by what tells the rows apart: their arm, or their quantity."""
    by = "label" if len({r["arm"] for r in rows}) > 1 or len(rows) == 1 else "quantity"
    each = (f"{r[by]} {_short(r['mean'], _half(r))}" for r in rows)
    return f"{', '.join(each)}{unit}"


def _half(row: Row) -> float | None:
    return None if row["high"] is None else row["high"] - row["mean"]


def _short(value: float, half: float | None = None) -> str:
    """As many decimals as an interval warrants, or two digits of what would be zero then."""
    if half == 0:
        return f"{value:.4g}"
    places = decimals(half)
    return written(value, places) if value == 0 or round(value, places) else scientific(value)


def beside(value: float, limit: float, digits: int = 3) -> str:
    """So many digits of a value, or as many as tell it from the limit."""
    if not value:
        return "0"
    first = math.floor(math.log10(abs(value)))
    texts = (f"{value:.{max(0, shown - 1 - first)}f}" for shown in range(digits, 8))
    return next((text for text in texts if float(text) != limit), f"{value:g}")
