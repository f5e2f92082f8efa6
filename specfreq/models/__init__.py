"""Networks by name, and the classifier that carries its own input filter and normalisation."""

import torch
from torch import Tensor, nn

from specfreq.models.resnet import CifarResNet, ResNet18
from specfreq.naming import UserError, unknown

# name -> (network from (classes, channels), smallest image side)
_MODELS = {
    "resnet8": (lambda classes, channels: CifarResNet(1, classes, channels), 4),
    "resnet20": (lambda classes, channels: CifarResNet(3, classes, channels), 4),
    "resnet18": (ResNet18, 8),
}


def names() -> list[str]:
    return list(_MODELS)


def check(name: str, image_shape: tuple[int, int, int] | None = None) -> None:
    """Refuse an unknown name, or images (C, H, W) too small for the network."""
    if name not in _MODELS:
        raise unknown("model", name, _MODELS)
    smallest = _MODELS[name][1]
    if image_shape is not None and min(image_shape[-2:]) < smallest:
        raise UserError(f"{name} needs images of at least {smallest}x{smallest}, not {image_shape[-2]}x{image_shape[-1]}")


def build(name: str, classes: int, channels: int = 3, seed: int = 0) -> nn.Module:
    """Build a network with weights drawn from the seed alone: images (N, C, H, W) -> logits (N, classes).

    Raises:
        UserError: unknown name (the nearest is suggested), fewer than 2 classes or 1 channel.
    """
    check(name)
    if classes < 2 or channels < 1:
        raise UserError(f"a classifier needs at least 2 classes and 1 channel, not {classes} and {channels}")
    with torch.random.fork_rng(devices=[]):  # torch's initialisers draw from the global stream: lend them a seeded one
        torch.manual_seed(seed)
        return _MODELS[name][0](classes, channels)


class Classifier(nn.Module):
    """Filter, normalise, classify: images (N, C, H, W) in [0, 1] -> logits (N, classes).

    Args:
        net: the network.
        mean, std: per channel (C,), of the *filtered* training images.
        filter: applied first; None for images that are filtered already.
    """

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor, filter: nn.Module | None = None):
        super().__init__()
        self.net, self.filter = net, filter
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if self.filter is not None:
            images = self.filter(images)
        return self.net((images - self.mean) / self.std)
