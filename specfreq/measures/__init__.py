"""Measures by name: classifier + image set -> numbers and small lists.

Results do not depend on the batch size or the order of the images, but for the rounding of the network, whose
kernels are chosen by the size of a batch.
"""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from specfreq.core.deferred import Deferred
from specfreq.core.errors import UserError
from specfreq.core.spec import canonical, matching, parse, resolve

if TYPE_CHECKING:
    from torch import Tensor, nn

    from specfreq.measures.answers import Images

__all__ = [
    "VERSION",
    "check",
    "compute",
    "computed",
    "names",
    "normal_form",
    "version",
]

VERSION = 2  # of what they compute: raised whenever all would give other numbers than before
# by how much that of one measure is ahead
_NEWER = {
    "out-of-distribution": 1,  # tnr95 at 95 % or more, not at the nearest
    "frequency-shortcuts": 1,  # kept_radius
}


def _measure(place: str) -> Deferred:
    """A measure by its function, whose keyword-only parameters are its options."""
    return Deferred(f"specfreq.measures.{place}", options=True)


_MEASURES = {
    "accuracy": _measure("accuracy:accuracy"),
    "nll": _measure("likelihood:nll"),
    "calibration": _measure("calibration:calibration"),
    "corruption": _measure("corruption:corruption"),
    "out-of-distribution": _measure("detection:out_of_distribution"),
    "adversarial": _measure("adversarial:adversarial"),
    "fourier-heatmap": _measure("heatmap:fourier_heatmap"),
    "amplitude-phase-swap": _measure("swap:amplitude_phase_swap"),
    "band-accuracy": _measure("band_accuracy:band_accuracy"),
    "gradient-spectrum": _measure("gradient_spectrum:gradient_spectrum"),
    "feature-discrimination": _measure("discrimination:feature_discrimination"),
    "frequency-shortcuts": _measure("shortcut:frequency_shortcuts"),
    "diagnosis": _measure("diagnosis:diagnosis"),
    "localisation": _measure("localisation:localisation"),
    "cam-sanity": _measure("localisation:cam_sanity"),
}


def names() -> list[str]:
    return list(_MEASURES)


# the modules of the measures that refuse more than a value of the wrong type
_REFUSING = {
    "calibration": "calibration",
    "corruption": "corruption",
    "out-of-distribution": "detection",
    "fourier-heatmap": "heatmap",
    "amplitude-phase-swap": "swap",
    "localisation": "localisation",
}


def version(spec: str) -> int:
    """The version of what a measure, described by ``name:key=value,...``, computes: results of others are
    outdated.
    """
    return VERSION + _NEWER.get(matching("measure", parse(spec)[0], _MEASURES), 0)


def check(spec: str, images: "Images | None" = None) -> None:
    """Refuse a description ``name:key=value,...`` that cannot be read, or that asks what these images have no
    answer to.

    Raises:
        UserError: unknown name or option (the nearest is suggested), or an impossible value; options that do
            not go together, other sets that are not there, images that do not fit.
    """
    name, values = _resolved(spec)
    if images is not None and name in _REFUSING:
        importlib.import_module(f"specfreq.measures.{_REFUSING[name]}").refuse(images, **values)


def normal_form(spec: str) -> str:
    """The one spelling of a description; options that have their default are left out."""
    name, values = _resolved(spec)
    defaults = inspect.signature(_MEASURES[name]).parameters
    return canonical(name, {k: _written(v) for k, v in values.items() if v != defaults[k].default})


def compute(
    spec: str,
    model: "nn.Module",
    images: "Images",
    *,
    precision: str = "float32",
    batch: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Judge a classifier (images in [0, 1] -> logits) on an image set, in memory or streamed, by the measure
    so described.

    Args:
        spec: one of `names()`, or ``name:key=value,...``.
        precision, batch: how the network is asked, see `inference.evaluate`; the batch does not change the
            results. By default one that fits a processor's cache, or fills a GPU.
        options: more of the measure's options, by name.

    Returns:
        Floats, integers and nested lists of those, as JSON holds them; null where there is no number.

    Raises:
        UserError: as `check`; the network answers with something else than logits; what the measure refuses.

    Example:
        >>> network = models.build("resnet8", classes=10, channels=1)
        >>> measures.compute("accuracy", network, data.load("digits", "test", size=20))["images"]
        20
    """
    return computed(spec, model, images, precision=precision, batch=batch, **options)[0]


def computed(
    spec: str,
    model: "nn.Module",
    images: "Images",
    *,
    precision: str = "float32",
    batch: int | None = None,
    **options: Any,
) -> "tuple[dict[str, Any], dict[str, Tensor]]":
    """What `compute` gives, and what it says of each image, for those numbers that are means over images.

    Returns:
        The result; and, by the place of a number in it, ``mean_error`` or ``by_corruption.2``, what it is the
        mean of: truths (..., N), for a share in %, or float values (..., N). The last axis is that of the
        images, in the order of the set (of pairs, or of known and other images, where a measure is about
        those), and alike for all networks: their differences can be taken image by image. A number that is no
        mean, as an area or an error of calibration, has values whose mean it is and whose variance is, for
        many images, its own: those of the infinitesimal jackknife.

    Source: Efron, *The jackknife, the bootstrap and other resampling plans*, 1982, chapter 6.
    """
    name, values = _resolved(spec, **options)
    if not len(images):
        raise UserError(f"{images.name} has no images; nothing can be measured")
    from specfreq.core import devices
    from specfreq.measures import answers

    batch = batch or (100 if devices.device_of(model).type == "cpu" else 1000)
    with answers.only_logits(model, images):
        result = _MEASURES[name](model, images, precision=precision, batch=batch, **values)
    each = result.pop(answers.EACH, {})
    return result, each


def _resolved(spec: str, **options: Any) -> tuple[str, dict[str, Any]]:
    name, given = parse(spec)
    return resolve(
        "measure", _MEASURES, canonical(name, given | {k: _written(v) for k, v in options.items()})
    )


def _written(value: Any) -> Any:
    """A value as descriptions have it: lists as 1+2+3."""
    return "+".join(repr(v).removesuffix(".0") for v in value) if isinstance(value, list | tuple) else value
