"""Means over seeds and images at once: another seed trains another network, another test set is another."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from specfreq.evidence.intervals import student

if TYPE_CHECKING:
    import numpy as np


class Squares(NamedTuple):
    r"""The mean squares of what S networks make of N images, x(s, i), a number for each pair.

    .. math::
        MS_s = \frac{N}{S-1} \sum_s (\bar x_s - \bar x)^2, \quad
        MS_i = \frac{S}{N-1} \sum_i (\bar x_i - \bar x)^2, \quad
        MS_r = \frac{\sum_{s,i} (x_{si} - \bar x_s - \bar x_i + \bar x)^2}{(S-1)(N-1)}

    Source: Brennan, *Generalizability Theory*, 2001, chapter 2 (the crossed design with random effects).
    """

    seeds: int
    images: int
    seed: float
    image: float
    rest: float

    @property
    def error(self) -> float:
        r"""The standard error of the mean: the root of :math:`\max(MS_s + MS_i - MS_r, MS_s, MS_i) / (S N)`,
        never less than seeds or images alone have.
        """
        largest = max(self.seed + self.image - self.rest, self.seed, self.image, 0.0)
        return math.sqrt(largest / (self.seeds * self.images))

    @property
    def freedom(self) -> float:
        """Degrees of freedom by Satterthwaite, at least S - 1."""
        s, n = self.seeds - 1, self.images - 1
        spread = self.seed**2 / s + self.image**2 / n + self.rest**2 / (s * n)
        if not spread:
            return s
        return max(s, (self.seed + self.image - self.rest) ** 2 / spread)

    def interval(self, mean: float, confidence: float = 0.95) -> tuple[float, float]:
        """Student's interval about a mean."""
        half = student(confidence, self.freedom) * self.error
        return mean - half, mean + half


class Products(NamedTuple):
    """What `Squares` has of one arm, of every pair of A arms: mean products, (A, A) each."""

    seeds: int
    images: int
    seed: "np.ndarray"
    image: "np.ndarray"
    rest: "np.ndarray"


def products(values: "Sequence[np.ndarray]") -> Products:
    """The mean products of arms that share seeds and images, from arrays (S, N) of at least 2 by 2.

    Those of one arm with itself are its mean squares; and of every difference of arms they give the mean
    squares, see `difference`.
    """
    import numpy as np

    x = np.stack([np.asarray(each, float) for each in values])
    _, seeds, images = x.shape
    means = x.mean((1, 2), keepdims=True)
    of_seed, of_image = x.mean(2, keepdims=True) - means, x.mean(1, keepdims=True) - means
    rest = (x - means - of_seed - of_image).reshape(len(x), -1)
    of_seed, of_image = of_seed[:, :, 0], of_image[:, 0, :]
    return Products(
        seeds,
        images,
        images * of_seed @ of_seed.T / (seeds - 1),
        seeds * of_image @ of_image.T / (images - 1),
        rest @ rest.T / ((seeds - 1) * (images - 1)),
    )


def difference(
    seeds: int, images: int, one: Sequence[float], both: Sequence[float], other: Sequence[float]
) -> Squares:
    """The mean squares of one arm minus another, from theirs and their mean products: seed, image, rest."""
    parts = (a - 2 * ab + b for a, ab, b in zip(one, both, other, strict=True))
    return Squares(seeds, images, *(max(0.0, part) for part in parts))  # less than 0 by rounding alone
