"""One process or several: who computes which share of a batch, how gradients meet, and who writes.

Several are started by ``torchrun --nproc-per-node N -m specfreq train ...``; Lightning Fabric joins them.

- Gradients are averaged over the processes, weighted by the images that each had: the step is that of one process.
- Batch normalisation: on GPUs its statistics are those of the whole batch (torch's SyncBatchNorm). On CPUs, where torch has no
  such layer, each process normalises by its own share, and all keep the running statistics of the first.
- The first process alone writes files and shows progress.
"""

import atexit
import functools
import logging
import os
from typing import Any

import torch
from torch import Tensor, nn

from specfreq.naming import UserError


class Team:
    """A process alone. `several` are many of them, with the same methods."""

    rank, size = 0, 1

    def __init__(self, device: torch.device):
        self.device = device

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """What is to be called and stepped in place of these two."""
        return model, optimizer

    def backward(self, loss: Tensor, share: float) -> None:
        """Gradients of the mean loss over the whole batch, of which this process had a share (of 1)."""
        loss.backward()

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

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        return self.fabric.setup(model, optimizer)

    def backward(self, loss: Tensor, share: float) -> None:
        self.fabric.backward(loss * (share * self.size))  # the gradients are averaged, not added

    def total(self, values: Tensor) -> Tensor:
        return self.fabric.all_reduce(values, reduce_op="sum")

    def told(self, value: Any) -> Any:
        return self.fabric.broadcast(value)


def first() -> bool:
    """Whether this process is alone, or the first of those that torchrun started: the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


def join(device: str) -> Team:
    """The team this process belongs to: all that torchrun started, else itself alone.

    Raises:
        UserError: several processes, and Lightning is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Team(torch.device(device))
    return _several(torch.device(device).type)


@functools.cache
def _several(kind: str) -> Team:
    try:
        from lightning.fabric import Fabric
    except ImportError:
        raise UserError("several processes need Lightning; pip install 'specfreq[scale]'") from None
    for part in ("fabric", "pytorch"):  # what it tells about itself, it tells through both
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = Fabric(accelerator=kind, devices=here, num_nodes=int(os.environ["WORLD_SIZE"]) // here, strategy="ddp")
    fabric.launch()
    atexit.register(torch.distributed.destroy_process_group)
    return _Several(fabric)


def synchronised(model: nn.Module, team: Team) -> nn.Module:
    """The model with batch statistics over all processes, where torch can do that: on GPUs."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if team.size > 1 and team.device.type == "cuda" else model
