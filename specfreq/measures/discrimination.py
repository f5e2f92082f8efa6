"""How well the features of a network tell the classes apart, band by band."""

import math
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from specfreq.measures import answers, heads, inference
from specfreq.measures.answers import Count, Images, Level, Radii

HALVES = (("low", 1), ("high", 2))  # of a radius, and where they begin among the views of an image


class Scatter(NamedTuple):
    """Traces of the scatter matrices of features and their ratio, each (...); the ratio is NaN where no class
    scatters.
    """

    between: Tensor
    within: Tensor
    fisher: Tensor


class Sums:
    r"""Sums over features from which their scatter follows, taken batch by batch in float64 on the CPU.

    With the mean :math:`\mu_c` of the :math:`n_c` features of class c and the mean :math:`\mu` of all N,

    .. math::
        \operatorname{tr} S_B = \sum_c \frac{n_c}{N} \|\mu_c - \mu\|^2, \qquad
        \operatorname{tr} S_W = \frac1N \sum_i \|z_i - \mu_{y_i}\|^2, \qquad
        J = \frac{\operatorname{tr} S_B}{\operatorname{tr} S_W},

    and :math:`\operatorname{tr} S_B + \operatorname{tr} S_W` is the variance of all, summed over the
    components. Rotations, reflections and shifts of the features change none of the three, scaling does not
    change the Fisher ratio J.
    """

    def __init__(self, classes: int):
        self.counts = torch.zeros(classes, dtype=torch.float64)
        self.sums: Tensor | None = None
        self.squares: Tensor | float = 0.0

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in features (B, ..., D) of images with labels (B,)."""
        features = features.double().cpu()
        if self.sums is None:
            self.sums = features.new_zeros(len(self.counts), *features.shape[1:])
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        self.sums.index_add_(0, labels, features)
        self.squares += features.square().sum((0, -1))

    def scatter(self) -> Scatter:
        if self.sums is None:
            raise ValueError("no features have been added")
        there = self.counts > 0
        counts, count = self.counts[there], self.counts.sum()
        means = self.sums[there] / counts.reshape(-1, *[1] * (self.sums.ndim - 1))
        mean = self.sums.sum(0) / count
        between = torch.tensordot(counts / count, (means - mean).square().sum(-1), 1)
        power = self.squares / count
        within = (power - torch.tensordot(counts / count, means.square().sum(-1), 1)).clamp_min(0)
        # features that float32 cannot tell apart do not scatter: what is left of them is rounding
        return Scatter(between, within, torch.where(within > 1e-12 * power, between / within, torch.nan))


class Curves(NamedTuple):
    r"""Densities of features, seen along one direction, by class: float64 axis (P,), densities (V, K, P).

    With w the unit vector along which the class means of the unfiltered images differ most (the leading
    eigenvector of their :math:`S_B`) and :math:`\mu` their mean, the density of class c in a view v is

    .. math::
        \rho_{vc}(t) = \frac{1}{n_c} \sum_{y_i = c} \phi_h\bigl(t - w^\top (z_{vi} - \mu)\bigr), \qquad
        h = s \, (N / K)^{-1/5}

    with :math:`\phi_h` the normal density of standard deviation h, and s that of the unfiltered images within
    their classes: direction, bandwidth and axis are the same for all views, so that curves can be compared.
    Classes without images have density 0.

    Source: Lin et al., IJCAI 2022, who show such curves without saying of what; the direction is ours.
    Bandwidth: Scott, *Multivariate density estimation*, 1992.
    """

    axis: Tensor
    densities: Tensor


def curves(features: Tensor, labels: Tensor, counts: Tensor, points: int) -> Curves:
    """The curves of features (N, V, D), float64, the first view V the unfiltered one; classes of so many
    images (K,).
    """
    classes, count = len(counts), len(features)
    of_class = nn.functional.one_hot(labels, classes).double() / counts.clamp_min(1)  # (N, K)
    plain = features[:, 0] - features[:, 0].mean(0)
    means = of_class.T @ plain
    _, _, directions = torch.linalg.svd((counts / count).sqrt()[:, None] * means, full_matrices=False)
    places = means @ directions[0]
    # of the two directions the one in which the first of the outermost classes lies
    outermost = places[places.abs() >= 0.999 * places.abs().max()][0]
    direction = directions[0] * (1.0 if outermost >= 0 else -1.0)
    seen = (features - features[:, 0].mean(0)) @ direction  # (N, V)
    within = float((plain @ direction - (means @ direction)[labels]).square().mean().sqrt())
    low, high = (float(edge) for edge in seen.aminmax())
    width = max(within * (count / classes) ** -0.2, (high - low) / 1000) or 1.0
    axis = torch.linspace(low - 3 * width, high + 3 * width, points, dtype=torch.float64)
    densities = [
        torch.exp(-(((axis - view[:, None]) / width) ** 2) / 2).T @ of_class for view in seen.unbind(1)
    ]
    return Curves(axis, torch.stack(densities).transpose(1, 2) / (width * math.sqrt(2 * math.pi)))


def feature_discrimination(
    model: nn.Module,
    images: Images,
    *,
    radii: Radii | None = None,
    level: Level = "set",
    size: Count | None = None,
    layer: str | None = None,
    points: Annotated[int, Field(ge=0, le=1000)] = 0,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""How far the classes lie apart in the features of low-pass and of high-pass images, and the accuracy on
    those images.

    .. math:: \operatorname{tr} S_B, \quad \operatorname{tr} S_W, \quad
        J = \operatorname{tr} S_B / \operatorname{tr} S_W

    of the features (see `Sums`) that the last linear layer sees, for the ideal low pass :math:`X_l^{(r)}(x)`,
    the high pass :math:`m + x - X_l^{(r)}(x)`, neither clipped, and x itself. The level m is that of
    `band_accuracy`.

    Args:
        radii: cycles per image, written 4+8+12; if not given 1/8, 1/4, 3/8, 1/2 of the image's shorter side,
            so 4, 8, 12, 16 of 32 pixels as in the paper.
        level: m; set: the mean of the set in each channel, zero: 0, the high pass as it is defined.
        size: at most so many images, balanced over the classes.
        layer: the layer whose inputs are the features, as ``named_modules`` of the network calls it; if not
            given, the last linear layer, whose output is the logits.
        points: of the curves that show how the features are distributed by class, see `Curves`; 0 for none.

    Returns:
        between, within (squared units of the features), fisher and accuracy (%) of the unfiltered images; the
        same as low_between and so on, high_between and so on, one for each of radii; fisher null where no
        class scatters; fisher_chance, (K - 1) / (N - K), about what features that know nothing of the K
        classes have by chance in N images (null if N = K); chance (%), images (how many). With points also
        axis (points,) and curve, a list of densities on it for each class, for the unfiltered images; those
        of each radius as low_curve and high_curve.

    Raises:
        UserError: no linear layer gives the logits, or no layer is called so (see `heads.watched`); the
            classifier has another number of outputs than the set has classes, or some are not finite.

    Source: Lin et al., IJCAI 2022, Observation 1. They show the variance between classes without a formula;
    this is ours.
    """
    images = answers.balanced(images, size)
    watched = heads.watched(model, images, layer, "feature-discrimination")
    radii = radii or tuple(min(images.shape[1:]) * eighths / 8 for eighths in (1, 2, 3, 4))
    grey = answers.level(model, images, level, batch)
    sums, seen = Sums(len(images.classes)), 0
    kept: list[Tensor] = []

    def answer(x: Tensor) -> Tensor:
        nonlocal seen
        views = [x, *(view for pair in answers.halves(x, radii, grey) for view in pair)]
        features, logits = zip(*map(watched, views), strict=True)
        together = torch.stack(features, 1)
        sums.add(together, images.labels[seen : seen + len(x)])
        if points:
            kept.append(together.double().cpu())
        seen += len(x)
        return torch.stack([answers.checked(each, images).argmax(1) for each in logits], 1)

    given = inference.evaluate(model, images, answer, precision=precision, batch=batch)
    found = {k: v.tolist() for k, v in sums.scatter()._asdict().items()}
    found["fisher"] = [None if ratio != ratio else ratio for ratio in found["fisher"]]
    found["accuracy"] = answers.accuracies(given, images.labels)
    right = given == images.labels[:, None]
    classes, count = int((sums.counts > 0).sum()), len(images)
    axis = {}
    if points:
        shown = curves(torch.cat(kept), images.labels, sums.counts, points)
        axis, found["curve"] = {"axis": shown.axis.tolist()}, shown.densities.tolist()
    return {
        **{name: values[0] for name, values in found.items()},
        "fisher_chance": (classes - 1) / (count - classes) if count > classes else None,
        "chance": answers.chance(images),
        "images": count,
        **axis,
        "radii": list(radii),
        **{f"{half}_{k}": v[first::2] for half, first in HALVES for k, v in found.items()},
        answers.EACH: {
            "accuracy": right[:, 0],
            **{
                f"{half}_accuracy.{place}": right[:, first + 2 * place]
                for half, first in HALVES
                for place in range(len(radii))
            },
        },
    }
