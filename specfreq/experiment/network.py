"""The trained network, ``model.safetensors``: all that it takes to use it without its images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specfreq.core import storage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from specfreq.data.sets import ImageSet
    from specfreq.data.streams import Stream

PARTS = ("filter", "augment")  # whose tensors have that prefix; those of the network itself have none


@dataclass(frozen=True)
class Network:
    """What was trained, and for which images.

    Args:
        weights: of the network.
        mean, std: that normalise the filtered images, per channel (C,).
        filter, augment: state of the fitted or learned input filter and augmentation; None in files of older
            versions, which did not keep it.
        classes, shape: of the training images, names and (C, H, W).
    """

    weights: "dict[str, Tensor]"
    mean: "Tensor"
    std: "Tensor"
    filter: "dict[str, Tensor] | None"
    augment: "dict[str, Tensor] | None"
    classes: tuple[str, ...]
    shape: tuple[int, int, int]


def write(
    path: Path,
    key: str,
    images: "ImageSet | Stream",
    weights: "dict[str, Tensor]",
    *,
    filter: "nn.Module",
    augment: "nn.Module",
) -> None:
    """Keep the weights (``mean`` and ``std`` among them), both states, and what the images (of training) are
    like.
    """
    tensors = dict(weights)
    for part, module in zip(PARTS, (filter, augment), strict=True):
        tensors |= {f"{part}/{name}": value for name, value in module.state_dict().items()}
    meta = {"key": key, "classes": list(images.classes), "shape": list(images.shape)}
    storage.write_tensors(path, tensors, meta)


def read(path: Path, key: str, training: "Callable[[], ImageSet | Stream]") -> Network:
    """The network of the run of that key.

    Args:
        training: gives the training images; asked by files of older versions alone, which say the key and
            nothing else.

    Raises:
        Damaged: the file is damaged, or of another run.
        UserError: it is missing or cannot be read.
    """
    tensors, meta = storage.read_tensors(path)
    older = isinstance(meta, str)
    found = meta if older else meta["key"]
    if found != key:
        raise storage.Damaged(f"{path} is of run {found}; delete the folder and train again")
    parts: dict[str, Any] = {"filter": None, "augment": None}
    if older:
        images = training()
        classes, shape = images.classes, images.shape
    else:
        classes, shape = meta["classes"], meta["shape"]
        for part in PARTS:
            names = [name for name in tensors if name.startswith(f"{part}/")]
            parts[part] = {name.removeprefix(f"{part}/"): tensors.pop(name) for name in names}
    mean, std = tensors.pop("mean"), tensors.pop("std")
    channels, height, width = shape
    return Network(tensors, mean, std, **parts, classes=tuple(classes), shape=(channels, height, width))
