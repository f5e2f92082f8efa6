"""Image sets too large for memory: listed once, decoded and cropped by worker processes whenever they are
asked for.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from specfreq.core.errors import UserError
from specfreq.core.pictures import upright
from specfreq.core.randomness import keyed
from specfreq.data.folders import TABLE, Place, listing
from specfreq.data.sets import Draw, choose

Crop = Literal["centre"] | tuple[Literal["random-resized"], int, int]

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of random-resized crops: share of the area, width over height
RIM = 256 / 224  # what the shorter side is brought to before the centre is cut out, in sides of the crop
# a picture longer than that many times its breadth loses its ends: scaling it whole could fill the memory
LONGEST = 16
# images that a worker decodes at a time; 8 workers with 2 chunks each stay within the 64 MB that many
# containers share
CHUNK = 16
MOST_WORKERS = 8


@dataclass(frozen=True, eq=False)
class Stream:
    """Labelled pictures on disk, as RGB squares of one size. `data.load("folder:PATH?size=224&stream=1")`
    makes one.

    Layouts, classes, labels and their order are those of `pictures.folder`. No file is opened before its
    picture is asked for, and no pixel is kept; so any sizes and modes may be mixed, grey becomes RGB, and
    boxes.csv is not read.

    Args:
        base: the folder.
        files: names below `base`, bytes (N,): one array, which worker processes share without copying it.
        labels: int64 (N,), each in [0, len(classes)).
        classes: the name of each class.
        side: pixels of the crops.
        name: what the set was loaded by.
        left_out: what of the folder was not used, and why; empty if all was.
    """

    base: Path
    files: np.ndarray
    labels: Tensor
    classes: tuple[str, ...]
    side: int
    name: str
    left_out: str = ""
    boxes: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return 3, self.side, self.side

    @cached_property
    def digest(self) -> str:
        """SHA-256 of classes, side, and of every file its name below the folder, its size in bytes and its
        label.

        Not of what the files hold, which would take hours to read: a file replaced by one of equal size goes
        unnoticed.

        Raises:
            UserError: a file is gone.
        """
        digest = hashlib.sha256(json.dumps([self.classes, self.side]).encode())
        base = os.fsencode(self.base)
        for file, label in zip(self.files.tolist(), self.labels.tolist(), strict=True):
            try:
                size = os.stat(base + b"/" + file).st_size
            except OSError as error:
                raise UserError(
                    f"{self.base / os.fsdecode(file)} has gone since its folder was listed"
                ) from error
            digest.update(b"%b\0%d\0%d\0" % (file, size, label))
        return digest.hexdigest()

    def subset(self, size: int, seed: int = 0, draw: Draw = "balanced") -> "Stream":
        """`size` of the images, drawn by `seed` as `ImageSet.subset` draws them.

        Raises:
            UserError: `size` is below 1 or above the number of images.
        """
        kept = choose(self.labels.numpy(), size, seed, self.name, draw)
        return replace(self, files=self.files[kept], labels=self.labels[torch.from_numpy(kept)])

    def batches(self, parts: Sequence[Tensor], crop: Crop = "centre") -> Iterator[Tensor]:
        """Decode and crop images in batches, some ahead of the caller; closing the iterator ends the workers.

        Args:
            parts: indices (B,) of each batch.
            crop: "centre": the shorter side scaled to 256/224 of `side`, the centre square cut out.
                ("random-resized", seed, epoch): a box of 8 to 100 % of the area and of ratio 3:4 to 4:3,
                scaled to the square; the box of image i is drawn from (seed, epoch, i) alone, whatever the
                batches and workers. Both scale by antialiased bilinear interpolation and equal torchvision's,
                on Pillow pictures, bit for bit.

        Returns:
            uint8 (B, 3, side, side) for each part, in order; channels last in memory, and pinned if there is
            a GPU.

        Raises:
            IndexError, ValueError: indices outside the set; an unknown crop.
            UserError: when its batch is due, a file that `pictures.upright` refuses; names it.

        Source: the crops of torchvision's reference for ResNet-50; Szegedy et al., CVPR 2015
        (random-resized).
        """
        parts = [part.cpu() for part in parts]
        for part in parts:
            if len(part) and not (part.min() >= 0 and part.max() < len(self)):
                raise IndexError(
                    f"{self.name} has images 0 to {len(self) - 1}, not {int(part.min())} to {int(part.max())}"
                )
        match crop:
            case "centre" | ("random-resized", int(), int()):
                pass
            case _:
                raise ValueError(f'crop must be "centre" or ("random-resized", seed, epoch), not {crop!r}')
        import torchvision.transforms.v2.functional  # noqa: F401 - once here, not in every worker: it takes seconds

        chunks = [chunk.tolist() for part in parts for chunk in part.split(CHUNK)]
        count = min(workers(), len(chunks))
        loader = DataLoader(
            _Pictures(self.base, self.files, self.side, crop),
            batch_size=None,  # a chunk is decoded as a whole
            sampler=chunks,
            num_workers=count,
            prefetch_factor=2 if count else None,
            generator=torch.Generator(),  # else it would draw from the global stream
        )
        return self._joined(parts, loader)

    def _joined(self, parts: list[Tensor], loader: DataLoader) -> Iterator[Tensor]:
        pinned = torch.cuda.is_available()
        chunks = iter(loader)
        try:
            for part in parts:
                images = torch.empty(
                    (len(part), self.side, self.side, 3), dtype=torch.uint8, pin_memory=pinned
                )
                for place in images.split(CHUNK):
                    chunk = next(chunks)
                    if isinstance(chunk, UserError):
                        raise chunk
                    place.copy_(chunk)
                yield images.permute(0, 3, 1, 2)
        # at once, though a traceback may hold this frame, and for good, though a fork beside threads can hang
        finally:
            if end := getattr(chunks, "_shutdown_workers", None):
                end()
                for worker in getattr(chunks, "_workers", ()):
                    worker.kill()
                    worker.join()


@dataclass
class _Pictures(Dataset):
    """What workers run: indices -> uint8 (B, side, side, 3), or the error that is to be raised where they are
    awaited.
    """

    base: Path
    files: np.ndarray
    side: int
    crop: Crop

    def __getitem__(self, indices: list[int]) -> Tensor | UserError:
        images = np.empty((len(indices), self.side, self.side, 3), np.uint8)
        try:
            for image, index in zip(images, indices, strict=True):
                image[:] = np.asarray(self._cropped(index))
        except UserError as error:
            return error  # raised here, it would reach the user as this process's traceback
        return torch.from_numpy(images)

    def _cropped(self, index: int) -> Any:
        # Pillow scales in whole numbers, so every machine gets the same bits; torch's kernels differ between
        # processors
        from torchvision.transforms.v2 import functional

        file = self.base / os.fsdecode(self.files[index])
        if self.crop == "centre":
            return centre(file, self.side)
        picture: Any = upright(file, "RGB")
        _, seed, epoch = self.crop
        box = _box(picture, keyed(seed, epoch, index, "crop"))
        return functional.resized_crop(picture, *box, [self.side, self.side])


def centre(file: Path, side: int) -> Any:
    """A picture of a file as it is tested with: the shorter side brought to more pixels, of which the centre
    square is kept.
    """
    from torchvision.transforms.v2 import functional

    picture: Any = upright(file, "RGB")
    if max(picture.size) > (longest := LONGEST * min(picture.size)):
        picture = functional.center_crop(picture, [min(picture.height, longest), min(picture.width, longest)])
    picture = functional.resize(picture, [round(side * RIM)])
    return functional.center_crop(picture, [side])


def _box(picture: Any, generator: torch.Generator) -> tuple[int, int, int, int]:
    """A random-resized crop: top, left, height, width."""
    from torchvision.transforms import RandomResizedCrop

    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global stream
        torch.set_rng_state(generator.get_state())
        return RandomResizedCrop.get_params(picture, list(SCALE), list(RATIO))


def workers() -> int:
    """How many processes decode: $SPECFREQ_WORKERS, 0 for this one; else one for each core of this process,
    at most 8.

    Processes that torchrun started on one machine share its cores.

    Raises:
        UserError: $SPECFREQ_WORKERS is no whole number.
    """
    if given := os.environ.get("SPECFREQ_WORKERS"):
        if not given.isdecimal():
            raise UserError(
                f"SPECFREQ_WORKERS={given} must be a whole number of processes, 0 for none beside this one"
            )
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE") or 1)))


def folder(place: Place, split: str, name: str) -> Stream:
    """The pictures that `pictures.folder` would read, with its classes, labels and order, left on disk.

    Raises:
        UserError: as in `folders.listing`.
    """
    if place.side is None:
        raise ValueError("a streamed folder needs a size")
    found = listing(place.base.absolute(), split)
    left_out = found.left_out
    if os.path.lexists(place.base / TABLE):
        left_out = "; ".join(filter(None, (left_out, f"{TABLE} is not read when pictures are streamed")))
    return Stream(
        base=place.base.absolute(),
        files=np.array([os.fsencode(file) for file in found.files]),
        labels=torch.from_numpy(found.labels),
        classes=found.names,
        side=place.side,
        name=name,
        left_out=left_out,
    )
