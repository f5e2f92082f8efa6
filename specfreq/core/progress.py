"""Progress: bars on a terminal, ours or that of who runs a study; lines in a file where there is none."""

import os
import re
from typing import Any

from tqdm import tqdm

EVERY = 60  # seconds between the lines of what is drawn nowhere
LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {elapsed} gone, {remaining} left{postfix}"


class _Lines(tqdm):
    """A bar that writes a line every minute, and none before."""

    def __init__(self, **options: Any):
        # without miniters tqdm waits for as many steps as the minute before had, however slow they are
        slow: dict[str, Any] = {"mininterval": EVERY, "maxinterval": 10 * EVERY, "miniters": 1}
        super().__init__(**options | slow | {"delay": EVERY, "bar_format": LINE})

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        super().set_postfix_str(s, refresh=False)


def progress_bar(
    what: str, total: int, unit: str, show: bool | None = None, line: int = 0, **options: Any
) -> tqdm:
    """A bar with rate and remaining time. None shows it on terminals only: ours, or the one that
    $SPECFREQ_PROGRESS names.

    The kernel of a study has no terminal; who started it has, and draws the progress over cells in its first
    line. Where $SPECFREQ_PROGRESS names a file, what lasts longer than a minute adds a text to it every
    minute, for `lines`.
    """
    place = os.environ.get("SPECFREQ_PROGRESS")
    file = open(place, "a", encoding="utf-8") if place else None  # noqa: SIM115 - open as long as the bar
    written = file is not None and not file.isatty()
    return (_Lines if written else tqdm)(
        desc=what,
        total=total,
        unit=unit,
        file=file,
        position=line + 1 if place else None,
        leave=False,
        disable=(False if written else None) if show is None else not show,
        **options,
    )


def lines(text: str) -> list[str]:
    """What bars wrote to a file, without what moves a cursor."""
    return [line.strip() for line in re.split(r"[\r\n]|\x1b\[A", text) if line.strip()]
