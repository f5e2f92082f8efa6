"""Digital corruptions and those of colour and geometry. Images x are float64 (N, C, H, W) on the 8-bit grid
of [0, 1].
"""

import torch
from torch import Tensor

from specfreq.core.randomness import Draws
from specfreq.corruptions import jpeg, operators


def brightness(x: Tensor, added: float, draws: Draws) -> Tensor:
    """The value of HSV, V = max(R, G, B), is raised to min(V + c, 1), at equal hue and saturation: x V' / V;
    black becomes grey.
    """
    value = x.amax(1, keepdim=True)
    raised = (value + added).clamp_max(1)
    return torch.where(value > 0, x * (raised / value), raised)


def saturate(x: Tensor, line: tuple[float, float], draws: Draws) -> Tensor:
    r"""The saturation of HSV becomes :math:`S' = \operatorname{clip}(a S + b, 0, 1)`, at equal hue and value
    V.

    .. math:: x' = V - (V - x)\, S' / S, \qquad S = (V - \min x) / V

    Where S = 0 the hue is that of red, so that b > 0 tints what is grey in a colour image; grey images are
    left as they are.
    """
    if x.shape[1] == 1:
        return x
    factor, offset = line
    value = x.amax(1, keepdim=True)
    below = value - x
    range = below.amax(1, keepdim=True)
    hue = torch.where(
        range > 0, below / range, x.new_tensor((0, 1, 1)).view(3, 1, 1)
    )  # 0 in the largest channel, 1 in the least
    saturation = torch.where(value > 0, range / value, 0)
    return value * (1 - (factor * saturation + offset).clamp_(0, 1) * hue)


def contrast(x: Tensor, factor: float, draws: Draws) -> Tensor:
    """m + c (x - m), m the mean of the image in each channel."""
    mean = x.mean((-2, -1), keepdim=True)
    return (x - mean) * factor + mean


def pixelate(x: Tensor, share: float, draws: Draws) -> Tensor:
    """Means over boxes, floor(share H) by floor(share W) of them, and each pixel takes its box's: Pillow's
    bytes, exactly.
    """
    levels = (255 * x).round()
    for axis in (-1, -2):  # Pillow's order, whole bytes in between
        size = levels.shape[axis]
        reduced = operators.boxes(size, max(1, int(size * share))).to(x.device)
        levels = levels.transpose(axis, -1)
        levels = ((levels @ reduced.T + 2**21) / 2**22).floor_().transpose(axis, -1)
    for axis, size in ((-1, x.shape[-1]), (-2, x.shape[-2])):
        reduced = levels.shape[axis]
        nearest = ((torch.arange(size, device=x.device, dtype=torch.float64) + 0.5) * (reduced / size)).long()
        levels = levels.index_select(axis, nearest)
    return levels / 255


def jpeg_compression(x: Tensor, quality: int, draws: Draws) -> Tensor:
    """JPEG at a quality of 1 to 100 and back, the bytes of Pillow's wheels exactly: see
    `jpeg.there_and_back`.

    Those carry libjpeg-turbo; the published sets were probably made with IJG's libjpeg 9, whose colours
    differ.
    """
    return jpeg.there_and_back((255 * x).round(), quality) / 255


def elastic_transform(x: Tensor, lengths: tuple[float, float, float], draws: Draws) -> Tensor:
    """A random affine map, then random displacements; the three constants are lengths in shares of the
    shorter side.

    The affine map takes three corners of a square a third of the side to either side of the middle to where
    uniform offsets of at most the third constant put them, at coordinates of 1/32 pixel as OpenCV has them.
    The displacements are the first constant times uniform noise in [-1, 1] behind a Gaussian whose sigma is
    the second, cut at 3 sigma.
    """
    height, width = x.shape[-2:]
    side = min(height, width)
    strength, sigma, offset = (side * share for share in lengths)
    rows, columns = (torch.arange(n, device=x.device, dtype=torch.float64) for n in (height, width))
    s = side // 3
    corners = x.new_tensor(
        [(width // 2 + a * s, height // 2 + b * s) for a, b in ((1, 1), (1, -1), (-1, -1))]
    )
    moved = corners + draws.uniform(3, 2, low=-offset, high=offset)
    # the inverse map takes u to (0, 2s) and v to (2s, 0)
    (ux, uy), (vx, vy) = ((moved[:, i] - moved[:, i + 1]).T[..., None, None] for i in (0, 1))
    scale = 2 * s / (ux * vy - uy * vx)
    px, py = moved[:, 2].T[..., None, None]
    dx, dy = columns - px, rows[:, None] - py
    from_x = corners[2, 0] + scale * (ux * dy - uy * dx)
    from_y = corners[2, 1] + scale * (vy * dx - vx * dy)
    x = operators.sample(x, *((32 * c + 0.5).floor() / 32 for c in (from_y, from_x)), repeat=False)
    if strength == 0:
        return x
    noise = draws.uniform(2, height, width, low=-1, high=1)
    shift = strength * operators.blur(noise, sigma, mode="reflect", truncate=3)
    return operators.sample(x, rows[:, None] + shift[:, 1], columns + shift[:, 0], repeat=True)
