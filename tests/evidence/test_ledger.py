"""The ledger: every claim has a row, its numbers are the records', and a name that does not exist is an error."""

import json
import re
import shutil

import pytest
import yaml

from specfreq import data, models
from specfreq.core import places
from specfreq.core.errors import UserError
from specfreq.evidence import claims, ledger, verdicts
from specfreq.evidence.rules import Effect


@pytest.fixture
def compendium(tmp_path, monkeypatch):
    """A copy of what the ledger is made of, in place of this compendium."""
    root = places.root()
    shutil.copytree(root / "book" / "results", tmp_path / "book" / "results")
    for name in ("claims.yaml", "references.bib"):
        shutil.copyfile(root / "book" / name, tmp_path / "book" / name)
    shutil.copytree(root / "notebooks", tmp_path / "notebooks")
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    return tmp_path


def change(path, edit):
    """Rewrite a JSON or YAML file after an edit."""
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    edit(content)
    path.write_text(
        json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content, sort_keys=False)
    )


def test_every_claim_has_one_row_and_the_tally_counts_each_once():
    entries = ledger.ledger()
    assert {e.name for e in entries} == {p.claim.name for p in claims.every()}
    assert len({e.anchor for e in entries}) == len(entries)
    counts = ledger.tally(entries)
    assert list(counts) == list(claims.works())
    assert sum(found.total() for found in counts.values()) == len(entries)


def test_works_without_a_study_are_open_and_no_judged_claim_lacks_its_numbers():
    for entry in ledger.ledger():
        if entry.study is None:
            assert (entry.verdict, entry.record, entry.keys) == (verdicts.OPEN, None, ())
        elif entry.verdict not in (verdicts.UNTESTABLE, verdicts.OPEN):
            assert entry.record and entry.evidence and entry.compared and entry.effect
            assert (places.root() / entry.record).is_file()


def test_one_number_of_a_record_changes_the_verdict_and_the_tally(compendium):
    before = {e.name: e for e in ledger.ledger()}
    assert before["disc-is-one-peak"].verdict == verdicts.NOT

    def shrink(record):
        for row in record["arms"]:
            if (row["arm"], row["quantity"]) == ("disc", "outside the peak"):
                row["values"] = [min(value, 9) for value in row["values"]]

    change(compendium / "book" / "results" / "spectral-tv.laptop.json", shrink)
    after = {e.name: e for e in ledger.ledger()}
    assert after["disc-is-one-peak"].verdict == verdicts.YES
    assert [name for name in after if after[name].verdict != before[name].verdict] == ["disc-is-one-peak"]
    old, new = (ledger.tally(entries.values())["spectral-tv"] for entries in (before, after))
    assert new[verdicts.YES] == old[verdicts.YES] + 1
    assert new[verdicts.NOT] == old[verdicts.NOT] - 1


def arm(content, study, name):
    content["studies"][study]["claims"][0]["arms"] = [name]


def test_a_claim_that_names_an_unknown_arm_is_an_error_that_names_it(compendium):
    change(compendium / "book" / "claims.yaml", lambda c: arm(c, "spectral-tv", "disk"))
    with pytest.raises(
        UserError, match=r"unknown arm 'disk' for claim disc-peaks-on-time; did you mean 'disc'"
    ):
        ledger.ledger()


def test_a_claim_of_an_unknown_study_is_an_error(compendium):
    change(compendium / "book" / "claims.yaml", lambda c: c["works"]["apr"]["studies"].append("fourier-maps"))
    with pytest.raises(UserError, match=r"unknown study 'fourier-maps'.*did you mean 'fourier-heatmaps'"):
        ledger.ledger()


def test_a_record_that_does_not_exist_is_an_error_and_no_verdict(compendium):
    (compendium / "book" / "results" / "fourier-heatmaps.laptop.json").unlink()
    with pytest.raises(UserError, match=r"fourier-heatmaps\.laptop, which book/results does not have"):
        ledger.ledger()


def test_the_twin_for_machines_says_what_the_entries_say():
    entries = ledger.ledger()
    twin = json.loads(json.dumps(ledger.as_json(entries)))
    assert [row["name"] for row in twin["claims"]] == [e.name for e in entries]
    for row, entry in zip(twin["claims"], entries, strict=True):
        assert row["verdict"] == entry.verdict and row["amount"] == entry.amount
        if entry.effect is not None:
            assert [row["effect"][k] for k in ("mean", "low", "high", "unit")] == list(entry.effect)
    assert twin["tally"] == {work: dict(counts) for work, counts in ledger.tally(entries).items()}


def test_no_code_name_no_hyphen_for_a_minus_and_no_negative_zero_is_in_a_row():
    known = [*data.names(), *models.names()]
    coded = [name for name in known if data.label(name) != name or name in models.names()]
    assert {"cifar10", "fashion-mnist", "resnet8", "airbench"} <= set(coded)
    unsaid = re.compile(rf"\b({'|'.join(coded)})\b(?![-/])|(?<![\w^])-\d|[-−]0(?![.\d])")
    for entry in ledger.ledger():
        words = [entry.ours, entry.evidence, entry.amount, *entry.compared, *entry.flags]
        assert [text for text in words if unsaid.search(text)] == [], entry.name


@pytest.mark.parametrize(
    ("effect", "judge", "quantity", "words"),
    [
        (Effect(5.75, 3.0, 8.5, " %"), "falls", "corruption error", "5.8 points fewer errors [3.0, 8.5]"),
        (Effect(-5.75, -8.5, -3.0, " %"), "falls", "corruption error", "5.8 points more errors [3.0, 8.5]"),
        (Effect(-1.0, -9.0, 7.0, " dB"), "rises", "PSNR", "1.0 dB lower PSNR [−7.0, 9.0]"),
        (
            Effect(41.2, 37.6, 44.8, " iterations"),
            "falls",
            "iterations",
            "41.2 fewer iterations [37.6, 44.8]",
        ),
        (Effect(1.0, None, None, " %"), "rises", "", "1.00 points higher (one seed)"),
        (Effect(55.8, 54.0, 57.7, " %"), "at_chance", "accuracy", "55.8 points above guessing [54.0, 57.7]"),
        (Effect(11.5, -0.3, 23.3, " %"), "rises", "accuracy", "11.5 points higher accuracy [−0.3, 23.3]"),
        (Effect(-0.04, -9.0, 9.0, " %"), "rises", "accuracy", "0.0 points lower accuracy [−9.0, 9.0]"),
        (Effect(0.0, 0.0, 0.0, " %"), "at_chance", "accuracy", "0 points above guessing [0, 0]"),
        (Effect(0.0, None, None, " %"), "at_most", "difference", "at most 0 %, limit 0.001 %"),
        (Effect(0.0000121, None, None, " %"), "at_most", "difference", "at most 0.000012 %, limit 0.001 %"),
    ],
)
def test_effects_in_words_are_never_negative_amounts(effect, judge, quantity, words):
    assert ledger.in_words(effect, judge, quantity, bound=0.001) == words
