"""Published claims -> verdicts. The numbers of the originals come from `book/claims.yaml`, ours from `book/results`."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from specfreq import augment, filters, records, storage
from specfreq.experiment import root
from specfreq.naming import UserError, unknown

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

Row = Mapping[str, Any]
YES, NOT, UNDECIDED, NO_RECORD = "reproduced", "not reproduced", "undecided", "no record yet"
UNTESTABLE = "not testable here"
ONLY = "reproduced only with the original's defect"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Number(_Strict):
    """A published test accuracy in %: as the program printed it, and as its summary lists it."""

    printed: float | None = None
    listed: float | None = None
    note: str = ""


class Measured(_Strict):
    """A published number of an arm, in %: of what, and with which network and schedule."""

    data: str
    rows: str = "arms"  # which rows of the record have ours
    quantity: str
    arm: str
    published: float
    setting: str
    note: str = ""


class Claim(_Strict):
    """A statement about some filters or arms, or quantities of one, and the rule that judges it; or why nothing here can."""

    statement: str
    source: str = ""  # where the original says so
    data: str = ""
    rows: str = "arms"  # which rows of the record tell
    quantity: str | list[str] | None = None  # accuracy, where a study knows no other
    judge: Literal["at_chance", "falls", "rises", "within_a_point", "at_most", "untestable"]
    limit: float | None = None  # of at_most
    unit: str = " %"
    filters: list[str] = []
    arms: list[str] = []
    why: str = ""

    @model_validator(mode="after")
    def _compares(self) -> "Claim":
        """A fall from one number to none would always be found."""
        if self.judge != "untestable":
            wanted = 1 if self.judge in ("at_chance", "at_most") else 2
            quantities = len(self.quantity) if isinstance(self.quantity, list) else 1
            if len(self.arms or self.filters) * quantities < wanted:
                raise ValueError(f"{self.judge} compares at least {wanted}: name so many filters or arms")
            if (self.judge == "at_most") != (self.limit is not None):
                raise ValueError("at_most has a limit, and nothing else has")
        elif not self.why:
            raise ValueError("untestable says why")
        return self


class Claims(_Strict):
    """What a study's original published."""

    published: dict[str, dict[str, Number]] = {}
    numbers: list[Measured] = []
    claims: list[Claim]


def load(study: str) -> Claims:
    """The published numbers and claims of a study.

    Raises:
        UserError: no such study in `book/claims.yaml`, or the file does not fit its description.
    """
    path = root() / "book" / "claims.yaml"
    try:
        studies = TypeAdapter(dict[str, Claims]).validate_python(storage.read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path.name}: {error}") from None
    if study not in studies:
        raise unknown("study", study, studies, where=path.name)
    return studies[study]


# -- rules: a claim and the rows of one series, in its order -> True, False, or None if the samples cannot tell; the evidence --


