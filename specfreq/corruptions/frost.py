"""Pictures of frost: textures that are computed, for the generators' photographs are not ours to ship; or
those, from a folder.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from specfreq.core import pictures
from specfreq.core.errors import UserError
from specfreq.core.places import expanded

FILES = (
    "frost1.png",
    "frost2.png",
    "frost3.png",
    "frost4.jpg",
    "frost5.jpg",
)  # the generators never draw the sixth
SIDES = (512, 768)  # of a computed texture; larger images get it tiled
TONES = (0.51, 0.81, 0.81, 0.60, 0.48)  # mean levels of the five, about those of the photographs
TINT = (-0.07, 0.01, 0.06)  # bluish
NEEDLES = (
    (640, 7),
    (192, 5),
    (96, 4),
    (32, 5),
    (12, 4),
    (5, 6),
)  # wavelengths of the ridges in pixels, and their weights
DEPTH = 0.115  # standard deviation of the levels


class Pictures(NamedTuple):
    """Pictures of several sizes in one table: levels float32 (3, pixels) in [0, 1], row after row; heights,
    widths (P, 2).
    """

    levels: Tensor
    sizes: Tensor


def load(folder: str | Path | None, scale: float, size: tuple[int, int], device: torch.device) -> Pictures:
    """Five pictures of frost, larger than images of (height, width) = size.

    They are reduced by `scale`, each pixel interpolated between its neighbours, nothing averaged, as the
    generators do.

    Args:
        folder: that of the generators' photographs frost1.png .. frost5.jpg; without one, five of `texture`.

    Raises:
        UserError: a photograph is missing, damaged, or not larger than the images once reduced.
    """
    if folder is None:
        found = _textures(
            scale, tuple(n // int(side * scale) + 1 for n, side in zip(size, SIDES, strict=True)), device
        )
    else:
        found = _photographs(str(folder), scale, device)
        for name, (height, width) in zip(FILES, found.sizes.tolist(), strict=True):
            if height <= size[0] or width <= size[1]:
                raise UserError(
                    f"{Path(folder) / name} has {height}x{width} pixels at the recipe's scale of {scale}; "
                    f"it must be larger than the images of {size[0]}x{size[1]}"
                )
    return found


@functools.lru_cache(maxsize=4)
def _textures(scale: float, tiles: tuple[int, int], device: torch.device) -> Pictures:
    return _joined([torch.from_numpy(texture(i)) for i in range(len(TONES))], scale, tiles, device)


@functools.lru_cache(maxsize=4)
def _photographs(folder: str, scale: float, device: torch.device) -> Pictures:
    place = expanded(folder)
    if absent := [name for name in FILES if not (place / name).is_file()]:
        raise UserError(
            f"{place} has no {absent[0]}; it must hold the generators' pictures of frost, {', '.join(FILES)}"
        )
    return _joined(
        [torch.tensor(pictures.decode(place / name, "RGB")).float() / 255 for name in FILES],
        scale,
        (1, 1),
        device,
    )


def _joined(found: list[Tensor], scale: float, tiles: tuple[int, int], device: torch.device) -> Pictures:
    if scale != 1:
        between = {"mode": "bilinear", "recompute_scale_factor": False}
        found = [F.interpolate(picture[None], scale_factor=scale, **between)[0] for picture in found]
    found = [picture.tile(tiles) for picture in found]
    sizes = torch.tensor([picture.shape[1:] for picture in found])
    return Pictures(torch.cat([picture.flatten(1) for picture in found], 1).to(device), sizes.to(device))


def texture(number: int) -> np.ndarray:
    r"""A computed texture of frost, float32 (3, 512, 768) in [0, 1], the same everywhere; its borders join.

    .. math:: \sum_\lambda w_\lambda\, e^{-3 |n_\lambda|}

    over wavelengths: :math:`n_\lambda` is normal noise whose spectrum is a Gaussian ring at the wavelength,
    drawn out along one direction, so that the sum has bright needles where it changes sign. It is then
    brought to a mean, a spread and a bluish tint near those of the photographs, and so is its spectrum. It is
    no photograph, and results with it are not those of the published sets: they say how a network takes
    bright, fine, low-contrast structure.
    """
    random = np.random.RandomState(number)
    height, width = SIDES
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    total = np.zeros((height, width))
    for wavelength, weight in NEEDLES:
        angle = random.uniform(0, np.pi)
        along, across = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
        ring = np.exp(-((wavelength * np.hypot(2 * along, across) - 1) ** 2) / 0.25)
        noise = np.fft.irfft2(np.fft.rfft2(random.standard_normal((height, width))) * ring, s=(height, width))
        total += weight * np.exp(-3 * np.abs(noise / noise.std()))
    level = TONES[number] + DEPTH * (total - total.mean()) / total.std()
    return np.stack([level + tint for tint in TINT]).clip(0, 1).astype(np.float32)
