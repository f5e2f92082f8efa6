"""Verdicts: what a study's record says about a claim, for the corrected form and for the published one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from specfreq import augment
from specfreq.core.errors import unknown
from specfreq.evidence import claims
from specfreq.evidence.claims import Claim
from specfreq.evidence.comparison import by_name, equal, select
from specfreq.evidence.rows import CORRECTED, PUBLISHED, Row, are_rows
from specfreq.evidence.rules import CONFIDENCE, RULES, Effect

# outcomes of the corrected computation
YES, NOT, UNDECIDED, NO_RECORD = "holds", "fails", "undecided", "no record yet"
UNTESTABLE = "not testable here"
OPEN = "open"  # no study is about it yet
# and where that of the published one is another
ONLY, CURED = "held only by the defect", "fails as published, holds once corrected"
PLAIN = "none"  # the arm without an augmentation


class Verdict(NamedTuple):
    """One of the words above, and the numbers that it rests on, in words; and its parts.

    Args:
        outcome: of the corrected computation; one of the first words.
        published: of the published one, if it was tried.
        effect: the difference that it rests on.
        flags: why the numbers are weaker evidence than they seem.
    """

    verdict: str
    evidence: str
    outcome: str
    published: str | None = None
    effect: Effect | None = None
    flags: tuple[str, ...] = ()


def judge(claim: Claim, record: Mapping[str, Any] | None, confidence: float = 0.95) -> Verdict:
    """Verdict and evidence for a claim from a study's record, by intervals of that confidence.

    Raises:
        UserError: the record lacks what the claim compares, see `check`.
    """
    if not claim.judged:
        word = OPEN if claim.judge == claims.OPEN else UNTESTABLE
        return Verdict(word, claim.why, word)
    if record is None:
        return Verdict(NO_RECORD, "", NO_RECORD)
    check(claim, record)
    found = select(record[claim.rows], data=claim.data)
    corrected = by_name(found, CORRECTED)
    published = by_name(found, PUBLISHED)
    compared = claim.compared
    rule, options = RULES[claim.judge], claim.options
    options |= {CONFIDENCE: confidence} if rule.tested else {}
    rows = _at_equal_cost([corrected[pair] for pair in compared], found)
    true = rule.judge(rows, **options)
    flags = tuple(f"{row['arm']}: {flag}" for row in rows for flag in row.get("flags", []))
    outcome, evidence = UNDECIDED if flags else _WORDS[true.holds], true.evidence
    if flags:
        evidence = f"{evidence}. No evidence: {'; '.join(flags)}"
    # what the original got right stands for itself; of what it got wrong, every arm must have been trained
    # that way
    wrong = [p for p in compared if p in published or (claim.arms and _has_defects(p[0]))]
    if not wrong or not all(p in published for p in wrong):
        return Verdict(outcome, evidence, outcome, None, true.effect, flags)
    theirs = [published.get(p, corrected[p]) for p in compared]
    theirs = rule.judge(_at_equal_cost(theirs, found), **options)
    evidence = f"corrected: {evidence}. As published: {theirs.evidence}"
    as_published = _WORDS[theirs.holds]
    word = _BOTH.get((outcome, as_published), outcome)
    return Verdict(word, evidence, outcome, as_published, true.effect, flags)


def family(
    of: Sequence[Claim], record: Mapping[str, Any] | None, error: float = 0.05
) -> tuple[list[Verdict], int]:
    r"""The verdicts on the claims of a study, judged together, and on how many by intervals.

    Of m such claims the k-th easiest, from 0, is decided if it is at the confidence
    :math:`1 - \alpha / (m - k)`, and all easier ones are; the others are undecided. So the chance that any
    claim is decided wrongly is at most α. Each is judged, and its evidence told, at the confidence that this
    gives it.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    tested = [
        place
        for place, claim in enumerate(of)
        if record is not None and claim.judged and RULES[claim.judge].tested
    ]
    levels = [error / (len(tested) - k) for k in range(len(tested))]

    def first(place: int) -> int:
        """The first level, from the strictest on, at which a claim is decided; beyond all if none is."""
        found = (judge(of[place], record, 1 - level).verdict for level in levels)
        return next((k for k, verdict in enumerate(found) if verdict != UNDECIDED), len(levels))

    order = sorted((first(place), place) for place in tested)
    stop = next((k for k, (needed, _) in enumerate(order) if needed > k), len(order))
    out = [judge(claim, record) for claim in of]
    for k, (_, place) in enumerate(order):
        out[place] = judge(of[place], record, 1 - levels[min(k, stop)])
    return out, len(tested)


def check(claim: Claim, record: Mapping[str, Any]) -> None:
    """That a record has what a claim compares.

    Raises:
        UserError: it has no such rows, data set, arm or quantity, and the nearest is suggested.
    """
    where = f"claim {claim.name}"
    hint = f"no such in the record {'.'.join(str(record.get(k, '?')) for k in ('study', 'profile'))}"
    parts = [name for name, part in record.items() if are_rows(part)]
    for part in filter(None, (claim.rows, claim.family)):
        if part not in parts:
            raise unknown("rows", part, parts, where, hint)
    found = select(record[claim.rows], series=CORRECTED)
    sets = {row["data"] for row in found}
    if claim.data not in sets:
        raise unknown("data set", claim.data, sets, where, hint)
    found = select(found, data=claim.data)
    for name, quantity in claim.compared:
        arms = {row["stands_for"] for row in found}
        if name not in arms:
            raise unknown("arm", name, arms, where, hint)
        quantities = {row["quantity"] for row in select(found, stands_for=name)}
        if quantity not in quantities:
            raise unknown("quantity", quantity, quantities, f"arm {name} of {where}", hint)


def _at_equal_cost(rows: Sequence[Row], found: Sequence[Row]) -> list[Row]:
    """The rows, of plain training that which took as many passes as the first of the other arms."""
    other = next((row for row in rows if row["stands_for"] != PLAIN), None)
    if other is None:
        return list(rows)
    plain = (equal({**other, "quantity": row["quantity"]}, found, PLAIN) or row for row in rows)
    return [base if row["stands_for"] == PLAIN else row for row, base in zip(rows, plain, strict=True)]


_WORDS = {True: YES, False: NOT, None: UNDECIDED}
_BOTH = {(NOT, YES): ONLY, (YES, NOT): CURED}  # where the published computation gives another outcome


def _has_defects(arm: str) -> bool:
    """Whether the original program trains this arm otherwise; without an augmentation there is none."""
    return arm.partition(":")[0] in augment.names() and augment.as_published(arm) != arm