def at_chance(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """Every interval over seeds lies within a point of the accuracy of guessing. False if one does not hold it."""
    chance = rows[0]["chance"]
    evidence = f"{_list(claim, rows)} against {chance:.2f} % by guessing"
    if any(r["low"] is None for r in rows):
        return None, evidence
    if all(chance - 1 <= r["low"] and r["high"] <= chance + 1 for r in rows):
        return True, evidence
    return None if all(r["low"] <= chance <= r["high"] for r in rows) else False, evidence


def falls(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """Each is below the one before: the interval of the difference, paired by sample, lies above 0; False if one lies below."""
    return _steps(claim, rows, [_difference(a, b) for a, b in itertools.pairwise(rows)], "lower")


def rises(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """Each is higher than the one before, as `falls` has it."""
    return _steps(claim, rows, [_difference(b, a) for a, b in itertools.pairwise(rows)], "higher")


def _steps(claim: Claim, rows: Sequence[Row], steps: Sequence[tuple[float, float, float]], word: str) -> tuple[bool | None, str]:
    holds = True if all(low > 0 for _, low, _ in steps) else False if any(high <= 0 for _, _, high in steps) else None
    return holds, f"{_list(claim, rows)}; {word} by {'; '.join(_bounds(*s) for s in steps)}"


def within_a_point(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """No two differ by more than one point: all intervals of differences, paired by seed, lie within. False if one lies outside."""
    pairs = [_difference(a, b) for a, b in itertools.combinations(sorted(rows, key=lambda r: -r["mean"]), 2)]
    within, outside = all(low >= -1 and high <= 1 for _, low, high in pairs), any(low > 1 for _, low, _ in pairs)
    holds = True if within else False if outside else None
    return holds, f"{_list(claim, rows)}; largest difference {_bounds(*max(pairs))}"


def at_most(claim: Claim, rows: Sequence[Row]) -> tuple[bool | None, str]:
    """No sample is larger than the limit. False if one is: the statement is about each."""
    largest = max(max(r["values"]) for r in rows)
    return largest <= claim.limit, f"{_list(claim, rows)}; largest of {len(rows[0]['values'])}: {_short(largest)}{claim.unit}"


_RULES: dict[str, Callable[[Claim, Sequence[Row]], tuple[bool | None, str]]] = {
    f.__name__: f for f in (at_chance, falls, rises, within_a_point, at_most)
}
_VERDICTS = {True: YES, False: NOT, None: UNDECIDED}


def _difference(a: Row, b: Row) -> tuple[float, float, float]:
    theirs = dict(zip(b["seeds"], b["values"], strict=True))
    pairs = [v - theirs[s] for s, v in zip(a["seeds"], a["values"], strict=True) if s in theirs]
    if not pairs:
        return a["mean"] - b["mean"], float("-inf"), float("inf")
    mean, low, high = records.interval(pairs)
    # one seed proves no difference: its interval is unbounded
    return mean, float("-inf") if low is None else low, float("inf") if high is None else high


def _list(claim: Claim, rows: Sequence[Row]) -> str:
    return ", ".join(_short(r["mean"]) for r in rows) + claim.unit


def _short(value: float) -> str:
    """Two decimals, or two digits of what would be zero then."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.1e}"


def _bounds(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


# -- tables -----------------------------------------------------------------------------------------------------------


def _series(
    record: Mapping[str, Any] | None, data: str, quantity: str | None = None, content: str = "arms"
) -> dict[bool, dict[str, Row]]:
    """The rows of a data set: corrected (False) and as published (True), under the name of the corrected filter or arm."""
    found: dict[bool, dict[str, Row]] = {False: {}, True: {}}
    for row in (record or {}).get(content, []):
        if row["data"] == data and row.get("quantity") == quantity and row["series"] in ("corrected", "as published"):
            name = row["stands_for"] if "stands_for" in row else filters.corrected(row["filter"])
            found[row["series"] == "as published"][name] = row
    return found


def judge(claim: Claim, record: Mapping[str, Any] | None) -> tuple[str, str]:
    """Verdict and evidence for a claim from a study's record."""
    if claim.judge == "untestable":
        return UNTESTABLE, claim.why
    quantities = claim.quantity if isinstance(claim.quantity, list) else [claim.quantity]
    names = [(n, q) for n in claim.arms or [filters.normal_form(f) for f in claim.filters] for q in quantities]
    series: dict[bool, dict[tuple[str, str | None], Row]] = {False: {}, True: {}}
    for quantity in quantities:
        for defect, found in _series(record, claim.data, quantity, claim.rows).items():
            series[defect] |= {(name, quantity): row for name, row in found.items()}
    if not all(n in series[False] for n in names):
        return NO_RECORD, ""
    rule = _RULES[claim.judge]
    holds, evidence = rule(claim, [series[False][n] for n in names])
    # what the original got right stands for itself; of what it got wrong, every arm must have been trained that way
    wrong = [n for n in names if n in series[True] or (claim.arms and _has_defects(n[0]))]
    if not wrong or not all(n in series[True] for n in wrong):
        return _VERDICTS[holds], evidence
    published, quirk = rule(claim, [series[True].get(n, series[False][n]) for n in names])
    evidence = f"corrected: {evidence}. As published: {quirk}"
    if holds is False:
        return {True: ONLY, False: NOT, None: UNDECIDED}[published], evidence
    return _VERDICTS[holds], evidence


def _has_defects(arm: str) -> bool:
    """Whether the original program trains this augmentation otherwise; what is no augmentation has no program of its own."""
    return arm.partition(":")[0] in augment.names() and augment.as_published(arm) != arm


def verdicts(study: str, profile: str = "laptop") -> "Styler":
    """The table of a study's claims: what was claimed, our verdict, and the numbers it rests on."""
    record = records.published(study, profile)
    rows = []
    for claim in load(study).claims:
        verdict, evidence = judge(claim, record)
        claimed = f"{claim.statement} ({claim.source})" if claim.source else claim.statement
        rows.append({"claimed": claimed, "verdict": verdict, "evidence": evidence})
    return records.table(rows)


def comparison(study: str, profile: str = "laptop") -> "Styler":
    """Published, as-published and corrected test accuracy (%) side by side, with 95 % intervals over seeds."""
    record = records.published(study, profile)
    rows = []
    for data, numbers in load(study).published.items():
        series = _series(record, data)
        order = {filters.normal_form(f): number for f, number in numbers.items()}
        for name in dict.fromkeys([*series[False], *order]):
            number = order.get(name, Number(note="not in the original"))
            rows.append(
                {
                    "data": data,
                    "input": filters.label(name)[0],
                    "listed": _percent(number.listed),
                    "printed": _percent(number.printed),
                    "as published, here": records.measured(series[True].get(name)),
                    "corrected, here": records.measured(series[False].get(name)),
                    "remark": number.note,
                }
            )
    return records.table(rows)


def numbers(study: str, profile: str = "laptop") -> "Styler":
    """Published numbers of arms beside ours, as published and corrected, with 95 % intervals over seeds."""
    record = records.published(study, profile)
    rows = []
    for number in load(study).numbers:
        series = _series(record, number.data, number.quantity, number.rows)
        rows.append(
            {
                "quantity": number.quantity,
                "arm": number.arm,
                "published": _percent(number.published),
                "as published, here": records.measured(series[True].get(number.arm)),
                "corrected, here": records.measured(series[False].get(number.arm)),
                "remark": "; ".join(filter(None, [number.setting, number.note])),
            }
        )
    return records.table(rows)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
