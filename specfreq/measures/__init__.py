"""Measures by name: classifier + image set -> numbers and small lists.

Results do not depend on the batch size or the order of the images, but for the rounding of the network, whose kernels are chosen by
the size of a batch.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from specfreq import inference
from specfreq.measures.accuracy import accuracy
from specfreq.measures.adversarial import adversarial
from specfreq.measures.answers import Images
from specfreq.measures.band_accuracy import band_accuracy
from specfreq.measures.calibration import calibration
from specfreq.measures.corruption import corruption
from specfreq.measures.detection import out_of_distribution
from specfreq.measures.discrimination import feature_discrimination
from specfreq.measures.heatmap import fourier_heatmap
from specfreq.measures.likelihood import nll
from specfreq.measures.swap import amplitude_phase_swap
from specfreq.naming import UserError, canonical, parse, resolve

VERSION = 2  # of what they compute: raised whenever one would give other numbers than before
Measure = Callable[..., dict[str, Any]]


def _described(measure: Measure) -> Measure:
    """The measure with the signature that descriptions see: its options, without those of how it is computed."""
    signature = inspect.signature(measure, eval_str=True)
    options = [p for n, p in signature.parameters.items() if p.kind == p.KEYWORD_ONLY and n not in ("precision", "batch")]
    seen = functools.partial(measure)
    seen.__signature__ = signature.replace(parameters=options)
    return seen


_MEASURES: dict[str, Measure] = {
    "accuracy": _described(accuracy),
    "nll": _described(nll),
    "calibration": _described(calibration),
    "corruption": _described(corruption),
    "out-of-distribution": _described(out_of_distribution),
    "adversarial": _described(adversarial),
    "fourier-heatmap": _described(fourier_heatmap),
    "amplitude-phase-swap": _described(amplitude_phase_swap),
    "band-accuracy": _described(band_accuracy),
    "feature-discrimination": _described(feature_discrimination),
}


def names() -> list[str]:
    return list(_MEASURES)


def check(spec: str) -> None:
    """Refuse a description ``name:key=value,...`` that cannot be read.

    Raises:
        UserError: unknown name or option (the nearest is suggested), or an impossible value.
    """
    _resolved(spec)


def normal_form(spec: str) -> str:
    """The one spelling of a description; options that have their default are left out."""
    name, values = _resolved(spec)
    defaults = inspect.signature(_MEASURES[name]).parameters
    return canonical(name, {k: _written(v) for k, v in values.items() if v != defaults[k].default})


def compute(
    spec: str, model: nn.Module, images: Images, *, precision: str = "float32", batch: int | None = None, **options: Any
) -> dict[str, Any]:
    """Judge a classifier (images in [0, 1] -> logits) on an image set, in memory or streamed, by the measure so described.

    Args:
        spec: one of `names()`, or ``name:key=value,...``.
        precision, batch: how the network is asked, see `inference.evaluate`; the batch does not change the results. By default
            one that fits a processor's cache, or fills a GPU.
        options: more of the measure's options, by name.

    Returns:
        Floats, integers and nested lists of those, as JSON holds them; null where there is no number.

    Raises:
        UserError: as `check`; what the measure refuses.
    """
    name, values = _resolved(spec, **options)
    if not len(images):
        raise UserError(f"{images.name} has no images; nothing can be measured")
    batch = batch or (100 if inference.device_of(model).type == "cpu" else 1000)
    return _MEASURES[name](model, images, precision=precision, batch=batch, **values)


def _resolved(spec: str, **options: Any) -> tuple[str, dict[str, Any]]:
    name, given = parse(spec)
    return resolve("measure", _MEASURES, canonical(name, given | {k: _written(v) for k, v in options.items()}))


def _written(value: Any) -> Any:
    """A value as descriptions have it: lists as 1+2+3."""
    return "+".join(repr(v).removesuffix(".0") for v in value) if isinstance(value, list | tuple) else value
