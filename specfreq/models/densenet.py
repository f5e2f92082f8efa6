"""Densely connected networks for small images."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specfreq.models.layers import Network, Norm, conv, draw, normalisation


class Layer(nn.Module):
    """[x, conv(relu(norm x))]: ``growth`` new channels behind those that came in."""

    def __init__(self, inputs: int, growth: int, norm: Norm):
        super().__init__()
        self.norm, self.conv = normalisation(inputs, norm), conv(inputs, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.conv(F.relu(self.norm(x), inplace=True))), 1)


class Transition(nn.Module):
    """Normalisation, ReLU, a 1x1 convolution to as many channels (no compression), and the average over 2x2
    pixels.
    """

    def __init__(self, channels: int, norm: Norm):
        super().__init__()
        self.norm, self.conv, self.pool = (
            normalisation(channels, norm),
            conv(channels, channels, 1),
            nn.AvgPool2d(2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(F.relu(self.norm(x), inplace=True)))


class DenseNet(Network):
    """DenseNet-depth (k = growth) for CIFAR: three blocks of (depth - 4) / 3 layers, no bottleneck, no
    compression.

    Args:
        as_published: as AugMix and APR train it, with 2k channels behind the stem, which the paper has for
            its bottlenecked networks only, instead of 16: 1.06 M parameters.

    Source: Huang et al., CVPR 2017, section 3 and table 2: 1.0 M parameters at depth 40, k = 12.
    """

    def __init__(
        self,
        depth: int,
        growth: int,
        classes: int,
        channels: int = 3,
        as_published: bool = False,
        norm: Norm = "batch",
    ):
        super().__init__()
        width = 2 * growth if as_published else 16
        self.stem, layers = conv(channels, width), []
        for block in range(3):
            if block:
                layers.append(Transition(width, norm))
            for _ in range((depth - 4) // 3):
                layers.append(Layer(width, growth, norm))
                width += growth
        self.layers, self.norm = nn.Sequential(*layers), normalisation(width, norm)
        self.head = nn.Linear(width, classes)
        draw(self)

    def features(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm(self.layers(self.stem(images))), inplace=True)
        return self.maps(x).mean((-2, -1))
