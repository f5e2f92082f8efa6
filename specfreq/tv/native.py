"""Loops as machine code of the processor, by numba: a second to import, some seconds to compile when new."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit

OPTIONS = {"error_model": "numpy", "nogil": True}  # no fast-math: sums keep their order, on any processor
# of functions that compiled ones alone call
inner: Any = njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # pyright: ignore[reportCallIssue]


def compiled(function: Callable) -> Any:
    """A function that Python calls; its machine code is kept on disk where there is a place for it."""
    try:
        return njit(**OPTIONS, cache=True)(function)  # pyright: ignore[reportCallIssue]
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return njit(**OPTIONS)(function)  # pyright: ignore[reportCallIssue]


def share(kernel: Callable, rows: np.ndarray, *arguments: Any) -> None:
    """Let a compiled function do these rows of a batch, its first argument, each of torch's threads its part
    of them.
    """
    threads = max(1, min(torch.get_num_threads(), len(rows)))
    if threads == 1:
        kernel(rows, *arguments)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: kernel(part, *arguments), np.array_split(rows, threads)))
