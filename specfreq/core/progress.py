"""Progress bars: on a terminal, ours or the one that a runner of studies names; nowhere else."""

import os
from typing import Any

from tqdm import tqdm


def progress_bar(
    what: str, total: int, unit: str, show: bool | None = None, line: int = 0, **options: Any
) -> tqdm:
    """A bar with rate and remaining time. None shows it on terminals only: ours, or the one that
    $SPECFREQ_PROGRESS names.

    The kernel of a study has no terminal; who started it has, and draws the progress over cells in its first
    line.
    """
    place = os.environ.get("SPECFREQ_PROGRESS")
    file = open(place, "w") if place else None  # noqa: SIM115 - open as long as the bar
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        file=file,
        position=line + 1 if place else None,
        leave=False,
        disable=None if show is None else not show,
        **options,
    )
