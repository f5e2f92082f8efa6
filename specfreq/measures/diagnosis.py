"""Diagnosis: precision, recall, F1 and the area under the ROC curve, class by class and averaged, with
intervals.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from specfreq.core.randomness import keyed
from specfreq.measures import answers
from specfreq.measures.answers import Count, Images

NUMBERS = ("accuracy", "precision", "recall", "f1", "auc")
AT_ONCE = 2**22  # values of a part of the bootstrap


def diagnosis(
    model: nn.Module,
    images: Images,
    *,
    published: bool = False,
    resamples: Annotated[int, Field(ge=0, le=100_000)] = 1000,
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95,
    seed: Annotated[int, Field(ge=0)] = 0,
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""Accuracy, and means over the classes of precision, recall, F1 and area under the ROC curve, in %.

    .. math:: P_c = \frac{n_{cc}}{n_{\cdot c}}, \quad R_c = \frac{n_{cc}}{n_{c \cdot}}, \quad
        F_c = \frac{2 n_{cc}}{n_{c \cdot} + n_{\cdot c}}, \quad
        A_c = \Pr[p_c(x) > p_c(x')] + \tfrac12 \Pr[p_c(x) = p_c(x')]

    for :math:`n_{ca}` images of class c with answer a, the softmax probability :math:`p_c`, x drawn from
    class c and :math:`x'` from the others. Each class counts alike, however many images it has; the mean
    recall is also called balanced accuracy. A class that no image is answered with has precision 0.

    Args:
        published: as the original program has it: F1 is the harmonic mean of the mean precision and the mean
            recall, and the area is computed from hard answers, 0 or 1, not from probabilities: then it is
            half the sum of recall and specificity.
        resamples: of the bootstrap: images are drawn anew within each class, as many as there are. 0 for
            none.
        confidence: of its percentile intervals.
        seed: of its draws.
        size: at most so many images, balanced over the classes.

    Returns:
        accuracy, precision, recall, f1, auc (%; auc null where only one class has images); the same with
        _low and _high (%, null without a bootstrap); sensitivity and specificity (%, a list: of each class,
        recall and the share of the others not answered with it; null where there are none), prevalence (%,
        of each class), images (how many), confusion (counts, row: the truth, column: the answer).

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite.

    Source: Hand and Till, *Machine Learning*, 2001 (the area from probabilities, one class against the
    others); Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13 (percentiles).
    """
    images = answers.balanced(images, size)
    logits = answers.logits(model, images, precision, batch).double()
    count, classes = logits.shape
    given = logits.argmax(1)
    sure = nn.functional.one_hot(given, classes).double() if published else logits.softmax(1)
    asked = _Statistics(images.labels, given, sure, published)
    weights = torch.ones(1, count, dtype=torch.float64, requires_grad=True)
    found = asked(weights)
    values = {name: _number(value) for name, value in found.items()}
    drawn = _resampled(asked, images.labels, resamples, seed) if resamples else {}
    tail = (1 - confidence) / 2
    ends = {}
    for name in NUMBERS:
        low = high = None
        if name in drawn and values[name] is not None:
            low, high = torch.quantile(drawn[name], torch.tensor([tail, 1 - tail]).double()).tolist()
        ends |= {f"{name}_low": low, f"{name}_high": high}
    confusion = torch.bincount(images.labels * classes + given, minlength=classes**2).view(classes, classes)
    of_class = confusion.sum(1)
    others = count - of_class
    right = confusion.diagonal()
    spared = others - (confusion.sum(0) - right)
    return {
        **values,
        **ends,
        "sensitivity": _shares(right, of_class),
        "specificity": _shares(spared, others),
        "prevalence": _shares(of_class, of_class.sum()),
        "images": count,
        "confusion": confusion.tolist(),
        answers.EACH: {
            name: _influence(found[name], weights) for name in NUMBERS if values[name] is not None
        },
    }


