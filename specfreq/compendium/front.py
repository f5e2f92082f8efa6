"""The landing page: its template filled from the ledger and the records."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from specfreq.compendium import marks
from specfreq.compendium.thumbnails import ALT, HIGH_PASS, SIDE, row
from specfreq.core.errors import UserError, unknown
from specfreq.evidence import claims, ledger, records, rules, tables
from specfreq.evidence.comparison import equal, select
from specfreq.evidence.ledger import Entry
from specfreq.evidence.rows import apart
from specfreq.evidence.rules import Effect, Words

CLEAN = Words("{points} less accurate", "{points} more accurate")
SLOT = re.compile(r"\{\{\s*([a-z-]+)(?:\s+([\w.-]+))?\s*\}\}")


# -- the template


def filled(template: str, entries: Sequence[Entry], studies: Mapping[str, str], where: str) -> str:
    """The landing page: every ``{{name}}`` replaced by what is computed, ``{{name of}}`` for one of many.

    Args:
        entries: the ledger.
        studies: titles of the studies, by name, each of which has to be shown.
        where: the file of the template, for messages.

    Raises:
        UserError: a slot, claim or study that does not exist; a slot or study that the page does not show.
    """
    values = {**numbers(), **texts(entries)}
    by_claim = {entry.name: entry for entry in entries}
    many: dict[str, tuple[Mapping[str, Any], Callable[[str], str]]] = {
        "badge": (by_claim, lambda name: _badge(by_claim[name])),
        "equal-cost": (by_claim, lambda name: _equal_cost(by_claim[name])),
        "effect": (by_claim, lambda name: _unbroken(by_claim[name].amount)),
        "study": (studies, lambda name: _card(name, studies[name])),
        "verdicts": (studies, lambda name: _verdicts(name, entries)),
    }
    shown = set()

    def fill(slot: re.Match) -> str:
        name, of = slot.groups()
        shown.add((name, of))
        if of is None:
            if name not in values:
                raise unknown("slot", name, values, where=where)
            return values[name]
        if name not in many:
            raise unknown("slot", name, many, where=where)
        known, text = many[name]
        if of not in known:
            raise unknown({"study": "study", "verdicts": "study"}.get(name, "claim"), of, known, where=where)
        return text(of)

    page = SLOT.sub(fill, template)
    missing = [name for name in values if (name, None) not in shown]
    missing += [f"study {name}" for name in studies if ("study", name) not in shown]
    if missing:
        raise UserError(f"{where} does not show {', '.join(missing)}; write {{{{{missing[0]}}}}} there")
    return page


def _badge(entry: Entry) -> str:
    return marks.badge(entry.verdict, link=f"claims.html#{entry.anchor}")


def _unbroken(text: str) -> str:
    """Numbers with their intervals: no line ends inside one."""
    return text.replace(", ", ",\N{NO-BREAK SPACE}").replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def _equal_cost(entry: Entry) -> str:
    """What a difference is worth: a record of an older version does not know what its arms cost."""
    return "" if any("passes" in flag for flag in entry.flags) else ", at equal cost"


def _card(name: str, title: str) -> str:
    """The head of a study's card, for the directive ``grid-item-card``; with its picture, if it has one."""
    lines = [":class-card: study", f":link: ../notebooks/{name}", ":link-type: doc"]
    if name in ALT:
        lines += [f":img-top: _static/front/{name}.png", f":img-alt: {ALT[name]}"]
    return "\n".join([*lines, "", f"**{title}**"])


def _verdicts(name: str, entries: Sequence[Entry]) -> str:
    counts = Counter(entry.verdict for entry in entries if entry.study == name)
    return marks.sentence(counts) if counts else "no claims to judge"


# -- what it says


def texts(entries: Sequence[Entry]) -> dict[str, str]:
    """What the page says of the ledger as a whole."""
    counts = sum(ledger.tally(entries).values(), Counter())
    judged = marks.judged(entries)
    own, holding = ledger.own(entries)
    heard = {entry.work for entry in judged}
    waiting = [work.title for name, work in claims.works().items() if name not in heard]
    later = f" {' and '.join(waiting)}: the claims are listed, and none is judged yet." if waiting else ""
    return {
        "judged": str(len(judged)),
        "claims": str(counts.total()),
        "own": str(own),
        "holding": str(holding),
        "counts": marks.counted(counts, "claims.html"),
        "tally": marks.tally_lines(entries, "claims.html"),
        "waiting": later,
        "hero": _hero(),
    }


def numbers() -> dict[str, str]:
    """The numbers of the page, as text, by slot."""
    band = claims.load("band-limited-training").published["cifar10"][HIGH_PASS]
    ours = row("band-limited-training", "cifar10", HIGH_PASS, "accuracy")
    plain = row("band-limited-training", "cifar10", "none", "accuracy")
    own, random = (
        row("spectral-density", "cifar10", f"SCR, {kernels} kernels", "high-pass 10")
        for kernels in ("own", "random")
    )
    clean = _against_plain("amplitude-phase-recombination", "cifar10", "apr-sp", "accuracy")
    return {
        "printed": f"{band.printed:.2f}",
        "high-pass": _unbroken(tables.measured(ours)),
        "unfiltered": _unbroken(tables.measured(plain)),
        "scr": tables.claimed("spectral-density")["SCR high-pass 10 claimed"],
        "own-kernels": _unbroken(tables.measured(own)),
        "random-kernels": _unbroken(tables.measured(random)),
        "clean": _unbroken(rules.told(clean, CLEAN)),
    }


def _against_plain(study: str, data: str, arm: str, quantity: str) -> Effect:
    """A row minus that of plain training of as many passes, with its interval."""
    own = row(study, data, arm, quantity)
    base = equal(own, select(records.content(study, "arms"), data=data), "none")
    found = None if base is None else apart(own, base)
    if found is None or found["low"] is None or found["high"] is None:
        raise UserError(f"the record of {study} has no plain training to compare {arm} with")
    return Effect(found["mean"], found["low"], found["high"], " %")


def _hero() -> str:
    """Three pictures side by side: as it is, as the program made it, as it was meant; with the accuracies."""
    found = numbers()
    shown = [
        ("hero-picture", "An image", "", "A photograph of a cat."),
        (
            "hero-published",
            "What a published program trained on",
            f"{found['printed']} %",
            f"A black square, the input behind the reported accuracy of {found['printed']} %.",
        ),
        (
            "hero-corrected",
            "What it meant to train on",
            f"{found['high-pass']} %",
            f"The outlines of the cat on grey, the input with which accuracy is {found['high-pass']} %.",
        ),
    ]
    parts = []
    for name, title, number, alt in shown:
        image = f'<img src="../_static/front/{name}.png" alt="{alt}" width="{SIDE}" height="{SIDE}">'
        number = f": <strong>{number}</strong>" if number else ""
        parts.append(f"<figure>{image}<figcaption>{title}{number}</figcaption></figure>")
    return f'<div class="hero">{"".join(parts)}</div>'
