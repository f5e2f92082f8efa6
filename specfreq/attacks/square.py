"""An attack that sees answers only, no gradients: squares of colour, kept where they help."""

from typing import Literal

import torch
from torch import Tensor

from specfreq.attacks.base import Attacked, Model, Search, inside, judged, margin
from specfreq.core.randomness import uniform

CHUNK = 50  # queries whose random numbers are drawn together
FULL = 10_000  # queries of the paper's schedule
HALVINGS = (
    10,
    50,
    200,
    500,
    1000,
    2000,
    4000,
    6000,
    8000,
)  # after which of these the squares' area is halved
Schedule = Literal["rescaled", "absolute"]


def square(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Tensor,
    *,
    queries: int = 1000,
    area: float = 0.8,
    schedule: Schedule = "rescaled",
) -> Attacked:
    r"""Random search for an image with a smaller margin, :math:`z_y - \max_{j \ne y} z_j`, by squares of
    :math:`\pm\varepsilon`.

    It begins with vertical stripes of ±ε. A query moves the values of one square, each channel by 2ε up or
    down, back into the ball, and the square stays if the margin has become smaller. The squares shrink.

    Args:
        model, images, labels, eps: see `gradient.fgsm`.
        seeds: int64 (B,), from which each image has its squares.
        queries: squares that are tried on an image.
        area: share of the image that the first squares cover.
        schedule: when the area is halved. It is after query 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000
            of 10,000; of another number of queries ``rescaled`` takes the same shares, as the attack's own
            program does, and ``absolute`` the same queries, as AutoAttack's standard ensemble does, whose
            5,000 end with larger squares.

    Source: Andriushchenko et al., ECCV 2020, algorithms 1 and 2.
    """
    search, (channels, height, width) = Search(images, labels), images.shape[1:]
    whole = queries if schedule == "rescaled" else FULL
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    s = {"place": search.left(), "clean": images, "y": labels, "seeds": seeds}
    x = inside(images + eps * _signs(uniform(seeds, channels, 1, width), images), images, eps)
    with torch.no_grad():
        for query in range(queries + 1):
            fooled, gain = judged(model(x), s["y"], margin)
            better = gain > s["gain"] if query else torch.ones_like(s["y"], dtype=torch.bool)
            s["gain"] = torch.where(better, gain, s["gain"]) if query else gain
            s["x"] = torch.where(better[:, None, None, None], x, s["x"]) if query else x
            kept = search.see(s["place"], x, gain, fooled, query)
            if query % CHUNK == 0:
                s["drawn"] = uniform(s["seeds"] + 1 + query // CHUNK, CHUNK, 2 + channels)
            s = {name: value[kept] for name, value in s.items()}
            if not len(kept):
                break
            share = area / 2 ** sum(query * FULL >= h * whole for h in HALVINGS)
            side = min(max(round((share * height * width) ** 0.5), 1), height, width)
            drawn = s["drawn"][:, query % CHUNK]
            top, left = (drawn[:, i] * (n - side + 1) // 1 for i, n in ((0, height), (1, width)))
            down, across = (
                (at >= begin[:, None]) & (at < begin[:, None] + side)
                for at, begin in ((rows, top), (columns, left))
            )
            window = down[:, None, :, None] & across[:, None, None, :]
            moved = s["x"] + 2 * eps * _signs(drawn[:, 2:, None, None], images)
            x = inside(torch.where(window, moved, s["x"]), s["clean"], eps)
    return search.found


def _signs(drawn: Tensor, like: Tensor) -> Tensor:
    """+1 or -1, each with probability 1/2, of numbers in (0, 1)."""
    return torch.where(drawn < 0.5, -1, 1).to(like)
