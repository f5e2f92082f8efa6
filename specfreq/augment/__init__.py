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

    Example:
        >>> augment.build("apr-s")(torch.rand(3, 32, 32)).shape
        torch.Size([3, 32, 32])
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


# what the original programs do: cast to bytes without looking, transform the channel axis too, one coin and
# donors from the batch,
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
    return (
        "corrected"
        if not has
        else "as published"
        if has == quirks
        else ", ".join(f"{k}={v}" for k, v in has.items())
    )


def _quirks(spec: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name and parameters of an augmentation, and those of the quirks that it can have and has not by
    default.
    """
    name, values = resolve("augmentation", _AUGMENTATIONS, spec)
    _, plain = resolve("augmentation", _AUGMENTATIONS, name)
    return name, values, {k: quirk for k, quirk in _QUIRKS.items() if plain.get(k, quirk) != quirk}
