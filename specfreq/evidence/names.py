"""What pages call arms, image sets, networks and quantities: human names for what records and claims have."""

import contextlib

from specfreq import augment, filters, models
from specfreq.core.errors import UserError

# arms of studies that train nothing with an augmentation
_OTHERS = {
    "chambolle-pock-1": "Chambolle–Pock 1",
    "chambolle-pock-2": "Chambolle–Pock 2, accelerated",
    "condat": "Condat, over-relaxed",
    "fgp": "fast gradient projection",
    "gaussian-blur": "Gaussian blur",
    "total-variation": "total variation",
    "total-variation:by-discrepancy": "total variation, weight by discrepancy",
    "noisy": "noisy picture",
    "ours": "this package",
    "program": "the program",
}
# quantities whose name alone does not say what they are of
_QUANTITIES = {
    **{band: f"error under {band} frequencies" for band in ("low", "middle", "high", "all")},
    "max-logit": "AUROC by the largest logit",
    "square": "accuracy after all attacks",
}
_FIELDS = {"epochs": "{} epochs", "train_size": "{} training images"}  # that arms of one study differ in


def label(arm: str) -> str:
    """The human name of an arm: ``Plain, 8 epochs`` for ``none, epochs=8``; any other text as it is.

    An arm is an augmentation, or a name of its study, and what else differs from the study's first run.
    """
    if arm in _OTHERS:
        return _OTHERS[arm]
    spec, *others = arm.split(", ")
    said = [_field(part) for part in others]
    return ", ".join([_augmentation(spec), *said])


def quantity(name: str) -> str:
    """What the ledger calls a quantity of rows."""
    return _QUANTITIES.get(name, name)


def model(spec: str) -> str:
    """The human name of a network; a description that this version does not know, as it is."""
    try:
        return models.label(spec)
    except UserError:
        return spec


def _augmentation(spec: str) -> str:
    # one of a record of another version may have parameters that this one does not know
    return augment.label(spec) if augment.known(spec) else spec


def _field(written: str) -> str:
    key, equals, value = written.partition("=")
    if key == "filter":
        with contextlib.suppress(UserError):  # one of another version, as it is
            return filters.label(value)[0]
    return _FIELDS.get(key, f"{key} = {{}}").format(value) if equals else written
