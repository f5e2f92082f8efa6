"""One process or several: who computes which share of a batch, how gradients meet, and who writes.

Several are started by ``torchrun --nproc-per-node N -m specfreq train ...``; Lightning Fabric joins them.

- Gradients are averaged over the processes, weighted by the images that each had: the step is that of one
  process. Those of an augmentation as well, which has the buffers of the first process after each step.
- Batch normalisation: on GPUs its statistics are those of the whole batch (torch's SyncBatchNorm). On CPUs,
  where torch has no such layer, each process normalises by its own share, and all keep the running statistics
  of the first.
- What an augmentation does batch by batch as published (``per=batch``, ``donor=batch``) it does with the
  share of each process: several processes train another network then than one.
- The first process alone writes files and shows progress. All machines see the same folder of runs.
"""

import atexit
import datetime
import functools
import logging
import os
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from specfreq.core.devices import checked_device
from specfreq.core.errors import UserError

Trained = TypeVar("Trained", bound=nn.Module)


class Team:
    """A process alone. `several` are many of them, with the same methods."""

    rank, size = 0, 1

    def __init__(self, device: torch.device):
        self.device = device
        self._augmentation = nn.Module()

    def setup(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, augmentation: nn.Module
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """What is to be called and stepped in place of the first two; the augmentation is called as it is."""
        self._augmentation = augmentation
        return model, optimizer

    def backward(self, loss: Tensor, share: float) -> None:
        """Gradients of the mean loss over the whole batch, of which this process had a share (of 1)."""
        loss.backward()
        self._learned()

    def _learned(self) -> list[Tensor]:
        """The gradients of the augmentation; 0 of what was not used: another process may have used it."""
        learned = [p for p in self._augmentation.parameters() if p.requires_grad]
        gradients = []
        for parameter in learned:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        return gradients

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        return values

    def told(self, value: Any) -> Any:
        """What the first process says."""
        return value


class _Several(Team):
    def __init__(self, fabric: Any):
        super().__init__(fabric.device)
        self.fabric, self.rank, self.size = fabric, fabric.global_rank, fabric.world_size

    def setup(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, augmentation: nn.Module
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        super().setup(model, optimizer, augmentation)
        for held in (*augmentation.parameters(), *augmentation.buffers()):
            torch.distributed.broadcast(held.detach(), 0)
        return self.fabric.setup(model, optimizer)

    def backward(self, loss: Tensor, share: float) -> None:
        self.fabric.backward(loss * (share * self.size))  # the gradients are averaged, not added
        # Lightning does so for what lies behind the call of the network; views are made before it
        for gradient in self._learned():
            torch.distributed.all_reduce(gradient)
            gradient /= self.size
        for held in self._augmentation.buffers():
            torch.distributed.broadcast(held, 0)

    def total(self, values: Tensor) -> Tensor:
        torch.distributed.all_reduce(values)  # in place; Lightning's would stop all processes before each
        return values

    def told(self, value: Any) -> Any:
        return self.fabric.broadcast(value)


def first() -> bool:
    """Whether this process is alone, or the first of those that torchrun started: the one that speaks."""
    return (os.environ.get("RANK") or "0") == "0"


def join(device: str | None = None) -> Team:
    """The team this process belongs to, on the device of that name or the default, a GPU if there is one.

    Alone, unless torchrun started several processes; each of those has a GPU of its own.

    Raises:
        UserError: a device that this machine does not have, or that several processes would share; Lightning
            is missing.
    """
    if _told("WORLD_SIZE", 1) == 1:
        return Team(checked_device(device))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cuda", "cpu"):
        raise UserError(
            f"device {device!r} would be shared by all processes; say cuda or cpu, each takes its own"
        )
    return _several(kind)


def _told(name: str, otherwise: int) -> int:
    """A number of the environment; a variable that is empty says nothing."""
    text = os.environ.get(name) or str(otherwise)
    if not text.strip().isdecimal() or int(text) < 1:
        raise UserError(
            f"{name}={text!r} is no number of processes; unset it, or start several with torchrun"
        )
    return int(text)


@functools.cache
def _several(kind: str) -> Team:
    try:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies.ddp import DDPStrategy
    except ImportError:
        raise UserError("several processes need Lightning; pip install 'specfreq[scale]'") from None
    if not os.environ.get("LOCAL_WORLD_SIZE"):
        raise UserError(
            "WORLD_SIZE is set and LOCAL_WORLD_SIZE is not; start several processes with torchrun"
        )
    for part in ("fabric", "pytorch"):  # what it tells about itself, it tells through both
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    here = _told("LOCAL_WORLD_SIZE", 1)
    nodes = _told("WORLD_SIZE", 1) // here
    # the others wait while the first waits for a lock, or measures
    patient = DDPStrategy(timeout=datetime.timedelta(days=7))
    fabric = Fabric(accelerator=kind, devices=here, num_nodes=nodes, strategy=patient)
    fabric.launch()
    atexit.register(torch.distributed.destroy_process_group)
    return _Several(fabric)


def synchronised(model: Trained, team: Team) -> Trained:
    """The model with batch statistics over all processes, where torch can do that: on GPUs."""
    if team.size == 1 or team.device.type != "cuda":
        return model
    converted: Any = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return converted
