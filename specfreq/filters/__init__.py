"""Input filters by name: what an experiment does to every image, training and test alike, before a network
sees it.
"""

import inspect
from typing import TYPE_CHECKING, Any

from specfreq.core.deferred import Deferred
from specfreq.core.spec import canonical, parse, resolve

if TYPE_CHECKING:
    from torch import Tensor

    from specfreq.filters.classes import Filter, Program

__all__ = [
    "AmplitudeOnly",
    "Filter",
    "GaussianHighPass",
    "GaussianLowPass",
    "Identity",
    "PhaseOnly",
    "Whitening",
    "as_published",
    "build",
    "check",
    "corrected",
    "gallery",
    "label",
    "names",
    "normal_form",
    "spelling",
    "with_published",
]

_FILTERS = {
    "none": Deferred("specfreq.filters.classes:Identity"),
    "gaussian-low-pass": Deferred("specfreq.filters.classes:GaussianLowPass"),
    "gaussian-high-pass": Deferred("specfreq.filters.classes:GaussianHighPass"),
    "whitening": Deferred("specfreq.filters.classes:Whitening"),
    "amplitude-only": Deferred("specfreq.filters.classes:AmplitudeOnly"),
    "phase-only": Deferred("specfreq.filters.classes:PhaseOnly"),
}


def __getattr__(name: str) -> Any:
    """The classes, imported when first asked for."""
    if name == "Filter" or any(entry.name == name for entry in _FILTERS.values()):
        from specfreq.filters import classes

        return getattr(classes, name)
    raise AttributeError(f"module 'specfreq.filters' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def names() -> list[str]:
    return list(_FILTERS)


def build(spec: str) -> "Filter":
    """Build a filter from its description, such as ``gaussian-high-pass:sigma=4``.

    Raises:
        UserError: unknown name or parameter (the nearest is suggested), or an impossible value.

    Example:
        >>> filters.build("gaussian-low-pass:sigma=2")(torch.rand(3, 32, 32)).shape
        torch.Size([3, 32, 32])
    """
    name, values = resolve("filter", _FILTERS, spec)
    return _FILTERS[name](**values)


def check(spec: str) -> None:
    """Refuse a description that `build` would refuse. Nothing is built where no parameter is given."""
    if parse(spec)[1]:
        build(spec)
    else:
        resolve("filter", _FILTERS, spec)


def spelling(spec: str) -> str:
    """The one spelling of a description, ``sigma=2`` for ``sigma=2.0``, of which names and types alone are
    checked.
    """
    name, values = resolve("filter", _FILTERS, spec)
    return canonical(name, values)


def normal_form(spec: str) -> str:
    """As `spelling`, for what can be built, so that ``sigma=2`` and ``sigma=2.0`` are one experiment."""
    check(spec)
    return spelling(spec)


def as_published(spec: str, channels: int) -> str:
    """The description of what the original program did for this filter: its CIFAR-10 notebook for colour,
    else Fashion-MNIST's.

    The originals know grey and colour images; for others, and for filters that they got right, it is
    that of the filter itself.
    """
    name, values = resolve("filter", _FILTERS, spec)
    published = _FILTERS[name].constant("published").get(channels)
    return canonical(name, values | (published or {}))


def corrected(spec: str) -> str:
    """The description without its imitation of a program: the filter as it was meant."""
    name, values = resolve("filter", _FILTERS, spec)
    imitated = {key for program in _FILTERS[name].constant("published").values() for key in program}
    return canonical(name, {key: value for key, value in values.items() if key not in imitated})


def with_published(specs: list[str], channels: int) -> list[str]:
    """The filters, each followed by what the original program did for it, where that differs."""
    twins = [t for s in specs for t in (normal_form(s), as_published(s, channels))]
    return list(dict.fromkeys(twins))


def label(spec: str) -> "tuple[str, Program | None]":
    """How figures call a filter, and the program it imitates: ``("low-pass σ = 2 px", None)``."""
    name, values = resolve("filter", _FILTERS, spec)
    defaults = inspect.signature(_FILTERS[name]).parameters
    words = ["unfiltered" if name == "none" else name.removeprefix("gaussian-")]
    for key, value in values.items():
        if key == "sigma":
            words.append(f"σ = {value:g} px")
        elif key != "as_published" and value != defaults[key].default:
            words.append(f"{key} = {value:g}")
    return " ".join(words), values.get("as_published")


def gallery(specs: list[str], training: "Tensor", images: "Tensor") -> "dict[str, Tensor]":
    """The images (N, C, H, W) in [0, 1] behind each filter, by its label; filters learn from the training
    images.
    """
    return {label(s)[0]: build(s).fit(training)(images) for s in specs}
