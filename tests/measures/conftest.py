"""Classifiers with known answers: each image is one pixel, its number, by which the network looks its answer
up.
"""

import pytest
import torch
from torch import nn

from specfreq import ImageSet, data, models
from specfreq.measures import inference
from specfreq.models import Classifier


class Lookup(nn.Module):
    """Features of image i: row i of a table (N, D); the head answers with them as they are, or multiplied by
    a matrix.
    """

    def __init__(self, table, weight=None):
        super().__init__()
        self.head = nn.Identity() if weight is None else nn.Linear(*weight.T.shape, bias=False)
        if weight is not None:
            self.head.weight = nn.Parameter(weight)
        self.register_buffer("table", table)

    def features(self, images):
        number = (images[:, :, 0, 0] * 255).round().long()
        return self.table[number[:, 0] * 256 + number[:, 1]]

    def forward(self, images):
        return self.head(self.features(images))


@pytest.fixture(scope="session")
def lookup():
    """The network above; a fixture, as libraries that install a package `tests` hide ours from imports."""
    return Lookup


@pytest.fixture(scope="session")
def known():
    """A set with these labels, and the classifier that gives these logits (N, classes), or features and head,
    to its images.
    """

    def make(logits, labels, weight=None, classes=None):
        labels, number = torch.as_tensor(labels), torch.arange(len(labels))
        images = torch.stack([number // 256, number % 256], 1).to(torch.uint8).reshape(-1, 2, 1, 1)
        names = tuple(f"class {c}" for c in range(classes or len(logits[0] if weight is None else weight)))
        net = Lookup(torch.as_tensor(logits), weight)
        return Classifier(net, torch.zeros(1), torch.ones(1)).eval(), ImageSet(images, labels, names, "known")

    return make


@pytest.fixture(scope="session")
def shuffled():
    """The same images in another order."""

    def shuffle(images, seed=0):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        return ImageSet(images.images[order], images.labels[order], images.classes, images.name)

    return shuffle


@pytest.fixture(scope="session")
def digits():
    """A network that knows handwritten digits fairly well, and 61 of them: random weights, the head by least
    squares.
    """
    net = models.build("resnet8", 10, 1, seed=1)
    model = Classifier(net, torch.full((1,), 0.3), torch.full((1,), 0.4)).eval()
    training = data.load("digits", "train", 600)
    features = inference.evaluate(model, training, model.features).double()
    features = torch.cat([features, torch.ones(600, 1)], 1)
    wanted = 5 * nn.functional.one_hot(training.labels).double()
    solution = torch.linalg.solve(features.T @ features + 1e-3 * torch.eye(65), features.T @ wanted).float()
    net.head.weight.data, net.head.bias.data = solution[:-1].T.contiguous(), solution[-1]
    return model, data.load("digits", "test", 61)
