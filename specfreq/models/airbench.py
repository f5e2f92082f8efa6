"""The network of airbench94: a whitening layer and three blocks of two convolutions, made to learn fast."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specfreq.core.errors import UserError
from specfreq.models.layers import Count, Network

SIDE = 2  # pixels, of the patches that are whitened
LEAST = 5e-4  # is added to each variance, so that directions without any are not blown up
AT_ONCE = 500  # images


class Whitening(nn.Module):
    r"""Patches of 2x2 pixels in the directions of their principal components, each with its negative.

    .. math:: y_k = \pm \frac{v_k^\top x}{\sqrt{\lambda_k + 5 \cdot 10^{-4}}}, \quad C v_k = \lambda_k v_k

    where C (4c, 4c) is the covariance of the patches of the training images. (N, c, H, W) -> (N, 8c, H - 1,
    W - 1). The weights are state, not parameters: no step changes them. Until `fit` they are a random
    rotation.

    Source: Jordan, arXiv 2404.00498, section 3.1.
    """

    weight: Tensor

    def __init__(self, channels: int):
        super().__init__()
        size = channels * SIDE**2
        rotation = nn.init.orthogonal_(torch.empty(size, size))
        self.register_buffer("weight", torch.cat([rotation, -rotation]).view(-1, channels, SIDE, SIDE))

    def fit(self, images: Tensor) -> None:
        """Take the principal components of normalised images (N, c, H, W).

        Raises:
            UserError: their patches are fewer than the directions.
        """
        channels, size = self.weight.shape[1], len(self.weight) // 2
        # of a part's patches their sums alone are kept: all of them take 64 times the images' bytes
        parts = ((len(p), p.sum(0), p.T @ p) for p in map(_patches, images.split(AT_ONCE)))
        counts, sums, products = zip(*parts, strict=True)
        count = sum(counts)
        if count <= size:
            raise UserError(
                f"whitening needs more than {size} patches of {SIDE}x{SIDE} pixels, and {len(images)} "
                f"training image(s) have {count}; take more or larger ones, or another model"
            )
        mean = torch.stack(sums).sum(0) / count
        moments = torch.stack(products).sum(0) / count
        variances, directions = torch.linalg.eigh(moments - mean[:, None] * mean)
        scaled = (directions / (variances.clamp_min(0) + LEAST).sqrt()).T.flip(0)  # largest first
        self.weight.copy_(torch.cat([scaled, -scaled]).view(-1, channels, SIDE, SIDE))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


def _patches(images: Tensor) -> Tensor:
    """All patches of images (N, c, H, W), float64 (P, 4c)."""
    return F.unfold(images, SIDE).transpose(1, 2).flatten(0, 1).double()


def _normalised(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation that learns shifts alone; the running statistics follow fast, as trainings are
    short.
    """
    # at the original's eps of 1e-12, images that are all the same have infinite gradients
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that at first hands on its inputs, as far as there are outputs; the other weights are
    random.
    """
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[:inputs].data)
    return layer


class Block(nn.Module):
    """Convolution, maximum over 2x2 pixels, normalisation, GELU; convolution, normalisation, GELU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.norm1 = _convolution(inputs, outputs), _normalised(outputs)
        self.conv2, self.norm2 = _convolution(outputs, outputs), _normalised(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if min(x.shape[-2:]) > 1:
            x = F.max_pool2d(x, 2)
        x = F.gelu(self.norm1(x))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench(Network):
    """The network of airbench94: whitening, GELU, blocks of w, 4w and 4w channels, maximum, linear layer.

    `fit` shows it the training images before the first step. Its last maximum is over all that is left of the
    image, which is 3x3 of 32x32 pixels, as there; maps of a single pixel are not halved.

    Args:
        width: w; 1.97 M parameters at 64, 0.50 M at 32.

    Source: Jordan, *94 % on CIFAR-10 in 3.29 seconds on a single GPU*, arXiv 2404.00498, section 3 and
    listing of the network. There the first layer has a bias as well, trained for three epochs.
    """

    def __init__(self, classes: int, channels: int = 3, width: Count = 64):
        super().__init__()
        self.whitening = Whitening(channels)
        shapes = (8 * channels, width), (width, 4 * width), (4 * width, 4 * width)
        self.blocks = nn.Sequential(*(Block(*shape) for shape in shapes))
        self.head = nn.Linear(4 * width, classes, bias=False)

    def fit(self, images: Tensor) -> None:
        self.whitening.fit(images)

    def features(self, images: Tensor) -> Tensor:
        x = self.maps(self.blocks(F.gelu(self.whitening(images))))
        return x.amax((-2, -1)) / 9  # small logits at first
