"""Pictures of one's own in a NumPy file: `array:FILE.npz`, labelled or not."""

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specfreq.core.errors import UserError
from specfreq.core.memory import check_memory
from specfreq.core.places import expanded
from specfreq.data.folders import PathKind, few
from specfreq.data.kinds import SPLITS, Row
from specfreq.data.sets import Source, from_array

# what zipfile and NumPy raise for a file that is no whole one, is encrypted, or packed as Python does not
# know
DAMAGES = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    SyntaxError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Member:
    """An array in a .npz file, known by its header alone."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray:
        """The array itself. Nothing in it is ever executed.

        Raises:
            UserError: it is damaged, or would take more than half of the memory.
        """
        needed = math.prod(self.shape) * self.dtype.itemsize
        check_memory(needed, f"{self.name} in {self.file}", "store fewer or smaller pictures")
        try:
            with zipfile.ZipFile(self.file) as archive, archive.open(f"{self.name}.npy") as stored:
                return np.lib.format.read_array(stored, allow_pickle=False)
        except DAMAGES as error:
            raise _damaged(self.file, error) from error


def members(file: Path) -> dict[str, Member]:
    """The arrays of a .npz file by name. Only headers are read, and checked against the sizes that the
    archive states.

    Raises:
        UserError: no regular file, damaged, or no archive of NumPy arrays.
    """
    if not file.is_file():
        raise UserError(f"{file} is no regular file")
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy"):
                    continue
                name = entry.filename.removesuffix(".npy")
                with archive.open(entry) as stored:
                    version = np.lib.format.read_magic(stored)
                    header = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                        version, np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = header(stored)
                    start = stored.tell()
                whole = (
                    start + math.prod(shape) * dtype.itemsize == entry.file_size
                    and min(shape, default=0) >= 0
                )
                if not (whole or dtype.hasobject):
                    raise ValueError(f"the header of {name} does not fit its {entry.file_size} bytes")
                found[name] = Member(file, name, shape, dtype)
    except DAMAGES as error:
        raise _damaged(file, error) from error
    return found


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"{file} is damaged or no .npz file of NumPy ({error})")


def array(path: str, root: Path, split: str) -> Source:
    """The pictures of FILE.npz, looked up as it is written, below the working directory, or below `root`.

    `train_images` and `test_images` are the splits, as MedMNIST lays them out; a file of one array of
    pictures, whatever it is called, is a test set. Pictures are uint8 (N, H, W), (N, H, W, C) or (N, C, H, W)
    with one channel or three. Their labels are `train_labels` and `test_labels`, or `labels`, (N,) or (N, 1),
    whole numbers or text: see `classes`. Without labels all are of one class, named after the file.

    Args:
        split: "train" or "test".

    Raises:
        UserError: no such file, damaged, too large for memory, or laid out otherwise; names it.
    """
    places = (expanded(path), root / path) if path else ()
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        if there := next((place for place in places if place.exists()), None):
            raise UserError(f"array:{path}: {there} is no regular file")
        raise UserError(f"array:{path}: no such file, neither in {Path.cwd()} nor in {root}")
    held = members(file)
    pictures, labels = f"{split}_images", f"{split}_labels"
    if not any(name.endswith("_images") for name in held):
        alone = [name for name in held if name != "labels"]
        if len(alone) != 1:
            raise UserError(
                f"{file} holds {few(held, 9) or 'nothing'}; wanted: {split}_images, or one array of pictures"
            )
        if split == "test":
            pictures, labels = alone[0], "labels"
    if pictures not in held:
        raise UserError(f"{file} has no pictures for {split}; it holds {few(held, 9)}")
    _check_pictures(held[pictures])
    count = held[pictures].shape[0]
    if labels not in held:
        if others := [name for name in held if name != pictures and not name.endswith("_images")]:
            raise UserError(
                f"{file} has no {labels}, but {few(others)}: call its labels train_labels and test_labels"
            )
        return from_array(_channels_first(held[pictures].read()), np.zeros(count, np.int64), (file.stem,))
    if held[labels].shape not in ((count,), (count, 1)):
        raise UserError(
            f"{file}: {labels} must be {count} labels for {count} pictures, ({count},) or ({count}, 1), "
            f"not {held[labels].dtype} {held[labels].shape}"
        )
    every = {name: _labels(held[name]) for name in held if name == labels or _are_labels(name, held)}
    where = f"{file}: {few(every)}"
    if len({found.dtype.kind for found in every.values()}) > 1:
        raise UserError(
            f"{where} are labels of different kinds, {few(str(found.dtype) for found in every.values())}"
        )
    known = classes(np.concatenate(list(every.values())), where)
    numbers = np.searchsorted(known, every[labels].astype(known.dtype))
    return from_array(_channels_first(held[pictures].read()), numbers, map(str, known))


def classes(labels: np.ndarray, where: str) -> np.ndarray:
    """The distinct labels, sorted; they name the classes, and class i is the i-th of them, whatever numbers
    they are.

    Raises:
        UserError: there are more than half as many as labels, and they are not numbered from 0: then they
            name pictures, or measure something, and no class has two pictures to learn from and to test with.
    """
    known = np.unique(labels)
    numbered = known.dtype.kind in "iu" and len(known) and (known[0], known[-1]) == (0, len(known) - 1)
    if 2 * len(known) > len(labels) and not numbered:
        raise UserError(
            f"{where}: {len(known)} distinct labels for {len(labels)} pictures are no classes "
            f"({few(map(str, known))}); a class needs two pictures or more"
        )
    return known


def _are_labels(name: str, held: Mapping[str, Member]) -> bool:
    """Whether an array labels the pictures of some split."""
    pictures = held.get(f"{name.removesuffix('_labels')}_images")
    return name.endswith("_labels") and pictures is not None and held[name].shape[:1] == pictures.shape[:1]


def _labels(member: Member) -> np.ndarray:
    """(N,) whole numbers or text.

    Raises:
        UserError: what is stored cannot be labels.
    """
    where = f"{member.file}: {member.name}"
    if len(member.shape) not in (1, 2) or member.shape[1:] not in ((), (1,)):
        raise UserError(f"{where} has shape {member.shape}; wanted: one label for each picture")
    if member.dtype.hasobject or member.dtype.kind not in "buifSU":
        raise UserError(f"{where} holds {member.dtype}; labels are whole numbers or text")
    labels = member.read().reshape(-1)
    if labels.dtype.kind == "f":
        if not np.all(np.isfinite(labels) & (labels == np.rint(labels)) & (abs(labels) < 2**53)):
            raise UserError(
                f"{where} holds {member.dtype} with fractions, NaN or numbers too large; labels are whole "
                "numbers or text"
            )
        return labels.astype(np.int64)
    if labels.dtype.kind == "S":
        return np.array([text.decode(errors="backslashreplace") for text in labels.tolist()], str)
    if labels.dtype.kind == "u" and labels.max(initial=0) < 2**63:
        return labels.astype(np.int64)
    return labels


def _check_pictures(member: Member) -> None:
    shape = member.shape
    of_colours = len(shape) == 4 and (shape[3] in (1, 3) or shape[1] in (1, 3))
    if member.dtype != np.uint8 or 0 in shape or not (len(shape) == 3 or of_colours):
        raise UserError(
            f"{member.file}: {member.name} must be uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 "
            "channels, "
            f"not {member.dtype} {shape}"
        )


def _channels_first(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        return images[:, None]
    return images.transpose(0, 3, 1, 2) if images.shape[3] in (1, 3) else images


class _Kind(PathKind):
    def source(self, name: str, split: str, root: Path) -> Source:
        return array(name.strip().partition(":")[2], root, split)

    def status(self, name: str, root: Path) -> Row:
        return Row("array:FILE", "pictures of your own in one .npz file of NumPy", "FILE", SPLITS, "")


KINDS = {"array": _Kind()}
