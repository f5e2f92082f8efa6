"""Measures by name: classifier + image set -> numbers and small arrays. Results do not depend on a batch size."""

from collections.abc import Callable
from typing import Any

from torch import nn

from specfreq.data import ImageSet
from specfreq.measures.accuracy import accuracy
from specfreq.naming import unknown

Measure = Callable[..., dict[str, Any]]
_MEASURES: dict[str, Measure] = {"accuracy": accuracy}


def names() -> list[str]:
    return list(_MEASURES)


def check(name: str) -> None:
    if name not in _MEASURES:
        raise unknown("measure", name, _MEASURES)


def compute(name: str, model: nn.Module, images: ImageSet, **options: Any) -> dict[str, Any]:
    """Judge a classifier (images in [0, 1] -> logits) on an image set by the measure of that name."""
    check(name)
    return _MEASURES[name](model, images, **options)
