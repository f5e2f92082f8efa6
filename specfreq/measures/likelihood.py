"""Negative log-likelihood: how much probability the classifier leaves to the truth."""

import math
from typing import Any

from torch import nn
from torch.nn import functional as F

from specfreq.measures import answers
from specfreq.measures.answers import Images


def nll(model: nn.Module, images: Images, *, precision: str = "float32", batch: int = 500) -> dict[str, Any]:
    r"""Mean negative log-likelihood of the true classes, in nats; 0 is best.

    .. math:: -\frac1N \sum_i \log p_{y_i}(x_i), \qquad
        \log p_c(x) = f_c(x) - \log \textstyle\sum_k e^{f_k(x)} \text{ in float64, without overflow.}

    Returns:
        nll, chance (log of the number of classes: equal probabilities), images (how many), per_class (nats,
        the mean over each class; null where a class has no images). Exactly rounded sums: the order of the
        images does not matter.

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite.
    """
    given = answers.logits(model, images, precision, batch).double()
    losses = F.cross_entropy(given, images.labels, reduction="none")
    by_class = [losses[images.labels == c].tolist() for c in range(len(images.classes))]
    return {
        "nll": math.fsum(losses.tolist()) / len(losses),
        "chance": math.log(len(images.classes)),
        "images": len(losses),
        answers.EACH: {"nll": losses},
        "per_class": [math.fsum(part) / len(part) if part else None for part in by_class],
    }
