"""Residual networks of the second form: normalisation and ReLU before each convolution, thin and deep or
wide.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from specfreq.models.layers import Network, Norm, Probability, conv, draw, normalisation, stages


class PreActBlock(nn.Module):
    r"""x + conv(dropout(relu(norm(conv(relu(norm x)))))): what comes in passes unchanged, not even a ReLU on
    its way.

    Where the shape changes, a strided 1x1 convolution of relu(norm x) takes the place of x.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float = 0, norm: Norm = "batch"):
        super().__init__()
        self.norm1, self.conv1 = normalisation(inputs, norm), conv(inputs, outputs, stride=stride)
        self.norm2, self.conv2 = normalisation(outputs, norm), conv(outputs, outputs)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = conv(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x), inplace=True)
        if self.shortcut is not None:
            x = self.shortcut(y)
        y = F.relu(self.norm2(self.conv1(y)), inplace=True)
        return x + self.conv2(self.dropout(y))


class PreActResNet(Network):
    """A bare 3x3 stem, stages of blocks, normalisation and ReLU, global average, one linear layer."""

    def __init__(
        self,
        stem: int,
        widths: tuple[int, ...],
        depth: int,
        classes: int,
        channels: int,
        dropout: float,
        norm: Norm,
    ):
        super().__init__()
        self.stem = conv(channels, stem)
        self.blocks = stages(partial(PreActBlock, dropout=dropout, norm=norm), stem, widths, depth)
        self.norm = normalisation(widths[-1], norm)
        self.head = nn.Linear(widths[-1], classes)
        draw(self)

    def features(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm(self.blocks(self.stem(images))), inplace=True)
        return self.maps(x).mean((-2, -1))


class PreActResNet18(PreActResNet):
    """ResNet-18 with pre-activation for CIFAR: 64-128-256-512 channels, a 3x3 stem, no pooling: 11.17 M
    parameters.

    Source: He et al., ECCV 2016, figure 1b and appendix (the first and the last normalisation). Programs for
    CIFAR that leave the last normalisation out have 1024 parameters less.
    """

    def __init__(self, classes: int, channels: int = 3, norm: Norm = "batch"):
        super().__init__(64, (64, 128, 256, 512), 2, classes, channels, 0, norm)


class WideResNet(PreActResNet):
    """WRN-depth-width: (depth - 4) / 6 blocks in each of three stages, of 16, 32 and 64 times ``width``
    channels.

    Args:
        dropout: probability of the dropout between the two convolutions of a block.

    Source: Zagoruyko & Komodakis, BMVC 2016, table 4: WRN-40-2 2.2 M, WRN-28-10 36.5 M parameters.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        classes: int,
        channels: int = 3,
        dropout: Probability = 0,
        norm: Norm = "batch",
    ):
        super().__init__(
            16, (16 * width, 32 * width, 64 * width), (depth - 4) // 6, classes, channels, dropout, norm
        )
