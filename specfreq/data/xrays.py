"""Chest X-rays: a copy of PneumoniaMNIST in another order, the NIH's pictures with boxes, and the pictures of
children that PneumoniaMNIST is made of.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from specfreq.core.errors import UserError
from specfreq.core.memory import check_memory
from specfreq.core.pictures import decode
from specfreq.core.spec import resolve, shortest
from specfreq.data import boxes
from specfreq.data.folders import TABLE, Listing
from specfreq.data.kinds import SPLITS, Kind, Row
from specfreq.data.published import PNEUMONIA_FILE, Published, pneumonia
from specfreq.data.sets import Source

CLASSES = ("normal", "pneumonia")

REORDERED_MD5 = "d62a37a3369980484eaefc0ce1c37c08"

NIH = "nih-chest-128"  # the folder
NIH_SIDE = 128
NIH_COUNT = 500  # pictures of each class
NIH_TEST = 150  # of which are for testing
NIH_SHA256 = (
    "1db2e2455715ee4a4bf5881539e185e761e70c89650cdd0fa370cce6c9df90ac"  # of all files, see `contents`
)

CHILDREN = "chest_xray"
CHILDREN_FOLDERS = ("NORMAL", "PNEUMONIA")
# normal, pneumonia; the publisher's training pictures and, where they are apart, its 16 for validation
CHILDREN_COUNTS = {"train": (1349, 3883), "test": (234, 390)}


# ---- the NIH's pictures


def patient(name: str) -> str:
    """The patient of a picture of the NIH, by the first part of its name: ``00000150_002.png``."""
    return Path(name).name.partition("_")[0]


def contents(base: Path, names: Iterable[str]) -> str:
    """SHA-256 of files below a folder: of the lines of their names and their own SHA-256, in that order."""
    whole = hashlib.sha256()
    for name in names:
        digest = hashlib.sha256((base / name).read_bytes()).hexdigest()
        whole.update(f"{name} {digest}\n".encode())
    return whole.hexdigest()


@dataclass(frozen=True)
class NIHChest:
    """How `nih-chest:split=...,size=...` chooses 150 of 500 pictures of each class for testing, see `tested`,
    and how large it makes them.

    Args:
        split: patient: a patient's pictures are all in one split, and those of a patient with a box in the
            test split. picture: pictures with a box are in the test split, the others are dealt whosever they
            are: then patients are in both, which shows what such a leak is worth.
        size: pixels of a side; boxes are brought to it with the pictures.
    """

    split: Literal["patient", "picture"] = "patient"
    size: Annotated[int, Field(ge=8, le=NIH_SIDE)] = NIH_SIDE


def tested(names: dict[str, list[str]], boxed: set[str], split: str, count: int = NIH_TEST) -> set[str]:
    """The pictures for testing: `count` of each class where whole patients allow it, never more.

    Those with a box come first, then others in the order of the SHA-256 of their patient, or of their name.

    Args:
        names: the pictures of each class.
        boxed: those with a box; by patient, all pictures of these patients count.
        split: by patient or by picture.
    """
    own = {name: label for label, found in names.items() for name in found}
    of: Callable[[str], str] = patient if split == "patient" else lambda name: name
    groups: dict[str, list[str]] = {}
    for name in own:
        groups.setdefault(of(name), []).append(name)
    first = {of(name) for name in boxed}
    order = sorted(groups, key=lambda key: (key not in first, hashlib.sha256(key.encode()).digest()))
    left, chosen = dict.fromkeys(names, count), set()
    for key in order:
        needed = {label: sum(own[name] == label for name in groups[key]) for label in left}
        if key in first or all(needed[label] <= left[label] for label in left):
            chosen.update(groups[key])
            left = {label: left[label] - needed[label] for label in left}
    return chosen


class _NIH(Kind):
    what = "1,000 grey chest X-rays of the NIH, 128x128, normal or pneumonia, 43 with a box"

    def _options(self, name: str) -> dict[str, Any]:
        return resolve("data set", {"nih-chest": NIHChest}, name)[1]

    def normal_form(self, name: str) -> str:
        return shortest("nih-chest", self._options(name), NIHChest)

    def source(self, name: str, split: str, root: Path) -> Source:
        base = root / NIH
        if problem := _nih_problem(base):
            raise UserError(f"nih-chest ({split}): {problem}; {self._hint()}")
        names = _nih_names(base)
        every = Listing(names, [], "")
        options = self._options(name)
        side = None if options["size"] == NIHChest.size else options["size"]
        found, _ = boxes.read(base, every, [(NIH_SIDE, NIH_SIDE)] * len(every.files), side)
        boxed = {file for file, box in zip(every.files, found, strict=True) if box.any()}
        test = tested(names, boxed, options["split"])
        kept = np.array([(file in test) == (split == "test") for file in every.files])
        files = [base / file for file, use in zip(every.files, kept, strict=True) if use]
        return Source(every.labels[kept], CLASSES, _grey(files, side), found[kept])

    def get(self, name: str, root: Path, say: Callable[[str], None]) -> str:
        if not _nih_problem(root / NIH):
            return f"nih-chest is already in {root / NIH}"
        raise UserError(f"nih-chest cannot be downloaded by this command; {self._hint()}")

    def status(self, name: str, root: Path) -> Row:
        why = _nih_problem(root / NIH)
        return Row(name, self.what, str(root / NIH), () if why else SPLITS, why)

    def _hint(self) -> str:
        return (
            f"put the folder {NIH} of 1,000 pictures and boxes.csv below the data folder; other pictures "
            "of the NIH's are folder:PATH"
        )


def _nih_names(base: Path) -> dict[str, list[str]]:
    """The pictures of each class below the folder, in the order of their names."""
    return {
        label: sorted(f"{label}/{file.name}" for file in (base / label).glob("*.png")) for label in CLASSES
    }


def _nih_problem(base: Path) -> str:
    """What is missing or other than it was; empty if nothing."""
    for label in CLASSES:
        if not (base / label).is_dir():
            return f"{base / label} is missing"
    if not (base / TABLE).is_file():
        return f"{base / TABLE} is missing"
    names = _nih_names(base)
    for label, found in names.items():
        if len(found) != NIH_COUNT:
            return f"{base / label} holds {len(found)} pictures, not {NIH_COUNT}"
    every = [*(name for found in names.values() for name in found), TABLE]
    try:
        digest = contents(base, every)
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror or error})"
    return "" if digest == NIH_SHA256 else f"files in {base} are damaged or others (SHA-256 {digest[:8]})"


def _grey(files: list[Path], side: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """Reads grey pictures of one size, uint8 (n, 1, H, W)."""

    def read(kept: np.ndarray) -> np.ndarray:
        chosen = [files[index] for index in kept]
        if side:
            check_memory(len(chosen) * side**2, f"{len(chosen)} pictures of {side}x{side}", "take fewer")
        return np.stack([decode(file, "L", side) for file in chosen])

    return read


# ---- the pictures of children


@dataclass(frozen=True)
class Children:
    """How large `chest-xray:size=...` makes the pictures.

    Args:
        size: pixels of a side; the shorter side is brought to it and the centre square kept.
    """

    size: Annotated[int, Field(ge=8, le=1024)] = 128


class _Children(Kind):
    what = "5,856 grey chest X-rays of children in full size, brought to 128x128, normal or pneumonia"
    site = "https://data.mendeley.com/datasets/rscbjbr9sj"

    def _size(self, name: str) -> int:
        return resolve("data set", {"chest-xray": Children}, name)[1]["size"]

    def normal_form(self, name: str) -> str:
        return shortest("chest-xray", {"size": self._size(name)}, Children)

    def source(self, name: str, split: str, root: Path) -> Source:
        base = root / CHILDREN
        if problem := _children_problem(base, split):
            hint = f"see {self.site}, and unpack it so that {base}/train/NORMAL is there"
            raise UserError(f"chest-xray ({split}): {problem}; {hint}")
        found = _children_files(base, split)
        labels = np.repeat(np.arange(2), [len(files) for files in found])
        files = [file for of_class in found for file in of_class]
        return Source(labels.astype(np.int64), CLASSES, _grey(files, self._size(name)))

    def get(self, name: str, root: Path, say: Callable[[str], None]) -> str:
        if not any(_children_problem(root / CHILDREN, split) for split in SPLITS):
            return f"chest-xray is already in {root / CHILDREN}"
        raise UserError(
            f"chest-xray cannot be downloaded by this command; see {self.site}, and unpack it so that "
            f"{root / CHILDREN}/train/NORMAL is there"
        )

    def status(self, name: str, root: Path) -> Row:
        problems = {split: _children_problem(root / CHILDREN, split) for split in SPLITS}
        why = "; ".join(dict.fromkeys(filter(None, problems.values())))
        there = tuple(split for split in SPLITS if not problems[split])
        return Row(name, self.what, str(root / CHILDREN), there, why)


def _children_files(base: Path, split: str) -> list[list[Path]]:
    """The pictures of each class of a split, by their names; the 16 for validation are training pictures."""
    parts = ("train", "val") if split == "train" else ("test",)
    return [
        [file for part in parts for file in sorted((base / part / folder).glob("*.jpeg"))]
        for folder in CHILDREN_FOLDERS
    ]


def _children_problem(base: Path, split: str) -> str:
    for folder in CHILDREN_FOLDERS:
        if not (base / split / folder).is_dir():
            return f"{base / split / folder} is missing"
    counts = tuple(map(len, _children_files(base, split)))
    if counts != CHILDREN_COUNTS[split]:
        found, wanted = (" and ".join(map(str, each)) for each in (counts, CHILDREN_COUNTS[split]))
        of = " and ".join(CHILDREN_FOLDERS)
        return f"{base / split} holds {found} pictures (*.jpeg) of {of}, not {wanted}"
    return ""


_REORDERED = Published(
    "pneumonia-reordered",
    "the content of PneumoniaMNIST in another order, in a file that is not MedMNIST's own",
    "https://medmnist.com",
    lambda split: [(PNEUMONIA_FILE, REORDERED_MD5)],
    pneumonia,
    None,
    hint=f"MedMNIST's own {PNEUMONIA_FILE}, from `specfreq data get pneumonia`, is called pneumonia",
)
KINDS = {"pneumonia-reordered": _REORDERED, "nih-chest": _NIH(), "chest-xray": _Children()}
