"""What the images of a set contain: mean spectra, radial profiles and centroids by class, amplitude and phase
apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from specfreq import fourier
from specfreq.core.errors import UserError
from specfreq.data.sets import ImageSet
from specfreq.evidence import records
from specfreq.evidence.intervals import scientific, written
from specfreq.evidence.markup import Table

WITH, WITHOUT = "mean brightness counted", "without the mean brightness"
TITLES = {"cifar10": "CIFAR-10", "fashion-mnist": "Fashion-MNIST"}  # of the published sets


@dataclass(frozen=True)
class Spectra:
    """The spectra of an image set, grey (mean over channels), power |F x|² not normalised.

    Attributes:
        power: (K, H, W) mean of each class, zero frequency at index N//2.
        profiles: class -> (bins,) mean over rings of 0, 1, 2, ... cycles per image, of images without their
            mean.
        centroids: title -> (N,) spectral centroid of each image in cycles per pixel, with and without the
            zero frequency.
        score: (N,) what the original program calls the high-pass/low-pass score: the centroid with the mean,
            over H W.
    """

    power: Tensor
    profiles: dict[str, Tensor]
    centroids: dict[str, Tensor]
    score: Tensor


def slopes(profiles: Mapping[str, Any]) -> list[float]:
    """Exponent of each class: slope of log power over log frequency, a line fitted to the rings from 1 on."""
    lines = [
        np.polyfit(np.log(np.arange(1, len(p))), np.log(np.maximum(np.asarray(p)[1:], 1e-300)), 1)
        for p in profiles.values()
    ]
    return [float(line[0]) for line in lines]


def spread(profiles: Mapping[str, Any]) -> float:
    """Largest over smallest class power on the highest ring."""
    top = [float(p[-1]) for p in profiles.values()]
    return max(top) / min(top)


def summarise(images: ImageSet, window: Literal["hamming"] | None = "hamming") -> Spectra:
    """Spectra, profiles and centroids of an image set. Every class needs an image.

    Source: the frequency-response study, input statistics; its mean over bins is here a sum (eq. 1 of the
    page).
    """
    counts = torch.bincount(images.labels, minlength=len(images.classes))
    if (counts == 0).any():
        empty = images.classes[int((counts == 0).nonzero()[0])]
        raise UserError(f"{images.name}: class {empty} has no image among these {len(images)}; raise size")
    power = torch.zeros(len(images.classes), *images.shape[1:], dtype=torch.float64)
    centroids: dict[str, list[Tensor]] = {WITH: [], WITHOUT: []}
    detail = torch.zeros_like(power)
    taper = fourier.taper(*images.shape[1:], window)
    for pictures, labels in zip(images.images.split(2000), images.labels.split(2000), strict=True):
        grey = (pictures.double() / 255).mean(1)
        # the mean under the window: what is left has no power at f = 0 that the window could spread to its
        # neighbours
        mean = (grey * taper).sum((-2, -1), keepdim=True) / taper.sum()
        for title, x, total in ((WITH, grey, power), (WITHOUT, grey - mean, detail)):
            spectrum = fourier.power_spectrum(x[:, None], window)[:, 0]
            total.index_add_(0, labels, spectrum)
            centroids[title].append(fourier.centroid(spectrum, dc=title == WITH))
    profiles = dict(zip(images.classes, fourier.radial_profile(detail / counts[:, None, None]), strict=True))
    joined = {title: torch.cat(parts) for title, parts in centroids.items()}
    return Spectra(power / counts[:, None, None], profiles, joined, joined[WITH] / power[0].numel())


def halves(pictures: Tensor) -> dict[str, Tensor]:
    """Pictures (N, C, H, W) in [0, 1] taken apart into amplitude and phase: rows for `figures.pictures`."""
    x = pictures.double()
    point = torch.zeros_like(x)  # all amplitudes 1, the phases of a point in the middle
    point[..., x.shape[-2] // 2, x.shape[-1] // 2] = 1
    detail = x - x.mean((-2, -1), keepdim=True)
    return {
        "picture": x,
        "amplitude only": fourier.recombine(detail, point),
        "phase only": fourier.recombine(point, detail),
        "phase, with\nits neighbour's\namplitude": fourier.recombine(x.roll(1, 0), x).clamp(0, 1),
    }


def content(images: ImageSet, found: Spectra) -> dict[str, Any]:
    """What the record of a set's spectra holds: profiles by class; how centroids and scores lie."""

    def distribution(values: Tensor) -> dict[str, float]:
        marks = {
            "smallest": 0.0,
            "lower_quartile": 0.25,
            "median": 0.5,
            "upper_quartile": 0.75,
            "largest": 1.0,
        }
        return {"mean": float(values.mean()), **{k: float(values.quantile(q)) for k, q in marks.items()}}

    return {
        "images": len(images),
        "shape": list(images.shape),
        "profiles": {name: p.tolist() for name, p in found.profiles.items()},
        "centroid": {title: distribution(c) for title, c in found.centroids.items()},
        "score": distribution(found.score),
    }


