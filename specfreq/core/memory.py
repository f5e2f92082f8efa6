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
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):  # of cgroups, version 2 and 1
        with contextlib.suppress(OSError, ValueError):  # "max", or no such file: no limit
            total = min(total, int(Path("/sys/fs/cgroup", limit).read_text()))
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
    """Let this process keep the end of its heap, up to a 16th of the memory or 1 GiB, when it is free again.

    A network's activations are large, so that glibc would give them back and ask the system for them anew,
    page by page, in every step: a tenth of a step of training on a processor, a third of one of evaluation.
    What is larger than 32 MiB is still given back, as holes between such blocks seldom fit the next. Results
    are the same, and peaks up to a sixth higher. Another library than glibc, or a malloc that the environment
    sets up, is left as it is.
    """
    tuned = any(name.startswith("MALLOC_") for name in os.environ)
    if tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, ValueError, OSError):  # not on Linux
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    mallopt(trim_threshold, min(2**30, memory() // 16))
    mallopt(mmap_threshold, 2**25)
