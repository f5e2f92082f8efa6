"""Accuracy: how often the largest logit is the right one."""

from typing import Any

import torch
from torch import nn

from specfreq.measures import answers
from specfreq.measures.answers import Images


def accuracy(
    model: nn.Module, images: Images, *, precision: str = "float32", batch: int = 500
) -> dict[str, Any]:
    r"""Top-1 accuracy, :math:`\frac{100}{N}\sum_i [\arg\max f(x_i) = y_i]`, in %.

    Returns:
        accuracy (%), images (how many), per_class (% of each class; null where a class has no images) and
        confusion (counts, row: the truth, column: the answer).

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite.
    """
    classes = len(images.classes)
    given = answers.logits(model, images, precision, batch).argmax(1)
    confusion = torch.bincount(images.labels * classes + given, minlength=classes**2).reshape(
        classes, classes
    )
    counts, right = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return {
        "accuracy": 100 * sum(right) / sum(counts),
        "images": sum(counts),
        "per_class": [100 * r / n if n else None for r, n in zip(right, counts, strict=True)],
        "confusion": confusion.tolist(),
        answers.EACH: {"accuracy": given == images.labels},
    }
