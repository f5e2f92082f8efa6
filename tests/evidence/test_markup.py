"""Tables of pages: what is in a cell is what a reader sees, as MyST and as HTML."""

import re
from html.parser import HTMLParser

import pytest
from docutils import nodes
from myst_parser.config.main import MdParserConfig
from myst_parser.mdit_to_docutils.base import DocutilsRenderer
from myst_parser.parsers.mdit import create_md_parser

from specfreq.evidence import names, tables
from specfreq.evidence.markup import Markdown, Table

ODD = [
    "a*b*",
    "_x_ [y](z)",
    "`code` <b>",
    "1. first",
    "- item",
    "+ item",
    "# head",
    "50 % | 3",
    "$x$ {y}",
    "1) p",
]
ODD += ["a \\ b", "10.5 ± 0.5", "~~gone~~", "&amp;", "https://x.y", "![p](q)", ":::", "a\nb", "=", "> quoted"]


def parsed(text):
    """The document that MyST makes of a text, as the book's parser does."""
    config = MdParserConfig(enable_extensions={"dollarmath", "colon_fence", "attrs_inline", "smartquotes"})
    return create_md_parser(config, DocutilsRenderer).render(text)


def cells(document):
    rows = [[e.astext() for e in row.findall(nodes.entry)] for row in document.findall(nodes.row)]
    return [[re.sub(r"\s+", " ", cell.replace("\u2007", "")).strip() for cell in row] for row in rows]


@pytest.mark.parametrize("text", ODD)
def test_the_book_prints_every_text_as_it_is(text):
    table = Table([{"one": text, "two": "x"}], "A caption.", "tbl-odd")
    assert cells(parsed(table.markdown())) == [["one", "two"], [text.replace("\n", " "), "x"]]


def test_a_table_of_the_book_has_caption_name_and_headers_of_rows():
    document = parsed(
        Table([{"arm": "Plain", "error": 3.14159}], "Errors of *all* arms.", "tbl-errors").markdown()
    )
    (table,) = document.findall(nodes.table)
    assert next(iter(table.findall(nodes.title))).astext() == "Errors of all arms."
    assert "tbl-errors" in table["names"] and "results" in table["classes"]
    assert [c.attributes.get("stub") for c in table.findall(nodes.colspec)] == [1, None]
    assert cells(document) == [["arm", "error"], ["Plain", "3.14"]]


def test_markdown_in_a_cell_is_read_as_such():
    document = parsed(Table([{"a": Markdown("`code`"), "b": "`no`"}]).markdown())
    assert [c.astext() for c in document.findall(nodes.literal)] == ["code"]


def test_decimal_points_of_a_column_are_below_each_other():
    values = ["9.5 ± 0.1", "10.0", "-3.25", "+100 [1, 2]", "–", "none"]
    column = [line[0] for line in Table([{"v": v} for v in values]).cells()]
    assert [c.strip("\u2007") for c in column] == [v.replace("-3", "\u22123") for v in values]
    points = {re.match(r"\D*\d+", c).end() for c in column[:4]}
    assert points == {4}
    assert column[4:] == ["–", "none"]


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.scopes = [], []

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th"):
            self.found.append("")
            self.scopes.append(dict(attrs).get("scope"))

    def handle_data(self, data):
        if self.found:
            self.found[-1] += data


@pytest.mark.parametrize("text", ODD)
def test_a_notebook_prints_every_text_as_it_is(text):
    parser = _Cells()
    parser.feed(Table([{"one": text, "two": 1.0}]).to_html())
    assert [c.lstrip("\u2007") for c in parser.found] == ["one", "two", text.replace("\n", " "), "1.00"]
    assert parser.scopes == ["col", "col", "row", None]


def test_a_table_without_rows_says_so_and_can_be_referred_to():
    document = parsed(tables.page_table([], "Later.", "tbl-later").markdown())
    assert cells(document) == [["–"], ["nothing to show yet"]]
    assert "tbl-later" in next(iter(document.findall(nodes.table)))["names"]


@pytest.mark.parametrize(
    ("arm", "label"),
    [
        ("none", "Plain"),
        ("none, epochs=8", "Plain, 8 epochs"),
        ("apr-s:overflow=wrap", "APR-S, bytes wrapped"),
        ("apr-s:channels=True,overflow=wrap", "APR-S as published"),
        ("apr-s+augmix", "APR-S + AugMix"),
        ("low-pass σ = 2 px", "low-pass σ = 2 px"),
        ("bands, latents apart", "bands, latents apart"),
        ("apr-s:of_another_version=1", "apr-s:of_another_version=1"),
    ],
)
def test_arms_have_human_names(arm, label):
    assert names.label(arm) == label
