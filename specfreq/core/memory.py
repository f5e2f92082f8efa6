"""Memory: how much there is, and refusals of what would not fit."""

import contextlib
import os
from pathlib import Path

from specfreq.core.errors import UserError


def memory() -> int:
    """The bytes of memory that this process may use: the machine's, or its container's; 16 GiB if neither is
    known.
    """
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        total = 2**34
    with contextlib.suppress(OSError, ValueError):  # "max", or no such file: no limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def check_memory(needed: int, what: str, cure: str) -> None:
    """Before anything is allocated: `needed` bytes are at most half of the memory.

    Raises:
        UserError: they are more; says `what` needs them and the `cure`.
    """
    if 2 * needed > (total := memory()):
        raise UserError(
            f"{what} would take {needed / 1e9:.1f} GB, more than half of the memory here ({total / 1e9:.1f} "
            f"GB); {cure}"
        )
