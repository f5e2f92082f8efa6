"""What the theme's templates lack: names and roles for those who hear a page, and a picture for links to it."""

import re
from types import SimpleNamespace

import pytest

from specfreq.compendium import theme

PAGE = """\
<div id="pst-primary-sidebar" class="bd-sidebar-primary bd-sidebar"><p class="title">specfreq</p></div>
<button class="btn search-button-field search-button__button" title="Search" aria-label="Search" data-x="1">Search</button>
<button class="btn theme-switch-button" aria-label="Color mode"><i class="theme-switch fa-moon   " data-mode="dark"  title="Dark"></i></button>
<summary aria-label="Toggle hidden content"><p>Show code cell source</p></summary>
<div role="list" class="citation-list"><div class="citation" id="id30" role="doc-biblioentry">A book.</div></div>
<svg role="img"><title>5 points</title></svg><a aria-label="Search" href="#">Find</a>
"""


def test_controls_are_called_what_is_written_on_them_and_roles_are_those_of_html():
    page = theme.mended(PAGE)
    assert '<button class="btn search-button-field search-button__button" title="Search" data-x="1">' in page
    assert '<i class="theme-switch fa-moon   " data-mode="dark"></i>' in page
    assert "<summary><p>Show code" in page
    assert 'role="region" aria-label="Sidebar"' in page
    assert re.findall(r'role="[\w-]*"', page) == ['role="region"', 'role="img"']
    assert PAGE.splitlines()[-1] in page  # what is right stays
    assert theme.mended(page) == page


def test_every_page_of_a_book_is_mended_once_it_is_built_and_none_of_one_that_failed(tmp_path):
    (tmp_path / "book").mkdir()
    page = tmp_path / "book" / "a.html"
    page.write_text(PAGE)
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    theme._mend(app, ValueError("broken"))
    assert page.read_text() == PAGE
    theme._mend(app, None)
    assert page.read_text() == theme.mended(PAGE)


@pytest.mark.parametrize(
    ("page", "address", "picture"),
    [
        ("book/front", "https://example.org/b/", 'content="https://example.org/b/_static/front/hero-'),
        ("book/front", "https://example.org/b", 'content="https://example.org/b/_static/front/hero-'),
        ("book/front", "", ""),  # nobody knows where it will be
        ("book/other", "https://example.org/b/", ""),
    ],
)
def test_links_to_the_landing_page_have_a_picture_where_the_address_is_known(page, address, picture):
    app = SimpleNamespace(config=SimpleNamespace(root_doc="book/front", html_baseurl=address))
    context = {"metatags": "<meta/>"}
    theme._shared(app, page, "page.html", context, None)
    assert context["metatags"].startswith("<meta/>")
    assert ("og:image" in context["metatags"]) == bool(picture) and picture in context["metatags"]
