"""Networks by name, and the classifier that carries its own input filter and normalisation."""

from typing import TYPE_CHECKING, Any

from specfreq.core.deferred import Deferred
from specfreq.core.errors import UserError
from specfreq.core.spec import parse, resolve, shortest

if TYPE_CHECKING:
    from specfreq.models.classifier import Classifier
    from specfreq.models.layers import Network

__all__ = ["Classifier", "build", "check", "label", "names", "normal_form"]


def _network(place: str, *shape: Any) -> Deferred:
    """A network by its class, and what its constructor takes before classes and channels."""
    return Deferred(f"specfreq.models.{place}", *shape, positional=2)


# name -> (network, smallest image side: below it a halving would meet a single pixel, or a kernel fewer than
# it covers; what pages call it)
_MODELS = {
    "resnet8": (_network("resnet:CifarResNet", 1), 3, "ResNet-8"),
    "resnet20": (_network("resnet:CifarResNet", 3), 3, "ResNet-20"),
    "resnet56": (_network("resnet:CifarResNet", 9), 3, "ResNet-56"),
    "resnet18": (_network("resnet:ResNet18"), 5, "ResNet-18"),
    "preact-resnet18": (_network("preact:PreActResNet18"), 5, "PreActResNet-18"),
    "wrn-40-2": (_network("preact:WideResNet", 40, 2), 3, "WRN-40-2"),
    "wrn-28-10": (_network("preact:WideResNet", 28, 10), 3, "WRN-28-10"),
    "allconv": (_network("allconv:AllConv"), 12, "All-CNN"),
    "densenet40-12": (_network("densenet:DenseNet", 40, 12), 4, "DenseNet-40-12"),
    "resnext29": (_network("resnet:ResNeXt29"), 3, "ResNeXt-29"),
    "densenet121": (_network("imagenet:Torchvision", "densenet121"), 29, "DenseNet-121"),
    "resnet50": (_network("imagenet:Torchvision", "resnet50"), 17, "ResNet-50"),
    "airbench": (_network("airbench:Airbench"), 2, "airbench94"),
}
_WORDS = {"as_published=True": "as published", "norm": "{} normalisation"}  # as those of augmentations
_OPTIONS = {name: network for name, (network, *_) in _MODELS.items()}


def __getattr__(name: str) -> Any:
    if name == "Classifier":
        from specfreq.models.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'specfreq.models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def names() -> list[str]:
    return list(_MODELS)


def _resolve(spec: str) -> tuple[str, dict[str, Any]]:
    return resolve("model", _OPTIONS, spec)


def check(spec: str, image_shape: tuple[int, int, int] | None = None) -> None:
    """Refuse an unknown name or option, or images (C, H, W) too small for the network."""
    name, _ = _resolve(spec)
    smallest = _MODELS[name][1]
    if image_shape is not None and min(image_shape[-2:]) < smallest:
        raise UserError(
            f"{name} needs images of at least {smallest}x{smallest}, not {image_shape[-2]}x{image_shape[-1]}"
        )


def normal_form(spec: str) -> str:
    """The one spelling of a description: options in order of the name, those that equal their default left
    out.
    """
    name, values = _resolve(spec)
    return shortest(name, values, _OPTIONS[name])


def label(spec: str) -> str:
    """How pages call a network: ``ResNet-8``, ``airbench94, width 24``.

    Raises:
        UserError: unknown name or option.
    """
    name, values = _resolve(spec)
    options = parse(shortest(name, values, _OPTIONS[name]))[1]
    said = [
        _WORDS.get(f"{key}={value}") or _WORDS.get(key, f"{key} {{}}").format(value)
        for key, value in options.items()
    ]
    return ", ".join([_MODELS[name][2], *said])


def build(spec: str, classes: int, channels: int = 3, seed: int = 0) -> "Network":
    """Build a network with weights drawn from the seed alone: images (N, C, H, W) -> logits (N, classes).

    Args:
        spec: a name with options, such as ``resnet20`` or ``resnet20:norm=group``.

    Returns:
        The network, on the CPU, with ``features``: (N, C, H, W) -> (N, D), and ``head``, the linear layer
        upon them. In training, those with dropout draw their masks from torch's global stream; no other draws
        anything.

    Raises:
        UserError: unknown name or option (the nearest is suggested), fewer than 2 classes or 1 channel.

    Example:
        >>> models.build("resnet8", classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    name, values = _resolve(spec)
    if classes < 2 or channels < 1:
        raise UserError(f"a classifier needs at least 2 classes and 1 channel, not {classes} and {channels}")
    import torch

    with torch.random.fork_rng(
        devices=[]
    ):  # torch's initialisers draw from the global stream: lend them a seeded one
        torch.default_generator.manual_seed(
            seed
        )  # of the CPU only: the devices' streams, not saved here, stay as they are
        return _OPTIONS[name](classes, channels, **values)
