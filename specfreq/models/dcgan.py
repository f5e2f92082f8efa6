"""DCGAN: a generator of images from numbers, and the discriminator that it is trained against."""

import itertools

import torch
from torch import Generator as Random
from torch import nn

from specfreq.core.errors import UserError


def stages(side: int) -> int:
    """How often a square of 4 pixels is doubled to make this side.

    Raises:
        UserError: the side is none of 8, 16, 32, 64, 128.
    """
    if side not in (8, 16, 32, 64, 128):
        raise UserError(
            f"DCGAN makes images of 8, 16, 32, 64 or 128 pixels, not {side}; take others, such as "
            "folder:PATH?size=64"
        )
    return side.bit_length() - 3


class Generator(nn.Sequential):
    """Latents (N, latent) -> images (N, C, side, side) in (-1, 1).

    A square of 4 pixels with width side / 8 channels is doubled, its channels halved, until it has the side:
    transposed convolutions 4x4 of stride 2, each behind batch normalisation and ReLU; tanh at the end.

    Args:
        latent: how many numbers an image is made of.
        channels: of the images.
        width: channels before the last doubling.
        side: of the images, see `stages`.

    Source: Radford, Metz and Chintala, ICLR 2016, figure 1 (side 64, width 128, a latent of 100).
    """

    def __init__(self, latent: int, channels: int, width: int, side: int):
        widths = [width * 2**i for i in reversed(range(stages(side)))]
        layers: list[nn.Module] = [
            nn.Unflatten(1, (latent, 1, 1)),
            nn.ConvTranspose2d(latent, widths[0], 4, bias=False),
        ]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [
                nn.BatchNorm2d(inputs),
                nn.ReLU(),
                nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False),
            ]
        super().__init__(
            *layers, nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()
        )


class Discriminator(nn.Sequential):
    """Images (N, C, side, side) -> logits (N,) of being real: the generator's mirror image, of convolutions
    and leaky ReLU.

    Without batch normalisation in the first layer, as in the source. Arguments as for `Generator`.
    """

    def __init__(self, channels: int, width: int, side: int):
        widths = [width * 2**i for i in range(stages(side))]
        layers: list[nn.Module] = []
        for inputs, outputs in zip([channels, *widths], widths, strict=False):
            layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not layers))
            layers += [nn.BatchNorm2d(outputs)] if len(layers) > 1 else []
            layers.append(nn.LeakyReLU(0.2))
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4), nn.Flatten(0))


@torch.no_grad()
def draw(net: nn.Module, random: Random) -> nn.Module:
    """Draw weights as the source does: convolutions from N(0, .02²), scales of batch normalisation from N(1,
    .02²), no biases.
    """
    for m in net.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            m.weight.copy_(
                float(isinstance(m, nn.BatchNorm2d)) + 0.02 * torch.randn(m.weight.shape, generator=random)
            )
            if m.bias is not None:
                m.bias.zero_()
    return net
