"""Folders of pictures as they are laid out: splits, classes, the order of files, and what is left out and
why.
"""

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

import numpy as np
from PIL import Image, ImageFile

from specfreq.core.errors import UserError, unknown
from specfreq.core.places import expanded, hidden
from specfreq.data.kinds import Kind

SPLITS = {  # the usual names of split folders, in any case
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
TAKEN = {"train": ("train",), "test": ("test", "val")}  # of two, the first that is there
# names that speak of splits, and yet do not say which: fold1, train2017, test_images, trainA
ODD = re.compile(
    r"(fold|split)[\W_]*\d+|(.*[\W_])?(train|trainval|training|test|testing|val|valid|validation|dev|eval|evaluation)"
    r"(set|data|a|b)?([\W_\d].*)?"
)
WANTED = "wanted: train/ and test/ (or val/), each with a folder for each class; or a folder for each class"
TABLE = "boxes.csv"  # no picture, and yet it is read: see `boxes.read`
LARGEST = 8192  # pixels of a side that pictures may be scaled to
UNREADABLE = ("EPS", "MPEG")  # Pillow would start another program (Ghostscript), or has no decoder


class Place(NamedTuple):
    """What `folder:PATH?size=64&stream=1` says: PATH as written, the folder found, and the parameters."""

    path: str
    base: Path
    side: int | None
    stream: bool


def place(text: str, root: Path) -> Place:
    """Read PATH?size=64&stream=1, and look PATH up: absolute, below the working directory, or below `root`.

    Raises:
        UserError: no such folder; an unknown parameter or an impossible value; `stream` without `size`.
    """
    path, _, query = text.strip().partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for key in given:
        if key not in ("size", "stream"):
            raise unknown("parameter", key, ["size", "stream"], f"folder:{path}")
    size, stream = given.get("size"), given.get("stream", "0")
    if size is not None and not (size.isdecimal() and 1 <= int(size[:9]) <= LARGEST):
        raise UserError(
            f"folder:{path}: size={size} must be a whole number of pixels from 1 to {LARGEST}, such as "
            "size=64"
        )
    if stream not in ("0", "1"):
        raise UserError(
            f"folder:{path}: stream={stream} must be 1 (read from disk whenever needed) or 0 (kept in memory)"
        )
    if stream == "1" and size is None:
        raise UserError(f"folder:{path}: stream=1 needs a size; write folder:{path}?size=224&stream=1")
    base = next((b for b in (expanded(path), root / path) if path and os.path.isdir(b)), None)
    if base is None:
        there = next((b for b in (expanded(path), root / path) if path and os.path.lexists(b)), None)
        if there is not None:
            raise UserError(f"folder:{path}: {there} is no folder")
        raise UserError(f"folder:{path}: no such folder, neither in {Path.cwd()} nor in {root}")
    return Place(path, base, None if size is None else int(size), stream == "1")


@dataclass(frozen=True)
class Listing:
    """The pictures of one split of a folder; none has been opened.

    Args:
        classes: the names below the folder, such as train/cat/1.png, of each class, in their order.
        others: those of the other splits.
        left_out: one line that says what was left out and why; empty if nothing was.
    """

    classes: dict[str, list[str]]
    others: list[str]
    left_out: str

    @property
    def files(self) -> list[str]:
        return [file for found in self.classes.values() for file in found]

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,), each in [0, len(classes))."""
        return np.repeat(np.arange(len(self.classes)), [len(found) for found in self.classes.values()])

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names as text: bytes that are no UTF-8 are written as \\xe9."""
        return tuple(os.fsencode(name).decode(errors="backslashreplace") for name in self.classes)


def listing(base: Path, split: str) -> Listing:
    """The picture files of each class of a split.

    `base` holds split folders, under any of the names in `SPLITS` in any case, or the classes themselves. The
    validation folder is the test set if there is no test folder; if there are both, test is test. Without
    split folders the last fifth of every class, in the order of the names, is the test set. Classes are those
    of all splits, so that labels agree between them. A class is a folder with all that is below it; links are
    followed, but not to a folder above.

    What `is_picture` knows is read. `storage.hidden` files and folders do not count; all else is named in
    `left_out`.

    Raises:
        UserError: a layout that looks like splits and is not understood; no such split, or no pictures in it;
            a class folder without pictures; pictures beside class folders.
    """
    reader = _Reader(base)
    folders = reader.folders("")
    what = _looks(folders)
    if what == "odd":
        raise _not_understood(base, folders)
    found, others, where = (_of_splits if what == "splits" else _of_fifths)(reader, folders, split)
    if not any(found.values()):
        raise UserError(
            f"{where} holds no pictures for {split}{f' ({note})' if (note := reader.note()) else ''}"
        )
    if absent := [name for name, files in found.items() if not files]:
        reader.remarks.append(f"no picture of {few(absent)} for {split}")
    return Listing(found, others, reader.note())


