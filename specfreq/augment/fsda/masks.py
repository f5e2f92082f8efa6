"""Mask generation: polar cells of the spectrum, the energy of each, and clusters of cells of like energy."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fft import fft2, fftshift
from torch.nn import functional as F

from specfreq.core.errors import UserError
from specfreq.core.images import grey, unit

EDGE = (
    1e-9  # a frequency this close to the edge of a cell, in cells, lies on it, whatever the root's rounding
)
ROWS = 2**21  # entries of a table of costs that are held at a time


@dataclass(frozen=True, eq=False)
class Cells:
    r"""Polar cells of a spectrum, the same at k and at -k.

    A ring is :math:`l < |k| \le l + \text{length}` for l = preserve, preserve + length, ..., the last one cut
    at half the shorter side; a sector is :math:`d \le \arg k < d + \text{angle}` for d = 0, angle, ..., of
    the one of k and -k that lies in the upper half plane, so that masks of cells are Hermitian. A cell is
    what a ring and a sector share; those without a frequency do not exist.

    To no cell belong the mean, |k| = 0, the inner disc, |k| <= preserve, and the corners, |k| > half the
    shorter side.

    Args:
        of: int64 (H, W), the cell of each frequency of the shifted grid; -1 for none.
        sizes: float64 (cells,), the frequencies in each.
    """

    of: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.sizes)

    def energies(self, images: Tensor, log: bool = True, one_more: bool = False) -> Tensor:
        r"""Mean over images and frequencies of each cell, float64 (cells,): of log(1 + |F|), or of |F|.

        Args:
            images: bytes or floats (N, C, H, W); of several channels see `grey`.
            log: take the logarithm.
            one_more: as published, divide by the number of frequencies and one; empty cells have energy 0.
        """
        total = torch.zeros(self.of.shape, dtype=torch.float64, device=images.device)
        for part in images.split(1000):
            size = fft2(grey(unit(part))[:, 0]).abs()
            total += (size.log1p() if log else size).double().sum(0)
        heights = fftshift(total).flatten() / max(1, len(images))
        of = self.of.to(images.device).flatten()
        inside = heights.where(of >= 0, heights.new_zeros(()))
        sums = heights.new_zeros(len(self)).index_add(0, of.clamp_min(0), inside)
        sizes = self.sizes.to(images.device)
        return sums / (sizes + 1 if one_more else sizes.clamp_min(1))

    def clusters(self, labels: Tensor) -> Tensor:
        """The cluster of each frequency, int64 (H, W) on the shifted grid: 0 outside the cells, else 1 + the
        label of its cell, int64 (n,); cells from the n-th on have none.
        """
        of = self.of.to(labels.device)
        known = F.pad(labels + 1, (0, len(self) - len(labels)))
        return torch.where(of >= 0, known[of.clamp_min(0)], 0)


@functools.lru_cache(maxsize=32)
def polar(
    height: int, width: int, angle: float, length: float, preserve: float, apart: bool = False
) -> Cells:
    """The cells of images of a size, on the CPU.

    Args:
        angle: degrees of a sector.
        length: cycles per image of a ring.
        preserve: radius of the disc that is left alone, cycles per image.
        apart: as published, sectors go once around, k and -k belong to different cells, and cells without a
            frequency count as well.

    Raises:
        UserError: a cell would have no extent, or no frequency lies beyond the disc.
    """
    check(angle, length, preserve)
    outer = min(height, width) / 2
    if preserve >= outer or min(height, width) < 2:
        raise UserError(
            f"preserve={preserve:g} leaves no frequency of {width}x{height} pixels to be scaled: they are "
            f"counted up to {outer:g} cycles per image; write less"
        )
    ky, kx = (torch.arange(n, dtype=torch.float64) - n // 2 for n in (height, width))
    ky, kx = torch.meshgrid(ky, kx, indexing="ij")
    distance = (ky.square() + kx.square()).sqrt()
    if not apart:
        below = (ky < 0) | ((ky == 0) & (kx < 0))
        ky, kx = torch.where(below, -ky, ky), torch.where(below, -kx, kx)
    turn = torch.rad2deg(torch.atan2(ky, kx)) % 360
    sectors = -(-(360 if apart else 180) // angle)
    # a direction that rounds to a whole turn is the first again
    sector = (turn / angle + EDGE).floor() % sectors
    ring = ((distance - preserve) / length - EDGE).ceil() - 1
    inside = (ring >= 0) & (distance > 0) & (distance <= outer)
    number = torch.where(inside, ring * sectors + sector, -1.0).long()
    if apart:
        count = int(sectors * -(-(outer - preserve) // length))
    else:
        known = number[inside].unique()
        number = torch.where(inside, torch.bucketize(number, known), -1)
        count = len(known)
    return Cells(number, number[inside].bincount(minlength=count).double())


def check(angle: float, length: float, preserve: float) -> None:
    """Refuse cells that have no extent.

    Raises:
        UserError: says what is wanted.
    """
    if not (0 < angle <= 180 and 0 < length < float("inf") and 0 <= preserve < float("inf")):
        raise UserError(
            f"cells need 0 < angle <= 180, length > 0 and preserve >= 0; got angle={angle:g}, "
            f"length={length:g}, preserve={preserve:g}"
        )


def clustered(images: Tensor, cells: Cells, k: int, log: bool = True, shifted: bool | None = None) -> Tensor:
    """The cluster of each frequency, int64 (H, W) on the shifted grid: 0 for those that stay as they are, 1
    for the cells of the least energy, ..., k for those of the most.

    Args:
        images: bytes or floats (N, C, H, W), over which energies are means.
        cells, k: what is clustered, and into how many clusters.
        log: see `Cells.energies`.
        shifted: as published, for cells that can be empty. True: empty ones have no label, but the others'
            labels are dealt out to all cells in a row, so that each after an empty one has another's. False:
            they enter with energy 0, and take part.

    Raises:
        UserError: there are fewer cells than clusters.
    """
    energies = cells.energies(images, log, one_more=shifted is False)
    if shifted:
        energies = energies[(cells.sizes > 0).nonzero()[:, 0].to(energies.device)]
    if k > len(energies):
        raise UserError(
            f"k={k} clusters need as many cells, and {images.shape[-1]}x{images.shape[-2]} pixels have "
            f"{len(energies)}; write a smaller k, angle, length or preserve"
        )
    return cells.clusters(kmeans(energies, k))


def kmeans(values: Tensor, k: int) -> Tensor:
    r"""Clusters of numbers (n,), n >= k, with the least sum of squared distances from their means.

    .. math:: D_m(j) = \min_{i < j} D_{m-1}(i) + \sum_{i \le a < j} (x_a - \bar x_{i..j})^2

    over the sorted numbers: exact, in O(k n^2) by tables of tensors, without asking the device for a value.
    No start is drawn, so the result is the same each time; of equal minima that of the shortest lower
    clusters is taken.

    Source: Wang and Song, The R Journal 3/2, 2011, equation 1.
    """
    ordered, order = values.double().sort(stable=True)
    ordered = ordered - ordered.mean()
    count, device = len(values), values.device
    first = F.pad(ordered.cumsum(0), (1, 0))
    second = F.pad(ordered.square().cumsum(0), (1, 0))
    ends = torch.arange(count + 1, device=device)

    def cost(j: Tensor) -> Tensor:
        """Of the numbers i .. j - 1 in one cluster, (j, i); infinite where there are none."""
        many = j[:, None] - ends
        spread = second[j][:, None] - second - (first[j][:, None] - first).square() / many.clamp_min(1)
        return torch.where(many > 0, spread.clamp_min(0), torch.inf)

    least = torch.cat([cost(j)[:, 0] for j in ends.split(max(1, ROWS // (count + 1)))])
    splits = []
    for _ in range(k - 1):
        found = [(least + cost(j)).min(1) for j in ends.split(max(1, ROWS // (count + 1)))]
        least = torch.cat([part.values for part in found])
        splits.append(torch.cat([part.indices for part in found]))
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    end = ends[-1:]
    for split in reversed(splits):
        end = split.index_select(0, end)
        labels += ends[:-1] >= end
    return torch.empty_like(labels).scatter_(0, order, labels)
