"""Named image sets: what they hold, where they lie, how they are fetched; none is used before it is checked."""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specfreq import arrays, folders, pictures, planted
from specfreq.embedded import EMBEDDED
from specfreq.naming import UserError, matching, parse, unknown
from specfreq.pictures import Draw, choose
from specfreq.sources import PUBLISHED, SPLITS
from specfreq.storage import expanded, place_of

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor

    from specfreq import streams


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in memory.

    Args:
        images: uint8 (N, C, H, W), on the CPU.
        labels: int64 (N,), each in [0, len(classes)).
        classes: the name of each class.
        name: what the set was loaded by.
        boxes: int64 (N, 4), the pixels x0 <= x < x1, y0 <= y < y1 that hold the class's object, as x0, y0, x1, y1;
            all zeros for an image without a known box. None where the set has no boxes.
        left_out: what was not used of the files it was loaded from, and why; empty if all was.

    Raises:
        ValueError: a shape, type or value is not as said here.
    """

    images: "Tensor"
    labels: "Tensor"
    classes: tuple[str, ...]
    name: str
    boxes: "Tensor | None" = None
    left_out: str = ""

    def __post_init__(self):
        import torch

        count = len(self.images)
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 (N, C, H, W), not {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.shape != (count,) or self.labels.dtype != torch.int64:
            raise ValueError(f"labels must be int64 ({count},), not {self.labels.dtype} {tuple(self.labels.shape)}")
        if count and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            raise ValueError(f"labels must lie in [0, {len(self.classes)})")
        if self.boxes is not None and (self.boxes.shape != (count, 4) or self.boxes.dtype != torch.int64):
            raise ValueError(f"boxes must be int64 ({count}, 4), not {self.boxes.dtype} {tuple(self.boxes.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return tuple(self.images.shape[1:])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: images, labels, classes and boxes, with their shapes. Not of the name."""
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for tensor in (self.images, self.labels, self.boxes):
            if tensor is not None:
                array = np.ascontiguousarray(tensor.numpy())
                digest.update(f"|{array.dtype.str}{array.shape}|".encode())
                digest.update(array.data)
        return digest.hexdigest()

    def subset(self, size: int, seed: int = 0, draw: Draw = "balanced") -> "ImageSet":
        """`size` of the images, drawn by `seed`: as many of each class as can be, in their old order; or the `first` ones.

        The draw is the same on every machine, and with one seed a smaller subset lies inside a larger one.

        Raises:
            UserError: `size` is below 1 or above the number of images.
        """
        import torch

        kept = torch.from_numpy(choose(self.labels.numpy(), size, seed, self.name, draw))
        boxes = None if self.boxes is None else self.boxes[kept]
        return ImageSet(self.images[kept], self.labels[kept], self.classes, self.name, boxes, self.left_out)


def root() -> Path:
    """Where published data sets lie: $SPECFREQ_DATA, else `data/` in the checkout if there, else ~/.cache/specfreq."""
    if place := place_of("SPECFREQ_DATA"):
        return place.absolute()
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "_toc.yml").is_file() and (checkout / "data").is_dir():
        return checkout / "data"
    return Path.home() / ".cache" / "specfreq"


def names() -> list[str]:
    """The names that `load` knows; `folder` and `array` stand for folder:PATH and array:FILE, and `planted` takes parameters."""
    return [*EMBEDDED, "planted", *PUBLISHED, "folder", "array"]


