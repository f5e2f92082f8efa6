"""The trainer: data on the device, batched crop and flip there, keyed randomness, checkpoints that resume to the same bits."""

import contextlib
import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from specfreq import storage
from specfreq.naming import UserError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Recipe(BaseModel):
    """How a network is trained. Everything that changes the result is here, and nothing else is."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    epochs: int = Field(2, ge=0, description="passes over the training images")
    batch: int = Field(128, ge=2, description="images per step")
    lr: Positive = Field(0.1, description="highest learning rate of the schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum; 0 for plain SGD")
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False, description="L2 penalty on every parameter")
    schedule: Literal["one-cycle", "cosine", "step", "constant"] = Field(
        "one-cycle", description="one-cycle: linear up over the first fifth, linear down; step: see milestones"
    )
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.25, 0.5, 0.75), description="step: where, as shares of the training"
    )
    decay: float = Field(0.1, gt=0, lt=1, description="step: the factor at each milestone")
    shift: int = Field(4, ge=0, description="random crop: largest shift, pixels")
    border: Literal["zero", "edge", "reflect"] = Field("zero", description="what a shifted image shows beyond its border")
    flip: bool = Field(True, description="mirror left-right with probability 1/2")
    normalise: bool = Field(True, description="subtract the mean and divide by the deviation of each channel")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16: autocast of the forward pass")
    seed: int = Field(0, ge=0, description="of the weights, the order and the augmentation")


def keyed(*key: object) -> Generator:
    """A CPU generator seeded by a key, such as (seed, epoch, "crop"): equal keys give equal streams, other keys others."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Learning rate after a share of the training, progress in [0, 1]."""
    match recipe.schedule:
        case "constant":
            return recipe.lr
        case "cosine":
            return recipe.lr * (1 + math.cos(math.pi * progress)) / 2
        case "step":
            return recipe.lr * recipe.decay ** sum(progress >= m for m in recipe.milestones)
        case "one-cycle":
            return recipe.lr * min(progress / 0.2, (1 - progress) / 0.8)


def shifted(images: Tensor, index: Tensor, dy: Tensor, dx: Tensor, flip: Tensor, border: str) -> Tensor:
    """Images ``index`` of a set (N, C, H, W), each moved down by dy and right by dx pixels, then mirrored where flip: one gather.

    dy, dx: integers (B,); flip: booleans (B,). Works on bytes and floats alike; beyond the border: 0, the nearest pixel, or
    the mirror image.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) - dy[:, None]
    columns = torch.arange(width, device=images.device).expand(len(dx), -1)
    columns = torch.where(flip[:, None], columns.flip(-1), columns) - dx[:, None]
    inside = None
    if border == "reflect":
        rows, columns = (n - 1 - (n - 1 - i.abs()).abs() for i, n in ((rows, height), (columns, width)))
    elif border == "zero":
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    channel = torch.arange(images.shape[1], device=images.device)
    out = images[index[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
    return out if inside is None else out * inside[:, None]


def progress_bar(what: str, total: int, unit: str, show: bool | None = None, line: int = 0, **options: Any) -> tqdm:
    """A bar with rate and remaining time. None shows it on terminals only: ours, or the one that $SPECFREQ_PROGRESS names.

    The kernel of a study has no terminal; who started it has, and draws the progress over cells in its first line.
    """
    place = os.environ.get("SPECFREQ_PROGRESS")
    file = open(place, "w") if place else None  # noqa: SIM115 - open as long as the bar
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        file=file,
        position=line + 1 if place else None,
        leave=False,
        disable=None if show is None else not show,
        **options,
    )


def unit(images: Tensor) -> Tensor:
    """Bytes -> float32 in [0, 1]; floats stay as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _chunks(model: nn.Module, images: Tensor) -> list[Tensor]:
    device = next(model.buffers()).device
    return [model(unit(part.to(device))) for part in images.split(500)]


@torch.inference_mode()
def logits(model: nn.Module, images: Tensor, precision: str = "float32") -> Tensor:
    """Logits (N, classes) in float32 of images (N, C, H, W), bytes or floats in [0, 1]; always in evaluation mode."""
    was_training = model.training
    model.eval()
    with _arithmetic(next(model.buffers()).device, precision):
        out = torch.cat(_chunks(model, images)).float()
    model.train(was_training)
    return out


@contextlib.contextmanager
def _arithmetic(device: torch.device, precision: str):
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with cudnn, torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


