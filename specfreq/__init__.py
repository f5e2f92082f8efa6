"""specfreq: how image classifiers use frequency, phase and texture.

The heavy parts are imported when first used, so that ``import specfreq`` and ``specfreq --help`` are quick.
"""

import importlib

__version__ = "0.1.0"

_MODULES = (
    "augment",
    "corruptions",
    "data",
    "experiment",
    "figures",
    "filters",
    "fourier",
    "measures",
    "models",
    "train",
    "tv",
)
_NAMES = {"Experiment": "experiment", "run": "experiment", "ImageSet": "data"}

__all__ = [*_MODULES, *_NAMES]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"specfreq.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"specfreq.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'specfreq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
