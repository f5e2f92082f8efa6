"""Devices: which one, and how exactly it computes."""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator

import torch
from torch import nn

from specfreq.core.errors import UserError, unknown
from specfreq.core.memory import keep_freed

PRECISIONS = ("float32", "bfloat16")


def device_of(model: nn.Module) -> torch.device:
    """Where a network is; the CPU for one that holds nothing."""
    return next((t.device for t in itertools.chain(model.parameters(), model.buffers())), torch.device("cpu"))


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Deterministic kernels and full float32, forwards and backwards; the caller's settings come back.

    On a processor freed memory stays with the process from then on, see `keep_freed`.
    """
    strict, lenient = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    matmul = torch.get_float32_matmul_precision()
    if device.type == "cuda":  # processors have no other kernels; what has none warns
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    elif device.type == "cpu":
        keep_freed()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        if device.type == "cuda":  # the call imports the compiler, which takes seconds
            torch.use_deterministic_algorithms(strict, warn_only=lenient)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """With ``bfloat16``, what allows it is computed so; with ``float32`` nothing changes.

    Raises:
        UserError: another precision.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def fastest(device: torch.device) -> str:
    """The precision in which a device trains faster, ``bfloat16`` or ``float32``, as a convolution tells.

    Processors with matrix units for bfloat16 gain a factor of two or more by it, others lose ten: a gain of a
    fifth is asked for, so that the answer does not depend on what else runs.
    """
    from torch.nn import functional as F

    x = torch.ones(16, 64, 16, 16, device=device).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, device=device, requires_grad=True)

    def seconds(precision: str) -> float:
        started = time.perf_counter()
        with autocast(device, precision):
            F.conv2d(x, weight, padding=1).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    took = {precision: min(seconds(precision) for _ in range(6)) for precision in PRECISIONS}
    return "bfloat16" if took["bfloat16"] < 0.8 * took["float32"] else "float32"


def check_precision(device: torch.device, precision: str) -> None:
    """Refuse bfloat16 where a device does not have it.

    Raises:
        UserError: it is a GPU that is too old.
    """
    if precision != "bfloat16" or device.type != "cuda":  # processors have it, slow as it may be
        return
    with torch.cuda.device(device):
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            name = torch.cuda.get_device_name(device)
            raise UserError(f"{name} has no bfloat16; take precision=float32, or auto, which asks the device")


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
