"""Folders of pictures as image sets: any files that Pillow opens."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from specfreq.core.errors import UserError
from specfreq.core.memory import check_memory
from specfreq.core.pictures import GREY, decode, described
from specfreq.data import boxes
from specfreq.data.folders import TABLE, PathKind, Place, listing, place
from specfreq.data.kinds import SPLITS, Row
from specfreq.data.sets import Source

if TYPE_CHECKING:
    from specfreq.data.streams import Stream


def from_files(files: list[Path], labels: Iterable[int], classes: Iterable[str], side: int) -> Source:
    """A source over picture files of any size: as RGB, the shorter side brought to `side`, the centre square
    kept.
    """

    def read(kept):
        return _decoded([files[index] for index in kept], "RGB", (side, side), side)

    return Source(np.asarray(labels, np.int64), tuple(classes), read)


def _decoded(files: list[Path], mode: str, shape: tuple[int, int], side: int | None) -> np.ndarray:
    """Pictures of one size, uint8 (N, C, H, W)."""
    whole = (len(files), len(mode), *shape)
    height, width = shape
    what = f"{len(files)} pictures of {width}x{height}"
    check_memory(
        len(files) * len(mode) * height * width, what, "take fewer, smaller ones (size=64), or stream=1"
    )
    images = np.empty(whole, np.uint8)
    for image, file in zip(images, files, strict=True):
        image[:] = decode(file, mode, side)
    return images


def folder(where: Place, split: str) -> Source:
    """The pictures of a folder, PATH or PATH?size=64: one class for each sub-folder, or one in all where
    there is none.

    PATH holds train/ and test/ (or val/), each laid out so; or it is laid out so itself, and then the last
    fifth of every class, in the order of the names, is the test set: see `folders.listing`. Grey pictures
    keep one channel if all are grey. With `size` the shorter side is brought to that many pixels and the
    centre square kept; without, all must have one size. How each is read: see `upright`. PATH/boxes.csv gives
    boxes: see `boxes.read`.

    Folders too large for memory: `stream=1` with `size`, see `streams.Stream`, which shares layouts, classes
    and labels.

    Args:
        split: "train" or "test".

    Raises:
        UserError: a layout that is not understood, no such split, no pictures, unequal sizes; names the file
            or folder.
    """
    path, base, side, _ = where
    found = listing(base, split)
    files = [base / name for name in found.files]
    headers = [described(file) for file in files]
    # of both splits: one network is shown both
    modes = (mode for mode, _ in (*headers, *map(described, (base / name for name in found.others))))
    mode = "L" if all(mode in GREY for mode in modes) else "RGB"
    (width, height), _ = Counter(size for _, size in headers).most_common(1)[0]
    for file, (_, size) in zip(files, headers, strict=True):
        if side is None and size != (width, height):
            raise UserError(
                f"folder:{path}: {file} is {size[0]}x{size[1]}, most are {width}x{height}; "
                f"write folder:{path}?size={min(width, height)} to scale and crop all of them"
            )
    shape = (side, side) if side else (height, width)

    def read(kept):
        return _decoded([files[index] for index in kept], mode, shape, side)

    rows, left_out = None, found.left_out
    if os.path.lexists(base / TABLE):
        rows, unused = boxes.read(base, found, [size for _, size in headers], side)
        left_out = "; ".join(filter(None, (left_out, unused)))
    return Source(found.labels, found.names, read, rows, left_out)


class _Kind(PathKind):
    def source(self, name: str, split: str, root: Path) -> "Source | Stream":
        found = place(name.strip().partition(":")[2], root)
        if found.stream:
            from specfreq.data import streams

            return streams.folder(found, split, name)
        return folder(found, split)

    def status(self, name: str, root: Path) -> Row:
        return Row("folder:PATH", "pictures of your own, a sub-folder per class", "PATH", SPLITS, "")


KINDS = {"folder": _Kind()}