class Diverged(RuntimeError):
    """The loss is no longer finite. The message names epoch, step and learning rate."""


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    progress: bool | None = None,
    after_epoch: Callable[[int], None] | None = None,
) -> list[dict[str, float]]:
    r"""Train a classifier in place with SGD and cross-entropy, :math:`-\frac1B\sum_i \log p_{y_i}(x_i)`.

    Args:
        model: images (N, C, H, W) -> logits (N, classes), already on the device that trains.
        images: bytes or floats (N, C, H, W); held on that device as they are.
        labels: int64 (N,).
        checkpoint: file to write after each epoch and to resume from; deleted by nobody, damaged ones are refused by name.
        progress: bar with rate and remaining time; None shows it on terminals only.
        after_epoch: called with the number of finished epochs.

    Returns:
        One row per epoch: epoch, loss (mean over images), accuracy (on the augmented batches, %), lr (last of the epoch).

    Raises:
        Diverged: the loss became NaN or infinite; names epoch, step and learning rate.
        UserError: the checkpoint is damaged or belongs to another recipe.

    What happens to image i in epoch e depends on (seed, e, i) alone; the order on (seed, e).
    """
    device = next(model.parameters()).device
    images, labels = images.to(device), labels.to(device)
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.SGD(
        parameters.values(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )
    model.train().to(memory_format=torch.channels_last)
    history: list[dict[str, float]] = []
    if checkpoint is not None and checkpoint.exists():
        history = _restore(checkpoint, model, optimizer, parameters, recipe)
    steps = math.ceil(len(images) / recipe.batch)
    bar = progress_bar(
        "train", recipe.epochs * len(images), "img", progress, line=1, initial=len(history) * len(images), unit_scale=True
    )
    with bar:
        for epoch in range(len(history), recipe.epochs):
            # one table per epoch for all images, so that batches, workers and devices cannot change what an image meets
            table = keyed(recipe.seed, epoch)
            order = torch.randperm(len(images), generator=table).to(device)
            moves = torch.randint(-recipe.shift, recipe.shift + 1, (2, len(images)), generator=table).to(device)
            flips = (torch.rand(len(images), generator=table) < 0.5 * recipe.flip).to(device)
            losses, correct, sizes = [], torch.zeros((), device=device), []
            for step, index in enumerate(order.tensor_split(steps)):  # near-equal parts: no tiny last batch
                lr = learning_rate(recipe, (epoch + (step + 0.5) / steps) / recipe.epochs)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                x = shifted(images, index, moves[0, index], moves[1, index], flips[index], recipe.border)
                x = unit(x).contiguous(memory_format=torch.channels_last)
                y = labels[index]
                with _arithmetic(device, recipe.precision):
                    out = model(x)
                    loss = F.cross_entropy(out.float(), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())  # stays on the device: reading it here would stall the queue
                correct += (out.detach().argmax(1) == y).sum()
                sizes.append(len(index))
                bar.update(len(index))
            losses = torch.stack(losses).cpu()
            if not losses.isfinite().all():
                step = int((~losses.isfinite()).nonzero()[0])
                lr = learning_rate(recipe, (epoch + (step + 0.5) / steps) / recipe.epochs)
                raise Diverged(
                    f"the loss is {losses[step]} in epoch {epoch + 1}, step {step + 1} of {steps}, at lr {lr:.3g}; lower lr"
                )
            mean = float((losses.double() * torch.tensor(sizes)).sum() / len(images))
            history.append({"epoch": epoch + 1, "loss": mean, "accuracy": 100 * float(correct) / len(images), "lr": lr})
            bar.set_postfix(epoch=f"{epoch + 1}/{recipe.epochs}", loss=f"{mean:.3f}", refresh=False)
            if checkpoint is not None:
                _save(checkpoint, model, optimizer, parameters, recipe, history)
            if after_epoch is not None:
                after_epoch(epoch + 1)
    model.eval()
    if not all(t.isfinite().all() for t in model.state_dict().values()):
        raise Diverged(f"the weights are no longer finite after the last step, at lr {recipe.lr:.3g}; lower lr")
    return history


def _save(path, model, optimizer, parameters, recipe, history) -> None:
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    for name, parameter in parameters.items():
        buffer = optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum/{name}"] = buffer
    storage.write_tensors(path, tensors, {"recipe": recipe.model_dump(mode="json"), "history": history})


def _restore(path, model, optimizer, parameters, recipe) -> list[dict[str, float]]:
    tensors, meta = storage.read_tensors(path)
    if meta["recipe"] != recipe.model_dump(mode="json"):
        raise UserError(f"{path} belongs to another recipe; delete it or train elsewhere")
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    for name, parameter in parameters.items():
        if f"momentum/{name}" in tensors:
            buffer = torch.empty_like(parameter).copy_(tensors[f"momentum/{name}"])
            optimizer.state[parameter]["momentum_buffer"] = buffer
    return meta["history"]
