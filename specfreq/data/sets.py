"""Image sets in memory, sources of them that read on demand, and how a subset is drawn."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from specfreq.core.errors import UserError
from specfreq.data import Draw

if TYPE_CHECKING:
    from torch import Tensor


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
    return Source(
        np.asarray(labels, np.int64), tuple(classes), lambda kept: np.ascontiguousarray(images[kept])
    )


def choose(labels: np.ndarray, size: int, seed: int, what: str, draw: Draw = "balanced") -> np.ndarray:
    """Indices of `size` images drawn by `seed`, as many of each class as can be, in ascending order.

    Every class is shuffled; then the classes take turns. So classes differ by one image at most unless one
    runs out. Or the `first` ones: of a set that is sorted by class, those of the first classes alone.

    Raises:
        UserError: `size` is below 1 or above the number of images; the seed is not below 2^32.
    """
    if not 1 <= size <= len(labels):
        raise UserError(f"{what} has {len(labels)} images; cannot take {size}")
    if not 0 <= seed < 2**32:
        raise UserError(f"{what}: seed={seed} is refused; write a whole number from 0 to {2**32 - 1}")
    if draw == "first":
        return np.arange(size)
    random = np.random.RandomState(seed)  # unlike default_rng, its stream is frozen for good
    shuffled = random.permutation(len(labels))
    drawn = labels[shuffled]
    turn = random.permutation(labels.max() + 1)[drawn]
    count = np.bincount(drawn)
    rank = np.empty(len(labels), np.int64)  # of each within its class
    rank[np.argsort(drawn, kind="stable")] = np.arange(len(labels)) - np.repeat(
        np.cumsum(count) - count, count
    )
    return np.sort(shuffled[np.lexsort((turn, rank))[:size]])


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in memory.

    Args:
        images: uint8 (N, C, H, W), on the CPU.
        labels: int64 (N,), each in [0, len(classes)).
        classes: the name of each class.
        name: what the set was loaded by.
        boxes: int64 (N, 4), the pixels x0 <= x < x1, y0 <= y < y1 that hold the class's object, as x0, y0,
            x1, y1; all zeros for an image without a known box. None where the set has no boxes.
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
            raise ValueError(
                f"images must be uint8 (N, C, H, W), not {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.shape != (count,) or self.labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be int64 ({count},), not {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if count and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            raise ValueError(f"labels must lie in [0, {len(self.classes)})")
        if self.boxes is not None and (self.boxes.shape != (count, 4) or self.boxes.dtype != torch.int64):
            raise ValueError(
                f"boxes must be int64 ({count}, 4), not {self.boxes.dtype} {tuple(self.boxes.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

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
        """`size` of the images, drawn by `seed`: as many of each class as can be, in their old order; or the
        `first` ones.

        The draw is the same on every machine, and with one seed a smaller subset lies inside a larger one.

        Raises:
            UserError: `size` is below 1 or above the number of images.
        """
        import torch

        return self.picked(torch.from_numpy(choose(self.labels.numpy(), size, seed, self.name, draw)))

    def picked(self, kept: "Tensor") -> "ImageSet":
        """Those at these places, int64 (n,), or where a mask, bool (N,), is true."""
        boxes = None if self.boxes is None else self.boxes[kept]
        return ImageSet(self.images[kept], self.labels[kept], self.classes, self.name, boxes, self.left_out)


def taken(source: Source, name: str, split: str, size: int | None, seed: int, draw: Draw) -> ImageSet:
    """The images of a source, or the subset of `size` that `choose` draws; only those are read."""
    import torch

    kept = (
        np.arange(len(source.labels))
        if size is None
        else choose(source.labels, size, seed, f"{name} ({split})", draw)
    )
    return ImageSet(
        images=torch.from_numpy(source.read(kept)),
        labels=torch.from_numpy(source.labels[kept]),
        classes=source.classes,
        name=name,
        boxes=None if source.boxes is None else torch.from_numpy(source.boxes[kept]),
        left_out=source.left_out,
    )
