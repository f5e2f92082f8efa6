"""Pictures before they become an image set: drawn from arrays, or read from the files of a folder."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from PIL import Image, ImageOps

from specfreq.naming import UserError, unknown
from specfreq.storage import expanded

Draw = Literal["balanced", "first"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val")}  # of two, the first that is there
GREY, COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # Pillow's modes of 8 bits


@dataclass(frozen=True)
class Source:
    """Labels at once, pixels on demand, so that a small subset of a large set is cheap.

    Args:
        labels: int64 (N,).
        classes: the name of each class.
        read: indices (n,) -> uint8 (n, C, H, W).
        boxes: int64 (N, 4) as in `ImageSet`, or None.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    read: Callable[[np.ndarray], np.ndarray]
    boxes: np.ndarray | None = None


def from_array(images: np.ndarray, labels: Iterable[int], classes: Iterable[str], boxes=None) -> Source:
    """A source over uint8 images (N, C, H, W) that are in memory already."""
    return Source(np.asarray(labels, np.int64), tuple(classes), lambda kept: np.ascontiguousarray(images[kept]), boxes)


def from_files(files: list[Path], labels: Iterable[int], classes: Iterable[str], side: int, boxes=None) -> Source:
    """A source over picture files of any size: as RGB, the shorter side brought to `side`, the centre square kept."""

    def read(kept):
        images = np.empty((len(kept), 3, side, side), np.uint8)
        for image, index in zip(images, kept, strict=True):
            image[:] = decode(files[index], "RGB", side)
        return images

    return Source(np.asarray(labels, np.int64), tuple(classes), read, boxes)


def choose(labels: np.ndarray, size: int, seed: int, what: str, draw: Draw = "balanced") -> np.ndarray:
    """Indices of `size` images drawn by `seed`, as many of each class as can be, in ascending order.

    Every class is shuffled; then the classes take turns. So classes differ by one image at most unless one runs out. Or the
    `first` ones: of a set that is sorted by class, those of the first classes alone.

    Raises:
        UserError: `size` is below 1 or above the number of images.
    """
    if not 1 <= size <= len(labels):
        raise UserError(f"{what} has {len(labels)} images; cannot take {size}")
    if draw == "first":
        return np.arange(size)
    random = np.random.RandomState(seed)  # unlike default_rng, its stream is frozen for good
    shuffled = random.permutation(len(labels))
    drawn = labels[shuffled]
    turn = random.permutation(labels.max() + 1)[drawn]
    count = np.bincount(drawn)
    rank = np.empty(len(labels), np.int64)  # of each within its class
    rank[np.argsort(drawn, kind="stable")] = np.arange(len(labels)) - np.repeat(np.cumsum(count) - count, count)
    return np.sort(shuffled[np.lexsort((turn, rank))[:size]])


def upright(file: Path, mode: str) -> Image.Image:
    """The picture of a file in one of Pillow's modes, turned as its EXIF orientation says.

    Raises:
        UserError: the file is missing, damaged, truncated or no picture, or has more than 8 bits a channel.
    """
    try:
        with Image.open(file) as image:
            if image.mode in GREY + COLOUR:
                return ImageOps.exif_transpose(image).convert(mode)
            stored = image.mode
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... for damaged files
        raise UserError(f"{file} is missing, damaged or no picture ({error})") from error
    raise _too_deep(file, stored)  # converting would clip such pixels


def decode(file: Path, mode: str, side: int | None = None) -> np.ndarray:
    """The picture of a file as uint8 (C, H, W), upright; with `side`, its centre square scaled to that many pixels.

    Raises:
        UserError: as in `upright`.
    """
    image = upright(file, mode)
    if side:
        image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


class Place(NamedTuple):
    """What `folder:PATH?size=64&stream=1` says: PATH as written, the folder found, and the parameters."""

    path: str
    base: Path
    side: int | None
    stream: bool


