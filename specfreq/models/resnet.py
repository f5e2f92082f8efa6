"""Residual networks for small images, in their first form: normalisation after each convolution."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from specfreq.core.memory import check_memory
from specfreq.models.layers import Count, Network, Norm, conv, draw, normalisation, stages


class Block(nn.Module):
    """Two 3x3 convolutions with normalisation around an identity.

    Where the shape changes, the identity is subsampled and padded with zero channels (He et al.'s option A,
    no parameters) or, with ``projection``, a strided 1x1 convolution (option B).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool, norm: Norm = "batch"):
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, stride=stride), normalisation(outputs, norm)
        self.conv2, self.norm2 = conv(outputs, outputs), normalisation(outputs, norm)
        self.stride, self.extra = stride, outputs - inputs
        self.shortcut = _projection(inputs, outputs, stride, norm) if projection else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride != 1 or self.extra:
            x = F.pad(
                x[..., :: self.stride, :: self.stride],
                (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2),
            )
        return F.relu(x + y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution around an identity, or a strided 1x1 convolution where the shape
    changes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, inner: int, groups: int, norm: Norm = "batch"):
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, inner, 1), normalisation(inner, norm)
        self.conv2, self.norm2 = conv(inner, inner, 3, stride, groups), normalisation(inner, norm)
        self.conv3, self.norm3 = conv(inner, outputs, 1), normalisation(outputs, norm)
        self.shortcut = _projection(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = F.relu(self.norm2(self.conv2(y)), inplace=True)
        y = self.norm3(self.conv3(y))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return F.relu(x + y, inplace=True)


def _projection(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Module | None:
    """A strided 1x1 convolution with normalisation, where the shape changes."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(conv(inputs, outputs, 1, stride), normalisation(outputs, norm))


class ResNet(Network):
    """A 3x3 stem, stages of blocks (all but the first halve the image), global average, a linear layer."""

    def __init__(
        self,
        stem: int,
        widths: tuple[int, ...],
        depth: int,
        block: Callable[[int, int, int], nn.Module],
        classes: int,
        channels: int,
        norm: Norm,
    ):
        super().__init__()
        self.stem, self.norm = conv(channels, stem), normalisation(stem, norm)
        self.blocks = stages(block, stem, widths, depth)
        self.head = nn.Linear(widths[-1], classes)
        draw(self)

    def features(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(images)), inplace=True)
        return self.maps(self.blocks(x)).mean((-2, -1))


class CifarResNet(ResNet):
    """ResNet-(6n+2) of 16-32-64 channels for CIFAR, option A.

    Source: He et al., CVPR 2016, section 4.2 and table 6: ResNet-20 (n = 3) 0.27 M, ResNet-56 (n = 9) 0.85 M
    parameters.
    """

    def __init__(self, n: int, classes: int, channels: int = 3, norm: Norm = "batch"):
        block = partial(Block, projection=False, norm=norm)
        super().__init__(16, (16, 32, 64), n, block, classes, channels, norm)


class ResNet18(ResNet):
    """ResNet-18 of 64-128-256-512 channels with a 3x3 stem and no pooling, as used on CIFAR: 11.17 M
    parameters.
    """

    def __init__(self, classes: int, channels: int = 3, norm: Norm = "batch"):
        block = partial(Block, projection=True, norm=norm)
        super().__init__(64, (64, 128, 256, 512), 2, block, classes, channels, norm)


class ResNeXt29(ResNet):
    """ResNeXt-29 for CIFAR: three stages of three bottlenecks, 256-512-1024 channels.

    Args:
        cardinality: groups of the 3x3 convolutions.
        width: channels of each group in the first stage; each later stage doubles them.

    Source: Xie et al., CVPR 2017, section 5.3 and table 7: 8 x 64d has 34.4 M and 16 x 64d 68.1 M weights in
    convolutions and linear layer. AugMix and APR train 4 x 32d (the default; they write "32x4"): 6.78 M, with
    normalisation 6.81 M.

    Raises:
        UserError: memory cannot hold the weights.
    """

    def __init__(
        self, classes: int, channels: int = 3, cardinality: Count = 4, width: Count = 32, norm: Norm = "batch"
    ):
        inner = cardinality * width
        # all but a small rest
        weights = sum(3 * (2 * 256 * k**2 * inner + 9 * k**2 * inner * width) for k in (1, 2, 4))
        check_memory(4 * weights, f"resnext29:cardinality={cardinality},width={width}", "take smaller ones")

        def block(inputs: int, outputs: int, stride: int) -> Bottleneck:
            return Bottleneck(
                inputs, outputs, stride, outputs // 256 * width * cardinality, cardinality, norm
            )

        super().__init__(64, (256, 512, 1024), 3, block, classes, channels, norm)
