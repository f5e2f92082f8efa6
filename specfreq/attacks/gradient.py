"""Attacks that follow the gradient: one step (FGSM), many (PGD), many of adaptive length (APGD)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from specfreq.attacks.base import Attacked, Loss, Model, Search, climb, climbed, inside, judged, start
from specfreq.core.randomness import uniform

MOMENTUM, RISING = (
    0.75,
    0.75,
)  # of APGD: the weight of the new direction, and the share of steps that should raise the loss


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def fgsm(model: Model, images: Tensor, labels: Tensor, eps: float) -> Attacked:
    r"""The fast gradient sign method: :math:`x' = \operatorname{clip}_{[0,1]}(x + \varepsilon
    \operatorname{sign} \nabla_x L)`.

    Args:
        model: images in [0, 1] -> logits, in evaluation mode.
        images, labels: (B, C, H, W) in [0, 1], and (B,).
        eps: largest change of a value, in units of the images.

    Source: Goodfellow, Shlens and Szegedy, ICLR 2015.
    """
    search, every = Search(images, labels), torch.arange(len(labels), device=labels.device)
    _, _, slope = climb(model, images, labels, cross_entropy)
    moved = climbed(images, slope, images, eps, eps)
    with torch.no_grad():
        fooled, loss = judged(model(moved), labels, cross_entropy)
    search.see(every, moved, loss, fooled, 1)
    return search.found


def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Tensor,
    *,
    steps: int = 20,
    restarts: int = 1,
) -> Attacked:
    r"""Projected gradient descent, from a random start in the ball.

    .. math:: x_{k+1} = \Pi(x_k + \alpha \operatorname{sign} \nabla L(x_k)), \quad \alpha = 2.5\,\varepsilon/K

    Args:
        model, images, labels, eps: see `fgsm`.
        seeds: int64 (B,), from which each image has its random starts in the ball.
        steps: their number K.
        restarts: attempts at an image, each from another start.

    Source: Madry et al., ICLR 2018, section 2.2 and appendix.
    """
    search, step = Search(images, labels), 2.5 * eps / max(steps, 1)
    for attempt in range(restarts):
        place = search.left()
        clean, y = images[place], labels[place]
        x = start(clean, uniform(seeds[place] + attempt, *images.shape[1:]), eps)
        for k in range(steps + 1):
            if not len(place):
                break
            wrong, loss, slope = climb(model, x, y, cross_entropy)
            kept = search.see(place, x, loss, wrong, k)
            place, clean, y = place[kept], clean[kept], y[kept]
            x = climbed(x[kept], slope[kept], clean, step, eps)
    return search.found


def apgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Tensor,
    *,
    steps: int = 100,
    restarts: int = 1,
    loss: Literal["ce", "dlr-targeted"] = "ce",
    targets: int = 9,
) -> Attacked:
    r"""Auto-PGD: steps with momentum, halved where they stop raising the loss, each image's own; no step
    length to choose.

    .. math:: x_{k+1} = \Pi\bigl(x_k + \alpha\,(z_k - x_k) + (1 - \alpha)(x_k - x_{k-1})\bigr), \quad
        z_k = \Pi(x_k + \eta_k \operatorname{sign} \nabla L(x_k)), \quad \alpha = \tfrac34

    from :math:`\eta_0 = 2\varepsilon`. The loss is the cross-entropy, or the difference of logits, for
    several targets in turn,

    .. math:: L_t = -\frac{z_y - z_t}{z_{(1)} - \frac12 (z_{(3)} + z_{(4)})}

    which no scale of the logits changes; with fewer than 4 classes, its numerator.

    Args:
        model, images, labels, eps, seeds, restarts: see `pgd`.
        steps: for each attempt and each target.
        targets: the wrong classes t that are most likely on the clean image, so many of them.

    Source: Croce and Hein, ICML 2020, sections 3 and 4.
    """
    search = Search(images, labels)
    if loss == "ce":
        for attempt in range(restarts):
            _auto(model, images, labels, eps, seeds + attempt, steps, search)
        return search.found
    with torch.no_grad():
        answers = model(images).scatter(1, labels[:, None], -torch.inf)
    ranked = answers.argsort(dim=1, descending=True)[:, : min(targets, answers.shape[1] - 1)]
    for attempt in range(restarts):
        for rank, target in enumerate(ranked.unbind(1)):
            search.highest.fill_(-torch.inf)  # losses of two targets cannot be compared
            _auto(model, images, labels, eps, seeds + attempt + restarts * rank, steps, search, target)
    return search.found


def _loss(target: Tensor | None) -> Loss:
    """What an ascent raises: the cross-entropy, or the difference of logits to a target class of each."""
    if target is None:
        return cross_entropy

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        gain = logits.gather(1, target[:, None])[:, 0] - logits.gather(1, labels[:, None])[:, 0]
        if logits.shape[1] < 4:
            return gain
        first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
        return gain / (first - (third + fourth) / 2 + 1e-12)

    return loss


def _checkpoints(steps: int) -> Iterator[int]:
    """After which steps the lengths are looked at, w_j = ceil(p_j K): first after 22 %, then ever sooner,
    down to 6 %.
    """
    before, now = 0, 22
    while now <= 100:
        yield -(-now * steps // 100)
        before, now = now, now + max(now - before - 3, 6)


@dataclass
class _Ascent:
    """Where an ascent stands: of each image that is left a row of each tensor."""

    place: Tensor  # of the image in the batch
    clean: Tensor
    labels: Tensor
    target: Tensor | None
    x: Tensor
    before: Tensor  # x of the step before
    loss: Tensor
    slope: Tensor
    best: Tensor  # x of the highest loss so far, which is best_loss
    best_loss: Tensor
    best_slope: Tensor
    last_best: Tensor  # best_loss at the last look
    length: Tensor  # of a step, (B, 1, 1, 1)
    rises: Tensor  # steps since the last look that raised the loss
    shortened: Tensor  # whether the last look halved the length; nothing is flat before the first

    def keep(self, kept: Tensor) -> None:
        """Go on with these images alone."""
        for name, value in vars(self).items():
            if value is not None:
                setattr(self, name, value[kept])

    def move(self, x: Tensor, loss: Tensor, slope: Tensor) -> None:
        """Take a step to x, where loss and slope are these."""
        better = loss > self.best_loss
        self.before, self.x, self.slope = self.x, x, slope
        self.rises = self.rises + (loss > self.loss)
        self.loss, self.best_loss = loss, torch.where(better, loss, self.best_loss)
        self.best = torch.where(_column(better), x, self.best)
        self.best_slope = torch.where(_column(better), slope, self.best_slope)

    def look(self, wanted: float) -> None:
        """Halve the length and go back to the best where fewer steps than wanted rose, or the best is old."""
        idle = ~self.shortened & (self.best_loss == self.last_best)
        self.shortened = (self.rises < wanted) | idle
        back = _column(self.shortened)
        self.length = torch.where(back, self.length / 2, self.length)
        self.x = torch.where(back, self.best, self.x)
        self.slope = torch.where(back, self.best_slope, self.slope)
        self.last_best, self.rises = self.best_loss, torch.zeros_like(self.rises)


def _column(values: Tensor) -> Tensor:
    """Values (B,) to meet images, (B, 1, 1, 1)."""
    return values[:, None, None, None]


def _auto(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Tensor,
    steps: int,
    search: Search,
    target: Tensor | None = None,
) -> None:
    """One attempt at the images that are left, towards a target class of each if there is one."""
    place = search.left()
    if not len(place):
        return
    clean, aims = images[place], None if target is None else target[place]
    x = start(clean, uniform(seeds[place], *images.shape[1:]), eps)
    wrong, now, slope = climb(model, x, labels[place], _loss(aims))
    length = torch.full((len(place), 1, 1, 1), 2 * eps, dtype=images.dtype, device=images.device)
    rises, shortened = torch.zeros_like(place), torch.ones_like(wrong)
    s = _Ascent(
        place, clean, labels[place], aims, x, x, now, slope, x, now, slope, now, length, rises, shortened
    )
    kept, looked = search.see(place, x, now, wrong, 0), 0
    checkpoints = set(_checkpoints(steps))
    for k in range(1, steps + 1):
        s.keep(kept)
        if not len(kept):
            return
        aim = climbed(s.x, s.slope, s.clean, s.length, eps)
        weight = MOMENTUM if k > 1 else 1
        x = inside(s.x + weight * (aim - s.x) + (1 - weight) * (s.x - s.before), s.clean, eps)
        wrong, now, slope = climb(model, x, s.labels, _loss(s.target))
        s.move(x, now, slope)
        kept = search.see(s.place, x, now, wrong, k)
        if k in checkpoints:
            s.look(RISING * (k - looked))
            looked = k
