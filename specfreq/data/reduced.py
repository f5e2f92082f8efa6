"""A small training set drawn once from a larger one, with the test images of that one: reduced CIFAR-10."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from specfreq import data
from specfreq.core.errors import UserError
from specfreq.core.spec import canonical, parse, quoted, resolve, unquoted
from specfreq.data.kinds import SPLITS, Kind, Row
from specfreq.data.sets import Source, choose


class Reduced:
    """How many training images are kept, and how they are drawn; the test images are all there.

    Args:
        size: training images.
        seed: of the drawing.
        draw: ``random``, whatever their classes, as of AutoAugment's *4,000 randomly chosen examples*; or
            ``balanced`` over the classes.

    Source: Cubuk et al., CVPR 2019, section 4.1 (reduced CIFAR-10).
    """

    def __init__(
        self,
        size: Annotated[int, Field(ge=2)] = 4000,
        seed: Annotated[int, Field(ge=0, lt=2**32)] = 0,
        draw: Literal["random", "balanced"] = "random",
    ):
        self.size, self.seed, self.draw = size, seed, draw

    def indices(self, labels: np.ndarray, what: str = "the set") -> np.ndarray:
        """Which of the training images, int64 (size,), ascending; of a random draw their number alone counts.

        Raises:
            UserError: there are fewer.
        """
        if self.draw == "balanced":
            return choose(labels, self.size, self.seed, what)
        if self.size > len(labels):
            raise UserError(f"{what} has {len(labels)} images; cannot take {self.size}")
        random = np.random.RandomState(self.seed)  # its stream is frozen for good
        return np.sort(random.permutation(len(labels))[: self.size])


class _Kind(Kind):
    """``reduced:of=SET,size=4000,seed=0``; a set with a comma in its name stands in quotes."""

    def normal_form(self, name: str) -> str:
        of, values = _read(name)
        defaults = inspect.signature(Reduced).parameters
        shown = {key: value for key, value in values.items() if value != defaults[key].default}
        return canonical("reduced", shown | {"of": quoted(of)})

    def source(self, name: str, split: str, root: Path) -> Source:
        of, values = _read(name)
        whole = _whole(of, split)
        if split == "test":
            return whole
        kept = Reduced(**values).indices(whole.labels, f"{of} ({split})")
        boxes = None if whole.boxes is None else whole.boxes[kept]
        return Source(
            whole.labels[kept], whole.classes, lambda part: whole.read(kept[part]), boxes, whole.left_out
        )

    def get(self, name: str, root: Path, say: Callable[[str], None]) -> str:
        return data.get(_read(name)[0], say)

    def status(self, name: str, root: Path) -> Row:
        what = "a few training images of another set, drawn by a seed, and its test images, reduced:of=NAME"
        return Row("reduced:...", what, "computed", SPLITS, "")


KINDS = {"reduced": _Kind()}


def indices(name: str) -> np.ndarray:
    """The training images of a reduced set by their places in the set that it is drawn from, ascending."""
    of, values = _read(name)
    return Reduced(**values).indices(_whole(of, "train").labels, of)


def _whole(of: str, split: str) -> Source:
    whole = data.source(of, split)
    if not isinstance(whole, Source):
        raise UserError(f"a reduced set holds its images in memory; leave stream=1 out of {of}")
    return whole


def _read(name: str) -> tuple[str, dict[str, Any]]:
    """The normal form of the set that it is drawn from, and the parameters of the drawing.

    Raises:
        UserError: an unknown parameter, a missing set, or an impossible value.
    """
    _, written = parse(name)
    of = written.pop("of", None)
    rest = ",".join(f"{key}={value}" for key, value in written.items())
    _, values = resolve("data set", {"reduced": Reduced}, f"reduced:{rest}")
    if of is None:
        raise UserError("data set reduced needs the set that it is drawn from; write reduced:of=NAME")
    return data.normal_form(unquoted(of)), values
