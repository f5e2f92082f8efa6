"""A step of a training: what it shows the network, who attacks it, whose gradients meet, what is learned."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from specfreq import attacks
from specfreq.attacks.base import climbed, start
from specfreq.augment import Augmentation
from specfreq.core.devices import autocast
from specfreq.core.errors import UserError
from specfreq.core.randomness import keyed, seed_of, uniform
from specfreq.data.streams import Stream
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.feed import Feed
from specfreq.train.recipe import Recipe, learning_rate
from specfreq.train.state import Diverged, Row, State, finite_losses
from specfreq.train.team import Team, synchronised

SETTLING = 100  # batches, at most, that the statistics of averaged weights are means over


class Adversary:
    """A random start in each image's ball, by the image's seed, and one signed step: see `train.fit`."""

    def __init__(self, recipe: Recipe, count: int, device: torch.device):
        self.recipe, self.count, self.device = recipe, count, device
        self.seeds = lru_cache(maxsize=1)(self._drawn)

    def _drawn(self, epoch: int) -> Tensor:
        """The seed of each image (N,) in an epoch."""
        key = keyed(self.recipe.seed, epoch, "adversary")
        return torch.randint(2**63 - 1, (self.count,), generator=key).to(self.device)

    def attack(
        self, views: Sequence[Tensor], seeds: Tensor, loss: Callable[[Sequence[Tensor]], Tensor]
    ) -> tuple[Tensor, ...]:
        """Views (B, C, H, W) with the changes that raise their loss; gradients go to what made the views as
        if the changes were constants.
        """
        eps, alpha = self.recipe.eps / 255, self.recipe.alpha / 255
        plain = [view.detach() for view in views]
        noise = uniform(seeds, len(views), *views[0].shape[1:]).unbind(1)
        starts = [start(x, n, eps).requires_grad_() for x, n in zip(plain, noise, strict=True)]
        with torch.enable_grad():
            slopes = torch.autograd.grad(loss(starts), starts)
        found = [
            climbed(x.detach(), slope, clean, alpha, eps)
            for x, slope, clean in zip(starts, slopes, plain, strict=True)
        ]
        each = zip(views, plain, found, strict=True)
        return tuple(view + (x - clean) if view.requires_grad else x for view, clean, x in each)

    def accuracy(self, model: nn.Module, clean: Tensor, labels: Tensor, seeds: Tensor) -> float:
        """Accuracy in % under an attack that takes its time."""
        fell = attacks.pgd(model, clean, labels, self.recipe.eps / 255, seeds, steps=10).step >= 0
        return 100 - 100 * float(fell.double().mean())


class Step:
    """A training, one step after another, on one process or several; the arguments are those of `train.fit`.

    It goes on from a checkpoint, if there is one. Its `state` is what the next checkpoint holds.

    Raises:
        UserError: a checkpoint is damaged, belongs to another recipe, or is not seen by all processes.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor | Stream,
        labels: Tensor,
        recipe: Recipe,
        augmentation: Augmentation,
        team: Team,
        checkpoints: Checkpoints | None = None,
    ):
        self.recipe, self.team, self.device = recipe, team, next(model.parameters()).device
        self.labels, self.count = labels.to(self.device), len(images)
        self.steps = math.ceil(self.count / recipe.batch)  # of an epoch
        drawn = {name: getattr(recipe, name) for name in ("seed", "shift", "border", "flip", "alternate")}
        self.feed = Feed(images, augmentation, self.device, labels=labels, **drawn)
        self.augmentation = synchronised(augmentation, team).train()
        self.model = synchronised(model, team).train().to(memory_format=torch.channels_last)
        self.adversary = Adversary(recipe, self.count, self.device) if recipe.adversary == "fgsm" else None
        self.state = State(self.model, recipe, self.augmentation)
        if checkpoints is not None and (found := checkpoints.load()):
            self.state.restore(*found, checkpoints)
        if team.told(self.state.position()) != self.state.position():
            raise UserError(
                "the first process goes on from a checkpoint that this one does not see; let all machines "
                "share the runs"
            )
        self.eager, self.optimizer = team.setup(self.model, self.state.optimizer, self.augmentation)
        self.forward = self.eager
        if recipe.compile:
            torch.compiler.reset()  # all networks share one forward, and torch gives up on it after 8 of them
            # dynamic, the kernels would depend on which size of batch came first
            self.forward = torch.compile(self.eager, dynamic=False)

    @property
    def epoch(self) -> int:
        """How many are finished: the one that goes on, from 0."""
        return len(self.state.history)

    def position(self) -> list[int]:
        return self.state.position()

    def tensors(self) -> tuple[dict[str, Tensor], Any]:
        return self.state.tensors()

    def rate(self, epoch: int, step: int) -> float:
        return learning_rate(self.recipe, self.progress(epoch, step + 0.5))

    def progress(self, epoch: int, steps: float) -> float:
        """The share of the training that is over after so many steps of an epoch."""
        return (epoch + steps / self.steps) / self.recipe.epochs

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """The images of each batch: near-equal parts, so that there is no tiny last one."""
        return self.feed.order(epoch).tensor_split(self.steps)

    def share(self, batches: Sequence[Tensor]) -> list[Tensor]:
        """What this process has of each batch."""
        return [batch.tensor_split(self.team.size)[self.team.rank] for batch in batches]

    def take(self) -> Iterator[int]:
        """Take the steps that are left of the epoch, and say of each how many images it was about."""
        epoch, first = self.state.position()
        batches = self.batches(epoch)[first:]
        mine = self.share(batches)
        streams = [
            seed_of(self.recipe.seed, epoch, step, self.team.rank) for step in range(first, self.steps)
        ]
        shown = zip(mine, batches, _seeded(self.feed.views(epoch, mine), streams), strict=True)
        for step, (index, batch, views) in enumerate(shown, first):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(epoch, step) * group.get("factor", 1)
            self._learn(epoch, index, views, len(batch))
            yield len(batch)

    def _learn(self, epoch: int, index: Tensor, views: Sequence[Tensor], size: int) -> None:
        """One step, from what this process has of a batch of that size."""
        y, part = self.labels[index], len(index) / size
        loss, logits = self.answer(self.attacked(epoch, index, views), y)
        self.optimizer.zero_grad(set_to_none=True)
        self.team.backward(loss, part)
        self.optimizer.step()
        # these stay on the device: reading them here would stall its queue
        right = (logits[0].detach().argmax(1) == y).sum()
        over = self.progress(epoch, len(self.state.losses) + 1)
        self.state.end_step(self.team.total(loss.detach() * part), self.team.total(right), size, over)

    def answer(
        self, views: Sequence[Tensor], y: Tensor, network: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss of the views of a batch, and the logits (B, classes) of each."""
        with autocast(self.device, self.recipe.precision):
            out = (network or self.forward)(torch.cat(tuple(views)) if len(views) > 1 else views[0])
            logits = out.to(torch.promote_types(out.dtype, torch.float32)).split(len(y))
            return self.augmentation.loss(logits, y, self.state.criterion), logits

    def attacked(
        self,
        epoch: int,
        index: Tensor,
        views: Sequence[Tensor],
        network: Callable[[Tensor], Tensor] | None = None,
    ) -> Sequence[Tensor]:
        """The views of a batch as they are learned from."""
        if self.adversary is None:
            return views
        y, seeds = self.labels[index], self.adversary.seeds(epoch)[index]
        self.model.train(self.recipe.attack_mode == "train")
        found = self.adversary.attack(views, seeds, lambda views: self.answer(views, y, network)[0])
        self.model.train()
        return found

    def losses(self) -> Tensor:
        """The losses of the epoch so far (steps,), on the CPU, once the device has computed them.

        Raises:
            Diverged: one is not finite.
        """
        epoch = self.epoch
        return finite_losses(self.state.losses, epoch, self.steps, lambda step: self.rate(epoch, step))

    def end_epoch(self) -> Row:
        """Close the epoch, and what the history says of it."""
        epoch, state, losses = self.epoch, self.state, self.losses().double()
        mean = float((losses * torch.tensor(state.sizes)).sum() / self.count)
        more = {} if self.adversary is None else {"robust": self.team.told(self._robust(self.adversary))}
        accuracy = 100 * int(state.correct) / self.count
        return state.end_epoch(mean, accuracy, self.rate(epoch, self.steps - 1), more)

    def _robust(self, adversary: Adversary) -> float | None:
        """The accuracy in % of what the first process had of the last batch, attacked after the epoch."""
        if self.team.rank:
            return None
        (index,) = self.share(self.batches(self.epoch)[-1:])
        (clean,) = self.feed.plain(self.epoch, [index])
        self.model.eval()
        with autocast(self.device, self.recipe.precision):
            seeds = adversary.seeds(self.epoch)[index]
            robust = adversary.accuracy(self.model, clean, self.labels[index], seeds)
        self.model.train()
        return robust

    def end(self) -> None:
        """Leave the network in evaluation mode, with the averages of its weights, if there are any, and with
        batch statistics of those.

        Raises:
            Diverged: what it has learned is not finite.
        """
        if self.state.end():
            torch.manual_seed(seed_of(self.recipe.seed, self.recipe.epochs, 0, self.team.rank))
            with autocast(self.device, self.recipe.precision):
                update_bn(self._untaught(), _Trained(self.eager, self.augmentation))
        self.model.eval()
        if not self.state.finite():
            last = self.rate(self.recipe.epochs - 1, self.steps - 1)
            raise Diverged(
                f"the weights are no longer finite after the last step, at lr {last:.3g}; lower lr"
            )

    def _untaught(self) -> Iterator[Tensor]:
        """The views (V B, C, H, W) of the batches of one more epoch, attacked where those of the training
        were.
        """
        epoch, frozen = self.recipe.epochs, copy.deepcopy(self.model).eval()
        mine = self.share(self.batches(epoch)[:SETTLING])
        made = iter(self.feed.views(epoch, mine))
        for index in mine:
            with torch.autocast(self.device.type, enabled=False):  # as in training
                views = next(made)
            yield torch.cat(tuple(self.attacked(epoch, index, views, frozen)))


def _seeded(views: Iterator[tuple[Tensor, ...]], seeds: Iterable[int]) -> Iterator[tuple[Tensor, ...]]:
    """Views, of which each batch is made and learned from with a global stream of its own: dropout draws from
    there, in the network and in what makes the views.
    """
    for seed in seeds:
        torch.manual_seed(seed)
        yield next(views)


class _Trained(nn.Module):
    """Network and augmentation, called as the network is: the statistics of both are those of averaged
    weights.
    """

    def __init__(self, network: nn.Module, augmentation: Augmentation):
        super().__init__()
        self.network, self.augmentation = network, augmentation

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)
