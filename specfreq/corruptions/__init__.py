"""The 15 common corruptions and the 4 extra ones, at five severities: the recipes of CIFAR-10-C and
ImageNet-C, in batches.

Images made here are *regenerated*: they follow the published recipes, but are not the published sets
(`data.corrupted` reads those).
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from specfreq.core.errors import UserError, unknown
from specfreq.core.randomness import Draws, content, seed_of
from specfreq.core.spec import matching
from specfreq.core.transforms import CURE
from specfreq.corruptions import blur, digital, drops, noise, weather
from specfreq.corruptions import frost as frosts
from specfreq.corruptions.operators import cut
from specfreq.corruptions.recipes import ALEXNET, CIFAR, COMMON, EXTRA, IMAGENET, RECIPES, TINY, Recipe

__all__ = [
    "ALEXNET",
    "CIFAR",
    "COMMON",
    "EXTRA",
    "IMAGENET",
    "RECIPES",
    "TINY",
    "Recipe",
    "corrupt",
    "names",
    "recipe_for",
    "refuse_images",
]

LEAST = 8  # pixels of a side
SEVERITIES = (1, 2, 3, 4, 5)

_CORRUPTIONS: dict[str, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": drops.spatter,
    "saturate": digital.saturate,
}


def names() -> list[str]:
    """The 15 common corruptions, then the 4 extra ones."""
    return list(_CORRUPTIONS)


def recipe_for(height: int, width: int) -> Recipe:
    """The recipe whose images are nearest in size, by ratio: CIFAR-10-C's up to 45 pixels, ImageNet-C's from
    120, else Tiny's.

    Sizes are of the shorter side. Constants in pixels are taken as they are: nothing but the elastic lengths
    scales with the side.
    """
    side = min(height, width)
    return min(RECIPES.values(), key=lambda recipe: max(recipe.side / side, side / recipe.side))


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    keys: Tensor | None = None,
    recipe: str | None = None,
    frost: str | Path | None = None,
) -> Tensor:
    r"""Corrupt images as the recipe does, with randomness of each image's own.

    .. math:: x' = \lfloor 255\, \operatorname{clip}(c(b / 255), 0, 1) \rfloor / 255,
        \qquad b = \operatorname{round}(255 x)

    What the generators do was kept, quirks included: bytes in, and bytes out that are cut, not rounded. The
    arithmetic is float64, and what rounding leaves 1e-4 or less below a whole level counts as that level; the
    generators' own is by chance one lower there (in up to a tenth of the values, of `defocus_blur` at
    severity 4).

    Args:
        images: float (N, C, H, W) in [0, 1], colour or grey, of at least 8 pixels a side.
        name, severity: one of `names()`, and 1 to 5.
        seed: another one, other draws; so do another corruption and another severity.
        keys: int64 (N,), what an image's draws depend on besides; by default its content, so that they are
            its own whatever the batch, the order, the subset and the device.
        recipe: one of `RECIPES`, whose constants are taken; by default `recipe_for` the size.
        frost: the folder of the generators' photographs of frost; without it the frost is computed, see
            `frost.texture`.

    Returns:
        Images of the same shape, type and device, on the 8-bit grid of [0, 1].

    Grey images: what is done to every channel is done to the one; colours are added by their luma (`frost`,
    `spatter`); `saturate` leaves them as they are.

    Raises:
        UserError: unknown name or recipe, an impossible severity or seed, images that are no such images (all
            named).

    Source: Hendrycks and Dietterich, ICLR 2019, and its programs make_cifar_c.py and make_imagenet_c.py.
    """
    name = matching("corruption", name, _CORRUPTIONS)
    if recipe is not None and recipe not in RECIPES:
        raise unknown("recipe of corruptions", recipe, RECIPES)
    if severity not in SEVERITIES:
        raise UserError(f"severity must be 1, 2, 3, 4 or 5, not {severity!r}")
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"seed must be a whole number from 0, not {seed!r}")
    _check(images)
    if keys is not None and (keys.shape != images.shape[:1] or keys.dtype != torch.int64):
        raise UserError(
            f"keys must be int64 ({len(images)},), one for each image, not {keys.dtype} {tuple(keys.shape)}"
        )
    if not len(images):
        return images.clone()
    chosen = recipe_for(*images.shape[-2:]) if recipe is None else RECIPES[recipe]
    constants, extra = chosen.constants[name][severity - 1], {}
    if name == "frost":
        height, width = images.shape[-2:]
        extra["pictures"] = frosts.load(frost, chosen.frost_scale, (height, width), images.device)
    start = seed_of(seed, "corruption", name, severity)
    together = max(1, _VALUES[images.device.type == "cuda"] // images[0].numel())
    own = [None] * len(images) if keys is None else keys.to(images.device).split(together)
    results = []
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        for part, part_keys in zip(images.split(together), own, strict=False):
            levels = (255 * part.double()).round_()
            draws = Draws(content(levels) if part_keys is None else part_keys, start)
            corrupted = _CORRUPTIONS[name](levels / 255, constants, draws, **extra)
            results.append(cut(255 * corrupted).to(images.dtype) / 255)
    return torch.cat(results)


# values that are worked on at a time: few enough for a processor's cache, enough to occupy a GPU
_VALUES = {False: 2**17, True: 2**25}


def refuse_images(shape: tuple[int, ...]) -> None:
    """Refuse images of a shape (..., C, H, W) that no corruption takes."""
    if shape[-3] not in (1, 3):
        raise UserError(
            f"corruptions take images (N, C, H, W), grey or colour (C = 1 or 3), not {tuple(shape)}"
        )
    if min(shape[-2:]) < LEAST:
        raise UserError(f"corruptions need images of {LEAST} pixels a side or more, not {tuple(shape)}")


def _check(images: Tensor) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = f"{type(images).__name__}; {CURE}"
        what = f"{images.dtype} values (of uint8 images take x / 255)" if isinstance(images, Tensor) else kind
        raise UserError(f"corruptions take float images (N, C, H, W) in [0, 1], not {what}")
    if images.ndim != 4:
        raise UserError(
            f"corruptions take images (N, C, H, W), grey or colour (C = 1 or 3), not {tuple(images.shape)}"
        )
    refuse_images(tuple(images.shape))
    if len(images) and not (images.amin() >= 0 and images.amax() <= 1):
        raise UserError("corruptions take images in [0, 1]; some values are outside, or NaN")
