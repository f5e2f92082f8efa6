"""Picture files of any kind that Pillow opens, read upright, on white where transparent."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from specfreq.core.errors import UserError

GREY, COLOUR = (
    ("1", "L", "LA"),
    ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"),
)  # Pillow's modes of 8 bits

ORANGE = (255, 140, 0)

ORIENTATION = 0x0112  # the tag of EXIF

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """A picture's file, opened by Pillow; what is wrong with it, now or while it is read, names the file."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # opening a pipe would wait for ever
            raise UserError(f"{file} is no regular file")
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                # it would be clipped
                raise UserError(f"{file} has pixels of type {image.mode}; save it with 8 bits a channel")
            if image.mode not in GREY + COLOUR:
                raise UserError(f"{file} has pixels of type {image.mode}; save it as RGB")
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(
            f"{file} has more than {most} pixels, against which Pillow guards; scale it down, "
            "or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except (
        Exception
    ) as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... for damaged files
        raise UserError(f"{file} is missing, damaged or no picture ({error})") from error


def _orientation(image: Image.Image) -> int:
    """What EXIF says, 1 to 8; 1 (as stored) if it says nothing, nonsense, or cannot be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # as many kinds as in _opened; the pixels may be whole all the same
        return 1
    return found if isinstance(found, int) and found in TURNS else 1


def upright(file: Path, mode: str) -> Image.Image:
    """The picture of a file in one of Pillow's modes, turned as its EXIF orientation says, on white where
    transparent.

    Of an animation, or a file of several pages, the first. EXIF that cannot be read is as none: the picture
    stays as it is stored. Of colours with 16 bits a channel Pillow gives the upper 8; a grey picture with
    more than 8 is refused.

    Raises:
        UserError: the file is missing, no regular file, damaged, truncated or no picture, is grey with more
            than 8 bits, or has more pixels than Pillow's guard against decompression bombs lets through.
    """
    with _opened(file) as image:
        image.load()
        if (orientation := _orientation(image)) in TURNS:
            image = image.transpose(TURNS[orientation])
        if image.has_transparency_data:  # or what lies under it, noise often, would be seen
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert(mode)


def sheet(rows: Sequence[np.ndarray], scale: int = 3) -> bytes:
    """Rows of images, uint8 (K, C, H, W) each, grey or RGB, below one another and enlarged, as PNG."""
    lines = [np.concatenate(list(images[:, :3]), axis=2) for images in rows]
    whole = np.concatenate(lines, axis=1).transpose(1, 2, 0)
    image = Image.fromarray(whole if whole.shape[2] == 3 else whole[..., 0])
    size = (image.width * scale, image.height * scale)
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def decode(file: Path, mode: str, side: int | tuple[int, int] | None = None) -> np.ndarray:
    """The picture of a file as uint8 (C, H, W), upright; with `side`, its centre square scaled to that many
    pixels, or the largest part about its centre of the shape of (width, height).

    Raises:
        UserError: as in `upright`.
    """
    image = upright(file, mode)
    if side:
        size = (side, side) if isinstance(side, int) else side
        image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)


def described(file: Path) -> tuple[str, tuple[int, int]]:
    """Pillow's mode of a picture, and its (width, height) once upright.

    Raises:
        UserError: the file is missing, no regular file or no picture, or of a mode that `upright` refuses.
    """
    with _opened(file) as image:
        if image.format == "TIFF":  # which Pillow sets upright itself when it loads one
            image.load()
        width, height = image.size
        return image.mode, (height, width) if _orientation(image) >= 5 else (width, height)


def overlaid(image: np.ndarray, map: np.ndarray, strongest: float = 0.75) -> np.ndarray:
    """A map over a picture, in orange, the more opaque the larger: uint8 (3, H, W).

    Where the map is zero the picture is seen as it is, in grey.

    Args:
        image: uint8 (C, H, W), grey or RGB.
        map: (H, W) in [0, 1].
        strongest: opacity where the map is 1.
    """
    pixels = image.transpose(1, 2, 0)
    grey = np.asarray(Image.fromarray(pixels).convert("L")) if len(image) == 3 else image[0]
    opacity = strongest * map.clip(0, 1)
    over = (1 - opacity) * grey + opacity * np.reshape(ORANGE, (3, 1, 1))
    return np.rint(over).clip(0, 255).astype(np.uint8)


def png(image: np.ndarray, least: int = 224) -> bytes:
    """An image, uint8 (C, H, W), as PNG; small ones are enlarged by a whole number, to a side of about
    `least`.
    """
    scale = max(1, least // max(image.shape[1:]))
    return sheet([image[None]], scale)
