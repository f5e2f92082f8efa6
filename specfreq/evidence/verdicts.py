"""Verdicts: what a study's record says about a claim, for the corrected computation and for the one as
published.
"""

from collections.abc import Mapping
from typing import Any

from specfreq import augment, filters
from specfreq.evidence.claims import Claim, Row
from specfreq.evidence.rules import _RULES

YES, NOT, UNDECIDED, NO_RECORD = "reproduced", "not reproduced", "undecided", "no record yet"
UNTESTABLE = "not testable here"
ONLY = "reproduced only with the original's defect"
_VERDICTS = {True: YES, False: NOT, None: UNDECIDED}


def judge(claim: Claim, record: Mapping[str, Any] | None) -> tuple[str, str]:
    """Verdict and evidence for a claim from a study's record."""
    if claim.judge == "untestable":
        return UNTESTABLE, claim.why
    quantities = claim.quantity if isinstance(claim.quantity, list) else [claim.quantity]
    names = [
        (n, q) for n in claim.arms or [filters.normal_form(f) for f in claim.filters] for q in quantities
    ]
    series: dict[bool, dict[tuple[str, str | None], Row]] = {False: {}, True: {}}
    for quantity in quantities:
        for defect, found in _series(record, claim.data, quantity, claim.rows).items():
            series[defect] |= {(name, quantity): row for name, row in found.items()}
    if not all(n in series[False] for n in names):
        return NO_RECORD, ""
    rule = _RULES[claim.judge]
    holds, evidence = rule(claim, [series[False][n] for n in names])
    # what the original got right stands for itself; of what it got wrong, every arm must have been trained
    # that way
    wrong = [n for n in names if n in series[True] or (claim.arms and _has_defects(n[0]))]
    if not wrong or not all(n in series[True] for n in wrong):
        return _VERDICTS[holds], evidence
    published, quirk = rule(claim, [series[True].get(n, series[False][n]) for n in names])
    evidence = f"corrected: {evidence}. As published: {quirk}"
    if holds is False:
        return {True: ONLY, False: NOT, None: UNDECIDED}[published], evidence
    return _VERDICTS[holds], evidence


def _series(
    record: Mapping[str, Any] | None, data: str, quantity: str | None = None, content: str = "arms"
) -> dict[bool, dict[str, Row]]:
    """The rows of a data set: corrected (False) and as published (True), under the name of the corrected
    filter or arm.
    """
    found: dict[bool, dict[str, Row]] = {False: {}, True: {}}
    for row in (record or {}).get(content, []):
        if (
            row["data"] == data
            and row.get("quantity") == quantity
            and row["series"] in ("corrected", "as published")
        ):
            name = row["stands_for"] if "stands_for" in row else filters.corrected(row["filter"])
            found[row["series"] == "as published"][name] = row
    return found


def _has_defects(arm: str) -> bool:
    """Whether the original program trains this augmentation otherwise; what is no augmentation has no program
    of its own.
    """
    return arm.partition(":")[0] in augment.names() and augment.as_published(arm) != arm
