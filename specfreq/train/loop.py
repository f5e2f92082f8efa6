"""The trainer: any recipe and augmentation, one process or several.

It never waits for the device inside an epoch, and resumes exactly.
"""

import copy
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from specfreq import attacks
from specfreq.attacks.base import climbed, start
from specfreq.augment import Augmentation
from specfreq.core.devices import autocast, exact
from specfreq.core.errors import UserError
from specfreq.core.images import checked
from specfreq.core.progress import progress_bar
from specfreq.core.randomness import keyed, seed_of, uniform
from specfreq.data.streams import Stream
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.feed import Feed
from specfreq.train.recipe import Recipe, learning_rate
from specfreq.train.state import Diverged, Row, State
from specfreq.train.team import Team, synchronised

log = logging.getLogger(__name__)
SETTLING = 100  # batches, at most, that the statistics of averaged weights are means over


def fit(
    model: nn.Module,
    images: Tensor | Stream,
    labels: Tensor,
    recipe: Recipe,
    *,
    augmentation: Augmentation | None = None,
    checkpoints: Checkpoints | None = None,
    team: Team | None = None,
    progress: bool | None = None,
    after_step: Callable[[int, int], None] | None = None,
    after_epoch: Callable[[int, nn.Module], None] | None = None,
) -> list[Row]:
    r"""Train a classifier in place, by default with cross-entropy, :math:`-\frac1B\sum_i \log p_{y_i}(x_i)`.

    Args:
        model: images (N, C, H, W) -> logits (N, classes), already on the device that trains.
        images: bytes or floats (N, C, H, W), held on that device as they are; or a set that is streamed from
            disk.
        labels: int64 (N,).
        augmentation: the views to train on and the loss over them; none if not given. On the device as well;
            its parameters, if it has some, are trained with those of the model, in place: same rate, same
            weight decay, same average.
        checkpoints: where to keep the state and to resume from.
        team: the processes that train together; each calls this with the same arguments.
        progress: bar with rate and remaining time; None shows it on terminals only.
        after_step: called with the numbers of finished epochs and steps of the current one.
        after_epoch: called in the first process with the number of finished epochs and a copy of the model as
            it is then, not averaged, in evaluation mode; the copy and the global stream are its own, and
            whatever it does to them changes nothing of the training. One that resumes can call it again with
            an epoch after which no checkpoint was written; never is one left out.

    Returns:
        One row per epoch: epoch, loss (mean over images), accuracy (on the augmented batches, %), lr (last of
        the epoch); with an adversary robust, the accuracy (%) of its last batch under 10 steps of pgd, the
        images cropped and mirrored and, as with apr-s, behind what the augmentation does before that.

    Raises:
        Diverged: the loss became NaN or infinite; names epoch, step and learning rate.
        UserError: a checkpoint is damaged or belongs to another recipe; the crop, the batch or the compiler
            does not fit; images to attack are not in [0, 1].

    An ``adversary`` attacks all views of a batch before the network learns from them:

    .. math:: x' = \Pi\bigl(s + \alpha \operatorname{sign} \nabla_s L(s)\bigr), \quad s = \Pi(x + u), \quad
        u \sim \mathcal{U}[-\varepsilon, \varepsilon]

    where Π goes back into the ball of ε around x, then into [0, 1]; images behind an input filter are
    attacked there. By default the attacked network is in evaluation mode: an image's attack does not depend
    on its batch, and batch statistics move once a step. In the original program it is in training mode, and
    they move twice. Beware of catastrophic overfitting, where accuracy stays high and robust falls to 0: the
    network knows single steps and nothing else.

    With ``ema`` the network ends with the average of its weights, and with batch statistics of those: means
    over at most 100 batches of one more epoch, in which nothing is learned. An average of running statistics
    fits no weights. The average is over some 1 / (1 - ema) steps; more than a tenth of all bring a warning,
    as it lags behind the weights.

    What happens to image i in epoch e depends on (seed, e, i) alone; the order on (seed, e). The masks of
    dropout layers depend on (seed, epoch, step, process).

    Source: Wong, Rice and Kolter, ICLR 2020, algorithm 3 (fgsm); Izmailov et al., UAI 2018, section 3.2 (the
    statistics).
    """
    device = next(model.parameters()).device
    team, augmentation = team or Team(device), augmentation or Augmentation()
    check(recipe, images, team.size)
    drawn = {name: getattr(recipe, name) for name in ("seed", "shift", "border", "flip")}
    feed = Feed(images, augmentation, device, labels=labels, **drawn)
    augmentation = synchronised(augmentation, team).train()
    model = synchronised(model, team).train().to(memory_format=torch.channels_last)
    state = State(model, recipe, augmentation)
    if checkpoints is not None and (found := checkpoints.load()):
        state.restore(*found, checkpoints)
    if team.told(state.position()) != state.position():
        raise UserError(
            "the first process goes on from a checkpoint that this one does not see; let all machines share "
            "the runs"
        )
    eager, optimizer = team.setup(model, state.optimizer, augmentation)
    forward = eager
    if recipe.compile:
        torch.compiler.reset()  # all networks share one forward, and torch gives up on it after 8 of them
        forward = torch.compile(
            eager, dynamic=False
        )  # else the kernels depend on which size of batch came first
    labels, count, steps = labels.to(device), len(images), math.ceil(len(images) / recipe.batch)
    window = round(1 / (1 - recipe.ema))
    if recipe.ema and 10 * window > recipe.epochs * steps:
        told = (
            "specfreq: ema=%g averages over about %d of %d steps, early ones among them; take a smaller one"
        )
        log.warning(told, recipe.ema, window, recipe.epochs * steps)
    show = progress if team.rank == 0 else False
    seen = len(state.history) * count + sum(state.sizes)
    bar = progress_bar("train", recipe.epochs * count, "img", show, line=1, initial=seen, unit_scale=True)

    def rate(epoch: int, step: int) -> float:
        return learning_rate(recipe, (epoch + (step + 0.5) / steps) / recipe.epochs)

    def share(batches: Sequence[Tensor]) -> list[Tensor]:
        """What this process has of each batch."""
        return [batch.tensor_split(team.size)[team.rank] for batch in batches]

    def adversary_seeds(epoch: int) -> Tensor:
        return torch.randint(2**63 - 1, (count,), generator=keyed(recipe.seed, epoch, "adversary")).to(device)

    def answer(
        views: Sequence[Tensor], y: Tensor, network: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss of the views of a batch, and the logits (B, classes) of each."""
        with autocast(device, recipe.precision):
            out = (network or forward)(torch.cat(views) if len(views) > 1 else views[0])
            logits = out.to(torch.promote_types(out.dtype, torch.float32)).split(len(y))
            return augmentation.loss(logits, y, state.criterion), logits

    def robust(epoch: int, index: Tensor) -> float | None:
        """Accuracy in % of what the first process had of a batch, under an attack that takes its time."""
        if team.rank:
            return None
        index = index.tensor_split(team.size)[0]
        (clean,) = feed.plain(epoch, [index])
        model.eval()
        with autocast(device, recipe.precision):
            fell = (
                attacks.pgd(model, clean, labels[index], recipe.eps / 255, seeds[index], steps=10).step >= 0
            )
        model.train()
        return 100 - 100 * float(fell.double().mean())

    def untaught() -> Iterator[Tensor]:
        """The views (V B, C, H, W) of the batches of one more epoch, attacked where those of the training
        were.
        """
        epoch, frozen = recipe.epochs, copy.deepcopy(model).eval()
        mine = share(feed.order(epoch).tensor_split(steps)[:SETTLING])
        seeds = adversary_seeds(epoch) if recipe.adversary == "fgsm" else None
        for index, views in zip(mine, feed.views(epoch, mine), strict=True):
            if seeds is not None:
                with torch.enable_grad():
                    views = _attacked(
                        views, seeds[index], recipe, lambda x, y=labels[index]: answer(x, y, frozen)[0]
                    )
            yield torch.cat(views)

    def finite(epoch: int) -> Tensor:
        """The losses of this epoch so far, once the device has computed them."""
        losses = torch.stack(state.losses).cpu()
        if not losses.isfinite().all():
            step = int((~losses.isfinite()).nonzero()[0])
            where = f"epoch {epoch + 1}, step {step + 1} of {steps}, at lr {rate(epoch, step):.3g}"
            raise Diverged(f"the loss is {losses[step]} in {where}; lower lr")
        return losses

    streams = (
        range(torch.cuda.device_count()) if device.type == "cuda" else []
    )  # a seed sets those of all GPUs
    with bar, exact(device), torch.random.fork_rng(devices=streams):
        for epoch in range(len(state.history), recipe.epochs):
            batches = feed.order(epoch).tensor_split(steps)  # near-equal parts: no tiny last batch
            first = len(state.losses)
            mine = share(batches[first:])
            if recipe.adversary == "fgsm":
                seeds = adversary_seeds(epoch)
            streams_of = [seed_of(recipe.seed, epoch, step, team.rank) for step in range(first, steps)]
            views_of = _seeded(feed.views(epoch, mine), streams_of)
            shown = zip(mine, batches[first:], views_of, strict=True)
            for step, (index, batch, views) in enumerate(shown, first):
                for group in optimizer.param_groups:
                    group["lr"] = rate(epoch, step)
                y = labels[index]
                if recipe.adversary == "fgsm":
                    model.train(recipe.attack_mode == "train")
                    views = _attacked(views, seeds[index], recipe, lambda found, y=y: answer(found, y)[0])
                    model.train()
                loss, logits = answer(views, y)
                optimizer.zero_grad(set_to_none=True)
                part = len(index) / len(batch)
                team.backward(loss, part)
                optimizer.step()
                # these stay on the device: reading them here would stall its queue
                state.losses.append(team.total(loss.detach() * part))
                state.correct = state.correct + team.total((logits[0].detach().argmax(1) == y).sum())
                state.sizes.append(len(batch))
                state.average()
                bar.update(len(batch))
                if checkpoints is not None and team.rank == 0 and checkpoints.due():
                    finite(epoch)
                    checkpoints.save(*state.tensors())
                if after_step is not None:
                    after_step(epoch, step + 1)
            losses = finite(epoch)
            mean = float((losses.double() * torch.tensor(state.sizes)).sum() / count)
            more = {"robust": team.told(robust(epoch, batches[-1]))} if recipe.adversary == "fgsm" else {}
            state.end_epoch(mean, 100 * int(state.correct) / count, rate(epoch, steps - 1), more)
            if after_epoch is not None and team.rank == 0:
                with exact(device), torch.random.fork_rng(devices=streams), torch.enable_grad():
                    after_epoch(epoch + 1, _copied(model))
            bar.set_postfix(epoch=f"{epoch + 1}/{recipe.epochs}", loss=f"{mean:.3f}", refresh=False)
        if state.end():
            torch.manual_seed(seed_of(recipe.seed, recipe.epochs, 0, team.rank))
            with autocast(device, recipe.precision):
                update_bn(untaught(), _Trained(eager, augmentation))
    model.eval()
    if not state.finite():
        last = rate(recipe.epochs - 1, steps - 1)
        raise Diverged(f"the weights are no longer finite after the last step, at lr {last:.3g}; lower lr")
    return state.history


def _copied(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model).eval()
    copied.zero_grad(set_to_none=True)
    return copied


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


def _attacked(
    views: Sequence[Tensor], seeds: Tensor, recipe: Recipe, loss: Callable[[Sequence[Tensor]], Tensor]
) -> tuple[Tensor, ...]:
    """Views (B, C, H, W) with the changes that raise their loss: a random start in each one's ball by the
    image's seed, a step. Gradients go to what made the views as if the changes were constants.
    """
    plain = [view.detach() for view in views]
    noise = uniform(seeds, len(views), *views[0].shape[1:]).unbind(1)
    starts = [start(x, n, recipe.eps / 255).requires_grad_() for x, n in zip(plain, noise, strict=True)]
    slopes = torch.autograd.grad(loss(starts), starts)
    found = [
        climbed(x.detach(), slope, clean, recipe.alpha / 255, recipe.eps / 255)
        for x, slope, clean in zip(starts, slopes, plain, strict=True)
    ]
    each = zip(views, plain, found, strict=True)
    return tuple(view + (x - clean) if view.requires_grad else x for view, clean, x in each)


def check(recipe: Recipe, images: Tensor | Stream, processes: int = 1) -> None:
    """Refuse images (N, C, H, W) or a set that a recipe does not fit, before any work.

    Raises:
        UserError: the crop, the shift, the batch or the compiler; says what to take instead.
    """
    streamed = isinstance(images, Stream)
    if streamed != (recipe.crop == "random-resized"):
        kind, crop = ("streamed from disk", "random-resized") if streamed else ("in memory", "shift")
        raise UserError(f"crop={recipe.crop} does not fit images that are {kind}; take crop={crop}")
    if recipe.adversary != "none" and not streamed and images.is_floating_point():
        for part in images.split(1000):
            checked(part, hint="; attacked images stay in [0, 1], so leave out the filter")
    side = min(images.shape[-2:])
    if not streamed and recipe.shift >= side:
        raise UserError(
            f"shift={recipe.shift} moves images of {side} pixels out of sight; take a smaller one"
        )
    smallest = len(images) // math.ceil(len(images) / recipe.batch)
    if smallest < 2 * processes:
        raise UserError(
            f"batches of {smallest} images are too small for {processes} process(es); take a larger batch or "
            "set"
        )
    if recipe.compile and next(filter(shutil.which, ("c++", "g++", "clang++")), None) is None:
        raise UserError(
            "compile=True needs a C++ compiler on the PATH, such as g++; install one, or leave it out"
        )
