"""Devices: which one, and how exactly it computes."""

import contextlib
import itertools
import os
from collections.abc import Iterator

import torch
from torch import nn

from specfreq.core.errors import UserError


def device_of(model: nn.Module) -> torch.device:
    """Where a network is; the CPU for one that holds nothing."""
    return next((t.device for t in itertools.chain(model.parameters(), model.buffers())), torch.device("cpu"))


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Deterministic kernels and full float32, forwards and backwards; the caller's settings come back."""
    strict, lenient = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
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


def checked_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name, or the default: a GPU if there is one.

    Raises:
        UserError: torch knows no such device, or this machine has none.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"device {name!r} cannot be used ({reason}); leave it out for the default, or say cpu"
        ) from None
