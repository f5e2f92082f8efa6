"""What a network is shown in an epoch: which images, in which order, cropped and mirrored how; all keyed."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from specfreq.augment import Augmentation
from specfreq.core.errors import UserError
from specfreq.core.images import unit
from specfreq.core.randomness import keyed
from specfreq.data.streams import Stream


def shifted(images: Tensor, index: Tensor, dy: Tensor, dx: Tensor, flip: Tensor, border: str) -> Tensor:
    """Images ``index`` of a set (N, C, H, W), each moved down by dy and right by dx pixels, then mirrored
    where flip.

    dy, dx: integers (B,); flip: booleans (B,). Works on bytes and floats alike; beyond the border: 0, 128 of
    255, the nearest pixel, or the mirror image.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) - dy[:, None]
    columns = torch.arange(width, device=images.device).expand(len(dx), -1)
    columns = torch.where(flip[:, None], columns.flip(-1), columns) - dx[:, None]
    if border == "reflect":
        rows, columns = (n - 1 - (n - 1 - i.abs()).abs() for i, n in ((rows, height), (columns, width)))
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    place = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    pixels = images.index_select(0, index).flatten(2)
    if border in ("zero", "grey"):
        value = 0 if border == "zero" else 128 if images.dtype == torch.uint8 else 128 / 255
        pixels, place = (
            F.pad(pixels, (0, 1), value=value),
            torch.where(inside, place, height * width),
        )  # the last is that pixel
    return pixels.gather(2, place.flatten(1)[:, None].expand(-1, pixels.shape[1], -1)).view(
        len(index), *images.shape[1:]
    )


class Feed:
    """The images of a training and their views, epoch by epoch. Image i of epoch e depends on (seed, e, i)
    alone.

    Args:
        images: bytes or floats (N, C, H, W), put on the device as they are; or a set that is streamed from
            disk, decoded and cropped by worker processes.
        augmentation: makes the views.
        labels: int64 (N,), for an augmentation that depends on them.
        seed, shift, border, flip, alternate: see `train.Recipe`; a streamed set has random-resized crops
            instead of shifts.
    """

    def __init__(
        self,
        images: Tensor | Stream,
        augmentation: Augmentation,
        device: torch.device | str = "cpu",
        *,
        labels: Tensor | None = None,
        seed: int,
        shift: int,
        border: str,
        flip: bool,
        alternate: bool = False,
    ):
        self.images = images if isinstance(images, Stream) else images.to(device)
        self.augmentation, self.device = augmentation, device
        self.told = augmentation.told(labels if labels is None else labels.cpu())
        self.seed, self.shift, self.border = seed, shift, border
        self.flip, self.alternate = flip, alternate
        self.companions = self._joined()
        self._table = lru_cache(maxsize=1)(self._drawn)

    def _joined(self) -> Tensor | None:
        """What the augmentation keeps of each image, on the device."""
        companions = self.augmentation.companions
        if companions is not None and (
            isinstance(self.images, Stream) or len(companions) != len(self.images)
        ):
            raise UserError(
                f"the augmentation was fitted on {len(companions)} other images; fit it on those to train on"
            )
        return companions if companions is None else companions.to(self.device)

    def _drawn(self, epoch: int) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """One table per epoch for all images, so that batches, processes and devices cannot change what an
        image meets.
        """
        table, count = keyed(self.seed, epoch), len(self.images)
        order = torch.randperm(count, generator=table)
        moves = torch.randint(-self.shift, self.shift + 1, (2, count), generator=table)
        flips = torch.rand(count, generator=table) < 0.5 * self.flip
        if self.flip and self.alternate:
            first = torch.rand(count, generator=keyed(self.seed, "flip")) < 0.5
            flips = first ^ bool(epoch % 2)
        rows = self.augmentation.draw(count, keyed(self.seed, epoch, "augment"), **self.told)
        return (
            order,
            moves.to(self.device),
            flips.to(self.device),
            {k: v.to(self.device) for k, v in rows.items()},
        )

    def order(self, epoch: int) -> Tensor:
        """A permutation of the images, which depends on (seed, epoch)."""
        return self._table(epoch)[0].to(self.device)

    def plain(self, epoch: int, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Float images (B, C, H, W), cropped and mirrored, channels last on the device, for each part,
        indices (B,).
        """
        _, moves, flips, rows = self._table(epoch)
        if isinstance(self.images, Stream):
            crops = self.images.batches([part.cpu() for part in parts], ("random-resized", self.seed, epoch))
            for part, crop in zip(parts, crops, strict=True):
                crop = self._begun(crop.to(self.device, non_blocking=True), rows, part)
                yield _shown(torch.where(flips[part][:, None, None, None], crop.flip(-1), crop))
        elif self.augmentation.early:
            for part in parts:
                whole = self._begun(self.images[part], rows, part)
                here = torch.arange(len(part), device=whole.device)
                down, right = moves[:, part]
                yield _shown(shifted(whole, here, down, right, flips[part], self.border))
        else:
            for part in parts:
                down, right = moves[:, part]
                yield _shown(shifted(self.images, part, down, right, flips[part], self.border))

    def views(self, epoch: int, parts: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """The views (B, C, H, W) that the augmentation makes of each part, the plain images first."""
        rows = self._table(epoch)[3]
        shown = zip(parts, self.plain(epoch, parts), self._donors(epoch, parts), strict=True)
        for part, images, donors in shown:
            yield self.augmentation.views(images, _of(rows, part), donors)

    def _donors(self, epoch: int, parts: Sequence[Tensor]) -> Iterator[Tensor | None]:
        """The donors of each part; or its companions; or the donors with theirs as more channels; or none."""
        if not self.augmentation.donors:
            for part in parts:
                yield None if self.companions is None else self._accompanying(self.companions, epoch, part)
            return
        met = [self._table(epoch)[3]["donor"][part].flatten() for part in parts]
        for index, images in zip(met, self.plain(epoch, met), strict=True):
            if self.companions is None:
                yield images
            else:
                yield torch.cat([images, self._accompanying(self.companions, epoch, index)], 1)

    def _accompanying(self, companions: Tensor, epoch: int, index: Tensor) -> Tensor:
        """The companions (B, K, H, W) of images, cropped and mirrored as they are."""
        _, moves, flips, _ = self._table(epoch)
        # beyond the border there is nothing; where an image is mirrored there, so is what belongs to it
        border = "reflect" if self.border == "reflect" else "zero"
        down, right = moves[:, index]
        return shifted(companions, index, down, right, flips[index], border)

    def _begun(self, images: Tensor, rows: dict[str, Tensor], part: Tensor) -> Tensor:
        """Whole images after what the augmentation does before crop and flip."""
        return self.augmentation.before(images, _of(rows, part)) if self.augmentation.early else images


def _of(rows: dict[str, Tensor], part: Tensor) -> dict[str, Tensor]:
    return {name: row[part] for name, row in rows.items()}


def _shown(images: Tensor) -> Tensor:
    return unit(images).contiguous(memory_format=torch.channels_last)
