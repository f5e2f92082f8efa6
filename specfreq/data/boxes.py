"""The table PATH/boxes.csv of a folder of pictures: where in each picture its class's object is."""

import codecs
import csv
import io
import os
from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np

from specfreq.core.errors import UserError
from specfreq.data.folders import TABLE, Listing, few

COLUMNS = ("file", "x", "y", "width", "height")


def read(
    base: Path, listing: Listing, sizes: list[tuple[int, int]], side: int | None
) -> tuple[np.ndarray, str]:
    """The boxes of the pictures of a listing.

    The table has columns file, x, y, width, height, in pixels of the file, and perhaps finding: then only a
    box whose finding is the picture's class counts. Of several the first. It is text in UTF-8, UTF-16 or
    Latin-1 (the last for what is not UTF-8), separated by commas, semicolons or tabs, its headers in any
    case, spaces around values ignored. Files are named from the folder on, or by a full path below it.

    Args:
        sizes: (width, height) of each picture, upright.
        side: as in `pictures.folder`: boxes are scaled and cropped as the pictures are.

    Returns:
        int64 (N, 4) as in `ImageSet`; and what was not used, empty if all was.

    Raises:
        UserError: the table is no regular file or has other columns; a file that is not there; a box that is
            not four numbers or leaves its picture.
    """
    table = base / TABLE
    index = {name: number for number, name in enumerate(listing.files)}
    classes = [listing.names[label].lower() for label in listing.labels]
    others = set(listing.others)
    there = index.keys() | others
    first: dict[int, dict[str, str]] = {}  # the row of each picture that counts
    elsewhere, findings = [], []
    for row in _rows(table):
        name = _below(base, row["file"], there)
        if not row["x"] or name in others:
            continue
        if name not in index:
            elsewhere.append(name)
        elif (row.get("finding") or classes[index[name]]).lower() == classes[index[name]]:
            first.setdefault(index[name], row)
        else:
            findings.append(row["finding"])
    boxes = np.zeros((len(index), 4), np.int64)
    for number, row in first.items():
        boxes[number] = _box(table, row, *sizes[number], side)
    notes = []
    if elsewhere:
        notes.append(
            f"{len(elsewhere)} boxes of {TABLE} are of files that are not in the set ({few(elsewhere)})"
        )
    if findings and not first:
        seen = few(dict.fromkeys(findings))
        notes.append(
            f"none of {len(findings)} boxes of {TABLE} counts: findings are {seen}, classes "
            f"{few(listing.names)}"
        )
    return boxes, "; ".join(notes)


def _rows(table: Path) -> Iterator[dict[str, str]]:
    """Headers in lower case -> values, for each line that is not empty."""
    if not table.is_file():
        raise UserError(f"{table} is no regular file")
    try:
        content = table.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {table}: {error.strerror or error}") from None
    text = _text(content)
    header = next((line for line in text.splitlines() if line.strip()), "").lower()
    separator = max(",;\t", key=header.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"{table} is no table of text ({error})") from None
    lines = [[value.strip() for value in line] for line in lines]
    lines = [line for line in lines if any(line)]
    names = [name.lower() for name in lines[0]] if lines else []
    if absent := [name for name in COLUMNS if name not in names]:
        raise UserError(f"{table} has no column {absent[0]!r}; its columns are {', '.join(names) or 'none'}")
    for line in lines[1:]:
        row = dict.fromkeys(names, "") | dict(zip(names, line, strict=False))
        if separator != ",":  # where it is not the comma, 1,5 is a number
            row |= {name: row[name].replace(",", ".") for name in COLUMNS[1:]}
        yield row


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _below(base: Path, written: str, known: Set[str]) -> str:
    """The name below `base` of a file that the table names."""
    stored = os.fsdecode(
        written.encode("latin-1", "replace")
    )  # a name on disk may be Latin-1 as the table is
    for name in (written, written.replace("\\", "/"), stored):
        if os.path.isabs(name):
            for place, file in ((base.absolute(), Path(name)), (base.resolve(), Path(name).resolve())):
                if file.is_relative_to(place):
                    name = file.relative_to(place).as_posix()
                    break
        name = os.path.normpath(name)
        if name in known or (not os.path.isabs(name) and (base / name).is_file()):
            return name
    example = next(iter(known))
    why = f"not below {base}" if os.path.isabs(written) else "not there"
    raise UserError(
        f"{base / TABLE} names {written}, which is {why}; name files from that folder on, such as {example}"
    )


def _box(table: Path, row: dict[str, str], width: int, height: int, side: int | None) -> np.ndarray:
    """(x0, y0, x1, y1) in pixels of the picture as it is read; zeros if the box lies in what is cut off."""
    try:
        x, y, w, h = (float(row[key]) for key in COLUMNS[1:])
    except ValueError:
        raise UserError(f"{table}: the box of {row['file']} is not four numbers") from None
    if not (0 <= x < x + w <= width and 0 <= y < y + h <= height):
        raise UserError(f"{table}: the box of {row['file']} leaves the picture of {width}x{height}")
    box = np.array([x, y, x + w, y + h])
    if side:  # as pictures.decode scales and crops
        shorter = min(width, height)
        box = (box - np.tile([(width - shorter) / 2, (height - shorter) / 2], 2)) * side / shorter
        box = box.clip(0, side)
    outward = np.concatenate([np.floor(box[:2]), np.ceil(box[2:])]).astype(np.int64)
    return outward if np.all(outward[2:] > outward[:2]) else np.zeros(4, np.int64)
