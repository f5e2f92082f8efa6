"""Tables of a sweep's results: a row per cell, with the values that its notebook glued; as text and CSV."""

import csv
import io
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from specfreq.compendium import glued
from specfreq.evidence.intervals import MINUS

Row = dict[str, Any]  # parameters, state, seconds, values, notebook, error
OWN = ("seconds", "state", "notebook", "error")  # columns that no parameter or value can take


def row(
    parameters: Mapping[str, Any], notebook: Path, state: str, seconds: float | None, error: str | None = None
) -> Row:
    """What one cell gave: its state is done, kept or failed; the glued values are read from its notebook."""
    values = {} if error else glued.values(nbformat.read(notebook, as_version=4))
    return {
        "parameters": dict(parameters),
        "state": state,
        "seconds": seconds,
        "values": values,
        "notebook": notebook,
        "error": error,
    }


def table(rows: Sequence[Row], timed: bool = True) -> list[dict[str, Any]]:
    """Rows made flat, for a data frame or `tables.page_table`: parameters, seconds, state, what was glued.

    Args:
        timed: with seconds and state. Without, the table is the same whether cells are run or kept.
    """
    flat = []
    for row in rows:
        parameters = {f"{k} (parameter)" if k in OWN else k: v for k, v in row["parameters"].items()}
        values = {f"{k} (glued)" if k in (*OWN, *parameters) else k: v for k, v in row["values"].items()}
        run = {"seconds": row["seconds"], "state": row["state"]} if timed else {}
        flat.append(parameters | run | values)
    columns = dict.fromkeys(itertools.chain(*flat))
    return [{c: line.get(c) for c in columns} for line in flat]


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as `results.csv`: the columns of `table`, then each cell's notebook and error."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    flat = table(rows)
    writer.writerow([*flat[0], "notebook", "error"])
    for line, row in zip(flat, rows, strict=True):
        writer.writerow([*map(_readable, line.values()), row["notebook"].name, row["error"]])
    return out.getvalue()


def _readable(value: Any) -> Any:
    """A cell that programs read: a list with commas, and hyphens for the minus signs of numbers glued as
    text.
    """
    text = written(value) if isinstance(value, list | tuple) else value
    return text.replace(MINUS, "-") if isinstance(text, str) else text


def seconds(path: Path) -> dict[str, float]:
    """What the cells in a `results.csv` took, by the names of their notebooks."""
    try:
        with path.open(newline="") as f:
            return {line["notebook"]: float(line["seconds"]) for line in csv.DictReader(f) if line["seconds"]}
    except (OSError, KeyError, ValueError):  # none, or changed by hand: then they are unknown
        return {}


def as_text(rows: Sequence[Row], width: int | None = None) -> str:
    """Rows as lines of at most ``width`` characters: what varies in columns, then what does not."""
    flat = table(rows)
    for line in flat:
        if line["seconds"] is not None:
            line["seconds"] = f"{line['seconds']:.1f}"
    parameters = list(flat[0])[: len(rows[0]["parameters"])]
    columns = {}
    for name in flat[0]:
        shown = written if name in parameters else _short
        columns[name] = [shown(line[name]) for line in flat]
    same = {}
    finished = [row["state"] != "failed" for row in rows]
    for name, cells in columns.items():
        counted = cells if name in parameters else list(itertools.compress(cells, finished))
        if name not in ("seconds", "state") and len(counted) > 1 and len(set(counted)) == 1:
            same[name] = counted[0]
    lead = [name for name in parameters if name not in same]
    others = [name for name in columns if name not in same and name not in lead]
    printed = {name: _aligned(name, cells) for name, cells in columns.items()}
    blocks = [[*lead]]
    for name in others:
        wide = sum(len(printed[n][0]) for n in [*blocks[-1], name])
        if width and wide > width and len(blocks[-1]) > len(lead):
            blocks.append([*lead])
        blocks[-1].append(name)
    parts = []
    for block in blocks:
        lines = zip(*(printed[name] for name in block), strict=True)
        parts.append("\n".join(map("".join, lines)))
    if same:
        text = "in every cell: " + ", ".join(f"{name} {value}" for name, value in same.items())
        wrapper = textwrap.TextWrapper(
            width or len(text) + 2,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
            break_long_words=False,
        )
        parts.append(wrapper.fill(text))
    return "\n\n".join(parts)


def _aligned(name: str, cells: Sequence[str]) -> list[str]:
    """A column, its name first, all of one width."""
    width = max(map(len, [name, *cells]))
    return [f"  {cell:>{width}}" for cell in [name, *cells]]


def written(value: Any) -> str:
    """A parameter's value as it is typed: lists with commas."""
    return ",".join(map(written, value)) if isinstance(value, list | tuple) else str(value)


def _short(value: Any) -> str:
    """A result as text: six digits, and – for what is not there."""
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
