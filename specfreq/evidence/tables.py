"""Tables and numbers in words: what the pages of the book show of records, arms and claims."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from specfreq import filters
from specfreq.data.sets import ImageSet
from specfreq.evidence.claims import Number, load
from specfreq.evidence.comparison import by_name, select
from specfreq.evidence.intervals import decimals
from specfreq.evidence.records import published, published_rows
from specfreq.evidence.rows import CORRECTED, PUBLISHED, Row
from specfreq.evidence.verdicts import family
from specfreq.experiment.runs import Run

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

# where a table may break a name such as apr-s:channels=True,overflow=wrap
BREAK = re.compile(r"([,:+])(?=[a-z])")


def page_table(rows: Sequence[Mapping[str, Any]]) -> "Styler":
    """Rows as a table for a page: no index column, and the same bytes each time."""
    import pandas as pd

    cells = [{k: _breakable(v) for k, v in row.items()} for row in rows]
    style = pd.DataFrame(cells).style.hide(axis="index")
    style.format(precision=2)
    return style.set_uuid("table").set_table_attributes('class="dataframe"')


def _breakable(value: Any) -> Any:
    return BREAK.sub(r"\1<wbr>", value) if isinstance(value, str) else value


def settings(name: str, profile: str = "laptop") -> "Styler":
    """The parameters and the cost of a published record, as a table."""
    record = published(name, profile)
    if record is None:
        return page_table([])
    settings = {**record["parameters"], "profile": profile}
    rows = [{"setting": name, "value": _in_words(value)} for name, value in settings.items()]
    origin = record["provenance"]
    runs = origin["runs"]
    hours = origin["seconds"] / 3600
    cost = f"{runs} trainings, {hours:.1f} hours on " if runs else ""
    where = ", ".join([*origin["device"], *origin.get("precision", [])])
    computed = f"{cost}{where}; {', '.join(origin['date'])}"
    return page_table([*rows, {"setting": "computed", "value": computed}])


def _in_words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def arms_table(found: Sequence[Row], *, signed: bool = False) -> "Styler":
    """Arms as lines, quantities as columns: mean ± half the interval; signed for differences."""
    lines: dict[str, dict[str, str]] = {}
    for row in found:
        # neither is broken in a narrow column
        text = shown(row, signed).replace(" ± ", "\xa0±\xa0").replace(", ", ",\xa0")
        lines.setdefault(row["arm"], {"arm": row["arm"]})[row["quantity"]] = text
    columns = list(dict.fromkeys(r["quantity"] for r in found))
    return page_table([{"arm": arm, **{c: line.get(c, "–") for c in columns}} for arm, line in lines.items()])


def verdicts(study: str, profile: str = "laptop") -> "Styler":
    """The table of a study's claims: what was claimed, our verdict, and the numbers it rests on."""
    of = load(study).claims
    found, together = family(of, published(study, profile))
    rows = []
    for claim, verdict in zip(of, found, strict=True):
        claimed = f"{claim.statement} ({claim.source})" if claim.source else claim.statement
        rows.append({"claimed": claimed, "verdict": verdict.verdict, "evidence": verdict.evidence})
    table = page_table(rows)
    if together > 1:
        table.set_caption(
            f"{together} claims judged together: by Holm's correction, the chance that any is decided "
            "wrongly is at most 5 %, and intervals are as wide as that takes."
        )
    return table


def published_accuracies(study: str, profile: str = "laptop") -> "Styler":
    """Test accuracy (%) as listed, as printed and here, as published and corrected, with 95 % intervals."""
    record = published(study, profile) or {}
    rows = []
    for data, numbers in load(study).published.items():
        found = select(record.get("arms", []), data=data, quantity="accuracy")
        ours = by_name(found, CORRECTED)
        theirs = by_name(found, PUBLISHED)
        listed = {filters.normal_form(f): number for f, number in numbers.items()}
        for name in dict.fromkeys([*(filter for filter, _ in ours), *listed]):
            number = listed.get(name, Number(note="not in the original"))
            rows.append(
                {
                    "data": data,
                    "input": filters.label(name)[0],
                    "listed": _percent(number.listed),
                    "printed": _percent(number.printed),
                    "as published, here": measured(theirs.get((name, "accuracy"))),
                    "corrected, here": measured(ours.get((name, "accuracy"))),
                    "remark": number.note,
                }
            )
    return page_table(rows)


def published_numbers(study: str, profile: str = "laptop") -> "Styler":
    """Published numbers of arms beside ours, as published and corrected, with 95 % intervals over seeds."""
    record = published(study, profile) or {}
    rows = []
    for number in load(study).numbers:
        found = select(record.get(number.rows, []), data=number.data)
        pair = number.arm, number.quantity
        rows.append(
            {
                "quantity": number.quantity,
                "arm": number.arm,
                "published": _percent(number.published),
                "as published, here": measured(by_name(found, PUBLISHED).get(pair)),
                "corrected, here": measured(by_name(found, CORRECTED).get(pair)),
                "remark": "; ".join(filter(None, [number.setting, number.note])),
            }
        )
    return page_table(rows)


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
    ends = [f"{v:.2f}" for v in values]
    return " to ".join(dict.fromkeys([ends[0], ends[-1]])) if ends else "–"


def measured(row: Row | None) -> str:
    """A row in words: its mean, ± half its interval where it has one; ``–`` for none."""
    if row is None:
        return "–"
    if row["high"] is None:
        return f"{row['mean']:.2f}"
    half = row["high"] - row["mean"]
    places = decimals(half)
    return f"{row['mean']:.{places}f} ± {half:.{places}f}"


def shown(row: Row, signed: bool = False) -> str:
    """A row in words: ``12.3 ± 0.4``, or ``+1.2 [0.8, 1.6]`` if it is a difference."""
    if not signed:
        return measured(row)
    low, high = row["low"], row["high"]
    if low is None or high is None:
        return f"{row['mean']:+.2f}"
    places = decimals((high - low) / 2)
    return f"{row['mean']:+.{places}f} [{low:+.{places}f}, {high:+.{places}f}]"


def told(found: Sequence[Row], *, signed: bool = False, suffix: str = "") -> dict[str, str]:
    """Every row in words, by ``arm quantity``: what sentences of a page are made of."""
    # a colon would end a name in MyST
    return {f"{r['arm']} {r['quantity']}{suffix}".replace(":", " "): shown(r, signed) for r in found}


def foot(of: ImageSet | Sequence[Run], profile: str) -> str:
    """Data, profile, keys and device, for the foot of a figure; no dates, so that the bytes stay the same."""
    if isinstance(of, ImageSet):
        return f"{of.name}, {len(of)} images · profile {profile} · data {of.digest[:8]}"
    runs = list(of)
    data = ", ".join(dict.fromkeys(r.experiment.data for r in runs))
    devices = ", ".join(dict.fromkeys(r.provenance["device"] for r in runs))
    return f"{data} · profile {profile} · {len(runs)} runs, {runs[0].key} to {runs[-1].key} · {devices}"
