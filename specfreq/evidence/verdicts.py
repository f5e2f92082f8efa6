"""Verdicts: what a study's record says about a claim, for the corrected form and for the published one."""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from specfreq import augment
from specfreq.core.errors import unknown
from specfreq.evidence import claims, records, settings
from specfreq.evidence.claims import Claim
from specfreq.evidence.comparison import by_name, equal, select
from specfreq.evidence.rows import CORRECTED, PUBLISHED, Row, are_rows, over_images, tested
from specfreq.evidence.rules import CONFIDENCE, RULES, Effect, Judgement, short

# outcomes of the corrected computation
YES, NOT, UNDECIDED, NO_RECORD = "holds", "fails", "undecided", "no record yet"
UNTESTABLE = "not testable here"
OPEN = "open"  # no study is about it yet
# and where that of the published one is another
ONLY, CURED = "held only by the defect", "fails as published, holds once corrected"
ERROR = 0.05  # of all claims of a study together


class Verdict(NamedTuple):
    """One of the words above, and the numbers that it rests on, in words; and its parts.

    Args:
        outcome: of the corrected computation; one of the first words.
        published: of the published one, if it was tried.
        effect: the difference that it rests on.
        flags: why the numbers are weaker evidence than they seem.
        void: those of the flags for which they decide nothing.
        ours: the setting of the rows that were compared: network, images, training.
        record: the file in `book/results` that has them.
        keys: of their runs.
        rows: what was compared; of arms that had trained for fewer passes those that trained for longer.
    """

    verdict: str
    evidence: str
    outcome: str
    published: str | None = None
    effect: Effect | None = None
    flags: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    ours: str = ""
    record: str = ""
    keys: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


def judge(claim: Claim, record: Mapping[str, Any] | None, confidence: float | None = None) -> Verdict:
    """Verdict and evidence for a claim from a study's record, by intervals of that confidence.

    Rows of unequal training cost are not compared unless the claim says so, see `_at_equal_cost`. What a
    claim's family of scores has beside its own is judged too, each at 95 %; a score that decides the opposite
    leaves the claim undecided.

    Args:
        confidence: by default as the record's rule for adding seeds has it, see `error_of`.

    Raises:
        UserError: the record lacks what the claim compares, see `check`.
    """
    if record is not None:
        check(claim, record)
    return _judge(claim, record, 1 - error_of(record) if confidence is None else confidence)


def _judge(claim: Claim, record: Mapping[str, Any] | None, confidence: float) -> Verdict:
    """`judge` for a record that has been checked."""
    if not claim.judged:
        word = OPEN if claim.judge == claims.OPEN else UNTESTABLE
        return Verdict(word, claim.why, word)
    if record is None:
        return Verdict(NO_RECORD, "", NO_RECORD)
    found = select(record[claim.rows], data=claim.data)
    corrected = by_name(found, CORRECTED)
    published = by_name(found, PUBLISHED)
    compared = claim.compared

    fair = _at_equal_cost(claim, [corrected[pair] for pair in compared], found)
    keys = _keys(fair.rows)
    ours = settings.told(claim, record, fair.rows)
    found_in = Verdict("", "", "", ours=ours, record=_file(record), rows=tuple(fair.rows))
    if fair.refused:
        return found_in._replace(verdict=UNTESTABLE, evidence=fair.refused, outcome=UNTESTABLE, keys=keys)
    true = _by_rule(claim, fair.rows, confidence)
    evidence = true.evidence
    void = _no_evidence(fair.rows)
    if claim.family:
        others, against = _by_other_scores(claim, record, true.holds)
        evidence = f"{evidence}; by other scores, at 95 % each: {others}" if others else evidence
        void += [f"contradicted by {score}" for score in against]
    flags = [*void, *fair.flags]
    if RULES[claim.judge].tested:
        flags += _few_images(claim, fair.rows)
    outcome = UNDECIDED if void else _WORDS[true.holds]
    whole = found_in._replace(
        verdict=outcome,
        evidence=_with_void(evidence, void),
        outcome=outcome,
        effect=true.effect,
        flags=tuple(flags),
        void=tuple(void),
        keys=keys,
    )

    # what the original got right stands for itself; of what it got wrong, every arm must have been trained
    # that way
    wrong = [p for p in compared if p in published or (claim.arms and _has_defects(p[0]))]
    if not wrong or not all(p in published for p in wrong):
        return whole
    theirs = _at_equal_cost(claim, [published.get(p, corrected[p]) for p in compared], found)
    as_published, told = _of_published(claim, theirs, confidence)
    return whole._replace(
        verdict=_BOTH.get((outcome, as_published), outcome),
        evidence=f"corrected: {whole.evidence}. As published: {told}",
        published=as_published,
        keys=_keys([*fair.rows, *theirs.rows]),
    )


