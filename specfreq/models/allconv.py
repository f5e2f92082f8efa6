"""The all-convolutional network."""

import torch
from torch import Tensor, nn

from specfreq.models.layers import Network, Norm, Probability, conv, draw, normalisation


class SigmoidGELU(nn.Module):
    """x * sigmoid(1.702 x), an approximation of GELU to 0.02. Source: Hendrycks & Gimpel, 2016, section 2."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class AllConv(Network):
    """All-CNN-C as AugMix and APR train it: nine convolutions of 96 and 192 channels, 1.41 M parameters.

    Three 3x3 convolutions of 96 channels, three of 192, one of 192 without padding, two 1x1; each with
    normalisation and GELU; after the third and the sixth, the maximum over 2x2 pixels and dropout; global
    average, one linear layer.

    Args:
        dropout: probability of the two dropouts.
        as_published: the program pads the 1x1 convolutions too, so that a rim of constants surrounds the last
            maps, and averages all of them but the last two rows and columns; its GELU is x * sigmoid(1.702
            x). Its biases before normalisation, which that takes away again, are left out here as well.

    Source: Springenberg et al., ICLR 2015 workshop, tables 1 and 2 (All-CNN-C, 1.37 M by its layers), in the
    form of Hendrycks et al., ICLR 2020. The paper's network halves by a convolution of stride 2 instead of
    the third and the sixth and of the maxima, has ReLU, no normalisation, and dropout 0.2 on the input too;
    its last 1x1 convolution leads to the classes, without a linear layer behind it.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        dropout: Probability = 0.5,
        as_published: bool = False,
        norm: Norm = "batch",
    ):
        super().__init__()
        self.rim = 2 if as_published else 0
        layers, inputs = [], channels
        for width in (96, 192):
            for _ in range(3):
                layers += self._step(conv(inputs, width), norm)
                inputs = width
            layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
        layers += self._step(nn.Conv2d(192, 192, 3, bias=False), norm)
        for _ in range(2):
            layers += self._step(nn.Conv2d(192, 192, 1, padding=self.rim // 2, bias=False), norm)
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(192, classes)
        draw(self)

    def _step(self, convolution: nn.Conv2d, norm: Norm) -> list[nn.Module]:
        return [
            convolution,
            normalisation(convolution.out_channels, norm),
            SigmoidGELU() if self.rim else nn.GELU(),
        ]

    def features(self, images: Tensor) -> Tensor:
        x = self.layers(images)
        return self.maps(x[..., : x.shape[-2] - self.rim, : x.shape[-1] - self.rim]).mean((-2, -1))
