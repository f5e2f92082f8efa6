"""The ledger: every claim about the works with its verdict, from `book/claims.yaml` and the records."""

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from specfreq.core.errors import UserError
from specfreq.evidence import claims, names, records, rules, verdicts
from specfreq.evidence.claims import Claim, Placed
from specfreq.evidence.rows import Row
from specfreq.evidence.rules import Effect, Words
from specfreq.evidence.verdicts import Verdict

# verdicts in the order in which they are counted, and what styles, marks and addresses call them
OUTCOMES = {
    verdicts.YES: "holds",
    verdicts.NOT: "fails",
    verdicts.UNDECIDED: "undecided",
    verdicts.CURED: "cured",
    verdicts.ONLY: "defect",
    verdicts.UNTESTABLE: "untestable",
    verdicts.OPEN: "open",
}
ICONS = {
    "holds": "✓",
    "fails": "✕",
    "undecided": "?",
    "cured": "✓",
    "defect": "✕",
    "untestable": "–",
    "open": "○",
}
# of one claim and of several, after their number
SHORT = {
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "undecided": ("undecided", "undecided"),
    "cured": ("holds once corrected", "hold once corrected"),
    "defect": ("held only by the defect", "held only by the defect"),
    "untestable": ("not testable here", "not testable here"),
    "open": ("open", "open"),
}
WHOSE = {"work": "the work's", "theory": "of a work that it builds on", "ours": "ours"}
# how effects of rules that compare with no other arm are told
WORDS = {
    "at_chance": rules.GUESSING,
    "alike": Words("{points} apart at most", "{points} apart at most"),
}


@dataclass(frozen=True)
class Entry:
    """A claim and its verdict: what the ledger says of it in one row.

    Args:
        work, title, cite: the work that it is about, its title, and its key in the bibliography.
        study: the notebook that judges it; None for an open claim.
        name: its anchor is ``claim-NAME``.
        statement, whose, source, quote, setting: as `book/claims.yaml` has them.
        proxy: what ours has in the place of that setting.
        ours: our setting: network, images, training.
        judge, rule: the name of the rule, and the rule in words.
        compared: what it compares, in words.
        verdict, outcome, published: see `verdicts.Verdict`.
        evidence: the numbers that it rests on, in words.
        effect, quantity: the difference that it rests on, and of what; empty for several unlike ones.
        measure: effects of the same share a scale.
        bound: the margin or limit of the rule.
        flags: why the numbers are weaker evidence than they seem.
        record: the file of the record, below the compendium.
        keys: of the runs.
        shown: the label of the figure or table on the study's page that has the numbers.
    """

    work: str
    title: str
    cite: str
    study: str | None
    name: str
    statement: str
    whose: str
    source: str
    quote: str
    setting: str
    proxy: str
    ours: str
    judge: str
    rule: str
    compared: tuple[str, ...]
    verdict: str
    outcome: str
    published: str | None
    evidence: str
    effect: Effect | None
    quantity: str
    measure: str
    bound: float | None
    flags: tuple[str, ...]
    record: str | None
    keys: tuple[str, ...]
    shown: str

    @property
    def anchor(self) -> str:
        return f"claim-{self.name}"

    @property
    def place(self) -> str:
        """Where the book shows the numbers, from its root: ``notebooks/STUDY.html#LABEL``; empty for none."""
        return f"notebooks/{self.study}.html#{self.shown}" if self.shown else ""

    @property
    def kind(self) -> str:
        """What styles, marks and addresses call the verdict."""
        return OUTCOMES[self.verdict]

    @property
    def amount(self) -> str:
        """The effect in words: ``5.8 points lower [3.0, 8.2]``; empty without one."""
        return "" if self.effect is None else in_words(self.effect, self.judge, self.quantity, self.bound)


