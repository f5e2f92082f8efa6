"""Memory: how much there is, refusals of what would not fit, and how soon it is given back."""

import contextlib
import ctypes
import functools
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


@functools.cache
def keep_freed() -> None:
    """Let this process keep what it frees, up to a 16th of the memory or 1 GiB, for what it allocates next.

    A network's activations are large, so that glibc would ask the system for each of them, page by page,
    again in every step: a tenth of a step of training on a processor, a third of one of evaluation. Results
    are the same, and peaks about the same. Another library than glibc, or one that the environment sets up
    (``MALLOC_*_``, ``GLIBC_TUNABLES``), is left as it is.
    """
    settings = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc") or {*settings} & {*os.environ}:
            return
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, ValueError, OSError):  # not on Linux
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    mallopt(trim_threshold, min(2**30, memory() // 16))
    if not mallopt(mmap_threshold, 2**30):
        mallopt(mmap_threshold, 2**25)  # the most that older ones take
