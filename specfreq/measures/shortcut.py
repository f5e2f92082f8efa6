"""Frequency shortcuts: the few frequencies by which a network knows a class, and whether it sees that class
wherever they are.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from specfreq import fourier
from specfreq.attacks.gradient import cross_entropy
from specfreq.core.progress import progress_bar
from specfreq.core.spec import Listed
from specfreq.measures import answers, inference
from specfreq.measures.answers import Count, Images, Level

# %, written 5+10
Shares = Annotated[tuple[Annotated[float, Field(gt=0, le=100)], ...], Listed]


def frequency_shortcuts(
    model: nn.Module,
    images: Images,
    *,
    block: Annotated[int, Field(ge=0, le=512)] = 1,
    keep: Shares = (5.0, 10.0, 20.0),
    level: Level = "set",
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""Dominant frequencies of each class, and what the network says of images that have no others.

    With :math:`x \setminus G` the image x without the frequencies of a group G, and :math:`x \cap D` with
    those of D alone,

    .. math::
        \Delta_c(G) &= \operatorname*{mean}_{y_i = c} \bigl[ L(f(x_i \setminus G), c) - L(f(x_i), c) \bigr]
        \\
        \text{TPR}_c &= \operatorname*{mean}_{y_i = c} \bigl[\arg\max f(x_i \cap D_c) = c\bigr], \qquad
        \text{FPR}_c = \operatorname*{mean}_{y_i \ne c} \bigl[\arg\max f(x_i \cap D_c) = c\bigr]

    :math:`D_c`, the dominant frequencies, are the groups of the largest :math:`\Delta_c`, as many as it takes
    to hold a share of all frequencies. A class that is recognised by them alone, and seen by them in images
    of other classes, has a shortcut: both rates are high. Where the frequency 0 is taken away the mean of the
    set stands in for it, as in `band_accuracy` (the original works on normalised images, where that is so by
    itself). No image is clipped.

    Args:
        block: a group is a square of so many frequencies a side and its mirror image; 1 for each frequency by
            itself, which asks a network of images of 32 x 32 pixels 514 times for each; 0 for rings of equal
            round(\|k\|), 24 of them.
        keep: shares of the frequencies that are dominant, %, written 5+10.
        level: what stands in for the frequency 0; set: the mean of the set in each channel, zero: 0.
        size: at most so many images, balanced over the classes.

    Returns:
        groups, the number of the group of each frequency, rows and columns as in `fourier`; increase,
        :math:`\Delta` for each class and group; keep; for each share and class kept_tpr and kept_fpr, and
        removed_tpr and removed_fpr, of images without the dominant frequencies; tpr and fpr of each class for
        images as they are (all rates in %); dominant_radius, the mean of \|k\| over the dominant frequencies
        (cycles per image); for each share kept_radius, its mean over the classes; kept_accuracy, how many of
        the images are recognised by the dominant frequencies of their own class; and kept_alarm, the mean FPR
        over images and other classes (%); accuracy (%), images (how many). Null is what there are no images
        for.

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite.

    Source: Wang et al., ICCV 2023, section 3, and their program, whose shares are 1, 5, 10 and 20 %.
    """
    images = answers.balanced(images, size)
    groups = grouped(*images.shape[1:], block)
    asked = _Asked(model, images, answers.level(model, images, level, batch), precision, batch)
    losses, given = asked.without(groups)
    classes, labels = len(images.classes), images.labels
    counts = torch.bincount(labels, minlength=classes)
    increase = losses.new_zeros(classes, losses.shape[1]).index_add_(0, labels, losses) / counts[:, None]
    chosen = torch.stack([dominant(increase, groups, share) for share in keep])  # (S, K, H, W)
    # whether an image is said to be of class c (N,), with the dominant frequencies of that class, or without
    kept, removed = asked.said(chosen)
    rates = {
        f"{what}_{rate}": [_rates(said[:, share], labels)[rate] for share in range(len(keep))]
        for what, said in (("kept", kept), ("removed", removed))
        for rate in ("tpr", "fpr")
    }
    plain = _rates(nn.functional.one_hot(given, classes).bool(), labels)
    own = kept.gather(2, labels[:, None, None].expand(-1, len(keep), 1))[..., 0]  # (N, S)
    alarm = 100 * (kept.sum(2) - own.long()).double() / max(classes - 1, 1)
    there = counts > 0
    # (S, K): the mean over the dominant frequencies
    radius = (chosen * fourier.radius(*images.shape[1:])).sum((2, 3)) / chosen.sum((2, 3))
    right = given == labels
    return {
        "groups": groups.tolist(),
        "increase": [row.tolist() if count else None for row, count in zip(increase, counts, strict=True)],
        "keep": list(keep),
        **rates,
        **plain,
        "dominant_radius": [
            [r if known else None for r, known in zip(of_share, there, strict=True)]
            for of_share in radius.tolist()
        ],
        "kept_radius": radius[:, there].mean(1).tolist(),
        "kept_accuracy": (100 * own.double().mean(0)).tolist(),
        "kept_alarm": alarm.mean(0).tolist(),
        "accuracy": 100 * float(right.double().mean()),
        "images": len(images),
        answers.EACH: {
            "accuracy": right,
            **{f"kept_accuracy.{place}": own[:, place] for place in range(len(keep))},
            **{f"kept_alarm.{place}": alarm[:, place] for place in range(len(keep))},
        },
    }


