"""Accuracy: how often the largest logit is the right one."""

from typing import Any

import torch
from torch import nn

from specfreq import train
from specfreq.data import ImageSet
from specfreq.naming import UserError


def accuracy(model: nn.Module, images: ImageSet, precision: str = "float32") -> dict[str, Any]:
    r"""Top-1 accuracy, :math:`\frac{100}{N}\sum_i [\arg\max f(x_i) = y_i]`, in %.

    Returns:
        accuracy (%), images (how many), per_class (% of each class; null where a class has no images) and
        confusion (counts, row: the truth, column: the answer).

    Raises:
        UserError: the classifier has another number of outputs than the set has classes.
    """
    out = train.logits(model, images.images, precision)
    classes = len(images.classes)
    if out.shape[1] != classes:
        raise UserError(f"the classifier knows {out.shape[1]} classes, {images.name} has {classes}")
    answers = out.argmax(1).cpu()
    confusion = torch.bincount(images.labels * classes + answers, minlength=classes**2).reshape(classes, classes)
    counts, right = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return {
        "accuracy": 100 * sum(right) / sum(counts),
        "images": sum(counts),
        "per_class": [100 * r / n if n else None for r, n in zip(right, counts, strict=True)],
        "confusion": confusion.tolist(),
    }
