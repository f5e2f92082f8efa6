"""Attacks that follow the gradient: one step (FGSM), many (PGD), many of adaptive length (APGD)."""

from collections.abc import Iterator
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
            _auto(model, images, labels, eps, seeds + attempt, steps, cross_entropy, search)
        return search.found
    with torch.no_grad():
        answers = model(images).scatter(1, labels[:, None], -torch.inf)
    ranked = answers.argsort(dim=1, descending=True)[:, : min(targets, answers.shape[1] - 1)]
    for attempt in range(restarts):
        for rank, target in enumerate(ranked.unbind(1)):
            search.highest.fill_(-torch.inf)  # losses of two targets cannot be compared
            _auto(model, images, labels, eps, seeds + attempt + restarts * rank, steps, None, search, target)
    return search.found


def _towards(target: Tensor) -> Loss:
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


def _auto(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Tensor,
    steps: int,
    loss: Loss | None,
    search: Search,
    target: Tensor | None = None,
) -> None:
    """One attempt at the images that are left: with a loss, or towards a target class of each."""
    place = search.left()
    if not len(place):
        return

    def ask(x: Tensor, s: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        return climb(model, x, s["y"], loss or _towards(s["target"]))

    s = {"place": place, "clean": images[place], "y": labels[place]}
    if target is not None:
        s["target"] = target[place]
    s["x"] = s["before"] = start(s["clean"], uniform(seeds[place], *images.shape[1:]), eps)
    wrong, s["loss"], s["slope"] = ask(s["x"], s)
    s |= {"best": s["x"], "best_loss": s["loss"], "best_slope": s["slope"], "last_best": s["loss"]}
    s["step"] = torch.full((len(place), 1, 1, 1), 2 * eps, dtype=images.dtype, device=images.device)
    s["rises"], s["shortened"] = (
        torch.zeros_like(place),
        torch.ones_like(wrong),
    )  # nothing is flat before the first look
    kept, looked = search.see(place, s["x"], s["loss"], wrong, 0), 0
    checkpoints = set(_checkpoints(steps))
    for k in range(1, steps + 1):
        s = {name: value[kept] for name, value in s.items()}
        if not len(kept):
            return
        aim = climbed(s["x"], s["slope"], s["clean"], s["step"], eps)
        weight = MOMENTUM if k > 1 else 1
        x = inside(s["x"] + weight * (aim - s["x"]) + (1 - weight) * (s["x"] - s["before"]), s["clean"], eps)
        s["before"], s["x"] = s["x"], x
        wrong, now, s["slope"] = ask(x, s)
        s["rises"] = s["rises"] + (now > s["loss"])
        s["loss"], better = now, now > s["best_loss"]
        s["best_loss"] = torch.where(better, now, s["best_loss"])
        for name, new in (("best", x), ("best_slope", s["slope"])):
            s[name] = torch.where(better[:, None, None, None], new, s[name])
        kept = search.see(s["place"], x, now, wrong, k)
        if k in checkpoints:
            idle = ~s["shortened"] & (s["best_loss"] == s["last_best"])
            shorten = (s["rises"] < RISING * (k - looked)) | idle
            back = shorten[:, None, None, None]
            s["step"] = torch.where(back, s["step"] / 2, s["step"])
            s["x"], s["slope"] = (
                torch.where(back, s["best"], x),
                torch.where(back, s["best_slope"], s["slope"]),
            )
            s |= {"shortened": shorten, "last_best": s["best_loss"], "rises": torch.zeros_like(s["rises"])}
            looked = k
