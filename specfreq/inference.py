"""Asking a network: images in batches to the device that it is on, answers back, nothing about the network changed."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from specfreq.data import ImageSet
from specfreq.streams import Stream

Images = Tensor | ImageSet | Stream


def device_of(model: nn.Module) -> torch.device:
    """Where a network is; the CPU for one that holds nothing."""
    return next((t.device for t in itertools.chain(model.parameters(), model.buffers())), torch.device("cpu"))


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Deterministic kernels and full float32, forwards and backwards; the caller's settings come back."""
    strict, lenient = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    matmul = torch.get_float32_matmul_precision()
    if device.type == "cuda":  # processors have no other kernels; what has none warns
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        if device.type == "cuda":  # the call imports the compiler, which takes seconds
            torch.use_deterministic_algorithms(strict, warn_only=lenient)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """With ``bfloat16``, what allows it is computed so; with ``float32`` nothing changes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def unit(images: Tensor) -> Tensor:
    """Bytes -> float32 in [0, 1]; floats stay as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def evaluate(
    model: nn.Module,
    images: Images,
    answer: Callable[[Tensor], Tensor] | None = None,
    *,
    precision: str = "float32",
    batch: int = 500,
) -> Tensor:
    """Answers (N, ...) in float32, on the CPU, to images (N, C, H, W) given as bytes, as floats in [0, 1], or as a set.

    Args:
        model: in evaluation mode meanwhile; its mode and statistics are as before afterwards.
        answer: what is asked about a batch of float images on the model's device; the model itself if not given.
    """
    device = device_of(model)
    if isinstance(images, Stream):
        parts = images.batches(torch.arange(len(images)).split(batch), "centre")
    else:
        parts = iter((images.images if isinstance(images, ImageSet) else images).split(batch))
    modes = {module: module.training for module in model.modules()}  # a part may be in another mode than the whole
    model.eval()
    try:
        with torch.inference_mode(), exact(device), autocast(device, precision):
            answers = [(answer or model)(unit(part.to(device, non_blocking=True))).float() for part in parts]
            return torch.cat(answers).cpu()
    finally:
        for module, training in modes.items():
            module.training = training


def logits(model: nn.Module, images: Images, precision: str = "float32", batch: int = 500) -> Tensor:
    """Logits (N, classes) in float32, on the CPU, of images (N, C, H, W) given as in `evaluate`."""
    return evaluate(model, images, precision=precision, batch=batch)