def ledger(profile: str = "laptop") -> list[Entry]:
    """Every claim, by work and study, judged by the records of a profile; those of a study together.

    Raises:
        UserError: a claim names a study, record, data set, arm, quantity, reference or figure that does not
            exist.
    """
    claims.check_references()
    placed = claims.every()
    out = []
    for study in dict.fromkeys(p.study for p in placed if p.study):
        of = [p for p in placed if p.study == study]
        record = records.published(study, profile)
        if record is None and any(p.claim.judged for p in of):
            name = next(p.claim.name for p in of if p.claim.judged)
            raise UserError(
                f"claim {name} rests on the record {study}.{profile}, which book/results does not have; "
                f"specfreq run {study} --profile {profile} and specfreq publish {study} make it"
            )
        found, _ = verdicts.family([p.claim for p in of], record)
        out += [_entry(p, verdict, record) for p, verdict in zip(of, found, strict=True)]
    opened = [_entry(p, verdicts.judge(p.claim, None), None) for p in placed if p.study is None]
    order = list(claims.works())
    return sorted([*out, *opened], key=lambda entry: order.index(entry.work))


def _entry(placed: Placed, verdict: Verdict, record: dict[str, Any] | None) -> Entry:
    work, study, claim = placed
    judged = claim.judged
    options = claim.options if judged else {}
    quantity = _quantity(claim) if judged else ""
    return Entry(
        work=work.name,
        title=work.title,
        cite=claim.cite or work.cite,
        study=study,
        name=claim.name,
        statement=claim.statement,
        whose=claim.whose,
        source=claim.source,
        quote=claim.quote,
        setting=claim.setting,
        proxy=claim.proxy or "",
        ours=verdict.ours,
        judge=claim.judge,
        rule=_in_words(claim) if judged else claim.why,
        compared=_named(verdict.rows),
        verdict=verdict.verdict,
        outcome=verdict.outcome,
        published=verdict.published,
        evidence=verdict.evidence,
        effect=verdict.effect,
        quantity=quantity,
        measure=options.get("unit", "").strip() or quantity,
        bound=options.get("limit", options.get("margin")),
        flags=verdict.flags,
        record=f"book/results/{verdict.record}" if verdict.record else None,
        keys=verdict.keys,
        shown=claim.shown,
    )


def _quantity(claim: Claim) -> str:
    """That of the effect; of several that are told in other words, none."""
    found = [claim.quantity] if isinstance(claim.quantity, str) else claim.quantity
    return found[0] if len({rules.words(each) for each in found}) == 1 else ""


def in_words(effect: Effect, judge: str, quantity: str = "", bound: float | None = None) -> str:
    """An effect without the rows behind it: ``5.8 points fewer errors [3.0, 8.2]``, never a negative amount.

    Args:
        judge: the rule, whose effects are differences in the direction of its claims, or of a limit.
        quantity: that it is of.
        bound: that limit.
    """
    if judge == "at_most":
        limit = 0 if bound is None else bound
        largest = rules.beside(effect.mean, limit, digits=2)
        return f"at most {largest}{effect.unit}, limit {limit:g}{effect.unit}"
    of = WORDS.get(judge) or rules.words(quantity)
    return rules.told(effect, Words(of.more, of.less) if judge == "falls" else of)


def _in_words(claim: Claim) -> str:
    """The rule as its docstring has it."""
    text = inspect.getdoc(rules.RULES[claim.judge].judge) or ""
    return " ".join(text.split())


def _named(rows: Iterable[Row]) -> tuple[str, ...]:
    """What a claim compares, in words: ``APR-SP, corruption error``."""
    return tuple(f"{row.get('label') or row['arm']}, {names.quantity(row['quantity'])}" for row in rows)


def tally(entries: Iterable[Entry]) -> dict[str, Counter[str]]:
    """Work -> verdict -> how many claims, works and verdicts in the order of the ledger."""
    counts: dict[str, Counter[str]] = {}
    for entry in entries:
        counts.setdefault(entry.work, Counter())[entry.verdict] += 1
    return counts


def own(entries: Iterable[Entry]) -> tuple[int, int]:
    """How many claims that hold are statements of the works themselves, and how many hold."""
    whose = [entry.whose for entry in entries if entry.verdict == verdicts.YES]
    return whose.count("work"), len(whose)


def as_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """The ledger for machines: the tally, and every entry with all that its row says."""
    rows = []
    for entry in entries:
        row = asdict(entry)
        row["effect"] = None if entry.effect is None else entry.effect._asdict()
        rows.append({**row, "amount": entry.amount, "anchor": entry.anchor, "place": entry.place})
    return {"tally": {work: dict(counts) for work, counts in tally(entries).items()}, "claims": rows}
