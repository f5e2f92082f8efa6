"""Tables of a page: MyST for the book, where they are numbered and can be referred to; HTML for notebooks."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specfreq.evidence.intervals import MINUS, written

FIGURE_SPACE = "\u2007"
SPECIAL = re.compile(r"([\\`*_\[\]{}<>$|~^!&#@])")  # what Markdown or MyST would not print as it is
ROLE = re.compile(r"(?:\{[\w:-]+\})?`([^`<]*?)(?: <[^>]*>)?`")  # with its text
# a number, perhaps with an interval, a deviation or a unit behind it: what columns align
NUMBER = re.compile(r"[+\u2212-]?\d+(?:\.\d+)?(?=$|[\s\u00a0%])")


class Markdown(str):
    """Text that is MyST already: links, roles, pictures."""

    def _repr_markdown_(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Table:
    """Rows of a page, shown by Jupyter and by the book; each line's first cell is its header.

    Args:
        rows: the lines, by column; a missing cell is empty. Numbers have two decimals, texts are printed as
            they are, and `Markdown` is read as MyST.
        caption: of the table, as MyST. The book numbers tables with a caption.
        name: by which pages refer to it: ``{numref}`NAME```.
        wide: whether it takes the width of the contents column too.
        cards: whether each line becomes a card on a phone, as lines of sentences should.
    """

    rows: Sequence[Mapping[str, Any]]
    caption: str = ""
    name: str = ""
    wide: bool = False
    cards: bool = False

    @property
    def lines(self) -> Sequence[Mapping[str, Any]]:
        """The rows; one that says so where there are none, for pages refer to tables by number."""
        return self.rows or [{"–": "nothing to show yet"}]

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for line in self.lines for column in line))

    def cells(self) -> list[list[str]]:
        """The text of all cells, by line; numbers of a column have their decimal points below each other."""
        by_column = [
            _aligned([_text(line.get(column, "")) for line in self.lines]) for column in self.columns
        ]
        return [list(line) for line in zip(*by_column, strict=True)]

    def markdown(self) -> str:
        """The table as a MyST directive."""
        options = {
            "name": self.name,
            "header-rows": 1,
            "stub-columns": int(len(self.columns) > 1),
            "class": self._classes(),
        }
        head = [f":::::{{list-table}} {self.caption}".rstrip()]
        head += [f":{key}: {value}" for key, value in options.items() if value]
        lines = [list(map(_escaped, self.columns)), *(list(map(_escaped, line)) for line in self.cells())]
        body = (f"{'  ' if k else '* '}- {cell}".rstrip() for line in lines for k, cell in enumerate(line))
        return "\n".join([*head, "", *body, ":::::"])

    def to_html(self) -> str:
        """The table for a notebook that is not a page of the book."""
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in self.columns)
        body = "".join(_line(list(map(_plain, line))) for line in self.cells())
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _classes(self) -> str:
        more = {"full-width": self.wide, "cards": self.cards}
        return " ".join(["results", *(name for name, wanted in more.items() if wanted)])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {
            "text/markdown": self.markdown(),
            "text/html": self.to_html(),
            "text/plain": self.caption or "a table",
        }


def _line(cells: Sequence[str]) -> str:
    head, *others = map(html.escape, cells)
    return f'<tr><th scope="row">{head}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'


def _plain(cell: str) -> str:
    """A cell without the roles and marks of MyST."""
    return ROLE.sub(r"\1", cell) if isinstance(cell, Markdown) else cell


def _text(value: Any) -> str:
    if isinstance(value, Markdown):
        return value
    if isinstance(value, float):
        value = written(value, 2)
    return " ".join(str(value).split(" ")).replace("\n", " ")


def _aligned(column: Sequence[str]) -> list[str]:
    """Figure spaces before numbers, so that their decimal points meet; true minus signs."""
    if any(isinstance(cell, Markdown) for cell in column):
        return list(column)
    column = [re.sub(r"(?<![\w-])-(?=\d)", MINUS, cell) for cell in column]
    if not any(NUMBER.match(cell) for cell in column):
        return column
    widths = [_before_point(cell) for cell in column]
    widest = max(width for width in widths if width is not None)
    pairs = zip(column, widths, strict=True)
    return [cell if width is None else FIGURE_SPACE * (widest - width) + cell for cell, width in pairs]


def _before_point(cell: str) -> int | None:
    """The places before the decimal point of a number, its sign among them; None if it is none."""
    found = NUMBER.match(cell)
    return len(found[0].partition(".")[0]) if found else None


def _escaped(cell: str) -> str:
    """A cell as MyST prints it."""
    if isinstance(cell, Markdown):
        return cell
    text = SPECIAL.sub(r"\\\1", cell)
    # what would begin a list, a heading or a rule
    return re.sub(r"^([-+=:]|\d+[.)](?=\s|$))", _quoted, text)


def _quoted(found: re.Match[str]) -> str:
    mark = found[1]
    return f"{mark[:-1]}\\{mark[-1]}"
