"""The published corrupted sets, CIFAR-10-C, CIFAR-100-C and ImageNet-C, where they lie unpacked below the
data folder.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from specfreq.core.errors import UserError
from specfreq.core.pictures import decode
from specfreq.core.places import visible
from specfreq.data import root
from specfreq.data.folders import is_picture
from specfreq.data.sets import ImageSet, Source
from specfreq.data.streams import Stream

CIFAR = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
PER_SEVERITY = 10_000  # images of CIFAR's test sets
SITE = "https://github.com/hendrycks/robustness"


def here() -> dict[str, bool]:
    """The published sets, and whether their folder is below the data folder; what is in it is checked when it
    is read.
    """
    return {name: (root() / name).is_dir() for name in (*CIFAR.values(), "ImageNet-C")}


def name_of(images: ImageSet | Stream) -> str:
    """The published set that was made of these images: by their name, or, ImageNet-C's, by their classes
    (n01440764, ...).

    Raises:
        UserError: there is none.
    """
    if images.name in CIFAR:
        return CIFAR[images.name]
    if all(re.fullmatch(r"n\d{8}", name) for name in images.classes):
        return "ImageNet-C"
    raise UserError(
        f"no corrupted set was published for {images.name}; known: cifar10, cifar100, folders with "
        "ImageNet's classes"
    )


def source(images: ImageSet | Stream, corruption: str, severity: int) -> Source:
    """The published images of one corruption and severity, labelled in the classes of `images`; pixels are
    read on demand.

    CIFAR's: `<root>/CIFAR-10-C/fog.npy`, uint8 (50000, 32, 32, 3), severity s in rows (s - 1) 10000 to s
    10000, and `labels.npy` (50000,), mapped, not loaded. ImageNet-C's:
    `<root>/ImageNet-C/fog/3/n01440764/*.JPEG`, or one folder deeper (`weather/fog/...`) as its archives
    unpack; the pictures are crops of 224 pixels already.

    Raises:
        UserError: no such corruption or set; a file is missing or damaged, or pictures are of another size
            (each named).
    """
    name = name_of(images)
    if name == "ImageNet-C":
        return _imagenet(images, corruption, severity)
    return _cifar(root() / name, images.classes, corruption, severity)


def _cifar(folder: Path, classes: tuple[str, ...], corruption: str, severity: int) -> Source:
    pixels = _array(folder / f"{corruption}.npy", (5 * PER_SEVERITY, 32, 32, 3))
    labels = _array(folder / "labels.npy", (5 * PER_SEVERITY,))
    start = (severity - 1) * PER_SEVERITY
    labels = labels[start : start + PER_SEVERITY].astype(np.int64)
    if labels.min() < 0 or labels.max() >= len(classes):
        raise UserError(
            f"{folder / 'labels.npy'} is damaged (labels outside 0 .. {len(classes) - 1}); get it again from "
            f"{SITE}"
        )
    return Source(
        labels, classes, lambda kept: np.ascontiguousarray(pixels[start + kept].transpose(0, 3, 1, 2))
    )


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{path} is no regular file; get it again from {SITE}")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing; unpack the published set there (see {SITE}), or set SPECFREQ_DATA"
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); get it again from {SITE}") from error
    if array.shape != shape or array.dtype.kind not in "ui" or (len(shape) > 1 and array.dtype != np.uint8):
        raise UserError(
            f"{path} is damaged (it holds {array.dtype} {array.shape}, not bytes {shape}); get it again from "
            f"{SITE}"
        )
    return array


def _imagenet(images: ImageSet | Stream, corruption: str, severity: int) -> Source:
    base = root() / "ImageNet-C"
    places = [base / corruption / str(severity), *visible(base.glob(f"*/{corruption}/{severity}"))]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise UserError(
            f"{places[0]} is missing; unpack the published set there (see {SITE}), or set SPECFREQ_DATA"
        )
    files, labels = [], []
    for child in visible(child for child in folder.iterdir() if child.is_dir()):
        if child.name not in images.classes:
            raise UserError(f"{child}: {images.name} has no class {child.name}")
        found = visible(child.iterdir())
        if other := next((file for file in found if not (file.is_file() and is_picture(str(file)))), None):
            raise UserError(f"{other} is no picture; move it out of the published set")
        if not found:
            raise UserError(f"{child} holds no pictures; get it again from {SITE}")
        files += found
        labels += [images.classes.index(child.name)] * len(found)
    if not files:
        raise UserError(f"{folder} holds no pictures")

    def picture(index: int) -> np.ndarray:
        pixels = decode(files[index], "RGB")
        if pixels.shape != images.shape:
            raise UserError(
                f"{files[index]} is {pixels.shape[2]}x{pixels.shape[1]}; {images.name} has "
                f"{images.shape[2]}x{images.shape[1]}"
            )
        return pixels

    def read(kept: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return np.stack(list(threads.map(picture, kept)))

    return Source(np.array(labels, np.int64), images.classes, read)
