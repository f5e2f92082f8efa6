"""What executed notebooks glued: numbers and words by name, which descriptions of figures can have too."""

import ast
import contextlib
import re
from typing import Any

from nbformat import NotebookNode

from specfreq.core.errors import unknown

ROLE = re.compile(r"\{glue:text\}`([^`]+)`")


def values(notebook: NotebookNode) -> dict[str, Any]:
    """The numbers and words that an executed notebook glued, by name; figures and tables are left out."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if scrap := output.get("metadata", {}).get("scrapbook"):
                text = output.data.get(f"{scrap['mime_prefix']}text/plain", "")
                with contextlib.suppress(ValueError, SyntaxError):
                    value = _value(re.sub(r"^np\.\w+\((.*)\)$", r"\1", text))
                    if value is None or isinstance(value, int | float | str):
                        found[scrap["name"]] = value
    return found


def _value(text: str) -> Any:
    return float(text) if text in ("nan", "inf", "-inf") else ast.literal_eval(text)


def describe(notebook: NotebookNode, name: str) -> NotebookNode:
    """Put what a notebook glued into the alternative texts of its figures, in place: MyST has them in the
    metadata of cells, and reads no roles there.

    Args:
        notebook: executed. A text names values as prose does, ``{glue:text}`NAME```.
        name: of the notebook, for errors.

    Raises:
        UserError: a text names what is not glued; the nearest is suggested.
    """
    known = values(notebook)
    for cell in notebook.cells:
        about = cell.metadata.get("mystnb", {})
        text = about.get("image", {}).get("alt", "")
        for missing in set(ROLE.findall(text)) - known.keys():
            where = f"the alt text of {about.get('figure', {}).get('name', 'a figure')} in {name}"
            raise unknown("glued value", missing, known, where=where)
        if ROLE.search(text):
            about["image"]["alt"] = ROLE.sub(lambda role: str(known[role[1]]), text)
    return notebook
