"""Weather. Images x are float64 (N, C, H, W) on the 8-bit grid of [0, 1], colour or grey."""

import torch
from torch import Tensor

from specfreq.core.images import luminance
from specfreq.core.randomness import Draws
from specfreq.corruptions import operators
from specfreq.corruptions.frost import Pictures


def snow(x: Tensor, snow: tuple[float, ...], draws: Draws) -> Tensor:
    r"""Blurred flakes over a washed-out image.

    .. math:: m x + (1 - m) \max(x, \tfrac32 g + \tfrac12) + s + s^{180^\circ}

    with the luma g of x. s is noise of a mean and a deviation, enlarged by a zoom, 0 below a threshold, and
    blurred along a direction between -135 and -45 degrees, `operators.motion`. The constants in order: mean,
    deviation, zoom, threshold, radius and sigma of the motion, m.
    """
    mean, deviation, zoom, threshold, radius, sigma, mix = snow
    noise = draws.normal(*x.shape[-2:]) * deviation + mean
    flakes = operators.separable(noise, lambda n: operators.zoom(n, zoom))
    flakes = operators.cut(255 * flakes.masked_fill(flakes < threshold, 0))[:, None]
    flakes = operators.motion(flakes, int(radius), sigma, draws.uniform(low=-135, high=-45)) / 255
    return mix * x + (1 - mix) * x.maximum(1.5 * luminance(x) + 0.5) + flakes + flakes.flip((-2, -1))


def fog(x: Tensor, fog: tuple[float, float], draws: Draws) -> Tensor:
    r""":math:`(x + a p)\, M / (M + a)`: a plasma p in [0, 1] of amount a, over an image of maximum M."""
    amount, decay = fog
    height, width = x.shape[-2:]
    largest = x.amax((1, 2, 3), keepdim=True)
    side = 1 << (max(height, width) - 1).bit_length()
    layer = plasma(side, decay, draws)[:, None, :height, :width]
    return (x + amount * layer) * largest / (largest + amount)


def plasma(side: int, decay: float, draws: Draws) -> Tensor:
    """A fractal landscape by the diamond-square algorithm on a torus: (N, side, side), of minimum 0 and
    maximum 1.

    Every point is the mean of four neighbours plus uniform noise in ±w², w = 100 at first and divided by
    `decay` at each halving of the grid. The side is a power of two.
    """
    land = torch.zeros(len(draws.start), side, side, dtype=torch.float64, device=draws.start.device)
    step, wibble = side, 100.0

    def fresh(neighbours: Tensor) -> Tensor:
        return neighbours / 4 + draws.uniform(*neighbours.shape[1:], low=-(wibble**2), high=wibble**2)

    while step >= 2:
        on, between = slice(0, None, step), slice(step // 2, None, step)
        corners = land[:, on, on]
        pairs = corners + corners.roll(-1, 1)
        land[:, between, between] = fresh(pairs + pairs.roll(-1, 2))
        centres = land[:, between, between]
        land[:, on, between] = fresh(centres + centres.roll(1, 1) + corners + corners.roll(-1, 2))
        land[:, between, on] = fresh(centres + centres.roll(1, 2) + corners + corners.roll(-1, 1))
        step, wibble = step // 2, wibble / decay
    land -= land.amin((1, 2), keepdim=True)
    return land / land.amax((1, 2), keepdim=True)


def frost(x: Tensor, frost: tuple[float, float], draws: Draws, pictures: Pictures) -> Tensor:
    """a x + b f: f is a piece, from anywhere, of one of several pictures larger than the image; on grey
    images its luma.
    """
    dimmed, added = frost
    height, width = x.shape[-2:]
    which, place = draws.below(len(pictures.sizes)), draws.uniform(2)
    size, areas = pictures.sizes[which], pictures.sizes.prod(1)
    top, left = (place * (size - size.new_tensor((height, width)))).long().T
    rows, columns = (torch.arange(n, device=x.device) for n in (height, width))
    first = (areas.cumsum(0) - areas)[which] + top * size[:, 1] + left
    index = first[:, None, None] + rows[:, None] * size[:, 1, None, None] + columns
    pieces = pictures.levels[:, index].transpose(0, 1).to(x)
    return dimmed * x + added * (luminance(pieces) if x.shape[1] == 1 else pieces)
