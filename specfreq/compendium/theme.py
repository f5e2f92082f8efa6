"""A Sphinx extension: the parts of the pages that the theme does not have, such as folded demonstrations."""

import re
from pathlib import Path
from typing import Any

from specfreq.core import storage

DEMONSTRATION = "demonstration-not-evidence"  # the id of the section that is folded, from its heading
OPEN = '<details class="demonstration"><summary>Show the run of this page</summary>'

PICTURE = "_static/front/hero-corrected.png"  # what a link to the landing page shows elsewhere
# what the theme says to those who hear a page otherwise than to those who see it
MENDED = {
    # the names of buttons, in the place of the text on them
    r'(<button class="btn search-button-field [^>]*?) aria-label="Search"': r"\1",
    r'(<i class="theme-switch [^>]*?) +title="[\w ]*"': r"\1",
    r'<summary aria-label="Toggle hidden content">': "<summary>",
    # roles that HTML no longer has, or has for other elements
    r'<div role="list" class="citation-list">': '<div class="citation-list">',
    r' role="doc-biblioentry"': "",
    # the name and mark of the book, outside of all landmarks
    r'(<div id="pst-primary-sidebar") class': r'\1 role="region" aria-label="Sidebar" class',
}


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", _fold)
    app.connect("html-page-context", _scoped)
    app.connect("html-page-context", _shared)
    app.connect("build-finished", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _fold(app: Any, doctree: Any, page: str) -> None:
    """Put what stands below the heading of a demonstration between the ends of a details element."""
    from docutils import nodes

    if app.builder.format != "html":
        return
    for section in doctree.findall(nodes.section):
        if DEMONSTRATION in section["ids"]:
            section.insert(1, nodes.raw("", OPEN, format="html"))
            section.append(nodes.raw("", "</details>", format="html"))


def _scoped(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Say of each header whether it is of a column or of a row, for those who hear the table: the writer
    of HTML does not.
    """
    body = context.get("body", "")
    head, *tables = re.split(r"(?=<thead>)", body)
    context["body"] = head + "".join(map(_scopes, tables))


def _shared(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the landing page a picture for links to it, where the address of the book is known."""
    if page == app.config.root_doc and (address := app.config.html_baseurl):
        picture = f'<meta content="{address.rstrip("/")}/{PICTURE}" property="og:image" />'
        context["metatags"] = f"{context.get('metatags', '')}{picture}\n"


def _mend(app: Any, failure: Exception | None) -> None:
    """Put right in every page what the theme's templates have."""
    if failure is not None or app.builder.format != "html":
        return
    for page in sorted(Path(app.outdir).rglob("*.html")):
        text = storage.read_text(page)
        storage.write(page, mended(text))


def mended(page: str) -> str:
    """A page with names and roles as those who hear it need them."""
    for wrong, right in MENDED.items():
        page = re.sub(wrong, right, page)
    return page


def _scopes(table: str) -> str:
    # the first cell of the header line is of the header row and of the stub column: a header of its column
    head, end, rest = table.partition("</thead>")
    head = re.sub(r'<th class="head( stub)?">', r'<th class="head\1" scope="col">', head)
    if "stub" not in rest:  # a table of Markdown, which has no headers of rows: the first cell is one
        rest = re.sub(
            r'(<tr class="row-\w+">)<td>(.*?)</td>', r'\1<th class="stub">\2</th>', rest, flags=re.S
        )
    return head + end + re.sub(r'<th class="(head )?stub">', r'<th class="\1stub" scope="row">', rest)
