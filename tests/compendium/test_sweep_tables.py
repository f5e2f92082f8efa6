"""Tables of a sweep: no column hides another, and lines fit where they are shown."""

import csv
import io
from pathlib import Path

import pytest

from specfreq.compendium import sweep_tables


def cell(parameters, state="done", seconds=1.25, error=None, **values):
    notebook = Path("folder/cell.ipynb")
    return {
        "parameters": parameters,
        "state": state,
        "seconds": seconds,
        "values": values,
        "notebook": notebook,
        "error": error,
    }


def test_a_value_called_like_a_parameter_or_a_column_of_ours_stays_beside_it():
    row = cell({"seed": 0, "state": "on"}) | {"values": {"seed": 7, "error": 8}}
    ours = {"seconds": 1.25, "state": "done"}
    assert sweep_tables.table([row], timed=False) == [
        {"seed": 0, "state (parameter)": "on", "seed (glued)": 7, "error (glued)": 8}
    ]
    assert sweep_tables.table([row]) == [
        {"seed": 0, "state (parameter)": "on", **ours, "seed (glued)": 7, "error (glued)": 8}
    ]


def test_what_is_the_same_in_every_cell_is_said_once_and_a_failed_cell_does_not_count():
    rows = [cell({"seed": s, "size": 4}, chance=0.1, score=s / 3) for s in (0, 1)]
    rows.append(cell({"seed": 2, "size": 4}, "failed", None, "no luck"))
    assert sweep_tables.as_text(rows).splitlines() == [
        "  seed  seconds   state     score",
        "     0      1.2    done         0",
        "     1      1.2    done  0.333333",
        "     2        –  failed         –",
        "",
        "  in every cell: size 4, chance 0.1",
    ]


def test_a_single_cell_has_all_its_columns():
    assert (
        sweep_tables.as_text([cell({"seed": 0}, score=2)])
        == "  seed  seconds  state  score\n     0      1.2   done      2"
    )


@pytest.mark.parametrize("width", [30, 40, 80, None])
def test_no_line_is_wider_than_the_terminal_and_each_block_names_its_cells(width):
    rows = [cell({"seed": s}, **{f"value-{i}": i + s for i in range(9)}) for s in (0, 1)]
    text = sweep_tables.as_text(rows, width)
    assert all(len(line) <= (width or 1000) for line in text.splitlines())
    blocks = text.split("\n\n")
    assert all(block.split()[0] == "seed" for block in blocks)
    assert [
        word for block in blocks for word in block.splitlines()[0].split() if word.startswith("value")
    ] == [f"value-{i}" for i in range(9)]


def test_csv_keeps_all_digits_and_survives_commas_quotes_and_lines(tmp_path):
    rows = [
        cell({"sizes": [2, 4], "name": 'a,"b"'}, third=1 / 3, slope="−1.8"),
        cell({"sizes": [], "name": "c"}, "failed", None, "two\nlines"),
    ]
    (tmp_path / "results.csv").write_text(sweep_tables.as_csv(rows))
    first, second = csv.DictReader(io.StringIO(sweep_tables.as_csv(rows)))
    assert (first["sizes"], first["name"], float(first["third"]), first["notebook"]) == (
        "2,4",
        'a,"b"',
        1 / 3,
        "cell.ipynb",
    )
    assert float(first["slope"]) == -1.8  # a page has a true minus sign
    assert (second["third"], second["error"], second["seconds"]) == ("", "two\nlines", "")
    assert sweep_tables.seconds(tmp_path / "results.csv") == {"cell.ipynb": 1.25}


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", "notebook,seconds\ncell.ipynb,much\n"])
def test_seconds_of_a_table_that_is_missing_or_was_changed_by_hand_are_unknown(tmp_path, content):
    if content is not None:
        (tmp_path / "results.csv").write_text(content)
    assert sweep_tables.seconds(tmp_path / "results.csv") == {}
