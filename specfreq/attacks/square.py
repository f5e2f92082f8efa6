"""An attack that sees answers only, no gradients: squares of colour, kept where they help."""

import torch
from torch import Tensor

from specfreq.attacks.base import Attacked, Model, Search, inside, margin
from specfreq.randomness import uniform

CHUNK = 50  # queries whose random numbers are drawn together
HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # of the squares' area, as shares of the queries


def square(
    model: Model, images: Tensor, labels: Tensor, eps: float, seeds: Tensor, *, queries: int = 1000, area: float = 0.8
) -> Attacked:
    r"""Random search for an image with a smaller margin, :math:`z_y - \max_{j \ne y} z_j`, by squares of :math:`\pm\varepsilon`.

    It begins with vertical stripes of ±ε. A query moves the values of one square, each channel by 2ε up or down, back into the
    ball, and the square stays if the margin has become smaller. The squares shrink.

    Args:
        model, images, labels, eps: see `gradient.fgsm`.
        seeds: int64 (B,), from which each image has its squares.
        queries: squares that are tried on an image.
        area: share of the image that the first squares cover.

    Source: Andriushchenko et al., ECCV 2020, algorithms 1 and 2.
    """
    search, (channels, height, width) = Search(images, labels), images.shape[1:]
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    s = {"place": search.left(), "clean": images, "y": labels, "seeds": seeds}
    x = inside(images + eps * _signs(uniform(seeds, channels, 1, width), images), images, eps)
    with torch.no_grad():
        for query in range(queries + 1):
            gain = margin(model(x).double(), s["y"])
            better = gain > s["gain"] if query else torch.ones_like(s["y"], dtype=torch.bool)
            s["gain"] = torch.where(better, gain, s["gain"]) if query else gain
            s["x"] = torch.where(better[:, None, None, None], x, s["x"]) if query else x
            kept = search.see(s["place"], x, gain, gain > 0, query)
            if query % CHUNK == 0:
                s["drawn"] = uniform(s["seeds"] + 1 + query // CHUNK, CHUNK, 2 + channels)
            s = {name: value[kept] for name, value in s.items()}
            if not len(kept):
                break
            share = area / 2 ** sum(query >= h * queries for h in HALVINGS)
            side = min(max(round((share * height * width) ** 0.5), 1), height, width)
            drawn = s["drawn"][:, query % CHUNK]
            top, left = (drawn[:, i] * (n - side + 1) // 1 for i, n in ((0, height), (1, width)))
            down, across = ((at >= begin[:, None]) & (at < begin[:, None] + side) for at, begin in ((rows, top), (columns, left)))
            window = down[:, None, :, None] & across[:, None, None, :]
            moved = s["x"] + 2 * eps * _signs(drawn[:, 2:, None, None], images)
            x = inside(torch.where(window, moved, s["x"]), s["clean"], eps)
    return search.found


def _signs(drawn: Tensor, like: Tensor) -> Tensor:
    """+1 or -1, each with probability 1/2, of numbers in (0, 1)."""
    return torch.where(drawn < 0.5, -1, 1).to(like)
