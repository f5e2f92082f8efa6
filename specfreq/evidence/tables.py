"""Tables and numbers in words: what the pages of the book show of records, arms and claims."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specfreq import data, filters
from specfreq.data.sets import ImageSet
from specfreq.evidence import rules
from specfreq.evidence.claims import Claim, Number, load
from specfreq.evidence.comparison import by_name, select
from specfreq.evidence.intervals import decimals, places, span_of, written
from specfreq.evidence.ledger import ICONS, OUTCOMES, SHORT
from specfreq.evidence.markup import Markdown, Table
from specfreq.evidence.names import label
from specfreq.evidence.records import published, published_rows
from specfreq.evidence.rows import CORRECTED, PUBLISHED, Row
from specfreq.evidence.verdicts import NO_RECORD, Verdict, family
from specfreq.experiment.runs import Run

# of verdicts, on badges, by what the ledger calls them; colour is never the only cue
_COLOURS = {"holds": "success", "fails": "danger", "cured": "primary", "defect": "primary"}
LEDGER = "claims"  # the label of the page that has all claims
LEDGER_PAGE = "../book/claims.html"  # and its place, seen from a study


def page_table(
    rows: Iterable[Mapping[str, Any]], caption: str = "", name: str = "", *, wide: bool = False
) -> Table:
    """Rows as a table of a page, see `markup.Table`."""
    return Table(list(rows), caption, name, wide)


def settings(study: str, profile: str = "laptop") -> Table:
    """The parameters and the cost of a published record, as a table."""
    caption, name = "Settings of the published record.", f"tbl-{study}-settings"
    record = published(study, profile)
    if record is None:
        return Table([], caption, name)
    settings = {**record["parameters"], "profile": profile}
    rows = [{"setting": name, "value": _in_words(value)} for name, value in settings.items()]
    origin = record["provenance"]
    runs = origin["runs"]
    hours = origin["seconds"] / 3600
    cost = f"{runs} trainings, {hours:.1f} hours on " if runs else ""
    where = ", ".join([*origin["device"], *origin.get("precision", [])])
    computed = f"{cost}{where}; {', '.join(origin['date'])}"
    return Table([*rows, {"setting": "computed", "value": computed}], caption, name)


def _in_words(value: Any) -> str:
    words = {None: "all", True: "yes", False: "no"}
    if isinstance(value, list):
        return ", ".join(map(_in_words, value)) or "none"
    return words[value] if value is None or isinstance(value, bool) else str(value)


def arms_table(
    found: Sequence[Row],
    caption: str = "",
    name: str = "",
    *,
    signed: bool = False,
    whole: bool = False,
    wide: bool = False,
) -> Table:
    """Arms as lines, quantities as columns: mean ± half the interval.

    Args:
        found: the rows; those of several sets have a column that names these.
        caption, name: see `markup.Table`.
        signed: the rows are differences: ``+1.2 [0.8, 1.6]``.
        whole: whole numbers without an interval, as of a demonstration.
        wide: see `markup.Table`.
    """
    lines: dict[tuple[str, str], dict[str, str]] = {}
    several = len({row["data"] for row in found}) > 1
    for row in found:
        of = {"data": data.label(row["data"])} if several else {}
        text = written(row["mean"], 0, signed=signed) if whole else shown(row, signed)
        # an interval is not broken in a narrow column
        text = text.replace(" ± ", "\xa0±\xa0").replace(", ", ",\xa0")
        lines.setdefault((row["data"], row["arm"]), {**of, "arm": row["label"]})[row["quantity"]] = text
    columns = [*(["data"] if several else []), "arm", *dict.fromkeys(row["quantity"] for row in found)]
    cells = [{column: line.get(column, "–") for column in columns} for line in lines.values()]
    return Table(cells, caption, name, wide)


def code_names(found: Iterable[Row], caption: str = "Names of the arms.", name: str = "") -> Table:
    """The description by which `specfreq train` and records know each arm."""
    known = {row["arm"]: row["label"] for row in found}
    rows = [{"arm": label, "code name": Markdown(f"`{arm}`")} for arm, label in known.items()]
    return Table(rows, caption, name)


def tally(study: str, profile: str = "laptop") -> Markdown:
    """How many claims of a study hold, fail or are otherwise: badges that lead to the ledger."""
    found, _ = family(load(study).claims, published(study, profile))
    counts = Counter(verdict.verdict for verdict in found)
    parts = []
    for verdict in (*OUTCOMES, NO_RECORD):
        if number := counts[verdict]:
            said = SHORT[OUTCOMES[verdict]][number != 1] if verdict in OUTCOMES else verdict
            parts.append(_badge("ref", verdict, f"{number} {said}", LEDGER))
    return Markdown(" ".join(["Claims:", *parts]) if parts else "No claim is judged here.")


def verdicts(study: str, profile: str = "laptop") -> Table:
    """The table of a study's claims: what was claimed, our verdict, and the numbers it rests on."""
    of = load(study).claims
    found, together = family(of, published(study, profile))
    rows = []
    for claim, verdict in zip(of, found, strict=True):
        known = [flag for flag in verdict.flags if flag not in verdict.void]
        notes = f" (Note: {'; '.join(known)}.)" if known else ""
        rows.append(
            {
                "claim": f"{claim.statement} ({claim.source})" if claim.source else claim.statement,
                "setting": _settings_of(claim, verdict),
                "verdict": _linked(claim, verdict),
                "evidence": verdict.evidence + notes,
            }
        )
    caption = "Claims and verdicts."
    if together > 1:
        number = "All are" if together == len(of) else f"{together} of them are"
        caption += (
            f" {number} judged together: by Holm's correction, the chance that any is decided "
            "wrongly is at most 5 %, and intervals are as wide as that takes."
        )
    return Table(rows, caption, f"tbl-{study}-verdicts", wide=True, cards=True)


