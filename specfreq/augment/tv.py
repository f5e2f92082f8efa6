"""Total variation bands amplified: the fine scales of an image louder (the dissertation's augmentation),
computed once.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from torch import Generator, Tensor

from specfreq import tv
from specfreq.augment.base import CUT_OFF, Augmentation, Criterion, Rows
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.core.images import unit
from specfreq.core.progress import progress_bar
from specfreq.core.spec import parts

VERSION = 1  # of what the files of bands hold
LAST = 100  # band; each is a solve for every image
STEP, TOL = 1 / 14, 1e-4  # of the flow; the bands of 32x32 photographs are then right to half a percent
AT_ONCE = (
    2**22
)  # values of images whose bands are computed at a time, and lie in one file: seconds of work on a processor


def _in_order(bands: str) -> str:
    """Numbers of bands in ascending order, each once: 1+2."""
    numbers = parts(bands)
    if not all(n.isdecimal() and 1 <= int(n) <= LAST for n in numbers):
        told = "write numbers from 1 to {last} with + between them, as in bands=1+2"
        raise PydanticCustomError("bands", told, {"last": LAST})
    return "+".join(map(str, sorted({int(n) for n in numbers})))


class TVBands(Augmentation):
    r"""Amplify bands of the spectral total variation transform, by default the two finest: stronger texture,
    same shapes.

    .. math:: w = f + \sum_{j \in \text{bands}} (g_j - 1) \, \phi_j, \; g_j \sim U[\text{low}, \text{high}];
        \qquad L = \tfrac12 \ell(f, y) + \tfrac12 \ell(w, y)

    with φ of `tv.transform`, of scale j dt, dt = 1/14. With gains of 1 the second view is the image again:
    the arm to compare with, as it makes as many steps on batches of the same size from the same images.

    A band depends on its image alone: `fit` computes those of all training images once, keeps them on disk
    below the folder of runs, and Feed crops and mirrors them with the images. They are float16: rounding is
    at most 2^-12 of values below 1, a tenth of what the tolerance of the transform leaves. They hold as many
    values in memory as images times bands. `forward`, and `views` of what has not been fitted, compute the
    bands of the batch they see, which takes milliseconds for an image of 32 pixels.

    Args:
        bands: which, numbers from 1 on with + between them. The dissertation's are the components 1 and 2.
        low, high: range of the gains; 1 leaves a band as it is, 0 removes it.
        gains: ``continuous``, or whole numbers alone, ``integers``, as in the original.
        per: gains for each image, or one for each band and ``batch``, as in the original: what happens to an
            image then depends on its batch.
        joint: one gradient length over all channels, so that their edges are shared; else channel by channel.
            The original knows grey images alone.
        clip: cut w off at 0 and 1. The original lets it leave them, and so no band is lost at bright and dark
            places.
        loss: L, the ``mean`` of the two, as of the original's doubled batch; or their ``sum``.

    Its solver is none of its quirks here: it stops a batch at once, so that no band would be an image's own;
    see `specfreq.tv.published`.

    Source: the dissertation's program, spectral().
    """

    published: ClassVar[Mapping[str, Any]] = {"per": "batch", "gains": "integers"}
    title = "Amplified texture"
    words: ClassVar[Mapping[str, str]] = {
        "high=1,low=1": "gains of 1 (plain pictures twice)",
        "bands": "bands {}",
        **{f"bands={band}": f"band {band} alone" for band in range(1, 10)},
        "gains=integers": "whole gains",
        "per=batch": "one gain a batch",
        "joint=True": "joint channels",
        "clip=True": "clipped",
        "loss=sum": "summed losses",
    }
    shown = 2

    def __init__(
        self,
        bands: Annotated[str, AfterValidator(_in_order)] = "1+2",
        low: float = 3.0,
        high: float = 4.0,
        gains: Literal["continuous", "integers"] = "continuous",
        per: Literal["image", "batch"] = "image",
        joint: bool = False,
        clip: bool = False,
        loss: Literal["mean", "sum"] = "mean",
    ):
        super().__init__()
        if not 0 <= low <= high <= 1000:
            raise UserError(f"gains must be 0 <= low <= high <= 1000, not from {low} to {high}")
        if gains == "integers" and (low % 1 or high % 1):
            raise UserError(f"gains=integers needs whole numbers for low and high, not {low} and {high}")
        self.bands = tuple(map(int, parts(bands)))
        self.low, self.high, self.whole, self.per = low, high, gains == "integers", per
        self.joint, self.clip, self.halved = joint, clip, loss == "mean"
        self.bounded, self.within = clip, CUT_OFF if clip else ""
        self.accompanied = not low == high == 1

    def fit(self, images: Tensor, *, labels: Tensor | None = None) -> Self:
        super().fit(images)
        self.companions = self._kept(images) if self.accompanied else None
        return self

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        shape = count, len(self.bands)
        if self.whole:
            return {
                "gain": torch.randint(int(self.low), int(self.high) + 1, shape, generator=generator).float()
            }
        return {"gain": torch.rand(shape, generator=generator) * (self.high - self.low) + self.low}

    def transform(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W), their gains, and their bands (B, bands C, H, W), computed if not given ->
        images.
        """
        if not self.accompanied:
            return images
        phi = self._computed(images) if donors is None else donors
        gain = rows["gain"][:1] if self.per == "batch" else rows["gain"]
        louder = (gain.to(images.dtype) - 1)[:, :, None, None, None] * phi.to(images.dtype).unflatten(
            1, (len(self.bands), -1)
        )
        mixed = images + louder.sum(1)
        return mixed.clamp(0, 1) if self.clip else mixed

    def views(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> tuple[Tensor, ...]:
        return images, self.transform(images, rows, donors)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        total = super().loss(logits, labels, criterion)
        return total / 2 if self.halved else total

    def _computed(self, images: Tensor) -> Tensor:
        """The bands of images, bytes or floats (B, C, H, W): float16 (B, bands C, H, W)."""
        try:
            channels = "joint" if self.joint else "separate"
            phi = tv.transform(unit(images).float(), self.bands[-1], STEP, TOL, channels=channels).phi
        except ValueError as error:
            raise UserError(f"these images have no bands of total variation: {error}") from None
        return torch.cat([phi[band - 1] for band in self.bands], 1).half()

    def _kept(self, images: Tensor) -> Tensor:
        """The bands of a set (N, C, H, W), read from their files or computed and written, part by part, and
        so resumed.
        """
        folder = self._folder(images)
        with storage.alone(folder, "computes the bands of these images"):
            count, channels, *size = images.shape
            kept = torch.empty(
                count, len(self.bands) * channels, *size, dtype=torch.float16, device=images.device
            )
            parts = torch.arange(count).split(max(1, AT_ONCE // images[0].numel()))
            with progress_bar("bands", count, "img", line=1, unit_scale=True) as bar:
                for number, part in enumerate(parts):
                    own = slice(int(part[0]), int(part[-1]) + 1)
                    file = folder / f"{number:05}.safetensors"
                    tensors, _ = storage.held(
                        file, lambda own=own: ({"bands": self._computed(images[own])}, None)
                    )
                    kept[own] = tensors["bands"]
                    bar.update(len(part))
        return kept

    def _folder(self, images: Tensor) -> Path:
        """Where the bands of these images lie: named after all that they depend on."""
        how = f"{VERSION} {self.bands} {self.joint} {STEP} {TOL} {images.dtype} {tuple(images.shape)}"
        digest = hashlib.sha256(how.encode())
        for part in images.split(1000):
            digest.update(part.cpu().contiguous().numpy().data)
        return places.runs_dir() / "bands" / digest.hexdigest()[:16]