def _of_published(claim: Claim, fair: "_Fair", confidence: float) -> tuple[str, str]:
    """The outcome of the published computation, and its evidence."""
    if fair.refused:
        return UNTESTABLE, fair.refused
    found = _by_rule(claim, fair.rows, confidence)
    void = _no_evidence(fair.rows)
    return UNDECIDED if void else _WORDS[found.holds], _with_void(found.evidence, void)


def error_of(record: Mapping[str, Any] | None) -> float:
    """The error that all claims of a record together are judged with: that of a look by its rule for adding
    seeds, see `seeds`; else 5 %.
    """
    path = (record or {}).get("seeds_rule")
    return path[-1]["error"] if path else ERROR


def family(
    of: Sequence[Claim], record: Mapping[str, Any] | None, error: float | None = None
) -> tuple[list[Verdict], int]:
    r"""The verdicts on the claims of a study, judged together, and on how many by intervals.

    Of m such claims the k-th easiest, from 0, is decided if it is at the confidence
    :math:`1 - \alpha / (m - k)`, and all easier ones are; the others are undecided. So the chance that any
    claim is decided wrongly is at most α. Each is judged, and its evidence told, at the confidence that this
    gives it. A claim with a family of scores counts once, by its own score: the others can leave it undecided
    and never decide it, so that they add no error, and are at 95 % whatever its own confidence.

    Args:
        error: α; by default as the record's rule for adding seeds has it, see `error_of`.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    alpha = error_of(record) if error is None else error
    out = [judge(claim, record, 1 - alpha) for claim in of]
    tested = [
        place
        for place, (claim, alone) in enumerate(zip(of, out, strict=True))
        if alone.effect is not None and RULES[claim.judge].tested
    ]
    levels = [alpha / (len(tested) - k) for k in range(len(tested))]

    def first(place: int) -> int:
        """The first level, from the strictest on, at which a claim is decided; beyond all if none is.

        What is decided at one level is at all looser ones: intervals lie in one another.
        """
        if out[place].outcome == UNDECIDED:
            return len(levels)
        return bisect.bisect_left(
            levels, True, key=lambda level: _judge(of[place], record, 1 - level).outcome != UNDECIDED
        )

    order = sorted((first(place), place) for place in tested)
    stop = next((k for k, (needed, _) in enumerate(order) if needed > k), len(order))
    for k, (_, place) in enumerate(order):
        out[place] = _judge(of[place], record, 1 - levels[min(k, stop)])
    return out, len(tested)


def check(claim: Claim, record: Mapping[str, Any]) -> None:
    """That a record has what a claim compares, if a rule judges it.

    Raises:
        UserError: it has no such rows, data set, arm or quantity, and the nearest is suggested.
    """
    if not claim.judged:
        return
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


def _by_rule(claim: Claim, rows: Sequence[Row], confidence: float) -> Judgement:
    rule = RULES[claim.judge]
    options = {CONFIDENCE: confidence} if rule.tested else {}
    return rule.judge(rows, **claim.options, **options)


def _keys(rows: Sequence[Row]) -> tuple[str, ...]:
    """The runs of some rows, each once."""
    return tuple(dict.fromkeys(key for row in rows for key in row["keys"]))


def _no_evidence(rows: Sequence[Row]) -> list[str]:
    """What the measures' own checks say against their numbers."""
    return [f"{row['label']}: {flag}" for row in rows for flag in row.get("flags", [])]


