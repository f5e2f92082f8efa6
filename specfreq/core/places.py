"""Where things lie: the compendium, runs, places as users write them; which files are none of ours."""

import os
from collections.abc import Iterable
from pathlib import Path

from specfreq.core.errors import UserError

FOREIGN = ("__macosx", "thumbs.db", "desktop.ini")  # what systems leave in folders, in lower case


def root() -> Path:
    """The compendium: the folder with `_toc.yml` that this package lies in, else the working directory."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "_toc.yml").exists() else Path.cwd()


def runs_dir() -> Path:
    """Where runs are kept: $SPECFREQ_RUNS, else `runs` in the compendium."""
    return place_of("SPECFREQ_RUNS") or root() / "runs"


def expanded(place: str | Path) -> Path:
    """A place as a user writes it, ``~`` and ``~name`` being homes.

    Raises:
        UserError: nobody of that name has a home here; or it is no path at all.
    """
    try:
        path = Path(place).expanduser()
    except RuntimeError as error:
        raise UserError(f"cannot find {place}: {error}; write the path in full") from None
    if "\0" in str(path):
        raise UserError(f"{str(path)!r} is not a path: it holds a null character")
    return path


def place_of(variable: str) -> Path | None:
    """The place that an environment variable names; None if it is unset or empty."""
    given = os.environ.get(variable)
    return expanded(given) if given else None


def hidden(path: "Path | os.DirEntry[str]") -> bool:
    """Whether a file or folder is none of ours by its name: hidden, or left by an operating system or an
    editor.
    """
    return path.name.startswith(".") or path.name.endswith("~") or path.name.lower() in FOREIGN


def visible(paths: Iterable[Path]) -> list[Path]:
    """Those that are not `hidden`, in the order of their names."""
    return sorted(path for path in paths if not hidden(path))
