"""What all attacks keep to: a ball of changes around each image, inside [0, 1]; what they found; how a
network is asked.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]  # images (B, C, H, W) in [0, 1] -> logits (B, classes)
TINY = torch.finfo(torch.float64).tiny
Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, classes), labels (B,) -> what an attack raises (B,)


class Attacked(NamedTuple):
    """Images (B, C, H, W) in the balls, and the step of the attack (B,) whose image was the first with a
    wrong answer, or -1.

    Where no answer was wrong, the image is the one whose loss was the highest. What is wrong says `wrong`.
    """

    images: Tensor
    step: Tensor


def inside(images: Tensor, clean: Tensor, eps: float) -> Tensor:
    """The nearest images that differ from the clean ones by at most eps in every value, and then lie in [0,
    1].
    """
    return images.clamp(clean - eps, clean + eps).clamp_(0, 1)


def start(clean: Tensor, noise: Tensor, eps: float) -> Tensor:
    """A place in the ball around each clean image, chosen by noise in (0, 1) of the same shape, and cut off
    at 0 and 1.
    """
    return (clean + eps * (2 * noise - 1).to(clean.dtype)).clamp_(0, 1)


def climbed(images: Tensor, slope: Tensor, clean: Tensor, step: Tensor | float, eps: float) -> Tensor:
    r"""One signed step up a slope, and back into the ball: :math:`\Pi(x + \alpha \operatorname{sign} \nabla_x
    L)`.
    """
    return inside(images + step * slope.sign(), clean, eps)


def wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Which answers, logits (B, classes), are wrong (B,): another class is the largest, or some are NaN or
    infinite.

    A network that an image makes answer with no numbers has been fooled by it: whoever asks has no right
    answer.
    """
    return (logits.argmax(1) != labels) | ~logits.isfinite().all(1)


def judged(logits: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Which answers are wrong (B,), and their losses in float64 (B,), infinite where NaN or infinite."""
    logits = logits.double()
    broken = ~logits.isfinite().all(1)
    return wrong(logits, labels), loss(logits, labels).masked_fill(broken, torch.inf)


class Search:
    """What an attack has found so far, and which images it is still at: one that was answered wrongly is done
    with.

    Args:
        images, labels: that are attacked, (B, C, H, W) and (B,).
    """

    def __init__(self, images: Tensor, labels: Tensor):
        self.found = Attacked(images.clone(), torch.full_like(labels, -1))
        self.highest = torch.full(labels.shape, -torch.inf, dtype=torch.float64, device=labels.device)

    def left(self) -> Tensor:
        """The images that are still answered rightly, their numbers."""
        return (self.found.step < 0).nonzero()[:, 0]

    def see(self, place: Tensor, images: Tensor, loss: Tensor, wrong: Tensor, step: int) -> Tensor:
        """Take note of images at these places and their losses; returns which of them are still to be
        attacked.
        """
        better = wrong | (loss > self.highest[place])
        self.found.images[place[better]] = images[better]
        self.highest[place[better]] = loss[better]
        self.found.step[place[wrong]] = step
        return (~wrong).nonzero()[:, 0]


class Slopes(NamedTuple):
    """Logits (B, classes) in float64, and the slope of each image's loss, scale * direction: float64 (B,) and
    (B, C, H, W).
    """

    logits: Tensor
    direction: Tensor
    scale: Tensor


def slopes(model: Model, images: Tensor, labels: Tensor, loss: Loss) -> Slopes:
    """The gradient of each image's loss with respect to the image; those of parameters are not computed.

    In float32 the cross-entropy of a confident answer has no slope at all: so its slope at the logits is
    computed in float64, and brought to length 1 before it goes back to the image; its length is the scale.
    What has no slope, or one that is not finite, has direction 0.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
        said = logits.detach().double().requires_grad_()
        (ahead,) = torch.autograd.grad(loss(said, labels).sum(), said)
        scale = ahead.abs().amax(1)
        ahead = (ahead / scale[:, None].clamp_min(TINY)).to(logits.dtype)
        found = (
            torch.autograd.grad(logits, images, ahead, allow_unused=True)[0] if logits.requires_grad else None
        )
    direction = torch.zeros_like(images) if found is None else found.nan_to_num(0, 0, 0)
    return Slopes(said.detach(), direction.detach(), scale)


def climb(model: Model, images: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Which answers are wrong (B,), the loss of each image (B,) and its slope (B, C, H, W), of any length:
    see `slopes`.
    """
    logits, direction, _ = slopes(model, images, labels, loss)
    return *judged(logits, labels, loss), direction


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The highest logit of a wrong class, minus that of the right one (B,): positive where the answer is
    wrong.
    """
    right = labels[:, None]
    return logits.scatter(1, right, -torch.inf).amax(1) - logits.gather(1, right)[:, 0]
