"""The built book as readers meet it: every page, light and dark, wide and narrow, with the network off."""

import itertools
import json
import re
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from playwright.sync_api import TimeoutError as TookTooLong
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).parents[2]
PAGES = list(parse_toc_yaml(ROOT / "_toc.yml"))
STUDIES = [page for page in PAGES if page.startswith("notebooks/")]
READERS = list(itertools.product(("light", "dark"), (1280, 390)))

pytestmark = pytest.mark.xdist_group("book")  # one worker, one browser: pages are opened once


@pytest.fixture(params=itertools.product(PAGES, READERS), ids=lambda p: f"{p[0]}-{p[1][0]}-{p[1][1]}")
def seen(request, visit):
    page, reader = request.param
    return visit(page, *reader)


def test_nothing_fails_and_nothing_leaves_this_machine(seen):
    assert seen.troubles == []


def test_the_page_takes_the_theme_of_the_readers_system(seen):
    assert seen.theme == seen.scheme


def test_every_picture_is_shown_and_described(seen):
    assert seen.pictures  # the logo at least
    assert [p for p in seen.pictures if not (p["shown"] and p["alt"].strip())] == []


def test_pictures_keep_their_colours(seen):
    assert {p["filter"] for p in seen.pictures} == {"none"}


def test_formulas_are_drawn(seen):
    assert [f["source"] for f in seen.formulas if not f["drawn"]] == []
    assert seen.formulaErrors == []
    assert re.findall(r"\$|\\[a-zA-Z(\[]+", seen.prose) == []


def test_the_page_does_not_scroll_sideways_and_nothing_is_cut_off(seen):
    assert seen.facts["width"] <= seen.width
    assert seen.cutOff == []


def test_conventions_are_stated_in_formulas(visit):
    assert len(visit("book/conventions").formulas) > 5  # else the test above could pass on none


@pytest.mark.parametrize("page", STUDIES)
def test_every_figure_of_a_study_is_numbered(visit, page):
    captions = visit(page).captions
    assert captions
    assert all(re.match(r"(Fig\.|Table) \d", c) for c in captions)


@pytest.mark.parametrize("page", STUDIES)
def test_the_run_of_a_page_is_folded_away_until_a_reader_unfolds_it(visit, page):
    assert visit(page).demonstrations == 1
    assert visit(page).shownFolded == []


@pytest.mark.parametrize("page", PAGES)
def test_every_table_is_numbered_has_row_headers_and_fits_a_screen_of_1280_pixels(visit, page):
    found = visit(page).tables
    assert [t["name"] for t in found if not t["caption"]] == []
    assert [t["name"] for t in found if t["numbered"] and not re.match(r"Table \d", t["caption"])] == []
    assert [t["name"] for t in found if not t["rowHeaders"]] == []
    assert [t["name"] for t in found if t["cut"]] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_formula_fits_a_screen_of_1280_pixels_beside_its_number(visit, page):
    assert visit(page).wideFormulas == []


@pytest.mark.parametrize("page", PAGES)
def test_links_inside_the_book_lead_somewhere(visit, site, page):
    for link in set(visit(page).links):
        if link.startswith(site):
            target, anchor = urldefrag(link.removeprefix(site))
            if target.endswith(".html"):
                assert not anchor or unquote(anchor) in visit(target.removesuffix(".html")).anchors, link
            assert (ROOT / "_build" / "html" / unquote(target)).is_file(), link


@pytest.mark.parametrize("page", STUDIES)
def test_launch_buttons_open_a_notebook_of_this_repository(visit, page):
    repository = "specfreq/specfreq"
    places = {
        "binder": rf"https://mybinder\.org/v2/gh/{repository}/main\?urlpath=lab/tree/(.+)",
        "colab": rf"https://colab\.research\.google\.com/github/{repository}/blob/main/(.+)",
    }
    for place, pattern in places.items():
        paths = [match[1] for link in visit(page).links if (match := re.fullmatch(pattern, link))]
        assert paths == [f"{page}.ipynb"], place
        assert (ROOT / paths[0]).is_file()


@pytest.mark.parametrize("page", STUDIES)
def test_the_download_button_gives_the_executed_notebook(visit, site, html, page):
    path = f"_sources/{page}.ipynb"
    assert f"{site}{path}" in visit(page).links
    cells = json.loads((html / path).read_text())["cells"]
    assert any(cell.get("outputs") for cell in cells)


def test_the_keyboard_shows_where_it_is(newcomer, site):
    tab, _ = newcomer
    tab.goto(f"{site}{PAGES[0]}.html", wait_until="networkidle")
    unseen = []
    for _ in range(30):
        tab.keyboard.press("Tab")
        try:  # a busy machine draws the mark a moment later
            tab.wait_for_function(
                """() => { const style = getComputedStyle(document.activeElement);
                return style.outlineStyle !== "none" || style.boxShadow !== "none"; }""",
                timeout=2000,
            )
        except TookTooLong:
            unseen.append(tab.evaluate("document.activeElement.outerHTML"))
    assert unseen == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_knows_the_address_of_the_book(html, page):
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["html"]["baseurl"]
    assert f'<link rel="canonical" href="{address}{page}.html" />' in (html / f"{page}.html").read_text()


def test_the_front_door_leads_to_what_was_found(newcomer, site):
    tab, troubles = newcomer
    tab.goto(site)
    tab.wait_for_url(f"{site}{PAGES[0]}.html")
    assert troubles == []


@pytest.mark.parametrize(("word", "found"), [("amplitude", True), ("xylophonist", False)])
def test_search_finds_the_words_of_the_book_and_no_others(newcomer, site, word, found):
    tab, troubles = newcomer
    tab.goto(f"{site}search.html?q={word}")
    tab.wait_for_function(
        "document.querySelector('.search-summary')?.textContent.match(/finished|did not match/)"
    )
    targets = tab.locator("ul.search li a").evaluate_all("links => links.map(link => link.href)")
    assert any(f"/{PAGES[0]}.html" in target for target in targets) == found
    assert troubles == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_show_no_litter_of_the_machine_that_built_them(visit, html, page):
    text = (html / f"{page}.html").read_text()
    places = [str(p) for p in (ROOT, Path.home() / ".cache", sys.prefix, tempfile.gettempdir() + "/")]
    assert [place for place in places if place in text] == []
    assert visit(page).stderr == []
    assert re.findall(r"\d+%\|.*", text) == []  # a progress bar
