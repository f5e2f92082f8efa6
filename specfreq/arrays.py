"""Pictures of one's own in a NumPy file: `array:FILE.npz`, labelled or not."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from specfreq.naming import UserError
from specfreq.pictures import Source, from_array
from specfreq.storage import expanded

DAMAGES = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # what NumPy raises for a file that is no whole one


def array(path: str, root: Path, split: str) -> Source:
    """The pictures of FILE.npz, looked up as it is written, below the working directory, or below `root`.

    `train_images` and `test_images` are the splits, as MedMNIST lays them out; a file of one array of pictures, whatever it is
    called, is a test set. Pictures are uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) with one channel or three. Their labels
    are `train_labels` and `test_labels`, or `labels`: whole numbers from 0, (N,) or (N, 1), which are the names of the classes
    too. Without labels all are of one class, named after the file.

    Args:
        split: "train" or "test".

    Raises:
        UserError: no such file, damaged, or laid out otherwise; names it. Nothing in it is ever executed.
    """
    file = next((f for f in (expanded(path), root / path) if path and f.is_file()), None)
    if file is None:
        raise UserError(f"array:{path}: no such file, neither in {Path.cwd()} nor in {root}")
    try:
        with np.load(file, allow_pickle=False) as found:
            held = {name: found[name] for name in found.files}
    except (*DAMAGES, AttributeError, TypeError) as error:  # the last two: a file of one bare array
        raise UserError(f"{file} is damaged or no .npz file of NumPy ({error})") from error
    pictures, labels = f"{split}_images", f"{split}_labels"
    if not any(name.endswith("_images") for name in held):
        alone = [name for name in held if name != "labels"]
        if len(alone) != 1:
            raise UserError(f"{file} holds {', '.join(held) or 'nothing'}; wanted: {split}_images, or one array of pictures")
        if split == "test":
            pictures, labels = alone[0], "labels"
    if pictures not in held:
        raise UserError(f"{file} has no pictures for {split}; it holds {', '.join(held)}")
    images = _channels_first(held[pictures], f"{file}: {pictures}")
    if labels not in held:
        return from_array(images, np.zeros(len(images), np.int64), (file.stem,))
    given = held[labels]
    whole = np.issubdtype(given.dtype, np.integer) and given.shape in ((len(images),), (len(images), 1))
    if not whole or (given.size and given.min() < 0):
        raise UserError(f"{file}: {labels} must be {len(images)} whole numbers from 0, not {given.dtype} {given.shape}")
    every = [v.max() for name, v in held.items() if name.endswith("labels") and v.size and np.issubdtype(v.dtype, np.integer)]
    return from_array(images, given.reshape(-1), map(str, range(int(max(every)) + 1)))


def _channels_first(images: np.ndarray, where: str) -> np.ndarray:
    if images.dtype == np.uint8 and len(images):
        if images.ndim == 3:
            return images[:, None]
        if images.ndim == 4 and images.shape[3] in (1, 3):
            return images.transpose(0, 3, 1, 2)
        if images.ndim == 4 and images.shape[1] in (1, 3):
            return images
    raise UserError(
        f"{where} must be uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, not {images.dtype} {images.shape}"
    )
