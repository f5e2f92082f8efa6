"""Augmentations by name: the views of an image that a network is trained on, and the loss over what it says
of them.
"""

from typing import TYPE_CHECKING, Any

from specfreq.core.deferred import Deferred
from specfreq.core.spec import parse, resolve, shortest

if TYPE_CHECKING:
    from specfreq.augment.base import Augmentation

__all__ = [
    "APRBoth",
    "APRPair",
    "APRSingle",
    "AmplitudeMix",
    "AugMix",
    "Augmentation",
    "FourierWaves",
    "HybridAugment",
    "TVBands",
    "VIPAug",
    "as_published",
    "build",
    "check",
    "corrected",
    "describe",
    "names",
    "normal_form",
    "series",
    "spelling",
]

_AUGMENTATIONS = {
    "none": Deferred("specfreq.augment.base:Augmentation"),
    "apr-p": Deferred("specfreq.augment.apr:APRPair"),
    "apr-s": Deferred("specfreq.augment.apr:APRSingle"),
    "apr-sp": Deferred("specfreq.augment.apr:APRBoth"),
    "augmix": Deferred("specfreq.augment.augmix:AugMix"),
    "amplitude-mix": Deferred("specfreq.augment.amplitude:AmplitudeMix"),
    "hybrid-augment": Deferred("specfreq.augment.hybrid:HybridAugment"),
    "vipaug": Deferred("specfreq.augment.vipaug:VIPAug"),
    "afa": Deferred("specfreq.augment.afa:FourierWaves"),
    "tv": Deferred("specfreq.augment.tv:TVBands"),
}


def __getattr__(name: str) -> Any:
    """The classes, imported when first asked for."""
    for entry in _AUGMENTATIONS.values():
        if entry.name == name:
            return entry.load()
    raise AttributeError(f"module 'specfreq.augment' has no attribute {name!r}")


def names() -> list[str]:
    return list(_AUGMENTATIONS)


def build(spec: str) -> "Augmentation":
    """Build an augmentation from its description, such as ``apr-p:p=0.5``.

    Raises:
        UserError: unknown name or parameter (the nearest is suggested), or an impossible value.
    """
    name, values = resolve("augmentation", _AUGMENTATIONS, spec)
    return _AUGMENTATIONS[name](**values)


def check(spec: str) -> None:
    """Refuse a description that `build` would refuse. Nothing is built where every parameter has its default."""
    if parse(spelling(spec))[1]:
        build(spec)


def spelling(spec: str) -> str:
    """The one spelling of a description, of which names and types alone are checked; what equals its default
    is left out.
    """
    name, values = resolve("augmentation", _AUGMENTATIONS, spec)
    return shortest(name, values, _AUGMENTATIONS[name])


def normal_form(spec: str) -> str:
    """As `spelling`, for what can be built.

    Raises:
        UserError: as `build`.
    """
    check(spec)
    return spelling(spec)


def describe() -> dict[str, str]:
    """What there is, by name: whether a transform of that kind needs a batch, (B, C, H, W), or does with
    single pictures.
    """
    met = {name: entry.constant("pairs") for name, entry in _AUGMENTATIONS.items()}
    return {name: "needs batches" if batched else "" for name, batched in met.items()}


def as_published(spec: str) -> str:
    """The augmentation with all that the original program does and its paper does not say."""
    name, values, published = _published(spec)
    return shortest(name, values | published, _AUGMENTATIONS[name])


def corrected(spec: str) -> str:
    """The augmentation without any of that."""
    name, values, published = _published(spec)
    kept = {key: value for key, value in values.items() if key not in published}
    return shortest(name, kept, _AUGMENTATIONS[name])


def series(spec: str) -> str:
    """``corrected``, ``as published``, or what it shares with the original, such as ``overflow=wrap``."""
    _, values, published = _published(spec)
    shared = {key: value for key, value in published.items() if values[key] == value}
    if not shared:
        return "corrected"
    if shared == published:
        return "as published"
    return ", ".join(f"{key}={value}" for key, value in shared.items())


def _published(spec: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name and parameters of an augmentation, and those of the original program where they differ from the
    defaults, as its class says.
    """
    name, values = resolve("augmentation", _AUGMENTATIONS, spec)
    return name, values, dict(_AUGMENTATIONS[name].constant("published"))