def _published(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {name: records.published(f"image-spectra-{name}") for name in names}
    return {name: r for name, r in found.items() if r is not None}


def _digest(record: Mapping[str, Any]) -> str:
    """Of the images of a record. Version 0.1 kept it without their name."""
    data = record["provenance"]["data"]
    return data if isinstance(data, str) else next(iter(data.values()))


def published_profiles(names: Sequence[str]) -> dict[str, Any]:
    """From the published records, arguments for `figures.radial_profiles`: each set's mean and its two most
    unlike classes.
    """
    profiles, sides = {}, {}
    for name, r in _published(names).items():
        by_class = sorted(r["profiles"].items(), key=lambda item: item[1][-1])
        lines = {
            f"{TITLES[name]}, mean": np.mean([p for _, p in by_class], axis=0),
            f"{TITLES[name]}, {by_class[-1][0]}": by_class[-1][1],
            f"{TITLES[name]}, {by_class[0][0]}": by_class[0][1],
        }
        profiles |= lines
        sides |= dict.fromkeys(lines, r["shape"][-1])
    note = " · ".join(
        f"{TITLES[n]}: {r['images']} images, data {_digest(r)[:8]}" for n, r in _published(names).items()
    )
    return {"profiles": profiles, "sides": sides, "note": note}


def told(names: Sequence[str]) -> dict[str, str]:
    """Numbers of the published sets for sentences, by set and what: ``cifar10 slopes``; ``–`` where one is
    not published.
    """
    out = {
        f"{name} {what}": "–" for name in names for what in ("images", "slopes", "spread", "most", "least")
    }
    for name, r in _published(names).items():
        exponents = slopes(r["profiles"])
        top = {label: p[-1] for label, p in r["profiles"].items()}
        most, least = max(top, key=lambda label: top[label]), min(top, key=lambda label: top[label])
        out |= {
            f"{name} images": f"{r['images']:,}",
            f"{name} slopes": f"{written(min(exponents), 1)} to {written(max(exponents), 1)}",
            f"{name} spread": f"{spread(r['profiles']):.1f}",
            f"{name} most": most,
            f"{name} least": least,
        }
    return out


def published_table(names: Sequence[str], caption: str = "", name: str = "") -> Table:
    """Centroids and the original's score of the published sets: a line for each number, a column for each
    set.
    """
    by_set: dict[str, dict[str, str]] = {}
    for data, r in _published(names).items():
        counted, without = (r["centroid"][title]["mean"] for title in (WITH, WITHOUT))
        by_set[TITLES[data]] = {
            "mean centroid, brightness counted (cycles per pixel)": f"{counted:.4f}",
            "mean centroid without the brightness (cycles per pixel)": f"{without:.4f}",
            "the original's score, mean": scientific(r["score"]["mean"]),
            "the original's score, largest": scientific(r["score"]["largest"]),
        }
    lines = next(iter(by_set.values()), {})
    rows = [{"number": line, **{title: found[line] for title, found in by_set.items()}} for line in lines]
    return Table(rows, caption, name)