def _looks(folders: list[str]) -> str:
    """What names of folders look like: "splits", "classes", or "odd": splits, but under names that say too
    little.
    """
    kinds = {SPLITS.get(name.lower()) for name in folders}
    if (folders and None not in kinds) or {"train", "test"} <= kinds or {"train", "val"} <= kinds:
        return "splits"
    speaking = [name for name in folders if name.lower() in SPLITS or ODD.fullmatch(name.lower())]
    return "odd" if (folders and len(speaking) == len(folders)) or {"test", "val"} <= kinds else "classes"


def _not_understood(base: Path, folders: list[str], more: str = "") -> UserError:
    return UserError(
        f"{base} looks like splits that are not understood: it holds {_shown(folders)}{more}; {WANTED}"
    )


def _of_splits(
    reader: "_Reader", folders: list[str], split: str
) -> tuple[dict[str, list[str]], list[str], Path]:
    base = reader.base
    named = {name: SPLITS[name.lower()] for name in folders if name.lower() in SPLITS}
    rest = [name for name in folders if name not in named]
    if len(named) > len(set(named.values())) or any(ODD.fullmatch(name.lower()) for name in rest):
        raise _not_understood(base, folders)
    candidates = [kind for kind in TAKEN[split] if kind in named.values()]
    if not candidates:
        missing = " or ".join(f"{kind}/" for kind in TAKEN[split])
        raise UserError(f"{base} has no {missing} folder ({split}); it holds {_shown(folders)}")
    wanted = next(name for name, kind in named.items() if kind == candidates[0])
    listings, flat = {}, {}
    for name in named:
        of_split = (
            reader if name == wanted else _Reader(base)
        )  # what the others leave out is said when they are loaded
        of_split.check(f"{name}/", of_split.folders(f"{name}/"), alone=len(folders) == 1)
        listings[name], flat[name] = of_split.classes(f"{name}/")
    if len({flat[name] for name in named if listings[name]}) > 1:
        layout = (f"{name}/ {'without' if flat[name] else 'with'} class folders" for name in named)
        raise UserError(f"{base} has {', '.join(layout)}; lay all splits out alike, or move one away")
    for name in rest:
        reader.leave("a folder beside the splits", f"{name}/")
    for name in reader.beside(""):
        reader.leave("a picture beside the splits", name)
    classes = sorted(set().union(*listings.values()))  # of all splits, so that labels agree between them
    others = [file for name in named if name != wanted for files in listings[name].values() for file in files]
    return {name: listings[wanted].get(name, []) for name in classes}, others, base / wanted


def _of_fifths(reader: "_Reader", _: list[str], split: str) -> tuple[dict[str, list[str]], list[str], Path]:
    found, others = {}, []
    for name, files in reader.classes("")[0].items():
        last = len(files) - (len(files) + 4) // 5
        train, test = files[:last], files[last:]
        found[name] = test if split == "test" else train
        others += train if split == "test" else test
    return found, others, reader.base


@dataclass
class _Reader:
    """Reads folders below `base`, and remembers what it left out, reason -> names, and what else is to be
    said.
    """

    base: Path
    left_out: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def leave(self, reason: str, name: str) -> None:
        self.left_out.setdefault(reason, []).append(name)

    def note(self) -> str:
        reasons = [f"{reason} ({len(names)}: {few(names)})" for reason, names in self.left_out.items()]
        return "; ".join([f"left out: {', '.join(reasons)}"] * bool(reasons) + self.remarks)

    def entries(self, below: str) -> list[tuple[str, str]]:
        """The name and kind of what a folder holds, in the order of the names, but for what is hidden."""
        try:
            with os.scandir(self.base / below) as found:  # knows files from folders without a look at each
                return sorted((entry.name, _kind(entry)) for entry in found if not hidden(entry))
        except OSError as error:
            raise UserError(
                f"cannot read the folder {self.base / below}: {error.strerror or error}"
            ) from None

    def folders(self, below: str) -> list[str]:
        return [name for name, kind in self.entries(below) if kind == "folder"]

    def beside(self, below: str) -> list[str]:
        """The pictures that lie in a folder itself, not in its sub-folders."""
        entries = ((below + name, kind) for name, kind in self.entries(below) if kind != "folder")
        return [name for name, kind in entries if self.takes(name, kind)]

    def takes(self, name: str, kind: str) -> bool:
        """Whether what is no folder is a picture; if it is not, why is remembered."""
        if kind == "file" and is_picture(name, self.base):
            return True
        if name != TABLE:
            self.leave("not a picture" if kind == "file" else kind, name)
        return False

    def classes(self, below: str) -> tuple[dict[str, list[str]], bool]:
        """The pictures of each class; and whether there are no class folders, so all are of one."""
        beside, folders = self.beside(below), self.folders(below)
        place = self.base / below
        found = {name: list(self.pictures(f"{below}{name}/", folders=folders)) for name in folders}
        empty = [name for name, files in found.items() if not files]
        found = {name: files for name, files in found.items() if files}
        if beside and found:
            raise UserError(
                f"{self.base / beside[0]} lies beside class folders ({few(found)}); move it into one of them"
            )
        if found and empty:
            why = f" ({note})" if (note := self.note()) else ""
            raise UserError(
                f"{place / empty[0]} holds no pictures, and a class must not be empty; move the folder away "
                f"if it is no class{why}"
            )
        for name in empty:
            self.leave("a folder without pictures", f"{below}{name}/")
        if not found:
            return ({self.base.name: beside} if beside else {}), True
        if len(found) == 1 and len(inside := self.folders(f"{below}{folders[0]}/")) > 1:
            cure = f"move them into {place}" if below else f"write folder:{place / folders[0]}"
            self.remarks.append(
                f"all in {below}{folders[0]}/ is one class; if its {_shown(inside)} are classes, {cure}"
            )
        return found, False

    def pictures(
        self, below: str, above: Set = frozenset(), folders: list[str] | None = None
    ) -> Iterator[str]:
        """All pictures in a folder and below it; of a class, `folders` are the names of all classes beside
        it.
        """
        here = (self.base / below).resolve()
        above = above | {_identity(place) for place in (here, *(here.parents if not above else ()))}
        entries = self.entries(below)
        if folders is not None:
            inside = [name for name, kind in entries if kind == "folder"]
            self.check(below, inside, alone=len(folders) == 1)
            place = self.base / below
            if inside and place.name.lower() in SPLITS:  # a train among cars has pictures
                raise _not_understood(place.parent, folders, f", and {place.name}/ holds folders itself")
        for name, kind in entries:
            if kind != "folder":
                if self.takes(below + name, kind):
                    yield below + name
            elif _identity(self.base / below / name) in above:  # it would never end
                self.leave("a link to a folder above it", below + name)
            else:
                yield from self.pictures(f"{below}{name}/", above)

    def check(self, below: str, inside: list[str], alone: bool) -> None:
        """Refuse a split or class, `alone` in its folder or not, whose folders `inside` look like splits."""
        if (what := _looks(inside)) != "classes":
            place = self.base / below
            cure = f"write folder:{place}" if alone and what == "splits" else WANTED
            raise UserError(
                f"{place} holds {_shown(inside)}, which look like splits, where classes are expected; {cure}"
            )


