"""Denoising by total variation, examined: pictures, weights, iterations, the flow of a disc, what the
original's solver does.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from specfreq import tv
from specfreq.core.errors import UserError, unknown
from specfreq.core.randomness import keyed
from specfreq.data import embedded
from specfreq.data.sets import ImageSet
from specfreq.evidence import names, records
from specfreq.evidence.rows import CORRECTED, PUBLISHED, Row, of_images

REFERENCE = 1e-8  # gap of what counts as the minimiser
CONTRAST = 0.01  # standard deviation of an image below which it counts as flat
PROGRAM = "program"  # what the solver of the original is called


def picture(name: str = "astronaut", side: int = 128) -> Tensor:
    """The centre square of an embedded photograph, reduced to `side` pixels: float32 (3, side, side) in [0,
    1].

    Raises:
        UserError: no such photograph, or a side that it has not.
    """
    if name not in embedded.PHOTOS:
        raise unknown("picture", name, embedded.PHOTOS)
    whole = torch.from_numpy(np.ascontiguousarray(embedded.photograph(name))).permute(2, 0, 1)
    edge = min(whole.shape[1:])
    if not 2 <= side <= edge:
        raise UserError(
            f"the square of {name} has {edge} pixels on a side; take from 2 to {edge}, not {side}"
        )
    top, left = ((n - edge) // 2 for n in whole.shape[1:])
    square = whole[None, :, top : top + edge, left : left + edge].float() / 255
    return F.interpolate(square, size=(side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)


def noisy(images: Tensor, sigma: float, seed: int = 0) -> Tensor:
    """Images (..., C, H, W) plus Gaussian noise of standard deviation `sigma`; not clipped, so that it has
    mean zero.
    """
    return images + sigma * torch.randn(images.shape, generator=keyed(seed, "noise"), dtype=images.dtype)


def psnr(found: Tensor, clean: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio of images (..., C, H, W) in [0, 1]: :math:`-10 \log_{10} \overline{(u -
    v)^2}` in dB.
    """
    return -10 * (found - clean).double().square().mean((-3, -2, -1)).log10()


class Weights(NamedTuple):
    """Of each weight and image, (weights, N): PSNR in dB, and standard deviation of what was taken away."""

    weights: Tensor
    psnr: Tensor
    removed: Tensor

    def best(self) -> Tensor:
        """The weight of highest PSNR for each image, which takes the clean image to know."""
        return self.weights[self.psnr.argmax(0)]

    def discrepancy(self, sigma: float) -> Tensor:
        """The largest weight that takes away no more than the noise, whose standard deviation is known; the
        smallest if all take more (Morozov).
        """
        weights = self.weights[:, None].expand_as(self.removed)
        return weights.where(self.removed <= sigma, self.weights.min()).amax(0)


def by_weight(clean: Tensor, given: Tensor, weights: Sequence[float]) -> Weights:
    """Denoise images (N, C, H, W) by each weight, and compare with the clean ones."""
    found = [tv.denoise(given, weight).image for weight in weights]
    removed = [(given - u).double().square().mean((-3, -2, -1)).sqrt() for u in found]
    return Weights(
        torch.tensor(weights, dtype=torch.float64),
        torch.stack([psnr(u, clean) for u in found]),
        torch.stack(removed),
    )


