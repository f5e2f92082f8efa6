"""Asking a network: images in batches to the device that it is on, answers back, nothing about the network
changed.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from specfreq.core.devices import autocast, device_of, exact
from specfreq.core.images import unit
from specfreq.data.sets import ImageSet
from specfreq.data.streams import Stream

Images = Tensor | ImageSet | Stream


def evaluate(
    model: nn.Module,
    images: Images,
    answer: Callable[[Tensor], Tensor] | None = None,
    *,
    precision: str = "float32",
    batch: int = 500,
) -> Tensor:
    """Answers (N, ...) on the CPU, in float32, or in float64 where they are, to images (N, C, H, W) given as
    bytes, as floats in [0, 1], or as a set.

    Args:
        model: in evaluation mode meanwhile; its mode and statistics are as before afterwards.
        answer: what is asked about a batch of float images on the model's device; the model itself if not
            given.
    """
    device = device_of(model)
    if isinstance(images, Stream):
        parts = images.batches(torch.arange(len(images)).split(batch), "centre")
    else:
        parts = iter((images.images if isinstance(images, ImageSet) else images).split(batch))
    with evaluating(model), torch.inference_mode(), exact(device), autocast(device, precision):
        answers = [(answer or model)(unit(part.to(device, non_blocking=True))) for part in parts]
        return torch.cat([a if a.dtype == torch.float64 else a.float() for a in answers]).cpu()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode meanwhile; a part may have been in another mode than the whole, and is so again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def logits(model: nn.Module, images: Images, precision: str = "float32", batch: int = 500) -> Tensor:
    """Logits (N, classes) in float32, on the CPU, of images (N, C, H, W) given as in `evaluate`."""
    return evaluate(model, images, precision=precision, batch=batch)
