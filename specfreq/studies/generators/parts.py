"""What generators learn: images, their bands of total variation, or images of the flow; brought into the
generators' range.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from specfreq import tv
from specfreq.core.errors import UserError
from specfreq.core.images import luminance, unit
from specfreq.data import load
from specfreq.data.sets import ImageSet
from specfreq.data.streams import Stream
from specfreq.models.dcgan import stages
from specfreq.studies.generators.training import Recipe

REACH = 0.999  # of the values of a part, the share within the generator's range


class Parts(NamedTuple):
    """What is generated: names, values (P, N, C, H, W), and for each part the centre and the scale of the
    generator's range.
    """

    names: tuple[str, ...]
    values: Tensor
    centre: Tensor
    scale: Tensor

    @property
    def ranged(self) -> Tensor:
        """The values in the generator's range, [-1, 1]; what lies beyond is cut off."""
        return ((self.values - column(self.centre)) / column(self.scale)).clamp(-1, 1)

    @property
    def lost(self) -> list[float]:
        """The root mean square of what `ranged` cuts off, for each part, in units of the images."""
        kept = self.ranged * column(self.scale) + column(self.centre)
        return (self.values - kept).double().square().mean((1, 2, 3, 4)).sqrt().tolist()


def column(numbers: Tensor) -> Tensor:
    return numbers.view(-1, 1, 1, 1, 1)


def restored(made: Sequence[Tensor], centre: Tensor, scale: Tensor) -> Tensor:
    """What generators made, a part (N, C, H, W) each or one all parts, in units of the images: (P, N, C, H,
    W).
    """
    values = torch.cat(list(made), 1).unflatten(1, (len(centre), -1)).transpose(0, 1)
    return values * column(scale) + column(centre)


def real(recipe: Recipe, split: str = "train", most: int | None = None) -> Tensor:
    """The images (N, C, side, side) of a recipe, float32 in [0, 1]: those for training, or for testing at
    most so many.
    """
    found = _images(recipe, split)
    images = unit((found if most is None or most >= len(found) else found.subset(most)).images)
    return luminance(images) if recipe.grey else images


def _images(recipe: Recipe, split: str) -> ImageSet:
    images = _load(recipe.data, split, recipe.train_size if split == "train" else None)
    channels, height, width = images.shape
    if isinstance(images, Stream):
        raise UserError(f"{recipe.data}: generators learn from images in memory; leave out stream=1")
    if height != width:
        raise UserError(
            f"{recipe.data}: generators make squares, not {height}x{width}; take folder:PATH?size=64"
        )
    if recipe.grey and channels not in (1, 3):
        raise UserError(
            f"{recipe.data} has {channels} channels; only three can be made grey, so say grey=False"
        )
    stages(width)
    return images


_load = functools.lru_cache(maxsize=4)(load)


def split_up(images: Tensor, recipe: Recipe) -> Tensor:
    """Images (N, C, H, W) -> their parts (P, N, C, H, W): the images; bands and residual; or the images of
    the flow.
    """
    if recipe.parts == "image":
        return images[None]
    done = []
    for chunk in images.split(500):
        if recipe.parts == "flow":
            done.append(tv.flow(chunk, recipe.bands, recipe.dt))
        else:
            found = tv.transform(chunk, recipe.bands, recipe.dt)
            done.append(torch.cat([found.phi, found.residual[None]]))
    return torch.cat(done, 1)


def sum_up(parts: Tensor, recipe: Recipe) -> Tensor:
    """Parts (P, N, C, H, W) -> images (N, C, H, W): their sum; of the flow, u_0."""
    return parts[0] if recipe.parts == "flow" else parts.sum(0)


def recomposed(flow: Tensor, bands: int) -> Tensor:
    """What the dissertation's program makes of images u_0, u_1, ... (M + 1, N, C, H, W): Σ phi_n + r, n = 1
    .. bands < M.

    Written as its formulas are. The sum telescopes: whatever the u_n are, it is u_0 up to rounding.
    """
    phi = [n * (flow[n - 1] - 2 * flow[n] + flow[n + 1]) for n in range(1, bands + 1)]
    return sum(phi) + (bands + 1) * flow[bands] - bands * flow[bands + 1]


def prepared(recipe: Recipe) -> Parts:
    """The parts of the training images, centred on 0.5 where they carry the mean and on 0 where they do not.

    The scale is the least that leaves 99.9 % of all values of a part within [-1, 1].
    """
    values = split_up(real(recipe), recipe)
    centre = torch.tensor([0.0 if name.startswith("band") else 0.5 for name in recipe.names])
    distance = (values - column(centre)).abs().flatten(1)
    scale = distance.kthvalue(max(1, int(REACH * distance.shape[1])), dim=1).values
    return Parts(recipe.names, values, centre, scale.clamp(min=1e-6))


def digest(recipe: Recipe, split: str = "train") -> str:
    """SHA-256 of the images of a recipe."""
    return _images(recipe, split).digest
