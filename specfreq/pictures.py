"""Pictures before they become an image set: drawn from arrays, or read from any files that Pillow opens."""

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from specfreq import boxes
from specfreq.folders import TABLE, Place, listing
from specfreq.naming import UserError

Draw = Literal["balanced", "first"]
GREY, COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # Pillow's modes of 8 bits
ORIENTATION = 0x0112  # the tag of EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Source:
    """Labels at once, pixels on demand, so that a small subset of a large set is cheap.

    Args:
        labels: int64 (N,).
        classes: the name of each class.
        read: indices (n,) -> uint8 (n, C, H, W).
        boxes: int64 (N, 4) as in `ImageSet`, or None.
        left_out: what was not used, and why; empty if all was.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    read: Callable[[np.ndarray], np.ndarray]
    boxes: np.ndarray | None = None
    left_out: str = ""


def from_array(images: np.ndarray, labels: Iterable[int], classes: Iterable[str]) -> Source:
    """A source over uint8 images (N, C, H, W) that are in memory already."""
    return Source(np.asarray(labels, np.int64), tuple(classes), lambda kept: np.ascontiguousarray(images[kept]))


def from_files(files: list[Path], labels: Iterable[int], classes: Iterable[str], side: int) -> Source:
    """A source over picture files of any size: as RGB, the shorter side brought to `side`, the centre square kept."""

    def read(kept):
        return _decoded([files[index] for index in kept], "RGB", (side, side), side)

    return Source(np.asarray(labels, np.int64), tuple(classes), read)


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


def memory() -> int:
    """The bytes of memory that this process may use: the machine's, or its container's; 16 GiB if neither is known."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        total = 2**34
    with contextlib.suppress(OSError, ValueError):  # "max", or no such file: no limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def check_memory(needed: int, what: str, cure: str) -> None:
    """Before anything is allocated: `needed` bytes are at most half of the memory.

    Raises:
        UserError: they are more; says `what` needs them and the `cure`.
    """
    if 2 * needed > (total := memory()):
        raise UserError(
            f"{what} would take {needed / 1e9:.1f} GB, more than half of the memory here ({total / 1e9:.1f} GB); {cure}"
        )


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """A picture's file, opened by Pillow; whatever is wrong with it, now or while it is read, names the file."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # opening a pipe would wait for ever
            raise UserError(f"{file} is no regular file")
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{file} has pixels of type {image.mode}; save it with 8 bits a channel")  # else clipped
            if image.mode not in GREY + COLOUR:
                raise UserError(f"{file} has pixels of type {image.mode}; save it as RGB")
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS
        raise UserError(
            f"{file} has more than {most} pixels, against which Pillow guards; scale it down, "
            "or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... for damaged files
        raise UserError(f"{file} is missing, damaged or no picture ({error})") from error


def _orientation(image: Image.Image) -> int:
    """What EXIF says, 1 to 8; 1 (as stored) if it says nothing, nonsense, or cannot be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # as many kinds as in _opened; the pixels may be whole all the same
        return 1
    return found if isinstance(found, int) and found in TURNS else 1


def _header(file: Path) -> tuple[str, tuple[int, int]]:
    """Pillow's mode of a picture, and its (width, height) once upright."""
    with _opened(file) as image:
        if image.format == "TIFF":  # which Pillow sets upright itself when it loads one
            image.load()
        return image.mode, image.size[::-1] if _orientation(image) >= 5 else image.size


def upright(file: Path, mode: str) -> Image.Image:
    """The picture of a file in one of Pillow's modes, turned as its EXIF orientation says, on white where transparent.

    Of an animation, or a file of several pages, the first. EXIF that cannot be read is as none: the picture stays as
    it is stored. Of colours with 16 bits a channel Pillow gives the upper 8; a grey picture with more than 8 is refused.

    Raises:
        UserError: the file is missing, no regular file, damaged, truncated or no picture, is grey with more than 8 bits,
            or has more pixels than Pillow's guard against decompression bombs lets through.
    """
    with _opened(file) as image:
        image.load()
        if (orientation := _orientation(image)) in TURNS:
            image = image.transpose(TURNS[orientation])
        if image.has_transparency_data:  # or what lies under it, noise often, would be seen
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert(mode)


def decode(file: Path, mode: str, side: int | None = None) -> np.ndarray:
    """The picture of a file as uint8 (C, H, W), upright; with `side`, its centre square scaled to that many pixels.

    Raises:
        UserError: as in `upright`.
    """
    image = upright(file, mode)
    if side:
        image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


def _decoded(files: list[Path], mode: str, shape: tuple[int, int], side: int | None) -> np.ndarray:
    """Pictures of one size, uint8 (N, C, H, W)."""
    whole = (len(files), len(mode), *shape)
    height, width = shape
    what = f"{len(files)} pictures of {width}x{height}"
    check_memory(len(files) * len(mode) * height * width, what, "take fewer, smaller ones (size=64), or stream=1")
    images = np.empty(whole, np.uint8)
    for image, file in zip(images, files, strict=True):
        image[:] = decode(file, mode, side)
    return images


def folder(place: Place, split: str) -> Source:
    """The pictures of a folder, PATH or PATH?size=64: one class for each sub-folder, or one in all where there is none.

    PATH holds train/ and test/ (or val/), each laid out so; or it is laid out so itself, and then the last fifth of
    every class, in the order of the names, is the test set: see `folders.listing`. Grey pictures keep one channel if all
    are grey. With `size` the shorter side is brought to that many pixels and the centre square kept; without, all must
    have one size. How each is read: see `upright`. PATH/boxes.csv gives boxes: see `boxes.read`.

    Folders too large for memory: `stream=1` with `size`, see `streams.Stream`, which shares layouts, classes and labels.

    Args:
        split: "train" or "test".

    Raises:
        UserError: a layout that is not understood, no such split, no pictures, unequal sizes; names the file or folder.
    """
    path, base, side, _ = place
    found = listing(base, split)
    files = [base / name for name in found.files]
    headers = [_header(file) for file in files]
    mode = "L" if all(mode in GREY for mode, _ in headers) else "RGB"
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
