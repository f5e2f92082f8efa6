"""The state of a training between two steps, and what a checkpoint holds of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from specfreq.augment import Augmentation
from specfreq.core.errors import UserError
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.recipe import Recipe

# of the arithmetic: raised whenever a recipe would end in other bits than before; part of every run's key
VERSION = 1
EVERY = 5  # steps between two times that the network takes the average of its states
Row = dict[str, float]


class Diverged(RuntimeError):
    """The loss is no longer finite. The message names epoch, step and learning rate."""


def finite_losses(losses: Sequence[Tensor], epoch: int, steps: int, rate: Callable[[int], float]) -> Tensor:
    """The losses of the first of all steps of an epoch, each () or (K,), on the CPU, once the device has
    computed them.

    Raises:
        Diverged: one is not finite; names epoch, step and learning rate.
    """
    found = torch.stack(tuple(losses)).cpu()
    if not found.isfinite().all():
        first = tuple((~found.isfinite()).nonzero()[0].tolist())
        where = f"epoch {epoch + 1}, step {first[0] + 1} of {steps}, at lr {rate(first[0]):.3g}"
        raise Diverged(f"the loss is {found[first]} in {where}; lower lr")
    return found


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those of the tensors whose names begin with ``name/``, without that."""
    return {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}


def refuse_other(recipe: BaseModel, version: int, made_by: Sequence[Any], source: Checkpoints) -> None:
    """Refuse a checkpoint that another recipe, or another version of the trainer, has made.

    Args:
        made_by: version and fields, as the checkpoint has them; fields newer than it have their defaults.
    """
    number, fields = made_by
    if number != version or type(recipe)(**fields).model_dump() != recipe.model_dump():
        raise UserError(f"{source.path} belongs to another recipe; delete it or train elsewhere")