def by_blur(clean: Tensor, given: Tensor, sigmas: Sequence[float]) -> Tensor:
    """PSNR (sigmas, N) of images behind Gaussian blurs of these standard deviations in pixels, edges
    continued.
    """
    return torch.stack([psnr(blurred(given, sigma), clean) for sigma in sigmas])


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (..., H, W) blurred by a Gaussian of standard deviation `sigma` in pixels, the border pixel
    repeated beyond it.
    """
    from scipy.ndimage import gaussian_filter

    blur = gaussian_filter(images.numpy(), (0,) * (images.ndim - 2) + (sigma, sigma), mode="nearest")
    return torch.from_numpy(blur)


def solvers(images: Tensor, weight: float, tol: float = 1e-4) -> dict[str, Tensor]:
    """Iterations (N,) that each algorithm takes for images (N, C, H, W) to reach a relative gap of `tol`."""
    return {name: tv.denoise(images, weight, tol, algorithm=name).iterations for name in tv.ALGORITHMS}


def published_times(study: str = "tv-solvers") -> dict[str, Any]:
    """The record of the benchmark of solvers, as arguments for `figures.time_to_accuracy`, in human names."""
    found = records.published_rows(study, "rows")
    rows = [{**row, "case": case(row["case"]), "solver": _solver(row["solver"])} for row in found["rows"]]
    return {**found, "rows": rows}


def case(name: str) -> str:
    """``8 colour pictures of 224 × 224`` for ``8 x 3x224x224``."""
    count, shape = name.split(" x ")
    channels, height, width = shape.split("x")
    kind = "grey" if channels == "1" else "colour"
    return f"{count} {kind} picture{'s' * (count != '1')} of {height} × {width}"


def _solver(name: str) -> str:
    """``Condat, over-relaxed`` for ``specfreq condat``; other packages keep their names."""
    package, _, algorithm = name.partition(" ")
    if package != "specfreq":
        return name
    algorithm, comma, _ = algorithm.partition(", plain")
    return "Condat, unfused" if comma else names.label(algorithm)


def energy(u: Tensor, f: Tensor, weight: float) -> Tensor:
    r"""The energy :math:`\mathrm{TV}(u) + |u - f|^2 / 2 w`, of images (..., C, H, W): (...), float64."""
    return tv.total_variation(u) + (u.double() - f.double()).square().sum((-3, -2, -1)) / (2 * weight)


def faithfulness(images: Tensor, weight: float) -> dict[str, dict[str, Tensor]]:
    """Ours at a gap of 1e-4, the original's program, each quirk alone, against the minimiser: solver ->
    quantity -> (N,).

    Quantities: distance from the minimiser (root mean square, % of the range), excess of the energy over its,
    how far the mean brightness moved (% of the range), iterations. Images without contrast have no energy to
    compare, and are left out.
    """
    clean = images[images.flatten(1).std(1) > CONTRAST].double()
    exact = tv.denoise(clean, weight, REFERENCE).image
    least = energy(exact, clean, weight)
    found = {"ours": tv.denoise(clean.float(), weight), PROGRAM: tv.denoise(clean, weight, as_published=True)}
    found |= {f"{quirk} alone": tv.denoise(clean, weight, as_published=[quirk]) for quirk in tv.QUIRKS}
    return {
        name: {
            "distance (%)": 100 * (u.image - exact).square().mean((-3, -2, -1)).sqrt(),
            "excess energy (%)": 100 * (energy(u.image, clean, weight) / least - 1).clamp_min(0),
            "drift of the mean (%)": 100 * (u.image.double() - clean).mean((-3, -2, -1)).abs(),
            "iterations": u.iterations.double(),
        }
        for name, u in found.items()
    }


def disc(side: int, radius: float, height: float = 1.0) -> Tensor:
    """A disc in the middle of a square: float64 (1, side, side), `height` inside and 0 outside."""
    y, x = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for _ in range(2))
    return height * (y[:, None].square() + x.square() < radius**2).double()[None]


class DiscFlow(NamedTuple):
    """A disc along the flow: times, its height over its surroundings as found and by theory, and when theory
    ends it.
    """

    times: Tensor
    found: Tensor
    theory: Tensor
    extinction: float


def disc_flow(side: int, radius: float, dt: float, steps: int) -> DiscFlow:
    r"""The flow of a disc of height 1: its height over its surroundings falls at a constant speed,

    .. math:: 1 - t \left( \frac{P}{A} + \frac{P}{N^2 - A} \right), \quad P = 2 \pi R, \quad A = \pi R^2

    in the continuum, where a disc in the middle of a square with nothing across its border only changes its
    height.
    """
    f = disc(side, radius)
    inside = f > 0
    found = torch.stack(
        [f[inside].mean() - f[~inside].mean()]
        + [u.image[inside].mean() - u.image[~inside].mean() for u in islice(tv.evolve(f, dt), steps)]
    )
    times, end = dt * torch.arange(steps + 1, dtype=torch.float64), tv.disc_extinction(radius, 1.0, side)
    return DiscFlow(times, found, (1 - times / end).clamp_min(0), end)


def rows(
    images: ImageSet,
    *,
    sigma: float,
    weight: float,
    weights: Sequence[float],
    blurs: Sequence[float],
    seed: int,
) -> list[Row]:
    """What the record of the study holds of an image set: a row for each arm and quantity, intervals over
    images.
    """
    clean = images.images.float() / 255
    given = noisy(clean, sigma, seed)
    found, blur = by_weight(clean, given, weights), by_blur(clean, given, blurs)
    chosen = found.psnr[
        [found.weights.tolist().index(w) for w in found.discrepancy(sigma).tolist()], torch.arange(len(clean))
    ]
    best = {
        "noisy": psnr(given, clean),
        "gaussian-blur": blur.amax(0),
        "total-variation": found.psnr.amax(0),
        "total-variation:by-discrepancy": chosen,
    }
    out = [of_images(images.name, arm, "PSNR", values.tolist()) for arm, values in best.items()]
    for quantity, pictures in {"iterations": clean, "iterations on noisy pictures": given}.items():
        for arm, needed in solvers(pictures, weight).items():
            out.append(of_images(images.name, arm, quantity, needed.tolist()))
    for solver, quantities in faithfulness(clean, weight).items():
        series = {"ours": CORRECTED, PROGRAM: PUBLISHED}.get(solver, solver)
        out += [
            of_images(images.name, solver, quantity, values.tolist(), stands_for="ours", series=series)
            for quantity, values in quantities.items()
        ]
    return out
