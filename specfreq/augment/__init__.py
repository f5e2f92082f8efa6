"""Augmentations by name: the views of an image that a network is trained on, and the loss over what it says
of them.
"""

import functools
import itertools
from typing import TYPE_CHECKING, Any

from specfreq.core.deferred import Deferred
from specfreq.core.errors import UserError, unknown
from specfreq.core.spec import in_sequence, parse, parts, resolve, sequence, shortest

if TYPE_CHECKING:
    from specfreq.augment.base import Augmentation

__all__ = [
    "FSDA",
    "APRBoth",
    "APRPair",
    "APRSingle",
    "AmplitudeMix",
    "AugMix",
    "Augmentation",
    "FourierWaves",
    "HybridAugment",
    "RandomFSDA",
    "TVBands",
    "VIPAug",
    "as_published",
    "build",
    "check",
    "corrected",
    "describe",
    "label",
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
    "fsda": Deferred("specfreq.augment.fsda.scaling:FSDA"),
    "fsda-random": Deferred("specfreq.augment.fsda.scaling:RandomFSDA"),
}


def __getattr__(name: str) -> Any:
    """The classes, imported when first asked for."""
    for entry in _AUGMENTATIONS.values():
        if entry.name == name:
            return entry.load()
    raise AttributeError(f"module 'specfreq.augment' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def names() -> list[str]:
    return list(_AUGMENTATIONS)


def build(spec: str) -> "Augmentation":
    """Build an augmentation from its description, such as ``apr-p:p=0.5``, or a composition of several, such
    as ``apr-s+"apr-p:clip=1,p=0.5"+augmix``: see `composed.Composed`.

    Raises:
        UserError: unknown name or parameter (the nearest is suggested), or an impossible value; a composition
            that has no meaning.

    Example:
        >>> augment.build("apr-s")(torch.rand(3, 32, 32)).shape
        torch.Size([3, 32, 32])
    """
    built = [_AUGMENTATIONS[name](**values) for name, values in _parts(spec)]
    if len(built) == 1:
        return built[0]
    from specfreq.augment.composed import Composed

    return functools.reduce(Composed, built)


def check(spec: str) -> None:
    """Refuse a description that `build` would refuse. Nothing is built where all parameters are defaults."""
    spelled = spelling(spec)
    if parse(spelled)[1] or len(_parts(spelled)) > 1:
        build(spelled)


def spelling(spec: str) -> str:
    """The one spelling of a description, of which names and types alone are checked; what equals its default
    is left out, and so is ``none`` in a composition.
    """
    return in_sequence(shortest(name, values, _AUGMENTATIONS[name]) for name, values in _parts(spec))


def _parts(spec: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and parameters of the augmentations in a description, one or several; ``none`` only alone."""
    texts = sequence(spec, _AUGMENTATIONS)
    for before, text in itertools.pairwise(texts):
        name = parse(text)[0]
        if ":" in before and name.replace("_", "-") not in _AUGMENTATIONS:
            hint = f'if it is part of a value, write "{before}+{text}" with its quotes'
            raise unknown("augmentation", name, _AUGMENTATIONS, hint=hint)
    found = [resolve("augmentation", _AUGMENTATIONS, text) for text in texts]
    return [part for part in found if part[0] != "none"] or found[:1]


def known(text: str) -> bool:
    """Whether a text describes augmentations, one or several, with parameters that this version has."""
    try:
        return bool(_parts(text))
    except UserError:
        return False


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
    return in_sequence(
        shortest(name, values | _published(name), _AUGMENTATIONS[name]) for name, values in _parts(spec)
    )


def corrected(spec: str) -> str:
    """The augmentation without any of that."""
    parts = []
    for name, values in _parts(spec):
        kept = {key: value for key, value in values.items() if key not in _published(name)}
        parts.append(shortest(name, kept, _AUGMENTATIONS[name]))
    return in_sequence(parts)


def label(spec: str) -> str:
    """How tables and figures call an augmentation: ``APR-S, bytes wrapped``, ``APR-P as published``."""
    return " + ".join(_label(name, values) for name, values in _parts(spec))


def _label(name: str, values: dict[str, Any]) -> str:
    entry = _AUGMENTATIONS[name]
    title, words = entry.constant("title"), entry.constant("words")
    published = _published(name)
    if published and published.items() <= values.items():
        title = f"{title} as published"
        values = {key: value for key, value in values.items() if key not in published}
    spelled = shortest(name, values, entry)
    together = words.get(spelled.partition(":")[2])  # several parameters that mean one thing
    if together:
        return f"{title}, {together}"
    said = [
        words.get(f"{key}={value}") or words.get(key, f"{key} = {{}}").format(" and ".join(parts(value)))
        for key, value in parse(spelled)[1].items()
    ]
    return ", ".join([title, *said])


def series(spec: str) -> str:
    """``corrected``, ``as published``, or in what else it differs from the corrected one where the original
    does, such as ``overflow=wrap``; in a composition after the name, ``apr-s overflow=wrap``.
    """
    parts, shared, missing = _parts(spec), [], False
    for name, values in parts:
        before = f"{name} " if len(parts) > 1 else ""
        own = parse(shortest(name, values, _AUGMENTATIONS[name]))[1]
        for key, value in _published(name).items():
            missing |= values[key] != value
            if key in own:  # the original's value, or another that is no default
                shared.append(f"{before}{key}={values[key]}")
    if not shared:
        return "corrected"
    return ", ".join(shared) if missing else "as published"


def _published(name: str) -> dict[str, Any]:
    """The parameters of the original program where they differ from the defaults, as the class says."""
    return dict(_AUGMENTATIONS[name].constant("published"))
