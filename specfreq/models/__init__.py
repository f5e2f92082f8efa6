"""Networks by name, and the classifier that carries its own input filter and normalisation."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from specfreq.models.allconv import AllConv
from specfreq.models.densenet import DenseNet
from specfreq.models.imagenet import Torchvision
from specfreq.models.layers import Network
from specfreq.models.preact import PreActResNet18, WideResNet
from specfreq.models.resnet import CifarResNet, ResNet18, ResNeXt29
from specfreq.naming import UserError, resolve, shortest

# name -> (network from (classes, channels, options), smallest image side: below it a halving would meet a single pixel,
# or a kernel fewer than it covers)
_MODELS = {
    "resnet8": (partial(CifarResNet, 1), 3),
    "resnet20": (partial(CifarResNet, 3), 3),
    "resnet56": (partial(CifarResNet, 9), 3),
    "resnet18": (ResNet18, 5),
    "preact-resnet18": (PreActResNet18, 5),
    "wrn-40-2": (partial(WideResNet, 40, 2), 3),
    "wrn-28-10": (partial(WideResNet, 28, 10), 3),
    "allconv": (AllConv, 12),
    "densenet40-12": (partial(DenseNet, 40, 12), 4),
    "resnext29": (ResNeXt29, 3),
    "densenet121": (partial(Torchvision, "densenet121"), 29),
    "resnet50": (partial(Torchvision, "resnet50"), 17),
}
# what remains to be said of a network once classes and channels are known
_OPTIONS = {name: partial(network, 2, 1) for name, (network, _) in _MODELS.items()}


def names() -> list[str]:
    return list(_MODELS)


def _resolve(spec: str) -> tuple[str, dict[str, Any]]:
    return resolve("model", _OPTIONS, spec)


def check(spec: str, image_shape: tuple[int, int, int] | None = None) -> None:
    """Refuse an unknown name or option, or images (C, H, W) too small for the network."""
    name, _ = _resolve(spec)
    smallest = _MODELS[name][1]
    if image_shape is not None and min(image_shape[-2:]) < smallest:
        raise UserError(f"{name} needs images of at least {smallest}x{smallest}, not {image_shape[-2]}x{image_shape[-1]}")


def normal_form(spec: str) -> str:
    """The one spelling of a description: options in order of the name, those that equal their default left out."""
    name, values = _resolve(spec)
    return shortest(name, values, _OPTIONS[name])


def build(spec: str, classes: int, channels: int = 3, seed: int = 0) -> Network:
    """Build a network with weights drawn from the seed alone: images (N, C, H, W) -> logits (N, classes).

    Args:
        spec: a name with options, such as ``resnet20`` or ``resnet20:norm=group``.

    Returns:
        The network, on the CPU, with ``features``: (N, C, H, W) -> (N, D), and ``head``, the linear layer upon them. In
        training, those with dropout draw their masks from torch's global stream; no other draws anything.

    Raises:
        UserError: unknown name or option (the nearest is suggested), fewer than 2 classes or 1 channel.
    """
    name, values = _resolve(spec)
    if classes < 2 or channels < 1:
        raise UserError(f"a classifier needs at least 2 classes and 1 channel, not {classes} and {channels}")
    with torch.random.fork_rng(devices=[]):  # torch's initialisers draw from the global stream: lend them a seeded one
        torch.default_generator.manual_seed(seed)  # of the CPU only: the devices' streams, not saved here, stay as they are
        return _MODELS[name][0](classes, channels, **values)


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
        return self.net(self._seen(images))

    def features(self, images: Tensor) -> Tensor:
        """What the network's linear layer sees: images (N, C, H, W) in [0, 1] -> (N, D)."""
        return self.net.features(self._seen(images))

    def _seen(self, images: Tensor) -> Tensor:
        if self.filter is not None:
            images = self.filter(images)
        return (images - self.mean) / self.std
