"""Scales of pictures: spectral total variation of discs and sets, its invariances, textures exchanged."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from specfreq import fourier, tv
from specfreq.data.sets import ImageSet
from specfreq.evidence import records
from specfreq.evidence.intervals import scientific
from specfreq.evidence.rows import of_images
from specfreq.studies.denoising import case, disc

AT_ONCE = 500  # images
MOVED = "moved"
# where theory promises that a change of the picture changes its bands alike
PIXELS, CONTINUUM, INSIDE = "holds on pixels", "holds in the continuum", "holds away from the border"


class Peak(NamedTuple):
    """The spectrum of a disc, its times, and where its peak lies: centre of mass of the highest bin and its
    neighbours.
    """

    times: Tensor
    spectrum: Tensor
    time: float
    share: float
    theory: float


def disc_peak(side: int, radius: float, dt: float, height: float = 1.0) -> Peak:
    r"""The transform of a disc, far enough to hold its peak, which theory puts at :math:`h / (P/A + P/(N^2 -
    A))`.

    `share` is that of the spectrum which the three bins hold.
    """
    theory = tv.disc_extinction(radius, height, side)
    bands = int(1.3 * theory / dt) + 2
    spectrum = tv.transform(disc(side, radius, height), bands, dt).spectrum
    times = dt * torch.arange(1, bands + 1, dtype=torch.float64)
    top = int(spectrum.argmax().clamp(1, bands - 2))
    near = slice(top - 1, top + 2)
    time = (times[near] * spectrum[near]).sum() / spectrum[near].sum()
    return Peak(times, spectrum, float(time), float(spectrum[near].sum() / spectrum.sum()), theory)


class Scales(NamedTuple):
    """Of each class: mean spectrum per pixel and channel (classes, bands), and at which times (bands,)."""

    times: Tensor
    spectra: dict[str, Tensor]
    fine: Tensor  # (N,) share of the finest two bands in the spectrum over these bands, of each image
    # (bands + 1, bins) mean Fourier power of each band and of the residual on rings of 0, 1, ... cycles per
    # image
    radial: Tensor


def summarise(images: ImageSet, bands: int, dt: float, tol: float = 1e-4) -> Scales:
    """Spectra of all images, class by class, and what the bands are to a Fourier transform."""
    classes = torch.zeros(len(images.classes), bands, dtype=torch.float64)
    fine, powers = [], []
    for pictures, labels in zip(images.images.split(AT_ONCE), images.labels.split(AT_ONCE), strict=True):
        parts = tv.transform(pictures.float() / 255, bands, dt, tol)
        spectrum = parts.spectrum.T.double() / pictures[0].numel()
        classes.index_add_(0, labels, spectrum)
        fine.append(spectrum[:, :2].sum(1) / spectrum.sum(1).clamp_min(1e-12))
        each = torch.cat([parts.phi, parts.residual[None]]).double().mean(2, keepdim=True)
        powers.append(fourier.power_spectrum(each, None).sum((1, 2)))
    counts = torch.bincount(images.labels, minlength=len(images.classes)).clamp_min(1)
    spectra = dict(zip(images.classes, classes / counts[:, None], strict=True))
    times = dt * torch.arange(1, bands + 1, dtype=torch.float64)
    return Scales(
        times, spectra, torch.cat(fine), fourier.radial_profile(sum(powers[1:], powers[0]) / len(images))
    )


def exchange(pictures: Tensor, cut: int, bands: int, dt: float) -> Tensor:
    """Each of the images (N, C, H, W) with the bands 1 to `cut`, the texture, of the image before it. Not
    clipped.
    """
    parts = tv.transform(pictures, bands, dt)
    texture = tv.high_pass(parts, cut)
    return pictures - texture + texture.roll(1, 0)


def filters(parts: tv.Transform, cut: int, gain: float = 3.0) -> dict[str, Tensor]:
    """The filters of the package, by name, with bands 1 to `cut` for texture: pictures of an image that was
    transformed.
    """
    last = min(2 * cut, len(parts.phi))
    return {
        "low pass": tv.low_pass(parts, cut),
        "high pass": tv.high_pass(parts, cut),
        "band pass": tv.band_pass(parts, cut + 1, last),
        "band stop": tv.band_stop(parts, cut + 1, last),
        "amplified": tv.amplify(parts, 1, cut, gain),
        "bands by 1/n": tv.combine(parts, lambda n: 1 / n),
    }


class Change(NamedTuple):
    """What is done to an image, and why the same should happen to its flow and bands."""

    group: str
    of: Callable[[Tensor], Tensor]
    pace: float = 1.0  # by which the time step has to grow with it
    added: float = 0.0  # to the image and its flow, not to the bands


_CHANGES = {
    "transposed": Change(PIXELS, lambda x: x.mT),
    "negative": Change(PIXELS, lambda x: -x),
    "twice the contrast": Change(PIXELS, lambda x: 2 * x, pace=2),
    "brightened": Change(PIXELS, lambda x: x + 0.1, added=0.1),
    "mirrored": Change(CONTINUUM, lambda x: x.flip(-1)),
    "turned": Change(CONTINUUM, lambda x: x.rot90(1, (-2, -1))),
}


class Departure(NamedTuple):
    """How far the flow, or the bands, of each image are from what theory says after a change, relative: (N,).
    And why.
    """

    name: str
    group: str
    flow: Tensor
    bands: Tensor


def invariances(images: Tensor, bands: int, dt: float, tol: float = 1e-5) -> list[Departure]:
    r"""What a change of images (N, C, H, W) does to their flow and bands that it should not do.

    .. math:: |u(A f) - A u(f)|_2 / |u(f) - \bar f|_2, \quad |\phi(A f) - A \phi(f)|_2 / |\phi(f)|_2

    over all steps and all bands. Twice the contrast goes with twice the time step: the flow is homogeneous.
    To be moved, by 2 and 3 pixels, images are set into a flat frame as wide as they are, and compared within
    it.
    """
    images = images.double()
    mean = images.mean((-2, -1), keepdim=True)
    flow, phi = _evolved(images, bands, dt, tol)
    out = []
    for name, (group, change, pace, added) in _CHANGES.items():
        found, parts = _evolved(change(images), bands, pace * dt, tol)
        away = _away(found, change(flow), change(mean)), _away(parts, change(phi) - added)
        out.append(Departure(name, group, *away))
    height, width = images.shape[-2:]
    framed = functional.pad(images, (width, width, height, height), value=0.5)
    inside = ..., slice(height, 2 * height), slice(width, 2 * width)
    flow, phi = _evolved(framed, bands, dt, tol)
    moved = _evolved(framed.roll((2, 3), (-2, -1)), bands, dt, tol)
    found, parts = (t.roll((-2, -3), (-2, -1))[inside] for t in moved)
    away = _away(found, flow[inside], mean), _away(parts, phi[inside])
    return [*out, Departure(MOVED, INSIDE, *away)]


def _evolved(x: Tensor, bands: int, dt: float, tol: float) -> tuple[Tensor, Tensor]:
    """Flow and bands of images."""
    flow = tv.flow(x, bands + 1, dt, tol)
    number = torch.arange(1, bands + 1, dtype=x.dtype).view(-1, *[1] * x.ndim)
    return flow[1:], number * flow.diff(n=2, dim=0)


def _away(found: Tensor, expected: Tensor, level: Tensor | float = 0.0) -> Tensor:
    """How far (N,) flows or bands (steps, N, C, H, W) are from what is expected, over its own size."""
    wrong, size = (t.square().sum((0, -3, -2, -1)).sqrt() for t in (found - expected, expected - level))
    return wrong / size.clamp_min(1e-12)


def starts(images: Tensor, steps: int, dt: float, tol: float = 1e-4) -> dict[str, Tensor]:
    """Mean iterations of each step of the flow (steps,), started from the step before or from nothing."""
    return {
        name: torch.stack(
            [s.iterations.double().mean() for s in islice(tv.evolve(images, dt, tol, warm=warm), steps)]
        )
        for name, warm in (("warm", True), ("cold", False))
    }


def content(
    images: ImageSet,
    summary: Scales,
    changes: Sequence[Departure],
    discs: Sequence[float],
    bands: int,
    dt: float,
) -> dict[str, Any]:
    """What the record of the study holds: spectra of classes, and rows of departures from theory (%)."""
    found = [disc_peak(64, radius, tv.disc_extinction(radius, 1.0, 64) / 25) for radius in discs]
    x = images.subset(min(100, len(images))).images.float() / 255
    parts = tv.transform(x, bands, dt)
    rest = (parts.phi.sum(0) + parts.residual - x).abs().amax((-3, -2, -1))
    rows = [
        of_images(
            "discs", "disc", "departure of the peak", [100 * abs(p.time / p.theory - 1) for p in found]
        ),
        of_images("discs", "disc", "outside the peak", [100 * (1 - p.share) for p in found]),
        of_images(images.name, "bands and residual", "departure of the bands", (100 * rest).tolist()),
    ]
    for change in changes:
        rows.append(
            of_images(images.name, change.name, "departure of the flow", (100 * change.flow).tolist())
        )
        rows.append(
            of_images(images.name, change.name, "departure of the bands", (100 * change.bands).tolist())
        )
    return {
        "arms": rows,
        "times": summary.times.tolist(),
        "spectra": {k: v.tolist() for k, v in summary.spectra.items()},
    }


def published_departures(study: str = "spectral-tv") -> dict[str, Any]:
    """Mean departures of flow and bands in the published record, as arguments for `figures.invariances`."""
    groups = {name: change.group for name, change in _CHANGES.items()} | {MOVED: INSIDE}
    found = records.published_rows(study, "arms")
    rows = [
        {
            "name": f"{row['arm']}, {what}",
            "group": groups[row["arm"]],
            "departure": row["mean"] / 100,
        }
        for what in ("flow", "bands")
        for row in found["rows"]
        if row["arm"] in groups and row["quantity"] == f"departure of the {what}"
    ]
    return {"rows": rows, "note": found["note"]}


def _extremes(spectra: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    """The classes with the most and the least in bands 1 and 2."""
    fine = {name: sum(values[:2]) for name, values in spectra.items()}
    return max(fine, key=lambda name: fine[name]), min(fine, key=lambda name: fine[name])


def fine_told(study: str = "spectral-tv") -> dict[str, str]:
    """Numbers of the published spectra for sentences; ``–`` if they have not been published."""
    spectra = records.content(study, "spectra")
    if not spectra:
        return dict.fromkeys(("record bands", "record fine", "record most", "record least"), "–")
    mean = np.mean([*spectra.values()], axis=0)
    most, least = _extremes(spectra)
    return {
        "record bands": str(len(mean)),
        "record fine": f"{100 * mean[:2].sum() / mean.sum():.0f}",
        "record most": most,
        "record least": least,
    }


def published_spectra(study: str = "spectral-tv") -> dict[str, Any]:
    """The mean spectrum in the published record, and those of the two classes with the most and the least in
    bands 1 and 2, as arguments for `figures.spectrum`; none if it has not been published.
    """
    times, spectra = records.content(study, "times") or [], records.content(study, "spectra")
    shown = {}
    if spectra:
        shown = {"all classes": np.mean([*spectra.values()], axis=0)}
        shown |= {name: spectra[name] for name in _extremes(spectra)}
    return {"times": times, "spectra": shown, "label": "mean |φ| per pixel", "note": records.origin(study)}


def published_costs(study: str = "tv-solvers") -> list[dict[str, str]]:
    """Lines of a table: what 50 bands cost by the published benchmark, and how exact they are; none without
    the record.
    """
    return [
        {
            "pictures": case(row["case"]),
            "start": row["start"],
            "gap": scientific(row["tol"]),
            "seconds": f"{row['seconds']:.2f}",
            "iterations": f"{row['iterations']:,}",
            "error of the bands (%)": f"{100 * row['error']:.1f}",
        }
        for row in records.content(study, "spectral") or []
    ]