def load(
    name: str, split: str = "train", size: int | None = None, seed: int = 0, draw: Draw = "balanced"
) -> "ImageSet | streams.Stream":
    """The image set of that name; with `size`, only the subset that `ImageSet.subset(size, seed, draw)` would give.

    What was not used of a folder, files that are no pictures for example, is said in a warning and in `left_out`.

    Args:
        name: one of `names()`; `planted:key=value,...` (see `planted.Planted`); `folder:PATH` or `folder:PATH?size=64`
            (see `pictures.folder`); `folder:PATH?size=224&stream=1`, too large for memory (see `streams.Stream`);
            `array:FILE.npz` (see `arrays.array`).
        split: "train" or "test".
        size, seed, draw: how many images to keep, the seed that draws them, and how. Only those are read from disk.

    Raises:
        UserError: unknown name, split or parameter; data missing or damaged (names the file and the command
            that gets it); `size` above the number of images.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, name)
    import torch

    source = _source(name, split)
    if source.left_out:
        log.warning("specfreq: %s (%s): %s", name, split, source.left_out)
    if not isinstance(source, pictures.Source):
        return source if size is None else source.subset(size, seed, draw)
    kept = np.arange(len(source.labels)) if size is None else choose(source.labels, size, seed, f"{name} ({split})", draw)
    return ImageSet(
        images=torch.from_numpy(source.read(kept)),
        labels=torch.from_numpy(source.labels[kept]),
        classes=source.classes,
        name=name,
        boxes=None if source.boxes is None else torch.from_numpy(source.boxes[kept]),
        left_out=source.left_out,
    )


def normal_form(name: str) -> str:
    """The one spelling of a name: what equals its default is left out, and what lies below the working directory has its full path.

    Raises:
        UserError: unknown name or parameter (the nearest is suggested), or an impossible value.
    """
    kind, _, rest = name.strip().partition(":")
    if kind in ("folder", "array"):
        path, mark, query = rest.partition("?") if kind == "folder" else (rest, "", "")
        there = os.path.isdir if kind == "folder" else os.path.isfile
        here = expanded(path).absolute()
        whole = f"{kind}:{here if path and there(here) else path}{mark}{query}"
        try:
            whole.encode()
        except UnicodeEncodeError:  # it could not be written into a record
            raise UserError(f"{whole!a} is no UTF-8; rename it, or link to it by another name") from None
        return whole
    if kind == "planted":
        return planted.normal_form(name)
    kind, parameters = parse(name)
    kind = matching("data set", kind, names())
    if parameters:
        raise unknown("parameter", next(iter(parameters)), (), kind)
    return kind


def get(name: str, say: Callable[[str], None] = lambda line: None) -> str:
    """Download a published set to `root()` through its library's own loader; says what was done, and before that what begins.

    Nothing is written there before all of it has come and been checked. A set that is there and intact is left alone.

    Raises:
        UserError: unknown name, or nothing that could be downloaded; `root()` cannot be written to.
        ConnectionError: the download failed; says how to do it by hand.
    """
    kind = name.partition(":")[0]
    if kind in ("folder", "array"):
        raise UserError(f"{name} names pictures of your own; nothing can be downloaded")
    kind = matching("data set", kind, names())
    if kind not in PUBLISHED:
        return f"{kind} needs no download"
    say(f"specfreq: getting {kind} ({PUBLISHED[kind].what}) into {root()}, unless it is there")
    if not any(PUBLISHED[kind].problem(root(), split) for split in SPLITS):
        return f"{kind} is already in {root()}"
    PUBLISHED[kind].fetch(root())
    return f"{kind} is now in {root()}"


class Row(NamedTuple):
    """One line of `specfreq data list`: the `splits` that can be loaded; `why` says what is missing or damaged."""

    name: str
    what: str
    where: str
    splits: tuple[str, ...]
    why: str

    @property
    def present(self) -> bool:
        """Whether a split can be loaded."""
        return bool(self.splits)

    @property
    def state(self) -> str:
        """Here, not here, or which split alone is here."""
        return "here" if self.splits == SPLITS else f"{self.splits[0]} only" if self.splits else "not here"


def status() -> list[Row]:
    """What is here and what is not. Published files are read in full to compare their MD5, where there is one."""
    rows = [Row(name, e.what, f"comes with {e.package}", SPLITS, "") for name, e in EMBEDDED.items()]
    rows.append(Row("planted", "synthetic, class evidence in a chosen band, amplitude or phase", "computed", SPLITS, ""))
    for name, published in PUBLISHED.items():
        problems = {split: published.problem(root(), split) for split in SPLITS}
        why = "; ".join(dict.fromkeys(filter(None, problems.values())))
        splits = tuple(split for split in SPLITS if not problems[split])
        rows.append(Row(name, published.what, str(root()), splits, why))
    rows.append(Row("folder:PATH", "pictures of your own, a sub-folder per class", "PATH", SPLITS, ""))
    rows.append(Row("array:FILE", "pictures of your own in one .npz file of NumPy", "FILE", SPLITS, ""))
    return rows


def _source(name: str, split: str) -> "pictures.Source | streams.Stream":
    kind, _, rest = name.partition(":")
    if kind == "folder":  # a path is not a list of parameters
        place = folders.place(rest, root())
        if place.stream:
            from specfreq import streams

            return streams.folder(place, split, name)
        return pictures.folder(place, split)
    if kind == "array":
        return arrays.array(rest, root(), split)
    if kind == "planted":
        return planted.source(name, split)
    kind = normal_form(name)
    if kind in EMBEDDED:
        return EMBEDDED[kind].read(split)
    return PUBLISHED[kind].read(root(), split)
