"""What the networks share: how they end, their convolution and normalisation, their stages, and how weights
are drawn.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

Norm = Literal["batch", "group"]
Count = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class Network(nn.Module, ABC):
    """Images (N, C, H, W) -> logits (N, classes): a linear ``head`` on ``features``, and nothing between
    them.

    The last maps, (N, K, h, w) behind their ReLU or GELU, pass through ``maps``, which leaves them as they
    are, before they are pooled over the image: the layer that class activation maps look at.
    """

    head: nn.Linear

    def __init__(self):
        super().__init__()
        self.maps = nn.Identity()

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """What the linear layer sees: (N, C, H, W) -> (N, D)."""

    def fit(self, images: Tensor) -> None:
        """Learn from some of the normalised training images (N, C, H, W), before the first step; most need
        none.
        """

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the side of the image (or, with a stride, divides it); the normalisation has
    the bias.
    """
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


def normalisation(channels: int, norm: Norm) -> nn.Module:
    """Batch normalisation; or group normalisation, which knows no batch: as few groups as have at most 8
    channels each.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels // max(d for d in range(1, 9) if channels % d == 0), channels)


def stages(
    block: Callable[[int, int, int], nn.Module], inputs: int, widths: tuple[int, ...], depth: int
) -> nn.Sequential:
    """For each width ``depth`` blocks (inputs, outputs, stride); each after the first halves the image."""
    blocks = []
    for stage, width in enumerate(widths):
        for i in range(depth):
            blocks.append(block(inputs, width, 2 if stage and i == 0 else 1))
            inputs = width
    return nn.Sequential(*blocks)


def draw(net: nn.Module) -> None:
    """Draw the convolutions anew from N(0, 2 / fan-out). Source: He et al., ICCV 2015, section 2.2, backward
    case.
    """
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
