"""Works, their studies and their claims: what `book/claims.yaml` may say, and each way of saying it wrongly."""

import copy
import json
import re

import pytest
import yaml

from specfreq.core import places
from specfreq.core.errors import UserError
from specfreq.evidence import claims, records, tables, verdicts

CLAIM = {
    "name": "it-falls",
    "statement": "It falls.",
    "whose": "work",
    "source": "abstract",
    "setting": "a large network",
    "proxy": "a small one",
    "data": "digits",
    "judge": "falls",
    "arms": ["none", "apr-s"],
    "shown": "tbl-s-arms",
}
OPEN = {"name": "it-rises", "statement": "It rises.", "whose": "ours", "source": "our question"}
CELLS = [
    ("code", 'tables.arms_table(found, caption="Arms.", name="tbl-s-arms")', {}),
    ("code", "figures.curves(found)", {"mystnb": {"figure": {"name": "fig-s-curves"}}}),
    ("markdown", "## Demonstration, not evidence\n\n{numref}`tbl-s-arms` is of the record.", {}),
    ("code", 'tables.arms_table(arms, name="tbl-s-small")', {}),
]
FILE = {
    "works": {"w": {"title": "A work", "cite": "chen2021apr", "studies": ["s"], "open": [OPEN]}},
    "studies": {"s": {"claims": [CLAIM]}},
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a claims file into a compendium with one notebook, s, after a change."""
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    (tmp_path / "notebooks").mkdir()
    cells = [{"cell_type": kind, "source": [text], "metadata": about} for kind, text, about in CELLS]
    (tmp_path / "notebooks" / "s.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "references.bib").write_text("@misc{chen2021apr,\n}\n@book{other,\n}\n")

    def written(change=lambda content: None):
        content = copy.deepcopy(FILE)
        change(content)
        (tmp_path / "book" / "claims.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    return written


def test_every_claim_has_its_work_and_study_and_those_without_a_study_are_open(write):
    write()
    assert [(p.work.name, p.study, p.claim.name) for p in claims.every()] == [
        ("w", "s", "it-falls"),
        ("w", None, "it-rises"),
    ]
    judged, opened = (verdicts.judge(p.claim, None).verdict for p in claims.every())
    assert (judged, opened) == (verdicts.NO_RECORD, verdicts.OPEN)
    assert claims.every()[0].claim.anchor == "claim-it-falls"


def set_claim(**fields):
    return lambda content: content["studies"]["s"]["claims"][0].update(fields)


def without(field):
    return lambda content: content["studies"]["s"]["claims"][0].pop(field)


def set_work(**fields):
    return lambda content: content["works"]["w"].update(fields)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (set_claim(name="it-rises"), "two claims have the name 'it-rises'"),
        (set_claim(shown="table 3"), "should match pattern"),
        (set_claim(name="It falls"), "should match pattern"),
        (set_claim(statement=" "), "statement"),
        (set_claim(whose="theirs"), "'work', 'theory' or 'ours'"),
        (without("source"), "source"),
        (without("setting"), "it-falls: setting is missing"),
        (without("proxy"), "it-falls: proxy is missing: what ours has in the place of 'a large network'"),
        (set_claim(passes="any"), "it-falls: `passes: any` and `unequal`, which says why, go together"),
        (set_claim(unequal="views"), "go together"),
        (set_work(studies=[]), "study 's' is of no work; name it among the studies of one .w."),
        (set_work(studies=["s", "t"]), "unknown study 't' for work w .*known: s .no such notebook."),
        (set_work(studies=["s", "s"]), "study 's' is of two works"),
        (set_work(open=[{**OPEN, "whose": "work"}]), "it-rises: setting is missing"),
        (set_work(open=[{**OPEN, "margin": 1}]), "open has no options, but margin"),
        (set_work(left_out=[{"what": "a table"}]), "why"),
    ],
)
def test_each_wrong_way_is_refused_by_name(write, change, complaint):
    write(change)
    with pytest.raises(UserError, match=complaint):
        claims.every()


def test_a_citation_that_is_no_reference_is_refused_with_the_nearest(write):
    write(set_work(cite="chen2021arp"))
    with pytest.raises(UserError, match="unknown reference 'chen2021arp' for work w; did you mean 'chen2021"):
        claims.check_references()
    write(set_claim(cite="othr"))
    with pytest.raises(UserError, match="'othr' for claim it-falls; did you mean 'other'"):
        claims.check_references()


@pytest.mark.parametrize(
    ("label", "complaint"),
    [
        ("tbl-s-amrs", "unknown figure or table 'tbl-s-amrs' for claim it-falls; did you mean 'tbl-s-arms'"),
        (
            "tbl-s-small",
            "unknown figure or table 'tbl-s-small'.*results of the study s",
        ),  # of a demonstration
        ("", "claim it-falls: shown is missing.*results of the study s: tbl-s-arms, fig-s-curves"),
    ],
)
def test_the_numbers_of_a_claim_are_among_the_results_of_its_studys_page(write, label, complaint):
    for shown in ("tbl-s-arms", "fig-s-curves"):
        write(set_claim(shown=shown))
        claims.check_references()
    write(set_claim(shown=label))
    with pytest.raises(UserError, match=complaint):
        claims.check_references()


def test_an_identity_is_the_same_in_any_setting(write):
    """What differs in nothing says so, by an empty text."""
    write(set_claim(proxy=""))
    assert claims.every()[0].claim.proxy == ""


# -- the book's own


def test_the_books_works_are_five_and_cite_references():
    claims.check_references()
    assert list(claims.works()) == ["apr", "fsda", "frequency-bias", "spectral-tv", "frequency-response"]
    found = {work: [p for p in claims.every() if p.work.name == work] for work in claims.works()}
    assert all(found.values())
    assert {p.study for p in found["fsda"]} <= {None, "frequency-scaling", "chest-xray"}


def test_statements_of_the_book_read_alone():
    """No fragment that needs the one before: whole sentences that begin with no conjunction or pronoun."""
    for _, _, claim in claims.every():
        assert claim.statement.endswith(".") and len(claim.statement.split()) >= 5, claim.name
        assert not re.match(r"(So|And|Or|But|Among these|They|It|He|Under)\b", claim.statement), claim.name


def test_limits_and_margins_are_said_to_be_ours():
    for _, _, claim in claims.every():
        said = f"{claim.statement} {claim.proxy} {claim.source}"
        if claim.whose != "ours" and claim.judge in ("at_most", "alike", "at_chance"):
            assert re.search(r"\bours?\b", said), claim.name


@pytest.mark.parametrize("study", ["amplitude-phase-recombination"])
@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"arms": ["none", "apr-ps"]}, "unknown arm 'apr-ps' for claim apr-p-corruption; did you mean 'apr-"),
        (
            {"data": "cifar-10"},
            "unknown data set 'cifar-10' for claim apr-p-corruption; did you mean 'cifar1",
        ),
        ({"quantity": "corruption eror"}, "'corruption eror' for arm none of .* mean 'corruption error'"),
        ({"rows": "armes"}, "unknown rows 'armes' for claim apr-p-corruption; did you mean 'arms'"),
        ({"family": "score"}, "unknown rows 'score' for claim apr-p-corruption; did you mean 'scores'"),
    ],
)
def test_what_a_record_does_not_have_is_an_error_and_never_no_record_yet(study, fields, complaint):
    record = records.published(study)
    (claim,) = [c for c in claims.load(study).claims if c.name == "apr-p-corruption"]
    assert verdicts.judge(claim, record).verdict != verdicts.NO_RECORD
    with pytest.raises(UserError, match=f"{complaint}.*no such in the record {study}.laptop"):
        verdicts.judge(claim.model_copy(update=fields), record)
    assert verdicts.judge(claim.model_copy(update=fields), None).verdict == verdicts.NO_RECORD


def test_a_page_names_what_is_left_out_with_the_reason():
    table = tables.left_out("amplitude-phase-recombination").markdown()
    for part in claims.load("amplitude-phase-recombination").left_out:
        assert part.what in table and part.why in table
