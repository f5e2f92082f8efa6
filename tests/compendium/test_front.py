"""Pages that are made while the book is staged: nothing typed, nothing forgotten, nothing invented."""

import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from specfreq.compendium import book, claims_page, forest, front, marks, pages, thumbnails
from specfreq.core import places
from specfreq.core.errors import UserError
from specfreq.evidence import claims, ledger
from specfreq.evidence.rules import Effect

ROOT = places.root()
TEMPLATE = (ROOT / "book" / "introduction.md").read_text(encoding="utf-8")
PNG = b"\x89PNG\r\n\x1a\n"


class Rows(HTMLParser):
    """The rows of the ledger's table: what each says of itself, and the text in it."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.inside = dict(attrs).get("id", "").startswith("claim-")
            if self.inside:
                self.rows.append({**dict(attrs), "text": ""})

    def handle_data(self, data):
        if self.inside:
            self.rows[-1]["text"] += data


@pytest.fixture(scope="module")
def entries():
    return ledger.ledger()


@pytest.fixture(scope="module")
def titles():
    return claims_page.study_titles()


@pytest.fixture(scope="module")
def studies(titles):
    return {
        name.removeprefix("notebooks/"): titles[name.removeprefix("notebooks/")]
        for name in book._pages(ROOT)
        if name.startswith("notebooks/")
    }


def landing(entries, studies, template=TEMPLATE):
    return front.filled(template, entries, studies, "introduction.md")


def test_the_page_of_claims_has_a_row_for_each_entry_with_its_words_and_numbers(entries, titles):
    rows = Rows(claims_page.page(entries, titles)).rows
    assert [row["id"] for row in rows] == [entry.anchor for entry in entries]
    for row, entry in zip(rows, entries, strict=True):
        assert (row["data-work"], row["data-outcome"], row["data-whose"]) == (
            entry.work,
            entry.kind,
            entry.whose,
        )
        for said in (
            entry.statement,
            entry.source,
            entry.quote,
            entry.setting,
            entry.verdict,
            entry.evidence,
        ):
            assert said in row["text"]
        assert all(flag in row["text"] for flag in entry.flags)


def test_every_judged_claim_leads_to_the_figure_or_table_with_its_numbers(entries, titles):
    page = claims_page.page(entries, titles)
    for entry in entries:
        row = page.partition(f'id="{entry.anchor}"')[2].partition("</tr>")[0]
        link = f'<a href="../notebooks/{entry.study}.html#{entry.shown}">'
        assert (link in row) == bool(entry.evidence and entry.compared), entry.name


def test_every_slot_of_the_landing_page_is_filled(entries, studies):
    page = landing(entries, studies)
    assert "{{" not in page
    assert f"All {len(entries)} claims" in page
    for work in ledger.tally(entries):
        assert f"claims.html#work-{work}" in page


def test_of_the_claims_that_hold_the_works_own_are_counted(entries, studies, titles):
    holding = [entry for entry in entries if entry.verdict == "holds"]
    own = [entry for entry in holding if entry.whose == "work"]
    assert 0 < len(own) < len(holding)
    page = landing(entries, studies)
    assert f"{len(own)} of the {len(holding)} that hold are the works' own" in page
    assert f"Of the {len(holding)} that hold, {len(own)} are" in claims_page.page(entries, titles)
    theory = [replace(entry, whose="theory") for entry in entries]
    assert "0 of the" in landing(theory, studies)


def test_works_that_are_not_judged_are_named_on_the_landing_page(entries, studies):
    page = landing(entries, studies)
    heard = {e.work for e in entries if e.kind not in marks.NOT_JUDGED}
    waiting = {e.title for e in entries if e.work not in heard}
    assert all(title in page for title in waiting)
    assert ("none is judged yet" in page) == bool(waiting)
    judged = next(e for e in entries if e.work in heard)
    everywhere = [*entries, *(replace(judged, work=name) for name in claims.works())]
    assert "none is judged yet" not in landing(everywhere, studies)


@pytest.mark.parametrize(
    ("slot", "problem"),
    [
        ("{{pritned}}", r"unknown slot 'pritned' for introduction\.md; did you mean 'printed'"),
        (
            "{{badge high-pass-tells}}",
            r"unknown claim 'high-pass-tells'.*did you mean 'high-pass-tells-nothing'",
        ),
        ("{{study band-limited}}", r"unknown study 'band-limited'.*did you mean 'band-limited-training'"),
        ("{{bagde high-pass-tells-nothing}}", r"unknown slot 'bagde'.*did you mean 'badge'"),
    ],
)
def test_a_slot_that_nothing_fills_is_an_error(entries, studies, slot, problem):
    with pytest.raises(UserError, match=problem):
        landing(entries, studies, TEMPLATE + slot)


@pytest.mark.parametrize("slot", ["{{tally}}", "{{high-pass}}", "{{study engine}}"])
def test_what_the_landing_page_does_not_show_is_an_error(entries, studies, slot):
    name = slot.strip("{}")
    with pytest.raises(UserError, match=rf"introduction\.md does not show {name}"):
        landing(entries, studies, TEMPLATE.replace(slot, ""))


def test_a_number_of_a_record_changes_the_landing_page(tmp_path, monkeypatch, entries, studies):
    before = landing(entries, studies)
    shutil.copytree(ROOT / "book", tmp_path / "book")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    path = tmp_path / "book" / "results" / "band-limited-training.laptop.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    arms = [row for row in record["arms"] if row["data"] == "cifar10" and row["series"] == "corrected"]
    for row in arms:
        if "high-pass" in row.get("spec", row.get("filter", "")):
            row["values"] = [10.0 + 0.01 * k for k in range(len(row["values"]))]
            row["mean"], row["low"], row["high"] = 10.01, 9.98, 10.04
            row.pop("products", None)
    path.write_text(json.dumps(record))
    changed = ledger.ledger()
    name = "high-pass-tells-nothing"
    old, new = (next(e for e in found if e.name == name) for found in (entries, changed))
    assert (old.verdict, new.verdict) == ("held only by the defect", "holds")
    after = landing(changed, studies)
    number = "10.010\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.030"
    assert number in after and number not in before
    counts = [ledger.tally(found)["frequency-response"] for found in (entries, changed)]
    for page, count in zip((before, after), counts, strict=True):
        assert marks.counted(count, "claims.html#work-frequency-response") in page


def test_pictures_are_drawn_for_studies_and_the_published_input_is_black(studies):
    drawn = thumbnails.pictures(list(studies))
    assert all(content.startswith(PNG) for content in drawn.values())
    pictured = {f"{thumbnails.PICTURES}/{name}.png" for name in studies if name in thumbnails.ALT}
    assert pictured and pictured < drawn.keys()
    black = Image.open(io.BytesIO(drawn[f"{thumbnails.PICTURES}/hero-published.png"]))
    assert black.getextrema() == ((0, 0), (0, 0), (0, 0))
    again = thumbnails.pictures(["band-limited-training"])
    assert again.items() <= drawn.items()  # the same bytes each time


def test_a_study_without_a_thumbnail_has_a_card_all_the_same(entries, studies):
    page = landing(entries, studies | {"kernels": "Kernels"}, TEMPLATE + "{{study kernels}}")
    head = page[page.index(":link: ../notebooks/kernels") :]
    assert "**Kernels**" in head and ":img-top:" not in head
    assert thumbnails.pictures(["kernels"]) == thumbnails.pictures([])
    assert thumbnails.ALT.keys() == thumbnails._THUMBNAILS.keys()


def test_a_book_without_the_page_of_claims_is_staged_as_it_is():
    assert pages.made(["book/introduction"], {}) == pages.Made({}, {})


def one(entries, **changes):
    judged = next(e for e in entries if e.effect is not None and e.effect.low is not None)
    return replace(judged, **changes)


def places_of(svg, kind):
    return [float(x) for x in re.findall(rf'class="{kind}"[^>]*? x1="([\d.]+)" x2="([\d.]+)"', svg)[0]]


def test_a_forest_plot_has_its_numbers_in_words_and_its_interval_to_scale(entries):
    entry = one(entries, effect=Effect(5.0, 2.5, 7.5, " %"), bound=None, verdict="holds")
    svg = forest.forest(entry, scale=10)
    assert f"<title>{entry.amount}; axis from −10 to 10</title>" in svg
    (low, high), (zero, _) = places_of(svg, "interval"), places_of(svg, "zero")
    assert high - zero == pytest.approx(3 * (low - zero), abs=0.3)
    assert "beyond" not in svg and "<circle" in svg


@pytest.mark.parametrize(("low", "high", "ends"), [(-50, 7, 1), (2, 70, 1), (-50, 70, 2), (-5, 7, 0)])
def test_what_is_clipped_is_marked(entries, low, high, ends):
    svg = forest.forest(one(entries, effect=Effect(5.0, low, high, " %"), bound=None), scale=10)
    assert svg.count("beyond") == ends
    assert all(forest.EDGE <= x <= forest.WIDTH - forest.EDGE for x in places_of(svg, "interval"))


def test_outcomes_are_told_apart_without_colour(entries):
    verdicts = ("holds", "fails", "undecided")
    drawn = {v: forest.forest(one(entries, verdict=v), scale=100).replace(f"is-{v}", "") for v in verdicts}
    assert len(set(drawn.values())) == 3
    assert len({ledger.ICONS[kind] + ledger.SHORT[kind][0] for kind in ledger.ICONS}) == len(ledger.ICONS)


def test_axes_are_round_and_hold_four_of_five_effects(entries):
    axes = forest.scales(entries)
    for unit, end in axes.items():
        sizes = [
            abs(e.effect.mean) for e in entries if e.measure == unit and e.effect and e.effect.low is not None
        ]
        assert sum(size <= end for size in sizes) >= 0.8 * len(sizes) - 1
        assert end in forest.NICE
