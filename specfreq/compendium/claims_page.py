"""The page of claims: the ledger as one table, whole without scripts, filtered and sorted with them."""

import contextlib
import html
import json
import re
from collections import Counter
from collections.abc import Container, Sequence

from specfreq.compendium.forest import forest, scales
from specfreq.compendium.marks import badge, judged
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.evidence import claims, ledger
from specfreq.evidence.ledger import ICONS, OUTCOMES, SHORT, WHOSE, Entry

TOP = """(claims)=
# What was claimed, and what we found

The claims that abstracts, READMEs and programs of the works make, and a few questions of our own.
A rule judges each from records of finished runs; {ref}`reading` says what the words mean. Claims of one study
are judged together, by Holm's correction. Across studies nothing is corrected: of twenty studies without any
effect, about one would find some.

"""
END = """Every row opens to its rule, numbers, record and runs. The same table for machines is
<a href="claims.json">claims.json</a>; claims and rules are <a href="claims.yaml">claims.yaml</a>, and our
numbers come from the records alone.
"""


def page(entries: Sequence[Entry], titles: dict[str, str]) -> str:
    """The page as MyST, with the tables as HTML.

    Args:
        entries: the ledger.
        titles: of studies.
    """
    table = _table(entries, titles)
    parts = [
        TOP,
        _works({entry.work for entry in judged(entries)}),
        _raw(_tally(entries)),
        "## All claims\n",
        END.strip(),
        "",
        _raw(table),
    ]
    parts.append(_raw('<script src="../_static/ledger.js" defer></script>'))
    return "\n".join(parts)


def _raw(text: str) -> str:
    return f"```{{raw}} html\n{text}\n```\n"


def _works(heard: Container[str]) -> str:
    """Who the works are of, for citations are links that the book's builder makes; and which are judged."""
    lines = []
    for name, work in claims.works().items():
        later = "" if name in heard else ": no claim is judged yet"
        lines.append(f"- *{work.title}*, {{cite:t}}`{work.cite}`{later}")
    return "\n".join([*lines, ""])


def _tally(entries: Sequence[Entry]) -> str:
    """A row for each work, a column for each verdict that occurs."""
    counts = ledger.tally(entries)
    total = sum(counts.values(), Counter())
    own, holding = ledger.own(entries)
    kinds = {verdict: kind for verdict, kind in OUTCOMES.items() if total[verdict]}
    heads = "".join(
        f'<th scope="col" class="is-{kind}"><span aria-hidden="true">{ICONS[kind]}</span> '
        f"{SHORT[kind][1]}</th>"
        for kind in kinds.values()
    )
    titles = {work.name: work.title for work in claims.works().values()}
    rows = []
    for work, found in counts.items():
        cells = "".join(_count(found[verdict], work, kind) for verdict, kind in kinds.items())
        name = f'<a href="#work-{work}">{html.escape(titles[work])}</a>'
        rows.append(f'<tr><th scope="row">{name}</th>{cells}<td>{found.total()}</td></tr>')
    cells = "".join(_count(total[verdict], "", kind) for verdict, kind in kinds.items())
    foot = f'<tr><th scope="row">all</th>{cells}<td>{total.total()}</td></tr>'
    return (
        '<div class="wide"><table class="tally-table" id="tally">'
        f"<caption>Claims by work and verdict. Of the {holding} that hold, {own} are statements of the works "
        "themselves; the others are of theory, or ours.</caption>"
        f'<thead><tr><th scope="col">work</th>{heads}<th scope="col">claims</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody><tfoot>{foot}</tfoot></table></div>"
    )


def _count(number: int, work: str, kind: str) -> str:
    if not number:
        return '<td class="none">0</td>'
    label = f"{ICONS[kind]} {SHORT[kind][number != 1]}"
    return f'<td data-work="{work}" data-outcome="{kind}" data-label="{label}">{number}</td>'


def _table(entries: Sequence[Entry], titles: dict[str, str]) -> str:
    axes = scales(entries)
    heads = ("claim", "setting", "effect", "outcome")
    head = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in heads)
    rows, seen = [], set()
    for number, entry in enumerate(entries):
        anchor = "" if entry.work in seen else f'<span class="anchor" id="work-{entry.work}"></span>'
        seen.add(entry.work)
        rows.append(_row(number, entry, axes, titles, anchor))
    return (
        '<table class="ledger" id="ledger" role="table"><caption>Every claim: who said it, at what setting, '
        "the effect that we measured with its interval, and the outcome. Of a rise or a fall, the "
        "right of 0 is as claimed; of a limit or of guessing, 0 is. An arrow leads beyond the axis.</caption>"
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(rows)}</tbody></table>'
    )


