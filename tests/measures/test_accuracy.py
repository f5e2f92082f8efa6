"""Accuracy counts what scikit-learn counts."""

import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from specfreq.measures import compute


def test_accuracy_confusion_and_classes_are_those_of_scikit_learn(known):
    g = torch.Generator().manual_seed(0)
    labels, logits = torch.arange(400) % 5 % 4, torch.randn(400, 4, generator=g)
    result, answers = compute("accuracy", *known(logits, labels)), logits.argmax(1)
    assert result["accuracy"] == pytest.approx(100 * accuracy_score(labels, answers), rel=1e-12)
    assert result["confusion"] == confusion_matrix(labels, answers).tolist()
    assert result["per_class"] == pytest.approx(100 * recall_score(labels, answers, average=None), rel=1e-12)


def test_a_class_without_images_has_no_accuracy(known):
    result = compute("accuracy", *known(torch.eye(3)[[0, 0, 2]], [0, 2, 2]))
    assert result["per_class"] == [100, None, 50]
