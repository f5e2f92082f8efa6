"""Marks of verdicts and tallies as HTML: an icon and a word; colour says nothing that these do not."""

import html
from collections.abc import Iterable, Mapping

from specfreq.evidence import claims, ledger
from specfreq.evidence.ledger import ICONS, OUTCOMES, SHORT, Entry

NOT_JUDGED = {"open", "untestable"}


def badge(verdict: str, words: str = "", link: str = "") -> str:
    """A verdict as icon and word, as a link if one is given."""
    kind = OUTCOMES[verdict]
    text = f'<span aria-hidden="true">{ICONS[kind]}</span> {html.escape(words or verdict)}'
    if link:
        return f'<a class="outcome is-{kind}" href="{html.escape(link)}">{text}</a>'
    return f'<span class="outcome is-{kind}">{text}</span>'


def counted(counts: Mapping[str, int], link: str = "") -> str:
    """How many claims have which verdict, as badges: ``✓ 5 hold  ? 17 undecided``."""
    found = []
    for verdict, kind in OUTCOMES.items():
        if number := counts.get(verdict, 0):
            found.append(badge(verdict, f"{number} {SHORT[kind][number != 1]}", link))
    return " ".join(found)


def sentence(counts: Mapping[str, int]) -> str:
    """The same as words: ``5 hold, 17 undecided``."""
    found = []
    for verdict, kind in OUTCOMES.items():
        if number := counts.get(verdict, 0):
            found.append(f"{number} {SHORT[kind][number != 1]}")
    return ", ".join(found)


def judged(entries: Iterable[Entry]) -> list[Entry]:
    """The claims that have been judged."""
    return [entry for entry in entries if entry.kind not in NOT_JUDGED]


def tally_lines(entries: Iterable[Entry], page: str) -> str:
    """A line for each work: its title, and its counts as links to its part of the page of claims."""
    entries = list(entries)
    titles = {work.name: work.title for work in claims.works().values()}
    lines = []
    for work, counts in ledger.tally(entries).items():
        link = f"{page}#work-{work}"
        name = f'<a href="{link}">{html.escape(titles[work])}</a>'
        lines.append(f"<dt>{name}</dt><dd>{counted(counts, link)}{_own(entries, work)}</dd>")
    return f'<dl class="tally">{"".join(lines)}</dl>'


def _own(entries: Iterable[Entry], work: str) -> str:
    """Of how many that hold are the work's own statements, if not all are."""
    own, holding = ledger.own(entry for entry in entries if entry.work == work)
    return "" if own == holding else f' <span class="own">of those that hold, the work\'s own: {own}</span>'
