"""Named image sets: what they hold, where they lie, how they are fetched; none is used unchecked."""

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs

from specfreq.core.errors import unknown
from specfreq.core.places import place_of
from specfreq.core.spec import matching, parse, unquoted
from specfreq.data.kinds import SPLITS, Kind, Row

if TYPE_CHECKING:
    from specfreq.data.sets import ImageSet, Source
    from specfreq.data.streams import Stream

__all__ = [
    "HOMES",
    "Draw",
    "ImageSet",
    "Row",
    "get",
    "label",
    "load",
    "names",
    "normal_form",
    "root",
    "source",
    "status",
]

log = logging.getLogger(__name__)
Draw = Literal["balanced", "first"]

# the module of each kind, which is imported when a set of that kind is asked for: names are known without
# NumPy and torch
HOMES = {
    "photos": "embedded",
    "textures": "embedded",
    "digits": "embedded",
    "planted": "planted",
    "fashion-mnist": "published",
    "cifar10": "published",
    "cifar100": "published",
    "svhn": "published",
    "flowers102": "published",
    "imagenette": "published",
    "celeba": "published",
    "pneumonia": "published",
    "pneumonia-reordered": "xrays",
    "nih-chest": "xrays",
    "chest-xray": "xrays",
    "folder": "pictures",
    "array": "arrays",
    "filtered": "derived",
    "cdes": "derived",
    "hars": "derived",
    "reduced": "reduced",
}
COMPLETE = {"embedded", "planted", "published", "xrays"}  # modules of sets whose name alone is one
PATHS = ("folder", "array")  # whose names go on with a path, not with parameters
# what pages call them
TITLES = {
    "photos": "embedded photographs",
    "textures": "brick, grass and gravel",
    "digits": "handwritten digits",
    "planted": "planted evidence",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "flowers102": "Flowers-102",
    "imagenette": "Imagenette",
    "celeba": "CelebA",
    "pneumonia": "PneumoniaMNIST",
    "pneumonia-reordered": "PneumoniaMNIST, reordered",
    "nih-chest": "NIH chest X-rays",
    "chest-xray": "chest X-rays of children",
}


def __getattr__(name: str) -> Any:
    if name == "ImageSet":
        from specfreq.data.sets import ImageSet

        return ImageSet
    raise AttributeError(f"module 'specfreq.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def root() -> Path:
    """Where published data sets lie: $SPECFREQ_DATA, else `data/` in the checkout if there, else
    ~/.cache/specfreq.
    """
    if place := place_of("SPECFREQ_DATA"):
        return place.absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "_toc.yml").is_file() and (checkout / "data").is_dir():
        return checkout / "data"
    return Path.home() / ".cache" / "specfreq"


def names() -> list[str]:
    """The names that `load` knows; `folder` and `array` stand for folder:PATH and array:FILE, `planted` takes
    parameters; `filtered`, `cdes`, `hars` and `reduced` need another set.
    """
    return list(HOMES)


def load(
    name: str, split: str = "train", size: int | None = None, seed: int = 0, draw: Draw = "balanced"
) -> "ImageSet | Stream":
    """The image set of that name; with `size`, only the subset that `ImageSet.subset(size, seed, draw)` would
    give.

    What was not used of a folder, files that are no pictures for example, is said in a warning and in
    `left_out`.

    Args:
        name: one of `names()`; `planted:key=value,...` (see `planted.Planted`); `folder:PATH` or
            `folder:PATH?size=64` (see `pictures.folder`); `folder:PATH?size=224&stream=1`, too large for
            memory (see `streams.Stream`); `array:FILE.npz` (see `arrays.array`);
            `filtered:of=NAME,filter=FILTER`, `cdes:of=NAME` or `hars:of=NAME` (see `derived`),
            `reduced:of=NAME,size=4000` (see `reduced`), a name with commas in quotes.
        split: "train" or "test".
        size, seed, draw: how many images to keep, the seed that draws them, and how. Only those are read from
            disk.

    Raises:
        UserError: unknown name, split or parameter; data missing or damaged (names the file and the command
            that gets it); `size` above the number of images.

    Example:
        >>> digits = data.load("digits", "test", size=20)
        >>> digits.images.shape, len(digits.classes)
        (torch.Size([20, 1, 8, 8]), 10)
    """
    from specfreq.data import sets

    found = source(name, split)
    if found.left_out:
        log.warning("specfreq: %s (%s): %s", name, split, found.left_out)
    if not isinstance(found, sets.Source):
        return found if size is None else found.subset(size, seed, draw)
    return sets.taken(found, name, split, size, seed, draw)


def source(name: str, split: str) -> "Source | Stream":
    """The labels of a split, and a way to its images, of which none is read yet; raises as `load`."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, name)
    kind = _kind(name)
    kind.normal_form(name)  # refuses what no set of this kind is called
    return kind.source(name, split, root())


def normal_form(name: str) -> str:
    """The one spelling of a name: what equals its default is left out, and what lies below the working
    directory has its full path.

    Raises:
        UserError: unknown name or parameter (the nearest is suggested), or an impossible value.
    """
    plain = name.strip()
    return plain if HOMES.get(plain) in COMPLETE else _kind(name).normal_form(name)


def label(name: str) -> str:
    """How pages call a set: ``CIFAR-10``, ``faces at 32 pixels``, ``planted evidence, band high``; any other
    text as it is.
    """
    head, _, rest = name.strip().partition(":")
    if head in PATHS:
        path, _, options = rest.partition("?")
        sizes = parse_qs(options).get("size", [])
        return " ".join([path, *(f"at {size} pixels" for size in sizes)])
    if head not in HOMES:
        return name
    head, values = parse(name)
    of = [label(unquoted(values.pop("of")))] if "of" in values else []  # a set made of another
    parameters = [f"{key} {unquoted(value)}" for key, value in values.items()]
    return ", ".join([*of, TITLES.get(head, head), *parameters])


def get(name: str, say: Callable[[str], None] = lambda line: None) -> str:
    """Download a published set to `root()` through its library's own loader; says what was done, and before
    that what begins.

    Nothing is written there before all of it has come and been checked. A set that is there and intact is
    left alone.

    Raises:
        UserError: unknown name, or nothing that could be downloaded; `root()` cannot be written to.
        ConnectionError: the download failed; says how to do it by hand.
    """
    kind = _kind(name)
    return kind.get(kind.normal_form(name), root(), say)


def status() -> list[Row]:
    """What is here and what is not. Published files are read in full to compare their MD5, where there is
    one.
    """
    return [_kind(name).status(name, root()) for name in HOMES]


def _kind(name: str) -> Kind:
    """The kind of a set, by the beginning of its name."""
    head = name.strip().partition(":")[0]
    if head not in PATHS:  # a path is not a list of parameters
        head = matching("data set", parse(name)[0], HOMES)
    return importlib.import_module(f"specfreq.data.{HOMES[head]}").KINDS[head]
