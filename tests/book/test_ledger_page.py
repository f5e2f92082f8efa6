"""The claims and the landing page as readers meet them: whole without scripts, filtered with them, on any screen."""

import json

import pytest

from specfreq.compendium import marks
from specfreq.evidence import ledger

CLAIMS, LANDING = "book/claims", "book/introduction"
SCREENS = [(1280, 900), (390, 844)]

pytestmark = pytest.mark.xdist_group("book")

SHOWN = "rows => rows.filter(row => row.getClientRects().length).map(row => row.id)"
CUT = """() => [...document.querySelectorAll("#ledger *, #tally *, .hero *, .findings *, .onward *")]
  .filter(e => e.getClientRects().length && !e.closest("svg") && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.outerHTML.slice(0, 100))"""


@pytest.fixture(scope="module")
def entries():
    return ledger.ledger()


@pytest.fixture
def claims(newcomer, site):
    """The page of claims in a tab, and what goes wrong in it."""
    tab, troubles = newcomer
    tab.goto(f"{site}{CLAIMS}.html")
    yield tab
    assert troubles == []


def shown(tab):
    return tab.locator("#ledger tbody tr").evaluate_all(SHOWN)


def test_without_scripts_every_claim_is_there_and_no_dead_control(browser, site, entries):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{site}{CLAIMS}.html")
    assert tab.locator("#ledger tbody tr:visible").count() == len(entries)
    assert tab.locator("form.filters, #tally button").count() == 0
    context.close()


def test_the_page_and_its_twin_for_machines_are_equal(claims, site, html, entries):
    twin = json.loads((html / "book" / "claims.json").read_text(encoding="utf-8"))
    assert [row["anchor"] for row in twin["claims"]] == shown(claims)
    words = claims.locator("#ledger tbody tr td .outcome").all_text_contents()
    assert [word.partition(" ")[2].strip() for word in words] == [row["verdict"] for row in twin["claims"]]
    amounts = {row["anchor"]: row["amount"] for row in twin["claims"] if row["amount"]}
    assert claims.locator("#ledger .amount").all_text_contents() == list(amounts.values())
    for name in (
        "claims.json",
        "claims.yaml",
        *{row["record"].removeprefix("book/") for row in twin["claims"] if row["record"]},
    ):
        assert claims.locator(f'a[href="{name}"]').count()
        assert (html / "book" / name).is_file()


@pytest.mark.parametrize("field", ["work", "outcome", "whose"])
def test_a_filter_shows_those_claims_and_no_others(claims, entries, field):
    values = {"work": lambda e: e.work, "outcome": lambda e: e.kind, "whose": lambda e: e.whose}
    for value in dict.fromkeys(map(values[field], entries)):
        claims.select_option(f"select[name={field}]", value)
        assert shown(claims) == [e.anchor for e in entries if values[field](e) == value]
        assert (
            claims.locator("form.filters output").text_content()
            == f"{len(shown(claims))} of {len(entries)} claims"
        )
    claims.click("form.filters button[type=reset]")
    claims.wait_for_function(
        f"document.querySelector('form.filters output').value.startsWith('{len(entries)} of')"
    )
    assert len(shown(claims)) == len(entries)


def test_sorting_keeps_every_claim(claims, entries):
    claims.select_option("select[name=sort]", "size")
    sizes = [
        abs(e.effect.mean) if e.effect else -1
        for e in sorted(entries, key=lambda e: -abs(e.effect.mean) if e.effect else 1)
    ]
    found = {e.anchor: abs(e.effect.mean) if e.effect else -1 for e in entries}
    assert [found[anchor] for anchor in shown(claims)] == pytest.approx(sizes, rel=1e-5)
    claims.select_option("select[name=sort]", "order")
    assert shown(claims) == [e.anchor for e in entries]


def test_a_number_of_the_tally_shows_as_many_claims(claims, entries):
    for work, counts in ledger.tally(entries).items():
        for verdict, number in counts.items():
            kind = ledger.OUTCOMES[verdict]
            claims.click(f'#tally td[data-work="{work}"][data-outcome="{kind}"] button')
            assert len(shown(claims)) == number


def test_a_link_to_a_claim_shows_it_whatever_is_filtered(claims, entries):
    hidden = next(e for e in entries if e.work != entries[0].work)
    claims.select_option("select[name=work]", entries[0].work)
    assert hidden.anchor not in shown(claims)
    claims.evaluate(f"location.hash = '{hidden.anchor}'")
    claims.wait_for_function(f"document.getElementById('{hidden.anchor}').getClientRects().length")


def test_cells_have_their_headers_and_plots_their_words(claims, entries):
    facts = claims.locator("#ledger").evaluate(
        """table => ({
          caption: table.caption?.textContent.length > 20,
          heads: [...table.tHead.querySelectorAll("th")].every(e => e.scope === "col"),
          rows: [...table.tBodies[0].rows].every(row => row.cells[0].scope === "row"),
          plots: [...table.querySelectorAll("svg.forest")].every(e => e.role === "img" && e.querySelector("title").textContent),
        })"""
    )
    assert facts == {"caption": True, "heads": True, "rows": True, "plots": True}
    assert claims.locator("#ledger svg.forest").count() == sum(bool(e.amount) for e in entries)


@pytest.mark.parametrize("page", [CLAIMS, LANDING, "book/originals"])
@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_nothing_is_cut_with_all_details_open(newcomer, site, page, screen):
    tab, _ = newcomer
    tab.set_viewport_size(dict(zip(("width", "height"), screen, strict=True)))
    tab.goto(f"{site}{page}.html")
    tab.evaluate("document.querySelectorAll('article details').forEach(e => (e.open = true))")
    assert tab.evaluate("document.documentElement.scrollWidth") <= screen[0]
    assert tab.evaluate(CUT) == []
    boxes = (
        "boxes => boxes.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60))"
    )
    assert (
        tab.locator("article table, article .wide, .pst-scrollable-table-container").evaluate_all(boxes) == []
    )


def test_on_a_phone_a_claim_is_a_card(newcomer, site):
    tab, _ = newcomer
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(f"{site}{CLAIMS}.html")
    cells = (
        tab.locator("#ledger tbody tr")
        .first.locator("th, td")
        .evaluate_all(
            "cells => cells.map(e => [e.getBoundingClientRect().left, e.getBoundingClientRect().top])"
        )
    )
    assert len({left for left, _ in cells}) == 1
    assert [top for _, top in cells] == sorted({top for _, top in cells})


@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_the_first_screen_says_what_this_is_what_was_found_and_where_to_go(newcomer, site, screen):
    tab, troubles = newcomer
    tab.set_viewport_size(dict(zip(("width", "height"), screen, strict=True)))
    tab.goto(f"{site}{LANDING}.html", wait_until="networkidle")
    wanted = ["article h1", "article h1 + p", ".hero", ".findings li:last-child", ".ways a:last-child"]
    for selector in wanted:
        box = tab.locator(selector).first.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= screen[1], selector
    assert troubles == []


def test_the_landing_page_names_itself_once_and_describes_itself(newcomer, site, entries):
    tab, _ = newcomer
    tab.goto(f"{site}{LANDING}.html")
    assert tab.title().count("Frequency, phase and texture in image classifiers") == 1
    for name in (
        "name=description",
        'property="og:title"',
        'property="og:image"',
        'property="og:description"',
    ):
        assert tab.locator(f"meta[{name}]").first.get_attribute("content")
    judged = sum(entry.kind not in marks.NOT_JUDGED for entry in entries)
    assert f"{judged} claims" in tab.locator('meta[property="og:description"]').first.get_attribute("content")
