"""A Sphinx extension: the parts of the pages that the theme does not have, such as folded demonstrations."""

import re
from typing import Any

DEMONSTRATION = "demonstration-not-evidence"  # the id of the section that is folded, from its heading
OPEN = '<details class="demonstration"><summary>Show the run of this page</summary>'


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", _fold)
    app.connect("html-page-context", _scoped)
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


def _scopes(table: str) -> str:
    # the first cell of the header line is of the header row and of the stub column: a header of its column
    head, end, rest = table.partition("</thead>")
    head = re.sub(r'<th class="head( stub)?">', r'<th class="head\1" scope="col">', head)
    if "stub" not in rest:  # a table of Markdown, which has no headers of rows: the first cell is one
        rest = re.sub(
            r'(<tr class="row-\w+">)<td>(.*?)</td>', r'\1<th class="stub">\2</th>', rest, flags=re.S
        )
    return head + end + re.sub(r'<th class="(head )?stub">', r'<th class="\1stub" scope="row">', rest)
