"""What a kind of image set is to the rest of the package: how it is named, read, fetched and listed."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from specfreq.core.errors import unknown
from specfreq.core.spec import matching, parse

if TYPE_CHECKING:
    from specfreq.data.sets import Source
    from specfreq.data.streams import Stream

SPLITS = ("train", "test")


class Row(NamedTuple):
    """One line of `specfreq data list`: the `splits` that can be loaded; `why` says what is missing or
    damaged.
    """

    name: str
    what: str
    where: str
    splits: tuple[str, ...]
    why: str

    @property
    def present(self) -> bool:
        """Whether a split can be loaded."""
        return bool(self.splits)

    @property
    def state(self) -> str:
        """Here, not here, or which split alone is here."""
        if self.splits == SPLITS:
            return "here"
        return f"{self.splits[0]} only" if self.splits else "not here"


class Kind(ABC):
    """A kind of image set: one, such as ``cifar10``, or all that are called ``folder:PATH``.

    A new one is a subclass, an entry in its module's ``KINDS``, and a name in `data.HOMES`. ``root`` is where
    published sets lie, see `data.root`.
    """

    def normal_form(self, name: str) -> str:
        """The one spelling of a name of this kind; this one takes no parameters.

        Raises:
            UserError: an unknown parameter (the nearest is suggested), or an impossible value.
        """
        kind, parameters = parse(name)
        if parameters:
            raise unknown("parameter", next(iter(parameters)), (), kind)
        from specfreq import data

        return matching("data set", kind, data.HOMES)

    @abstractmethod
    def source(self, name: str, split: str, root: Path) -> "Source | Stream":
        """The images of a split.

        Raises:
            UserError: data missing or damaged; names the file and the command that gets it.
        """

    def get(self, name: str, root: Path, say: Callable[[str], None]) -> str:
        """Download the set to ``root``; says what was done, and before that what begins."""
        return f"{name} needs no download"

    @abstractmethod
    def status(self, name: str, root: Path) -> Row:
        """What is here of it. Published files are read in full to compare their MD5, where there is one."""
