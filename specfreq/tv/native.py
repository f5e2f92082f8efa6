"""Loops as machine code of the processor, by numba: a second to import, some seconds to compile when new."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import config, njit

if config.DISABLE_JIT:  # pyright: ignore[reportAttributeAccessIssue]
    raise ImportError("NUMBA_DISABLE_JIT is set")

log = logging.getLogger(__name__)

# No fast-math: sums keep their order, on any processor. Numba keeps the code of a file until that file
# changes: when these do, change those that are compiled.
OPTIONS = {"error_model": "numpy", "nogil": True}
# of functions that compiled ones alone call
inner: Any = njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # pyright: ignore[reportCallIssue]


class Compiled:
    """A function that Python calls; its machine code is kept on disk where there is a place for it."""

    def __init__(self, function: Callable):
        self.py_func, self._kept = function, True
        try:
            self._code: Any = njit(**OPTIONS, cache=True)(function)  # pyright: ignore[reportCallIssue]
        except RuntimeError:  # neither the package's folder nor the user's can be written
            self._anew()

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._code(*arguments)
        except Exception as error:
            if not self._kept:
                raise
            place = self._code.stats.cache_path
            self._anew()
            found = self._code(*arguments)
            log.warning(
                "specfreq: the machine code in %s is of no use (%s) and is made anew in each process; delete "
                "it, or make room there",
                place,
                error or type(error).__name__,
            )
            return found

    def _anew(self) -> None:
        self._code, self._kept = njit(**OPTIONS)(self.py_func), False  # pyright: ignore[reportCallIssue]


def share(kernel: Callable, rows: np.ndarray, *arguments: Any, least: int = 1) -> None:
    """Let a compiled function do these rows of a batch, its first argument, each of torch's threads its part
    of them, at least so many.
    """
    threads = max(1, min(torch.get_num_threads(), len(rows) // least))
    if threads == 1:
        kernel(rows, *arguments)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: kernel(part, *arguments), np.array_split(rows, threads)))
