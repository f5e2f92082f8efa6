"""Augmentations by name: the views of an image that a network is trained on, and the loss over what it says of them."""

from typing import Any

from specfreq.augment.afa import FourierWaves
from specfreq.augment.amplitude import AmplitudeMix
from specfreq.augment.apr import APRBoth, APRPair, APRSingle
from specfreq.augment.augmix import AugMix
from specfreq.augment.base import Augmentation
from specfreq.augment.hybrid import HybridAugment
from specfreq.augment.tv import TVBands
from specfreq.augment.vipaug import VIPAug
from specfreq.naming import resolve, shortest

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
    "corrected",
    "names",
    "normal_form",
    "series",
]

_AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "none": Augmentation,
    "apr-p": APRPair,
    "apr-s": APRSingle,
    "apr-sp": APRBoth,
    "augmix": AugMix,
    "amplitude-mix": AmplitudeMix,
    "hybrid-augment": HybridAugment,
    "vipaug": VIPAug,
    "afa": FourierWaves,
    "tv": TVBands,
}


def names() -> list[str]:
    return list(_AUGMENTATIONS)


def build(spec: str) -> Augmentation:
    """Build an augmentation from its description, such as ``apr-p:p=0.5``.

    Raises:
        UserError: unknown name or parameter (the nearest is suggested), or an impossible value.
    """
    name, values = resolve("augmentation", _AUGMENTATIONS, spec)
    return _AUGMENTATIONS[name](**values)


def normal_form(spec: str) -> str:
    """The one spelling of a description; what equals its default is left out."""
    name, values = resolve("augmentation", _AUGMENTATIONS, spec)
    _AUGMENTATIONS[name](**values)
    return shortest(name, values, _AUGMENTATIONS[name])


# what the original programs do: cast to bytes without looking, transform the channel axis too, one coin and donors from the batch,
# whole numbers alone for gains
_QUIRKS = {"overflow": "wrap", "channels": True, "per": "batch", "donor": "batch", "gains": "integers"}


def as_published(spec: str) -> str:
    """The augmentation with all that the original program does and its paper does not say."""
    name, values, quirks = _quirks(spec)
    return shortest(name, values | quirks, _AUGMENTATIONS[name])


def corrected(spec: str) -> str:
    """The augmentation without any of that."""
    name, values, quirks = _quirks(spec)
    return shortest(name, {k: v for k, v in values.items() if k not in quirks}, _AUGMENTATIONS[name])


def series(spec: str) -> str:
    """``corrected``, ``as published``, or the quirks that it has, such as ``overflow=wrap``."""
    _, values, quirks = _quirks(spec)
    has = {name: quirk for name, quirk in quirks.items() if values[name] == quirk}
    return "corrected" if not has else "as published" if has == quirks else ", ".join(f"{k}={v}" for k, v in has.items())


def _quirks(spec: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name and parameters of an augmentation, and those of the quirks that it can have and has not by default."""
    name, values = resolve("augmentation", _AUGMENTATIONS, spec)
    _, plain = resolve("augmentation", _AUGMENTATIONS, name)
    return name, values, {k: quirk for k, quirk in _QUIRKS.items() if plain.get(k, quirk) != quirk}