def _with_void(evidence: str, void: Sequence[str]) -> str:
    return f"{evidence}. No evidence: {'; '.join(void)}" if void else evidence


def _few_images(claim: Claim, rows: Sequence[Row]) -> list[str]:
    """Whether the rows rest on as many test images as the claim asks for."""
    if claim.images is None:
        return []
    counts = [tested(row) for row in rows]
    compared = itertools.pairwise(rows) if RULES[claim.judge].least > 1 else []
    if None in counts or not all(itertools.starmap(over_images, compared)):
        return ["the interval is over seeds alone"]
    fewest = min(n for n in counts if n is not None)
    return [f"{fewest:,} images, fewer than {claim.images:,}"] if fewest < claim.images else []


def _by_other_scores(claim: Claim, record: Mapping[str, Any], holds: bool | None) -> tuple[str, list[str]]:
    """Every other score of a claim's family in short, and those that decide the opposite."""
    found = select(record[claim.family], data=claim.data)
    corrected = by_name(found, CORRECTED)
    arms = list(dict.fromkeys(name for name, _ in claim.compared))
    told, against = [], []
    for score in dict.fromkeys(row["quantity"] for row in found):
        pairs = [(arm, score) for arm in arms]
        if pairs == claim.compared or not all(pair in corrected for pair in pairs):
            continue
        fair = _at_equal_cost(claim, [corrected[pair] for pair in pairs], found)
        if fair.refused:
            continue
        name = score.partition(",")[0]  # without its settings
        told.append(f"{name} {short(fair.rows, 1 - ERROR)}")
        if holds is not None and _by_rule(claim, fair.rows, 1 - ERROR).holds == (not holds):
            against.append(name)
    return ", ".join(told), against


class _Fair(NamedTuple):
    """Rows that may be compared; or why they may not."""

    rows: list[Row]
    refused: str = ""
    flags: tuple[str, ...] = ()


def _at_equal_cost(claim: Claim, rows: Sequence[Row], found: Sequence[Row]) -> _Fair:
    """Rows of as many network passes as that with the most: in the place of one with fewer, its arm trained
    for longer.

    They are refused if there is no such arm. A claim whose passes may be any is judged on the rows as they
    are, as is a record of older versions, which knows no passes; both are flagged.
    """
    same = _Fair(list(rows))
    one = len({row["arm"] for row in rows}) == 1
    if one or RULES[claim.judge].least == 1:  # arms are not compared with one another
        return same
    if not all("passes" in row for row in rows):
        trained = any(row["keys"] for row in rows)
        return same._replace(flags=("network passes unknown",) if trained else ())
    if claim.passes == "any":
        unequal = f"network passes {_passes(rows)}: {claim.unequal}"
        return same._replace(flags=(unequal,) if len(set(map(_cost, rows))) > 1 else ())
    most = max(rows, key=_cost)
    longer = []
    for row in rows:
        if _cost(row) < _cost(most):
            row = equal({**most, "quantity": row["quantity"]}, found, row["arm"]) or row
        longer.append(row)
    if len(set(map(_cost, longer))) == 1:
        return same._replace(rows=longer)
    why = f"unequal network passes, {_passes(rows)}; no arm that was trained for longer has these numbers"
    return same._replace(refused=why)


def _cost(row: Row) -> int:
    """Its network passes, of a row that knows them."""
    return row.get("passes", 0)


def _passes(rows: Sequence[Row]) -> str:
    return ", ".join({row["arm"]: f"{row['label']} {_cost(row):,}" for row in rows}.values())


def _file(record: Mapping[str, Any]) -> str:
    if "study" not in record:
        return ""
    return records.file_of(record["study"], record.get("profile", "laptop"))


_WORDS = {True: YES, False: NOT, None: UNDECIDED}
_BOTH = {(NOT, YES): ONLY, (YES, NOT): CURED}  # where the published computation gives another outcome


def _has_defects(arm: str) -> bool:
    """Whether the original program trains this arm otherwise; without an augmentation there is none."""
    spec = arm.partition(", ")[0]
    return augment.known(spec) and augment.as_published(spec) != augment.spelling(spec)
