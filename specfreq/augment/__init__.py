"""Augmentations by name: the views of an image that a network is trained on, and the loss over what it says of them."""

from specfreq.augment.afa import FourierWaves
from specfreq.augment.amplitude import AmplitudeMix
from specfreq.augment.apr import APRBoth, APRPair, APRSingle
from specfreq.augment.augmix import AugMix
from specfreq.augment.base import Augmentation
from specfreq.augment.hybrid import HybridAugment
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
    "VIPAug",
    "build",
    "names",
    "normal_form",
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
