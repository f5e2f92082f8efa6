"""Checkpoints: written whole or not at all, two kept, a damaged one named and the one before it used."""

import logging
import math
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from specfreq.core import storage
from specfreq.core.errors import UserError

log = logging.getLogger(__name__)


def interval(every: float) -> float:
    """Seconds between two checkpoints, if they can be that: finite, and 0 or more.

    Raises:
        UserError: they cannot.
    """
    if not (math.isfinite(every) and every >= 0):
        raise UserError(f"checkpoint-every must be a number of seconds, 0 or more, not {every}")
    return every


class Checkpoints:
    """The last two checkpoints of a training: the file and, beside it, ``*.previous``.

    Args:
        path: the newer file.
        every: seconds between two checkpoints, at least; what a killed training loses at most.

    ``seconds`` counts the time since the training began, over all processes that worked on it.
    """

    def __init__(self, path: Path, every: float = 60):
        self.path, self.every = path, interval(every)
        self.previous, self._next = (path.with_name(f"{path.name}.{which}") for which in ("previous", "next"))
        self.begin()

    def begin(self) -> None:
        """Count from now on: who waited for another to end has not trained meanwhile."""
        self._last = self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def due(self) -> bool:
        return time.monotonic() - self._last >= self.every

    def save(self, tensors: dict[str, Tensor], meta: Any) -> None:
        """Write a checkpoint; at any moment of it, one that is complete exists."""
        storage.write_tensors(self._next, tensors, {"seconds": self.seconds, "meta": meta})
        with storage.writing(self.path):
            if self.path.exists():
                self.path.replace(self.previous)
            self._next.replace(self.path)
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """The newest checkpoint that is intact; None if there is none at all.

        Raises:
            UserError: all that exist are damaged, and the newest is named; or one cannot be read.
        """
        failure = None
        for path in (self.path, self.previous):
            if path.exists():
                try:
                    tensors, found = storage.read_tensors(path)
                except storage.Damaged as error:
                    failure = failure or error
                    continue
                if failure is not None:
                    log.warning(
                        "specfreq: %s; going on from the one before it", str(failure).partition(";")[0]
                    )
                self._began -= found["seconds"]
                return tensors, found["meta"]
        if failure is not None:
            raise failure
        return None

    def clear(self) -> None:
        """Remove them: the training is over."""
        with storage.writing(self.path):
            for path in (self.path, self.previous, self._next):
                path.unlink(missing_ok=True)
