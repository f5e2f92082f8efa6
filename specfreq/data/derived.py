"""Image sets made of another by a fitted transform, computed once and kept; each has a digest of its own."""

import contextlib
import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from specfreq import data
from specfreq.core import places, storage
from specfreq.core.deferred import Deferred
from specfreq.core.errors import UserError
from specfreq.core.spec import canonical, parse, quoted, resolve, unquoted
from specfreq.data.kinds import SPLITS, Kind, Row
from specfreq.data.sets import ImageSet, Source

if TYPE_CHECKING:
    from torch import Tensor

    from specfreq.data.streams import Stream

VERSION = 1  # of what the files hold

# the classes by their place, so that wings that this one does not know can make sets; a new one needs an
# entry in `data.HOMES` as well
DERIVATIONS = {
    "filtered": Deferred("specfreq.filters.derived:Filtered"),
    "cdes": Deferred("specfreq.augment.derived:DensityEnhanced"),
    "hars": Deferred("specfreq.augment.derived:ForeignLow"),
}


class Derivation(Protocol):
    """What makes the images of a set of those of another; its parameters are those of the name, but ``of``.

    It depends on nothing else, and keeps number and order of the images, whose labels and classes stay.
    """

    what: str  # one line for `specfreq data list`
    version: int  # of what it makes: another one is computed anew
    learns_from: tuple[str, ...]  # the splits that `fit` sees, one after another
    left_out: str  # what the last call could not keep of the images; empty if nothing

    def fit(self, images: "Tensor", labels: "Tensor", classes: tuple[str, ...]) -> Self:
        """Learn what it needs from images, uint8 (N, C, H, W), and their labels (N,), places in `classes`.

        Raises:
            UserError: it can do nothing with such images or labels.
        """
        ...

    def __call__(self, images: "Tensor", labels: "Tensor", split: str) -> "Tensor":
        """The new images of a split, uint8 (N, C', H', W')."""
        ...


class _Kind(Kind):
    """``NAME:of=SET,key=value,...``; a set with a comma or ``+`` in its name stands in quotes, see
    `spec.parse`.
    """

    def normal_form(self, name: str) -> str:
        kind, of, values = read(name)
        defaults = inspect.signature(DERIVATIONS[kind]).parameters
        shown = {key: value for key, value in values.items() if value != defaults[key].default} | {"of": of}
        return canonical(kind, {k: quoted(v) if isinstance(v, str) else v for k, v in shown.items()})

    def source(self, name: str, split: str, root: Path) -> Source:
        kind, of, values = read(name)
        derivation = DERIVATIONS[kind](**values)
        parts = dict.fromkeys((*derivation.learns_from, split))
        sets = {part: in_memory(of, part, kind) for part in parts}
        digests = [found.digest for found in sets.values()]
        text = json.dumps([VERSION, derivation.version, kind, values, split, digests], sort_keys=True)
        folder = places.runs_dir() / "derived" / storage.digest(text)[:16]
        base = sets[split]

        def derived() -> "tuple[dict[str, Tensor], str]":
            _fit(derivation, sets)
            images = derivation(base.images, base.labels, split)
            return {"images": images}, derivation.left_out

        file = folder / "images.safetensors"
        # what is there is read as it is: its folder can be one that cannot be written
        there = file.exists()
        busy = f"computes the images of {name}"
        with contextlib.nullcontext() if there else storage.alone(folder, busy):
            tensors, left_out = storage.held(file, derived)
        images, labels = tensors["images"].numpy(), base.labels.numpy()
        boxes = base.boxes.numpy() if base.boxes is not None and images.shape[2:] == base.shape[1:] else None
        unused = "; ".join(filter(None, (base.left_out, left_out)))
        return Source(labels, base.classes, lambda kept: images[kept], boxes, unused)

    def get(self, name: str, root: Path, say: Callable[[str], None]) -> str:
        return data.get(read(name)[1], say)

    def status(self, name: str, root: Path) -> Row:
        needed = [p.name for p in _parameters(name) if p.default is inspect.Parameter.empty]
        written = ",".join(f"{key}={key.upper()}" for key in ("of", *needed))
        what = f"{DERIVATIONS[name].constant('what')}, {name}:{written}"
        return Row(f"{name}:...", what, "computed", SPLITS, "")


KINDS = dict.fromkeys(DERIVATIONS, _Kind())


def fitted(name: str) -> Derivation:
    """What makes the images of a set, after it has learned what it needs."""
    kind, of, values = read(name)
    derivation = DERIVATIONS[kind](**values)
    _fit(derivation, {part: in_memory(of, part, kind) for part in derivation.learns_from})
    return derivation


def _fit(derivation: Derivation, sets: Mapping[str, ImageSet]) -> None:
    """Show it the splits that it learns from."""
    import torch

    seen = [sets[part] for part in derivation.learns_from]
    images, labels = (torch.cat([getattr(part, what) for part in seen]) for what in ("images", "labels"))
    derivation.fit(images, labels, seen[0].classes)


def as_published(name: str) -> str:
    """The set as the original program makes it, its other parameters as they are.

    Raises:
        UserError: no program made sets of this kind.
    """
    kind, of, values = read(name)
    published = getattr(DERIVATIONS[kind].load(), "published", None)
    if published is None:
        raise UserError(f"{kind} has no published form: no original program made such sets")
    told = {key: quoted(v) if isinstance(v, str) else v for key, v in (values | published).items()}
    return data.normal_form(canonical(kind, told | {"of": quoted(of)}))


def contrasted(name: str, count: int = 10) -> "tuple[Tensor, Tensor]":
    """Training images of the set that a derived one is made of, and the same as they have become: uint8
    (n, C, H, W) each, of as many classes as there are, at most `count`.
    """
    kind, of, _ = read(name)
    old, new = in_memory(of, "train", kind), in_memory(data.normal_form(name), "train", kind)
    labels = old.labels.tolist()
    kept = [labels.index(k) for k in sorted(set(labels))][:count]
    return old.images[kept], new.images[kept]


def _parameters(kind: str) -> list[inspect.Parameter]:
    return list(inspect.signature(DERIVATIONS[kind]).parameters.values())


def read(name: str) -> tuple[str, str, dict[str, Any]]:
    """The derivation, the normal form of the set that it is made of, and the derivation's parameters.

    Raises:
        UserError: an unknown name or parameter, a missing one, or an impossible value.
    """
    kind, written = parse(name)
    of = written.pop("of", None)
    rest = ",".join(f"{key}={value}" for key, value in written.items())
    kind, values = resolve("data set", DERIVATIONS, f"{kind}:{rest}")
    if of is None:
        raise UserError(f"data set {kind} needs the set that it is made of; write {kind}:of=NAME,...")
    return kind, data.normal_form(unquoted(of)), values


@functools.lru_cache(maxsize=2)  # both splits of a set of which several are made
def _loaded(name: str, split: str, root: Path) -> "ImageSet | Stream":
    return data.load(name, split)


def in_memory(name: str, split: str, kind: str) -> ImageSet:
    """A split of a set, whole; `kind` needs it.

    Raises:
        UserError: it is streamed.
    """
    found = _loaded(name, split, data.root())
    if not isinstance(found, ImageSet):
        raise UserError(f"{kind} holds all images in memory; leave stream=1 out of {name}")
    return found