def _identity(place: os.PathLike) -> tuple[int, int]:
    found = os.stat(place)
    return found.st_dev, found.st_ino


def _kind(entry: os.DirEntry) -> str:
    """ "folder", "file", or why it is neither; what a link leads to counts."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # links in a ring, or to a place that must not be looked at
        return "a link that leads nowhere"
    return (
        "a link that leads nowhere"
        if entry.is_symlink() and not os.path.exists(entry.path)
        else "not a regular file"
    )


@functools.cache
def _suffixes() -> tuple[frozenset[str], frozenset[str], list[str]]:
    """Pillow's suffixes of formats that it reads by itself; all its suffixes; formats that their first bytes
    show.
    """
    Image.init()
    kinds = {name: kind for name, (kind, _) in Image.OPEN.items() if isinstance(kind, type)}
    stubs = [name for name, kind in kinds.items() if issubclass(kind, ImageFile.StubImageFile)]
    reads = [name for name in Image.OPEN if name not in (*UNREADABLE, *stubs)]
    every = Image.registered_extensions()
    shown = [name for name in reads if Image.OPEN[name][1]]
    return frozenset(suffix for suffix, name in every.items() if name in reads), frozenset(every), shown


def is_picture(name: str, base: Path = Path()) -> bool:
    """Whether Pillow reads such files, by the suffix; if that tells nothing (none, or .txt), by the first
    bytes.
    """
    reads, every, shown = _suffixes()
    suffix = name[name.rfind(".") :].lower()
    if suffix in every:
        return suffix in reads
    try:
        with Image.open(base / name, formats=shown):
            return True
    except Image.DecompressionBombError:
        return True  # which is said when it is read
    except Exception:  # as many kinds as damaged pictures raise
        return False


def few(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, as text that can be printed."""
    names = [os.fsencode(name).decode(errors="backslashreplace") for name in names]
    return ", ".join(names[:most] + ["..."] * (len(names) > most))


def _shown(folders: Iterable[str]) -> str:
    return few((f"{name}/" for name in folders), 6)


class PathKind(Kind):
    """Sets that are called by a path: its full path, where it lies below the working directory, is the one
    spelling.
    """

    def normal_form(self, name: str) -> str:
        kind, _, rest = name.strip().partition(":")
        path, mark, query = rest.partition("?") if kind == "folder" else (rest, "", "")
        there = os.path.isdir if kind == "folder" else os.path.isfile
        here = expanded(path).absolute()
        whole = f"{kind}:{here if path and there(here) else path}{mark}{query}"
        try:
            whole.encode()
        except UnicodeEncodeError:  # it could not be written into a record
            raise UserError(f"{whole!a} is no UTF-8; rename it, or link to it by another name") from None
        return whole

    def get(self, name: str, root: Path, say: Callable[[str], None]) -> str:
        raise UserError(f"{name} names pictures of your own; nothing can be downloaded")
