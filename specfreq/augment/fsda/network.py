"""The network that says how strong each pattern becomes: encoders, attention, a logit each."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Version = Literal["v1", "v2"]


class Encoder(nn.Module):
    """Two convolutions, and then halvings with two more each: grey images (B, 1, H, W) -> (B, C, H', W').

    An image is not halved below 2 pixels.

    Args:
        widths: channels of each level.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        inputs = [1, *widths[:-1]]
        self.levels = nn.ModuleList(_twice(i, o) for i, o in zip(inputs, widths, strict=True))

    def forward(self, images: Tensor) -> Tensor:
        for number, level in enumerate(self.levels):
            halved = number and min(images.shape[-2:]) >= 4
            images = level(F.max_pool2d(images, 2) if halved else images)
        return images


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Attention(nn.Module):
    """Gates in (0, 1), for each channel and then for each place: (B, C, H, W) -> (B, C, H, W).

    Source: Woo et al., ECCV 2018, equations 2 and 3.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        inner = max(1, channels // reduction)
        self.channels = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))
        self.places = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.channels(x.mean((2, 3))) + self.channels(x.amax((2, 3)))
        x = x * gate.sigmoid()[:, :, None, None]
        return x * self.places(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


class PatternNetwork(nn.Module):
    """An encoder for each pattern, one 1 x 1 convolution for all of them, and attention over what they found:
    patterns (B, k, H, W) -> logits (B, k), each the mean of its pattern's channels.

    Args:
        k: patterns.
        width: channels of the first level; each of three (v1) or four (v2) has twice those of the one before.
        version: v1 or v2; the convolution has twice, or half of `width` for outputs.
    """

    def __init__(self, k: int, width: int, version: Version):
        super().__init__()
        widths = [width * 2**level for level in range(3 if version == "v1" else 4)]
        outputs = 2 * width if version == "v1" else max(1, width // 2)
        self.encoders = nn.ModuleList(Encoder(widths) for _ in range(k))
        self.shared = nn.Conv2d(widths[-1], outputs, 1)
        self.attention = Attention(k * outputs)

    def forward(self, patterns: Tensor) -> Tensor:
        each = zip(self.encoders, patterns.split(1, 1), strict=True)
        found = [self.shared(encoder(pattern)) for encoder, pattern in each]
        return self.attention(torch.cat(found, 1)).mean((2, 3)).unflatten(1, (len(found), -1)).mean(2)
