"""Residual networks for small images."""

from torch import Tensor, nn
from torch.nn import functional as F


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation around an identity.

    Where the shape changes, the identity is subsampled and padded with zero channels (He et al.'s option A, no parameters)
    or, with ``projection``, a strided 1x1 convolution (option B).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool):
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs
        changes = stride != 1 or self.extra
        self.shortcut = (
            nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)) if projection and changes else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride != 1 or self.extra:
            x = F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return F.relu(x + y, inplace=True)


class ResNet(nn.Module):
    """A 3x3 stem, stages of blocks (each after the first halves the image), global average, one linear layer."""

    def __init__(self, widths: tuple[int, ...], depth: int, classes: int, channels: int, projection: bool):
        super().__init__()
        self.stem, self.norm = _conv(channels, widths[0]), nn.BatchNorm2d(widths[0])
        blocks, inputs = [], widths[0]
        for stage, width in enumerate(widths):
            for i in range(depth):
                blocks.append(Block(inputs, width, 2 if stage and i == 0 else 1, projection))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> Tensor:
        """What the linear layer sees: (N, C, H, W) -> (N, widths[-1])."""
        x = F.relu(self.norm(self.stem(images)), inplace=True)
        return self.blocks(x).mean((-2, -1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class CifarResNet(ResNet):
    """ResNet-(6n+2) of 16-32-64 channels for CIFAR. Source: He et al., CVPR 2016, section 4.2; ResNet-20 (n = 3): 0.27 M."""

    def __init__(self, n: int, classes: int, channels: int = 3):
        super().__init__((16, 32, 64), n, classes, channels, projection=False)


class ResNet18(ResNet):
    """ResNet-18 of 64-128-256-512 channels with a 3x3 stem and no pooling, as used on CIFAR: 11.17 M parameters."""

    def __init__(self, classes: int, channels: int = 3):
        super().__init__((64, 128, 256, 512), 2, classes, channels, projection=True)