def moments(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an optimizer keeps of named parameters, as ``optimizer/KEY/NAME``."""
    kept = {name: optimizer.state.get(parameter, {}) for name, parameter in parameters.items()}
    return {
        f"optimizer/{key}/{name}": value
        for name, values in kept.items()
        for key, value in values.items()
        if value is not None
    }


def restore_moments(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Give an optimizer what `moments` found, of those parameters that are named here."""
    for place, tensor in part(tensors, "optimizer").items():
        key, _, name = place.partition("/")
        if name in parameters:
            parameter = parameters[name]
            # as the optimizer made it: buffers like the parameter, counts of steps where they were
            held = tensor if key == "step" else torch.empty_like(parameter).copy_(tensor)
            optimizer.state[parameter][key] = held


def version(recipe: Recipe) -> int:
    """`VERSION` for this recipe. One more with an average, whose weights have batch statistics of their own
    since.
    """
    return VERSION + bool(recipe.ema)


def _groups(model: nn.Module, parameters: dict[str, nn.Parameter], recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters as an optimizer takes them; normalisation's shifts apart where they have a rate of their
    own, ``factor`` times that of the others.
    """
    if recipe.shift_lr == 1:
        return [{"params": list(parameters.values())}]
    norms = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
    shifts = {f"{name}.bias" for name, module in model.named_modules() if isinstance(module, norms)}
    own = [p for name, p in parameters.items() if name in shifts]
    others = [p for name, p in parameters.items() if name not in shifts]
    factor, decay = recipe.shift_lr, recipe.weight_decay / recipe.shift_lr
    return [{"params": others}, {"params": own, "factor": factor, "weight_decay": decay}]


class State:
    """All that a training is made of between two steps: what a checkpoint holds.

    Parameters of the augmentation are trained and averaged as those of the model are, by the same rate and
    with the same weight decay.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, augmentation: Augmentation | None = None):
        self.model, self.recipe = model, recipe
        self.augmentation = Augmentation() if augmentation is None else augmentation
        learned = {f"augment/{name}": p for name, p in self.augmentation.named_parameters()}
        self.parameters = dict(model.named_parameters()) | learned
        # in place; what is not learned stays as it is, and can be of integers
        self.averaged = [p.detach() for p in self.parameters.values() if p.requires_grad]
        if recipe.lookahead:  # running statistics too, so that they fit the weights
            buffers = [t.detach() for t in model.buffers() if t.is_floating_point()]
            self.averaged += buffers
        self.averages: list[Tensor] = []
        groups = _groups(model, self.parameters, recipe)
        if recipe.optimizer == "adam":
            self.optimizer = torch.optim.Adam(groups, recipe.lr, weight_decay=recipe.weight_decay)
        else:
            nesterov = recipe.nesterov and recipe.momentum > 0
            self.optimizer = torch.optim.SGD(
                groups,
                recipe.lr,
                recipe.momentum,
                weight_decay=recipe.weight_decay,
                nesterov=nesterov,
            )
        self.history: list[Row] = []
        self.taken = 0  # steps of all epochs
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.losses: list[Tensor] = []
        self.sizes: list[int] = []
        self.correct = torch.zeros((), dtype=torch.int64, device=next(iter(self.parameters.values())).device)

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def average(self, decay: float) -> None:
        """average <- decay average + (1 - decay) weights; the first are the weights themselves."""
        if self.averages:
            torch._foreach_lerp_(self.averages, self.averaged, 1 - decay)  # pyright: ignore
        else:
            self.averages = [t.clone() for t in self.averaged]

    def end(self) -> bool:
        """The network takes the averages, if there are any; whether these are of its parameters alone."""
        if self.averages:
            torch._foreach_copy_(self.averaged, self.averages)  # pyright: ignore
        return bool(self.averages and self.recipe.ema)

    def finite(self) -> bool:
        """Whether all that was learned are numbers. Buffers of an augmentation can be infinite: masks are."""
        held = [*self.model.state_dict().values(), *self.augmentation.parameters()]
        return all(bool(t.isfinite().all()) for t in held)

    def position(self) -> list[int]:
        """Finished epochs, and finished steps of the current one."""
        return [len(self.history), len(self.losses)]

    def end_step(self, loss: Tensor, correct: Tensor, size: int, progress: float) -> None:
        """A batch of that size has been learned: its mean loss (), and how many answers were right ().

        Args:
            progress: the share of the training that is over.
        """
        self.losses.append(loss)
        self.correct = self.correct + correct
        self.sizes.append(size)
        self.taken += 1
        if self.recipe.ema:
            self.average(self.recipe.ema)
        elif self.recipe.lookahead and self.taken % EVERY == 0:
            # early states know little
            self.average(self.recipe.lookahead**EVERY * progress**3)
            torch._foreach_copy_(self.averaged, self.averages)  # pyright: ignore

    def end_epoch(self, loss: float, accuracy: float, lr: float, more: Row) -> Row:
        row = {"epoch": len(self.history) + 1, "loss": loss, "accuracy": accuracy, "lr": lr, **more}
        self.history.append(row)
        self._begin_epoch()
        return row

    def tensors(self) -> tuple[dict[str, Tensor], Any]:
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"augment/{k}": v for k, v in self.augmentation.state_dict().items()}
        tensors |= moments(self.optimizer, self.parameters)
        tensors |= {f"average/{i}": t for i, t in enumerate(self.averages)}
        tensors |= {"losses": torch.stack(self.losses), "correct": self.correct}
        return tensors, {
            "recipe": [version(self.recipe), self.recipe.model_dump(mode="json")],
            "history": self.history,
            "sizes": self.sizes,
            "taken": self.taken,
        }

    def restore(self, tensors: dict[str, Tensor], meta: Any, source: Checkpoints) -> None:
        refuse_other(self.recipe, version(self.recipe), meta["recipe"], source)
        self.model.load_state_dict(part(tensors, "model"))
        # older checkpoints have none, and are of augmentations that learn nothing
        if augment := part(tensors, "augment"):
            self.augmentation.load_state_dict(augment)
        averages = part(tensors, "average")
        self.averages = [averages[str(i)].to(self.correct.device) for i in range(len(averages))]
        restore_moments(self.optimizer, self.parameters, tensors)
        self.history, self.sizes = meta["history"], meta["sizes"]
        self.taken = meta.get("taken", 0)  # older checkpoints have no lookahead
        self.correct = tensors["correct"].to(self.correct.device)
        self.losses = list(tensors["losses"].to(self.correct.device))