def _linked(claim: Claim, verdict: Verdict) -> Markdown:
    """The verdict, leading to the ledger, and the figure or table of the page that has the numbers."""
    badge = _badge("link", verdict.verdict, verdict.verdict, f"{LEDGER_PAGE}#{claim.anchor}")
    return Markdown(f"{badge} {{numref}}`{claim.shown}`" if claim.shown else badge)


def _settings_of(claim: Claim, verdict: Verdict) -> str:
    """Theirs and ours, in sentences."""
    parts = {"Theirs": claim.setting, "Ours": verdict.ours}
    return " ".join(f"{whose}: {setting.rstrip('.')}." for whose, setting in parts.items() if setting)


def _badge(role: str, verdict: str, words: str, target: str) -> str:
    """MyST of a small label with the icon and colour of a verdict, leading somewhere; see `sphinx_design`."""
    kind = OUTCOMES.get(verdict, "")
    icon = ICONS.get(kind, "○")  # of a study without a record
    return f"{{bdg-{role}-{_COLOURS.get(kind, 'muted')}}}`{icon} {words} <{target}>`"


def published_accuracies(study: str, profile: str = "laptop") -> Table:
    """Test accuracy (%) as listed, as printed and here, as published and corrected, with 95 % intervals."""
    record = published(study, profile) or {}
    rows = []
    for name_of_set, numbers in load(study).published.items():
        found = select(record.get("arms", []), data=name_of_set, quantity="accuracy")
        ours = by_name(found, CORRECTED)
        theirs = by_name(found, PUBLISHED)
        listed = {filters.normal_form(f): number for f, number in numbers.items()}
        for name in dict.fromkeys([*(filter for filter, _ in ours), *listed]):
            number = listed.get(name, Number(note="not in the original"))
            rows.append(
                {
                    "data": data.label(name_of_set),
                    "input": filters.label(name)[0],
                    "listed": _percent(number.listed),
                    "printed": _percent(number.printed),
                    "as published, here": measured(theirs.get((name, "accuracy"))),
                    "corrected, here": measured(ours.get((name, "accuracy"))),
                    "remark": number.note,
                }
            )
    caption = "Test accuracy (%) as the original lists and prints it, and here; ± half a 95 % interval."
    return Table(rows, caption, f"tbl-{study}-published", wide=True)


def published_numbers(study: str, profile: str = "laptop") -> Table:
    """Published numbers of arms beside ours, as published and corrected, with 95 % intervals over seeds."""
    record = published(study, profile) or {}
    rows = []
    for number in load(study).numbers:
        found = select(record.get(number.rows, []), data=number.data)
        pair = number.arm, number.quantity
        rows.append(
            {
                "quantity": number.quantity,
                "arm": label(number.arm),
                "published": _percent(number.published),
                "as published, here": measured(by_name(found, PUBLISHED).get(pair)),
                "corrected, here": measured(by_name(found, CORRECTED).get(pair)),
                "remark": "; ".join(filter(None, [number.setting, number.note])),
            }
        )
    caption = "Numbers that were published (%), and ours; ± half a 95 % interval."
    return Table(rows, caption, f"tbl-{study}-numbers", wide=True)