def place(text: str, root: Path) -> Place:
    """Read PATH?size=64&stream=1, and look PATH up: absolute, below the working directory, or below `root`.

    Raises:
        UserError: no such folder; an unknown parameter or an impossible value; `stream` without `size`.
    """
    path, _, query = text.strip().partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for key in given:
        if key not in ("size", "stream"):
            raise unknown("parameter", key, ["size", "stream"], f"folder:{path}")
    size, stream = given.get("size"), given.get("stream", "0")
    if size is not None and not (size.isdecimal() and int(size) >= 1):
        raise UserError(f"folder:{path}: size={size} must be a whole number of pixels, such as size=64")
    if stream not in ("0", "1"):
        raise UserError(f"folder:{path}: stream={stream} must be 1 (read from disk whenever needed) or 0 (kept in memory)")
    if stream == "1" and size is None:
        raise UserError(f"folder:{path}: stream=1 needs a size; write folder:{path}?size=224&stream=1")
    base = next((b for b in (expanded(path), root / path) if path and b.is_dir()), None)
    if base is None:
        raise UserError(f"folder:{path}: no such folder, neither in {Path.cwd()} nor in {root}")
    return Place(path, base, None if size is None else int(size), stream == "1")


def folder(place: Place, split: str) -> Source:
    """The pictures of a folder, PATH or PATH?size=64: one class for each sub-folder, or one in all where there is none.

    PATH holds train/ and test/ (or val/), each laid out so; or it is laid out so itself, and then the last fifth of
    every class, in the order of the names, is the test set. Grey pictures keep one channel if all are grey. With
    `size` the shorter side is brought to that many pixels and the centre square kept; without, all must have one size.
    PATH/boxes.csv (file, x, y, width, height in pixels of the file, optionally finding) gives boxes: of several for a
    file the first, and if there are findings only one that names the file's class.

    Folders too large for memory: `stream=1` with `size`, see `streams.Stream`, which shares layouts, classes and labels.

    Args:
        split: "train" or "test".

    Raises:
        UserError: no such split, no pictures, unequal sizes; names the file or folder.
    """
    path, base, side, _ = place
    by_class = listing(base, split)
    files = [base / name for found in by_class.values() for name in found]
    labels = np.repeat(np.arange(len(by_class)), [len(found) for found in by_class.values()])
    headers = [_header(file) for file in files]
    mode = "L" if all(mode in GREY for mode, _ in headers) else "RGB"
    (width, height), _ = Counter(size for _, size in headers).most_common(1)[0]
    for file, (_, size) in zip(files, headers, strict=True):
        if side is None and size != (width, height):
            raise UserError(
                f"folder:{path}: {file} is {size[0]}x{size[1]}, most are {width}x{height}; "
                f"write folder:{path}?size={min(width, height)} to scale and crop all of them"
            )

    def read(kept):
        shape = (side, side) if side else (height, width)
        images = np.empty((len(kept), len(mode), *shape), np.uint8)
        for image, index in zip(images, kept, strict=True):
            image[:] = decode(files[index], mode, side)
        return images

    boxes = None
    if (base / "boxes.csv").is_file():
        named = [list(by_class)[label] for label in labels]
        boxes = _boxes(base / "boxes.csv", files, named, [size for _, size in headers], side)
    return Source(labels, tuple(by_class), read, boxes)


def listing(base: Path, split: str) -> dict[str, list[str]]:
    """The picture files of each class, as names below `base` such as train/cat/1.png, in their order; none is opened.

    Files and folders whose names begin with a dot are left out.

    Raises:
        UserError: no such split, or no pictures in it; pictures beside class folders.
    """
    inside = {child.name for child in _shown(base) if child.is_dir()}
    known = {name for names in SPLIT_FOLDERS.values() for name in names}
    if inside and (inside <= known or {"train", "test"} <= inside or {"train", "val"} <= inside):
        wanted = [name for name in SPLIT_FOLDERS[split] if name in inside]
        if not wanted:
            raise UserError(f"{base} has no {' or '.join(f'{name}/' for name in SPLIT_FOLDERS[split])} folder ({split})")
        listings = {name: _classes(base, f"{name}/") for name in sorted(inside & known)}
        classes = sorted(set().union(*listings.values()))  # of all splits, so that labels agree between them
        found = {name: listings[wanted[0]].get(name, []) for name in classes}
        where = base / wanted[0]
    else:
        found, where = _classes(base), base
        for name, files in found.items():
            last = len(files) - (len(files) + 4) // 5
            found[name] = files[last:] if split == "test" else files[:last]
    if not any(found.values()):
        raise UserError(f"{where} holds no pictures for {split} ({', '.join(SUFFIXES)})")
    return found


