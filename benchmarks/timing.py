"""Times as multiples of a floor that runs in the same rounds, so that the machine and its other work cancel
out.
"""

import platform
import time
from collections.abc import Callable
from statistics import quantiles
from typing import NamedTuple

import numpy as np
import torch

from specfreq.core.memory import keep_freed


class Ratio(NamedTuple):
    """Time over the floor's time in the same round: median and quartiles over the rounds."""

    median: float
    lower: float
    upper: float


def machine() -> str:
    """What ratios depend on: processor, versions, threads. Also sets the latter, and how memory is given
    back.
    """
    torch.set_num_threads(1)
    keep_freed()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
    return f"{processor()}; {versions}"


def processor() -> str:
    """The processor's name, and with how many threads it is used."""
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(": ")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' * (threads > 1)}"


def ratio(call: Callable, floor: Callable, rounds: int = 60) -> Ratio:
    """Time of a call over that of the floor, in alternation. Both are repeated to fill 10 ms of a round or
    more.
    """

    def seconds(call: Callable, repeats: int) -> float:
        call()  # fills the caches that the other emptied
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats

    def repeats(call: Callable) -> int:
        return max(1, round(0.01 / min(seconds(call, 1) for _ in range(3))))

    many, more = repeats(call), repeats(floor)
    return spread([seconds(call, many) / seconds(floor, more) for _ in range(rounds)])


def spread(ratios: list[float]) -> Ratio:
    """Median and quartiles of the ratios of all rounds."""
    lower, middle, upper = quantiles(ratios, n=4)
    return Ratio(middle, lower, upper)
