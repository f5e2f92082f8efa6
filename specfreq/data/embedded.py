"""The image sets that need no download: pictures that scikit-image and scikit-learn carry inside their
wheels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from specfreq.core.errors import UserError
from specfreq.data.kinds import SPLITS, Kind, Row
from specfreq.data.sets import Source, choose, from_array

TILE, CROP = 64, 32  # pixels
PER_CLASS = {"train": 500, "test": 100}

# The colour photographs in the wheel that are public domain or CC0, by the name that skimage.data gives them
PHOTOS = {
    "astronaut": "astronaut",
    "cat": "chelsea",
    "coffee": "coffee",
    "galaxies": "hubble_deep_field",
    "retina": "retina",
    "rocket": "rocket",
    "tissue": "immunohistochemistry",
}
TEXTURES = ("brick", "grass", "gravel")  # the grey pictures of surfaces there, CC0, 512x512


@dataclass(frozen=True)
class Embedded(Kind):
    """A set that an installed library carries: one line about it, the package, and its reader (split ->
    Source).
    """

    what: str
    package: str
    read: Callable[[str], Source]

    def source(self, name: str, split: str, root: Path) -> Source:
        return self.read(split)

    def status(self, name: str, root: Path) -> Row:
        return Row(name, self.what, f"comes with {self.package}", SPLITS, "")


def photograph(name: str) -> np.ndarray:
    """One of `PHOTOS` whole, uint8 (H, W, 3); of the retina, the square inside the round field of view.

    Raises:
        UserError: the file is missing from the installed scikit-image, or does not match its checksum.
    """
    picture = _carried(PHOTOS[name], "photos")
    return picture[210:1210, 210:1210] if name == "retina" else picture


def _carried(name: str, of: str) -> np.ndarray:
    """A picture in the wheel of scikit-image, which the set ``of`` needs."""
    import skimage.data

    try:
        return getattr(skimage.data, name)()
    except (ImportError, OSError) as error:  # its checksum is wrong, so scikit-image would download it
        raise UserError(
            f"{of}: skimage.data.{name}() is missing or damaged; reinstall scikit-image"
        ) from error


def tiles(height: int, width: int, split: str) -> list[tuple[int, int]]:
    """Top left corners (y, x) of the 64x64 tiles of a picture that belong to a split.

    Every fifth tile, a knight's move apart, is for testing: no pixel is in both splits, and both see all of
    the picture.
    """
    grid = [(row, column) for row in range(height // TILE) for column in range(width // TILE)]
    return [(r * TILE, c * TILE) for r, c in grid if ((2 * r + c) % 5 == 0) == (split == "test")]


def photos(split: str) -> Source:
    """32x32 RGB crops of photographs at their own resolution, one class per photograph, each crop inside one
    tile.
    """
    return _crops({name: photograph(name) for name in PHOTOS}, split)


def textures(split: str) -> Source:
    """32x32 grey crops of three surfaces, cut like `photos`."""
    return _crops({name: _carried(name, "textures")[..., None] for name in TEXTURES}, split)


def _crops(pictures: Mapping[str, np.ndarray], split: str) -> Source:
    """Crops of pictures (H, W, C), a class for each."""
    random = np.random.RandomState({"train": 0, "test": 1}[split])
    crops = []
    for picture in pictures.values():
        height, width = picture.shape[:2]
        corners = tiles(height, width, split)
        for index in range(PER_CLASS[split]):
            y, x = corners[index % len(corners)] + random.randint(0, TILE - CROP + 1, 2)
            crops.append(picture[y : y + CROP, x : x + CROP])
    labels = np.repeat(np.arange(len(pictures)), PER_CLASS[split])
    return from_array(np.stack(crops).transpose(0, 3, 1, 2), labels, tuple(pictures))


def digits(split: str) -> Source:
    """scikit-learn's 8x8 grey digits, 0..16 stretched to 0..255; one fifth of them, balanced, is the test
    set.
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    test = choose(bunch.target, len(bunch.target) // 5, seed=0, what="digits")
    kept = test if split == "test" else np.setdiff1d(np.arange(len(bunch.target)), test)
    images = (bunch.images[kept].astype(np.int64) * 255 + 8) // 16  # rounded, in whole numbers
    return from_array(images[:, None].astype(np.uint8), bunch.target[kept], "0123456789")


KINDS = {
    "photos": Embedded("32x32 crops of seven colour photographs, a class for each", "scikit-image", photos),
    "textures": Embedded("32x32 grey crops of brick, grass and gravel, 3 classes", "scikit-image", textures),
    "digits": Embedded("1,797 handwritten digits, 8x8 grey, 10 classes", "scikit-learn", digits),
}
