"""The trainer: any recipe and augmentation, one process or several.

It never waits for the device inside an epoch, and resumes exactly.
"""

import copy
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from specfreq.augment import Augmentation
from specfreq.core.devices import exact
from specfreq.core.errors import UserError
from specfreq.core.images import checked
from specfreq.core.progress import progress_bar
from specfreq.data.streams import Stream
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.recipe import Recipe
from specfreq.train.state import Row
from specfreq.train.step import Step
from specfreq.train.team import Team

log = logging.getLogger(__name__)


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
    team, augmentation = team or Team(next(model.parameters()).device), augmentation or Augmentation()
    check(recipe, images, team.size)
    step = Step(model, images, labels, recipe, augmentation, team, checkpoints)
    _warn_of_early(recipe, step.steps)
    shown = None if after_epoch is None else lambda epoch: after_epoch(epoch, _copied(step.model))
    if team.rank:
        checkpoints, progress, shown = None, False, None
    drive(step, recipe.epochs, checkpoints, progress, after_step, shown)
    return step.state.history


class Training(Protocol):
    """What `drive` asks of a training: its steps, one after another, and its state between two of them."""

    device: torch.device
    count: int  # images of an epoch
    steps: int  # of an epoch

    def position(self) -> list[int]: ...  # finished epochs, and finished steps of the current one
    def take(self) -> Iterator[int]: ...  # steps that are left of the epoch; of each how many images it had
    def losses(self) -> Tensor: ...  # of the epoch so far; refused if one is not finite
    def end_epoch(self) -> Row: ...
    def end(self) -> None: ...
    def tensors(self) -> tuple[dict[str, Tensor], Any]: ...  # what a checkpoint holds


def drive(
    training: Training,
    epochs: int,
    checkpoints: Checkpoints | None = None,
    progress: bool | None = None,
    after_step: Callable[[int, int], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
) -> None:
    """Take what is left of a training, save it when that is due, and show how far it is; options as of `fit`.

    What `after_epoch` does to the global stream and to the settings of torch is undone.
    """
    begun, step = training.position()
    seen = begun * training.count + step * training.count // training.steps
    total = epochs * training.count
    bar = progress_bar("train", total, "img", progress, line=1, initial=seen, unit_scale=True)
    # a seed sets the streams of all GPUs
    streams = range(torch.cuda.device_count()) if training.device.type == "cuda" else []
    with bar, exact(training.device), torch.random.fork_rng(devices=streams):
        for epoch in range(begun + 1, epochs + 1):
            for size in training.take():
                bar.update(size)
                if checkpoints is not None and checkpoints.due():
                    training.losses()
                    checkpoints.save(*training.tensors())
                if after_step is not None:
                    after_step(*training.position())
            row = training.end_epoch()
            if after_epoch is not None:
                with exact(training.device), torch.random.fork_rng(devices=streams), torch.enable_grad():
                    after_epoch(epoch)
            bar.set_postfix(row | {"epoch": f"{epoch}/{epochs}"}, refresh=False)
        training.end()


def _warn_of_early(recipe: Recipe, steps: int) -> None:
    """Warn where the average lags behind the weights, with so many steps in an epoch."""
    window = round(1 / (1 - recipe.ema))
    if recipe.ema and 10 * window > recipe.epochs * steps:
        log.warning(
            "specfreq: ema=%g averages over about %d of %d steps, early ones among them; take a smaller one",
            recipe.ema,
            window,
            recipe.epochs * steps,
        )


def _copied(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model).eval()
    copied.zero_grad(set_to_none=True)
    return copied


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