def left_out(study: str) -> Table:
    """What the study's original published and its page does not have, and why."""
    rows = [{"published": part.what, "why it is not here": part.why} for part in load(study).left_out]
    return Table(rows, "What was published and is left out here.", f"tbl-{study}-left-out", cards=True)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


# -- in words, for sentences and figures


def accuracy(name: str, data: str, filter: str, content: str = "arms", profile: str = "laptop") -> str:
    """One accuracy of a published record, for a sentence: ``65.41 ± 0.52``."""
    rows = published_rows(name, content, profile)["rows"]
    sought = data, filters.normal_form(filter)
    return measured(next((r for r in rows if (r["data"], r["spec"]) == sought), None))


def span(values: Iterable[float]) -> str:
    """Several numbers in a sentence: ``61.25``, or ``51.43 to 61.25``; ``–`` for none."""
    values = sorted(values)
    ends = [written(v, 2) for v in values]
    return " to ".join(dict.fromkeys([ends[0], ends[-1]])) if ends else "–"


def measured(row: Row | None) -> str:
    """A row in words: its mean, ± half its interval where it has one; ``–`` for none.

    Where the interval of a percentage would lie beyond 0 or 100, it ends there, and its ends are told.
    """
    if row is None:
        return "–"
    mean, low, high = row["mean"], row["low"], row["high"]
    if low is None or high is None:
        return written(mean, 2)
    half = high - mean
    if half == 0:  # all values are the same
        return written(mean, 2).removesuffix(".00")
    places = decimals(half)
    # clipped and not computed on another scale: the true mean is within 0 and 100, so that what is cut off
    # costs no coverage, and what is left is the interval that verdicts rest on; rows that can be guessed
    # right are percentages
    if row.get("chance") is not None and (low < 0 or high > 100):
        return f"{written(mean, places)} {span_of(max(low, 0), min(high, 100), places)}"
    return f"{written(mean, places)} ± {written(half, places)}"


def shown(row: Row, signed: bool = False) -> str:
    """A row in words: ``12.3 ± 0.4``, or ``+1.2 [0.8, 1.6]`` if it is a difference."""
    if not signed:
        return measured(row)
    low, high = row["low"], row["high"]
    if low is None or high is None:
        return written(row["mean"], 2, signed=True)
    digits = places(low, high)
    ends = span_of(low, high, digits, signed=True)
    return f"{written(row['mean'], digits, signed=True)} {ends}"


def claimed(study: str) -> dict[str, str]:
    """The published numbers of a study in words, by ``arm quantity``, as `told` has ours."""
    found = load(study).numbers
    return {f"{n.arm} {n.quantity} claimed".replace(":", " "): str(n.published) for n in found}


def change(row: Row) -> str:
    """A difference of percentages in a sentence: ``5.8 points fewer errors [3.0, 8.2]``."""
    effect = rules.Effect(row["mean"], row["low"], row["high"], " %")
    return rules.told(effect, rules.words(row["quantity"]))


def told(
    found: Sequence[Row], *, signed: bool = False, changes: bool = False, suffix: str = ""
) -> dict[str, str]:
    """Every row in words, by ``arm quantity``: what sentences of a page are made of.

    Args:
        signed: the rows are differences, told as `shown` does.
        changes: they are, told as `change` does.
        suffix: of the names.
    """
    # a colon would end a name in MyST
    texts = ((r, change(r) if changes else shown(r, signed)) for r in found)
    return {f"{r['arm']} {r['quantity']}{suffix}".replace(":", " "): text for r, text in texts}


def foot(of: ImageSet | Sequence[Run], profile: str) -> str:
    """Data, profile, keys and device, for the foot of a figure; no dates, so that the bytes stay the same."""
    if isinstance(of, ImageSet):
        return f"{of.name}, {len(of)} images · profile {profile} · data {of.digest[:8]}"
    runs = list(of)
    data = ", ".join(dict.fromkeys(r.experiment.data for r in runs))
    devices = ", ".join(dict.fromkeys(r.provenance["device"] for r in runs))
    return f"{data} · profile {profile} · {len(runs)} runs, {runs[0].key} to {runs[-1].key} · {devices}"
