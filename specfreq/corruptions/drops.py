"""Spatter: drops of water that catch light at their rims, or mud. The steps of OpenCV that it needs, for
batches of bytes.

Images x are float64 (N, C, H, W) on the 8-bit grid of [0, 1]; layers are (N, H, W).
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from specfreq.core.images import luminance
from specfreq.core.randomness import Draws
from specfreq.corruptions import operators

WATER, MUD = (175, 238, 238), (63, 42, 20)
LOW, HIGH = 50, 150  # Canny's thresholds
FARTHEST = 20  # pixels
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))
KNIGHT = {  # the steps by which OpenCV measures distance, and their lengths
    1.0: ((0, 1), (0, -1), (1, 0), (-1, 0)),
    1.4: ((1, 1), (1, -1), (-1, 1), (-1, -1)),
    2.1969: ((1, 2), (1, -2), (-1, 2), (-1, -2), (2, 1), (2, -1), (-2, 1), (-2, -1)),
}


def spatter(x: Tensor, spatter: tuple, draws: Draws) -> Tensor:
    """Drops where smooth noise is above a threshold: water adds its colour, mud covers.

    The constants in order: mean and deviation of the noise, sigma of its Gaussian, threshold; then for water
    how much of its colour is added at most, for mud the sigma that rounds its patches. On grey images the
    luma of the colours.
    """
    mean, deviation, sigma, threshold, amount, matter = spatter
    liquid = operators.blur(draws.normal(*x.shape[-2:]) * deviation + mean, sigma)
    liquid = liquid.masked_fill(liquid < threshold, 0)
    colour = x.new_tensor(WATER if matter == "water" else MUD).view(1, 3, 1, 1) / 255
    colour = luminance(colour) if x.shape[1] == 1 else colour
    if matter == "mud":
        patches = operators.blur((liquid > threshold).double(), amount)[:, None]
        patches = patches.masked_fill(patches < 0.8, 0)
        return x * (1 - patches) + colour * patches
    drops = (255 * liquid).floor() % 256  # the generator's bytes wrap
    light = drops * relief(drops)
    brightest = light.amax((1, 2), keepdim=True)
    light = amount * torch.where(brightest > 0, light / brightest, 0)
    return x + light[:, None] * colour


def relief(layer: Tensor) -> Tensor:
    """The distance to the edges of a layer of bytes, equalised and embossed: bytes (N, H, W), the generator's
    steps in order.
    """
    far = distance(canny(layer.float())).clamp_max(FARTHEST)  # bytes and a few steps: float32 is exact enough
    even = equalized(operators.cut(mean3(far)))
    embossed = operators.correlate(even[:, None], torch.tensor(EMBOSS))[:, 0].clamp(0, 255)
    return mean3(embossed).round().to(layer)


def mean3(layer: Tensor) -> Tensor:
    """Means of 3 x 3 pixels; borders reflect without repeating the last pixel."""
    return F.avg_pool2d(F.pad(layer[:, None], [1] * 4, mode="reflect"), 3, 1)[:, 0]


def canny(layer: Tensor) -> Tensor:
    """Edges of layers of bytes, boolean (N, H, W), as `cv2.Canny(layer, 50, 150)`.

    Maxima of |gx| + |gy| (Sobel) across the edge, above the low threshold, that a chain of such joins to one
    above the high.
    """
    padded = F.pad(layer[:, None], [1] * 4, mode="replicate")[:, 0]
    down = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    gx, gy = down[..., 2:] - down[..., :-2], across[:, 2:] - across[:, :-2]
    size = gx.abs() + gy.abs()
    around = F.pad(size, [1] * 4)

    def at(dy: int, dx: int) -> Tensor:
        return around[:, 1 + dy : around.shape[1] - 1 + dy, 1 + dx : around.shape[2] - 1 + dx]

    # tan 22.5 and tan 67.5 degrees in 15-bit fixed point, as there
    steep, flat = gy.abs() * 2**15, gx.abs() * 13573
    horizontal, vertical = steep < flat, steep > flat + gx.abs() * 2**16
    same = gx * gy >= 0
    diagonal = torch.where(
        same, (size > at(-1, -1)) & (size > at(1, 1)), (size > at(-1, 1)) & (size > at(1, -1))
    )
    largest = torch.where(
        horizontal,
        (size > at(0, -1)) & (size >= at(0, 1)),
        torch.where(vertical, (size > at(-1, 0)) & (size >= at(1, 0)), diagonal),
    )
    possible = largest & (size > LOW)
    edges, before = possible & (size > HIGH), None
    while before is None or not edges.equal(before):
        before = edges
        edges = possible & (F.max_pool2d(edges[:, None].float(), 3, 1, 1)[:, 0] > 0)
    return edges


def distance(edges: Tensor) -> Tensor:
    """How far each pixel is from the next edge, along steps of `KNIGHT`: float32 (N, H, W); right up to 20,
    at most 40.

    As `cv2.distanceTransform(..., DIST_L2, 5)`, whose two passes find the same shortest ways.
    """
    far = torch.where(edges, 0.0, 2.0 * FARTHEST)
    height, width = edges.shape[1:]
    before = None
    while before is None or not far.equal(before):
        before, padded = far, F.pad(far, [2] * 4, value=2.0 * FARTHEST)
        for length, steps in KNIGHT.items():
            near = [padded[:, 2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width] for dy, dx in steps]
            far = far.minimum(functools.reduce(torch.minimum, near) + length)
    return far


def equalized(layer: Tensor) -> Tensor:
    """Histogram equalisation of layers of bytes up to 20, as `cv2.equalizeHist`: the least level becomes 0,
    the largest 255.
    """
    count, bins = len(layer), FARTHEST + 1
    place = layer.flatten(1).long() + bins * torch.arange(count, device=layer.device)[:, None]
    counts = place.flatten().bincount(minlength=count * bins).view(count, bins)
    levels, least = torch.arange(bins, device=layer.device), layer.amin((1, 2))[:, None]
    above = torch.where(levels > least, counts, 0)
    total = above.sum(1, keepdim=True)
    table = torch.where(total > 0, above.cumsum(1) * (255 / total.double()), least).round()
    return table.view(-1)[place].view_as(layer).to(layer)