def _row(number: int, entry: Entry, axes: dict[str, float], titles: dict[str, str], anchor: str) -> str:
    interval = entry.effect is not None and entry.effect.low is not None
    axis = axes.get(entry.measure) if interval else None
    size = "" if entry.effect is None else f"{entry.effect.mean:g}"
    marked = {"work": entry.work, "outcome": entry.kind, "whose": entry.whose, "order": number, "size": size}
    data = " ".join(f'data-{name}="{html.escape(str(value))}"' for name, value in marked.items())
    effect = ""
    if entry.amount:
        amount = re.sub(r"(\[.*\])", r'<span class="interval">\1</span>', html.escape(entry.amount))
        effect = f'{forest(entry, axis)}<span class="amount">{amount}</span>'
    cells = [
        f'<th scope="row" role="rowheader">{anchor}{_claim(entry, titles)}</th>',
        _cell("setting", _setting(entry)),
        _cell("effect", effect or '<span class="none">not measured</span>'),
        _cell("outcome", _outcome(entry)),
    ]
    return f'<tr role="row" id="{entry.anchor}" {data}>{"".join(cells)}</tr>'


def _cell(label: str, content: str) -> str:
    return f'<td role="cell" data-label="{label}">{content}</td>'


def _claim(entry: Entry, titles: dict[str, str]) -> str:
    quote = f"“{html.escape(entry.quote)}” " if entry.quote else ""
    source = f'{quote}<span class="source">{html.escape(entry.source)}</span>'
    whose = f'<span class="whose">{html.escape(entry.title)} · {WHOSE[entry.whose]}</span>'
    statement = f'<a class="statement" href="#{entry.anchor}">{html.escape(entry.statement)}</a>'
    return f'{whose}{statement}<span class="quoted">{source}</span>{_details(entry, titles)}'


def _details(entry: Entry, titles: dict[str, str]) -> str:
    """How it is judged, and where it can be looked up."""
    if entry.study is None:
        return ""
    items = []
    if entry.compared:
        compared = "; ".join(f"<i>{html.escape(each)}</i>" for each in entry.compared)
        rule = re.sub("`([a-z_]+)`", r"<code>\1</code>", html.escape(entry.rule))
        rule = f"<code>{entry.judge}</code>, of {compared}. {rule}"
        items += [("rule", rule), ("numbers", html.escape(entry.evidence))]
    else:
        items.append(("why", html.escape(entry.rule)))
    if entry.record:
        name = entry.record.removeprefix("book/")
        items.append(("record", f'<a href="{name}">{name.removeprefix("results/")}</a>'))
    if entry.keys:
        items.append(("runs", " ".join(f"<code>{key}</code>" for key in entry.keys)))
    study = f'<a href="../notebooks/{entry.study}.html">{html.escape(titles[entry.study])}</a>'
    if entry.place:
        what = {"fig": "figure", "tbl": "table"}[entry.shown.partition("-")[0]]
        study += f', <a href="../{entry.place}">{what} with the numbers</a>'
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in items)
    return (
        f'<span class="study">Study: {study}</span>'
        f"<details><summary>rule, record, runs</summary><dl>{listed}</dl></details>"
    )


def _setting(entry: Entry) -> str:
    """Theirs and ours; what differs is said below ours."""
    parts = []
    if entry.setting:
        parts.append(f"<dt>theirs</dt><dd>{html.escape(entry.setting)}</dd>")
    ours = [f"<dd>{html.escape(told)}</dd>" for told in (entry.ours, entry.proxy) if told]
    if ours:
        parts += ["<dt>ours</dt>", *ours]
    return f'<dl class="settings">{"".join(parts)}</dl>' if parts else ""


def _outcome(entry: Entry) -> str:
    parts = [badge(entry.verdict)]
    if entry.published and entry.published != entry.outcome:
        parts.append(f'<span class="as-published">as published: {html.escape(entry.published)}</span>')
    parts += [f'<span class="flag">⚑ {html.escape(flag)}</span>' for flag in entry.flags]
    return "".join(parts)


def study_titles() -> dict[str, str]:
    """The title of every study, which its notebook begins with; of what is no notebook there is none."""
    found = {}
    for path in places.visible((places.root() / "notebooks").glob("*.ipynb")):
        with contextlib.suppress(UserError, ValueError, KeyError, TypeError):
            found[path.stem] = _title(storage.read_text(path), path.stem)
    return found


def _title(notebook: str, name: str) -> str:
    for cell in json.loads(notebook)["cells"]:
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    return name