class _Statistics:
    """The numbers of a sample in which each image has a weight: (B, N) -> (B,) each, in %.

    Classes without images in the set itself have no part in the means.
    """

    def __init__(self, labels: Tensor, given: Tensor, sure: Tensor, published: bool):
        classes = sure.shape[1]
        self.published = published
        self.truth = nn.functional.one_hot(labels, classes).double()
        self.answer = nn.functional.one_hot(given, classes).double()
        self.present = self.truth.sum(0) > 0
        # classes that have both images and others to be told from
        self.told = (self.present & (self.truth.sum(0) < len(labels))).nonzero()[:, 0].tolist()
        # probabilities that differ by rounding alone are equal; 2^-40 of one is what float64 resolves safely
        self.ranks = ((sure * 2**40).round()).long()

    def __call__(self, weights: Tensor) -> dict[str, Tensor]:
        right = weights @ (self.truth * self.answer)
        true, answered = weights @ self.truth, weights @ self.answer
        kept = self.present
        precision = _ratio(right, answered)[:, kept].mean(1)
        recall = _ratio(right, true)[:, kept].mean(1)
        if self.published:
            f1 = _ratio(2 * precision * recall, precision + recall)
        else:
            f1 = _ratio(2 * right, true + answered)[:, kept].mean(1)
        found = {
            "accuracy": right.sum(1) / weights.sum(1),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "auc": self._area(weights),
        }
        return {name: 100 * value for name, value in found.items()}

    def _area(self, weights: Tensor) -> Tensor:
        if not self.told:
            return torch.full((len(weights),), torch.nan, dtype=torch.float64)
        return torch.stack([self._area_of(label, weights) for label in self.told]).mean(0)

    def _area_of(self, label: int, weights: Tensor) -> Tensor:
        _, places = self.ranks[:, label].unique(return_inverse=True)
        own = self.truth[:, label]
        levels = int(places.max()) + 1
        empty = torch.zeros(len(weights), levels, dtype=torch.float64)
        mine = empty.index_add(1, places, weights * own)
        other = empty.index_add(1, places, weights * (1 - own))
        below = other.cumsum(1) - other / 2  # those of the same level count half
        return _ratio((mine * below).sum(1), mine.sum(1) * other.sum(1))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """0 where there is nothing to divide by."""
    return part / torch.where(whole > 0, whole, 1)


def _number(value: Tensor) -> float | None:
    number = float(value.detach()[0])
    return None if number != number else number


def _influence(value: Tensor, weights: Tensor) -> Tensor:
    r"""What a number is the mean of, image by image: :math:`\theta + N \, \partial\theta / \partial w_i`."""
    (slope,) = torch.autograd.grad(value.sum(), weights, retain_graph=True)
    # a statistic that does not change if all weights double has slopes of sum 0: the mean is the number
    return (value.detach() + weights.shape[1] * (slope - slope.mean()))[0]


def _resampled(asked: _Statistics, labels: Tensor, resamples: int, seed: int) -> dict[str, Tensor]:
    """The numbers of samples drawn anew within each class, (resamples,) each."""
    generator = keyed(seed, "bootstrap")
    # in the order of their answers, so that the order of the images does not matter
    order = torch.arange(len(labels))
    for column in asked.ranks.T.flip(0):
        order = order[column[order].argsort(stable=True)]
    members = [order[labels[order] == label] for label in labels.unique()]
    parts = []
    for first in range(0, resamples, most := max(1, AT_ONCE // len(labels))):
        rows = min(most, resamples - first)
        weights = torch.zeros(rows, len(labels), dtype=torch.float64)
        for own in members:
            drawn = torch.randint(len(own), (rows, len(own)), generator=generator)
            weights.scatter_add_(1, own[drawn], torch.ones_like(drawn, dtype=torch.float64))
        with torch.no_grad():
            parts.append(asked(weights))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _shares(part: Tensor, whole: Tensor) -> list[float | None]:
    pairs = zip(part.tolist(), whole.expand_as(part).tolist(), strict=True)
    return [100 * a / b if b else None for a, b in pairs]