def _classes(base: Path, below: str = "") -> dict[str, list[str]]:
    children = _shown(base / below)
    beside = [below + child.name for child in children if _is_picture(child)]
    found = {child.name: list(_pictures(base, f"{below}{child.name}/")) for child in children if child.is_dir()}
    found = {name: files for name, files in found.items() if files}
    if beside and found:
        raise UserError(f"{base / beside[0]} lies beside class folders ({', '.join(found)}); move it into one of them")
    return found or {base.name: beside}


def _pictures(base: Path, below: str) -> Iterator[str]:
    for child in _shown(base / below):
        if child.is_dir(follow_symlinks=False):  # a link upwards would never end
            yield from _pictures(base, f"{below}{child.name}/")
        elif _is_picture(child):
            yield below + child.name


def _shown(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:  # knows files from folders without a look at each: a million take seconds
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_picture(entry: os.DirEntry) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and entry.is_file()


def _too_deep(file: Path, mode: str) -> UserError:
    return UserError(f"{file} has pixels of type {mode}; save it with 8 bits a channel")


def _header(file: Path) -> tuple[str, tuple[int, int]]:
    try:
        with Image.open(file) as image:
            mode, size = image.mode, image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientation: lying on its side
    except Exception as error:  # as in decode
        raise UserError(f"{file} is damaged or no picture ({error})") from error
    if mode not in GREY + COLOUR:
        raise _too_deep(file, mode)
    return mode, size[::-1] if turned else size


def _boxes(table: Path, files: list[Path], classes: list[str], sizes: list[tuple[int, int]], side) -> np.ndarray:
    rows: dict[Path, list[dict]] = {}
    with table.open(newline="") as file:
        reader = csv.DictReader(file)
        if absent := {"file", "x", "y", "width", "height"} - set(reader.fieldnames or ()):
            raise UserError(f"{table} has no column {sorted(absent)[0]!r}")
        for row in reader:
            if not (table.parent / row["file"]).is_file():
                raise UserError(f"{table} names {row['file']}, which is not there")
            if row["x"]:
                rows.setdefault(table.parent / row["file"], []).append(row)
    boxes = np.zeros((len(files), 4), np.int64)
    for index, (file, name, (width, height)) in enumerate(zip(files, classes, sizes, strict=True)):
        row = next((r for r in rows.get(file, []) if r.get("finding", name).lower() == name.lower()), None)
        if row is None:
            continue
        try:
            x, y, w, h = (float(row[key]) for key in ("x", "y", "width", "height"))
        except (TypeError, ValueError):
            raise UserError(f"{table}: the box of {row['file']} is not four numbers") from None
        if not (0 <= x < x + w <= width and 0 <= y < y + h <= height):
            raise UserError(f"{table}: the box of {row['file']} leaves the picture of {width}x{height}")
        box = np.array([x, y, x + w, y + h])
        if side:  # as decode scales and crops
            shorter = min(width, height)
            box = (box - np.tile([(width - shorter) / 2, (height - shorter) / 2], 2)) * side / shorter
            box = box.clip(0, side)
        outward = np.concatenate([np.floor(box[:2]), np.ceil(box[2:])]).astype(np.int64)
        if np.all(outward[2:] > outward[:2]):
            boxes[index] = outward
    return boxes