def grouped(height: int, width: int, block: int) -> Tensor:
    """The group of each frequency of the shifted grid, k and -k in one, numbered by length: int64 (height,
    width).
    """
    squared = fourier.squared_radius(height, width)
    if block == 0:
        key = fourier.ring_index(height, width)
    else:
        # squares about 0, so that the mirror image of a square is one
        by, bx = (_squares(n, block) for n in (height, width))
        square = by[:, None] * (2 * max(height, width) + 1) + bx
        key = torch.maximum(square, fourier.mirror(square))
    _, number = key.unique(return_inverse=True)
    nearest = torch.full((int(number.max()) + 1,), int(squared.max()))
    nearest.scatter_reduce_(0, number.flatten(), squared.flatten(), "amin")
    return nearest.argsort(stable=True).argsort()[number]


def _squares(size: int, block: int) -> Tensor:
    """The number of the square of each frequency along one axis, k / block rounded away from 0."""
    k = torch.arange(size) - size // 2
    return k.sign() * ((2 * k.abs() + block) // (2 * block))


def dominant(increase: Tensor, groups: Tensor, share: float) -> Tensor:
    """The frequencies whose loss hurts each class most, whole groups that hold a share of all or just more.

    Args:
        increase: of the loss of each class without each group, (K, G).
        groups: the number of the group of each frequency, int64 (H, W).
        share: %, in (0, 100].

    Returns:
        Booleans (K, H, W).
    """
    sizes = groups.flatten().bincount()
    order = increase.nan_to_num(0).argsort(dim=1, descending=True, stable=True)
    before = sizes[order].cumsum(1) - sizes[order]
    wanted = math.ceil(Fraction(repr(float(share))) * groups.numel() / 100)  # a product would be rounded
    taken = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order, before < wanted)
    return taken[:, groups]


class _Asked:
    """A network that is asked about the images with some frequencies of them only."""

    def __init__(self, model: nn.Module, images: Images, level: Tensor, precision: str, batch: int):
        self.model, self.images, self.level = model, images, level
        self.options = {"precision": precision, "batch": batch}
        self.batch = batch

    def _views(self, x: Tensor, count: int, masks: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """Parts (m B, C, H, W) of images (B, C, H, W) with the frequencies of each of so many masks alone.

        ``masks`` makes some, booleans (m, H, W), from their numbers: all at once are too many.
        """
        spectrum = torch.fft.rfft2(x)
        for numbers in torch.arange(count).split(max(1, self.batch // len(x))):
            half = fourier.half_of(masks(numbers)).to(x)
            missing = 1 - half[:, 0, 0]  # whether the frequency 0 is
            kept = torch.fft.irfft2(spectrum * half[:, None, None], s=tuple(x.shape[-2:]))
            yield (kept + missing[:, None, None, None, None] * self.level).flatten(0, 1)

    def without(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """By how much the loss of each image rises without each group, float64 (N, G), and the answers to
        them as they are (N,).
        """
        labels, count = iter(self.images.labels.split(self.batch)), int(groups.max()) + 1

        def others(numbers: Tensor) -> Tensor:
            return groups != numbers[:, None, None]

        def answer(x: Tensor) -> Tensor:
            y = next(labels).to(x.device)
            logits = answers.checked(self.model(x), self.images)
            before = cross_entropy(logits.double(), y)
            rises = []
            for view in self._views(x, count, others):
                found = answers.checked(self.model(view), self.images).double()
                after = cross_entropy(found, y.repeat(len(found) // len(y))).view(-1, len(y))
                rises.append(after - before)
                bar.update(len(found))
            return torch.cat([torch.cat(rises).T, logits.argmax(1)[:, None]], 1)

        total = len(self.images) * count
        with progress_bar("frequencies", total, "img", line=1, unit_scale=True) as bar:
            table = inference.evaluate(self.model, self.images, answer, **self.options)
        return table[:, :-1], table[:, -1].long()

    def said(self, chosen: Tensor) -> tuple[Tensor, ...]:
        """Whether each image is said to be of class c, with the frequencies (S, K, H, W) chosen for c and
        without them: booleans (N, S, K) each.
        """
        shares, classes = chosen.shape[:2]
        own = torch.arange(classes).repeat(2 * shares)
        masks = torch.cat([chosen, ~chosen]).flatten(0, 1)

        def answer(x: Tensor) -> Tensor:
            views = self._views(x, len(masks), masks.__getitem__)
            given = [answers.checked(self.model(view), self.images).argmax(1) for view in views]
            return own.to(x.device) == torch.cat(given).view(-1, len(x)).T

        said = inference.evaluate(self.model, self.images, answer, **self.options) > 0.5
        return said.view(-1, 2, shares, classes).unbind(1)


def _rates(said: Tensor, labels: Tensor) -> dict[str, list[float | None]]:
    """Of answers (N, K), whether an image is of class c: how many of the images of c (tpr), and of the others
    (fpr), in %.
    """
    of = nn.functional.one_hot(labels, said.shape[1]).bool()
    found = {}
    for rate, among in (("tpr", of), ("fpr", ~of)):
        hits, count = (said & among).sum(0).tolist(), among.sum(0).tolist()
        found[rate] = [100 * h / n if n else None for h, n in zip(hits, count, strict=True)]
    return found
