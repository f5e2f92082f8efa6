"""Adversarial: how often the classifier stays right when images are changed to its disadvantage, and whether
to believe it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn
from tqdm import tqdm

from specfreq import attacks as kinds
from specfreq.attacks import Attacked
from specfreq.attacks.base import Model, climb, judged
from specfreq.attacks.gradient import cross_entropy
from specfreq.attacks.square import Schedule
from specfreq.core.progress import progress_bar
from specfreq.core.randomness import Draws, content, seed_of, uniform
from specfreq.core.spec import Levels, Listed, matching, parts
from specfreq.measures import answers, inference
from specfreq.measures.answers import Count, Images

ATTACKS = (
    "fgsm",
    "pgd",
    "apgd-ce",
    "apgd-t",
    "square",
)  # the cheap ones first: what one has fooled, the next need not
NOISE = 10  # draws of random corners of the ball
FAR = 64.0  # eps, in 255ths, where no network is right any more, if its gradients can be followed
SOME, MORE = (
    1.0,
    2.0,
)  # % of the images: more than chance would explain; more than a stronger attack may still find

Attack = Callable[[Model, Tensor, Tensor, float, Tensor], Attacked]  # model, images, labels, eps, seeds


def _one_spelling(names: str) -> str:
    chosen = [matching("attack", name, ATTACKS) for name in parts(names)]
    return "+".join(name for name in ATTACKS if name in chosen)


# written fgsm+pgd
Names = Annotated[str, AfterValidator(_one_spelling)]
Rounds = Annotated[int, Field(ge=1, le=100_000)]
# written 4+8+16
Curve = Annotated[
    tuple[Levels, ...],
    Listed,
    AfterValidator(lambda v: tuple(sorted(set(v)))),
]


def adversarial(
    model: nn.Module,
    images: Images,
    *,
    attacks: Names = "fgsm+pgd+apgd-ce+apgd-t+square",
    eps: Levels = 8.0,
    curve: Curve = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0),
    steps: Rounds = 20,
    restarts: Rounds = 1,
    apgd_steps: Rounds = 50,
    targets: Rounds = 3,
    queries: Rounds = 500,
    schedule: Schedule = "rescaled",
    seed: Annotated[int, Field(ge=0)] = 0,
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""Accuracy on the worst images that attacks find within ε of each image, in every value, and in [0, 1].

    .. math:: A(\varepsilon) = \tfrac{100}{N} \sum_i
        \bigl[\arg\max f(x) = y_i \text{ for all } x \text{ tried with }
        \|x - x_i\|_\infty \le \varepsilon\bigr]

    An attack tries the images that are left by those before it. With apgd_steps=100, targets=9, queries=5000
    and schedule=absolute the last three are those of AutoAttack's standard ensemble, without FAB. The default
    schedule is rescaled to the number of queries, and is the stronger where these are few. An image is lost
    only if the network errs again on what was found. To answer with NaN or infinity there is to err; on an
    image as it is, it is an error.

    Args:
        attacks: fgsm, pgd, apgd-ce, apgd-t (targeted), square (of answers alone), written fgsm+pgd; see
            `attacks`.
        eps: ε in 255ths.
        curve: other ε in 255ths at which pgd is tried, written 2+4+16; each on the images that are left by
            the smaller ones.
        steps, restarts: of pgd; the restarts also of both apgd.
        apgd_steps, targets: of apgd, for each target; and how many classes apgd-t aims at.
        queries, schedule: of square: see `attacks.square`.
        seed: of the draws; an image's own depend on it and on the image's content.
        size: at most so many images, balanced over the classes.

    Returns:
        attacks, eps; accuracy (on the images as they are), after (a list: what is left after each attack),
        robust (after the last), alone (of fgsm by itself, and of pgd, which tries the smaller ε of the curve
        too; null for the others), noise_accuracy (under the worst of 10 random corners of the ball), all in
        %; curve_eps and curve_accuracy (%, of pgd); clean_loss and attacked_loss (mean cross-entropy; null if
        the network has answered with NaN or infinity); zero_gradients (% of the rightly answered images
        without any slope), late (% of the images, fooled in the second half of apgd-ce's steps; null without
        it), images (how many), and masked: the reasons to think that the network only hides its gradients,
        and is less robust than it seems:

        - gradient: more than 1 % have no slope;
        - noise: random corners fool more than pgd does, by over 1 % of the images;
        - single-step: fgsm fools more than pgd does, by over 1 %;
        - more-steps: apgd-ce still fools over 2 % in the second half of its steps;
        - black-box: square fools over 2 % of the images, that pgd or apgd could not;
        - growing-eps: over 1 % are left at the largest ε of the curve, if that is 64 or more (as they are,
          too, of a network that has learned nothing and gives all images one class).

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite.

    Source: Croce and Hein, ICML 2020 (the ensemble); Athalye et al., ICML 2018, section 3.1, and Carlini et
    al., arXiv 1902.06705 (what masked gradients look like).
    """
    images = answers.balanced(images, size)
    eps, names = float(eps), parts(attacks)
    radii = sorted({*map(float, curve), eps})
    auto = {"steps": apgd_steps, "restarts": restarts}
    tried: dict[str, Attack] = {
        "fgsm": lambda f, x, y, e, seeds: kinds.fgsm(f, x, y, e),
        "pgd": lambda *asked: kinds.pgd(*asked, steps=steps, restarts=restarts),
        "apgd-ce": lambda *asked: kinds.apgd(*asked, **auto),
        "apgd-t": lambda *asked: kinds.apgd(*asked, **auto, loss="dlr-targeted", targets=targets),
        "square": lambda *asked: kinds.square(*asked, queries=queries, schedule=schedule),
    }
    labels = iter(images.labels.split(batch))

    def answer(x: Tensor) -> Tensor:
        with torch.inference_mode(False):  # there, nothing has gradients
            suite = _Suite(model, images, x.clone(), next(labels).to(x.device), seed, tried, bar)
            return suite.run(names, eps, radii, apgd_steps // 2)

    total = len(images) * (1 + len(radii) + len({*names} - {"fgsm", "pgd"}))
    with progress_bar("attacks", total, "img", line=1) as bar:
        table = inference.evaluate(model, images, answer, precision=precision, batch=batch).double()
    means = table.mean(0).tolist()
    right, clean_loss, attacked_loss = means[0], means[1], means[-1]
    clean, _, noise, flat, fgsm, late, *more, _ = (100 * mean for mean in means)  # as `_Suite.run` has them
    left, after = more[: len(radii)], more[len(radii) :]
    pgd = left[radii.index(eps)]
    zero = flat / right if right else None
    lost = {name: b - a for name, b, a in zip(names, [clean, *after[:-1]], after, strict=True)}
    reasons = {
        "gradient": (zero or 0) > SOME,
        "noise": noise < pgd - SOME,
        "single-step": fgsm < pgd - SOME,
        "more-steps": late > MORE,
        "black-box": bool({*names} - {"fgsm", "square"}) and lost.get("square", 0) > MORE,
        "growing-eps": radii[-1] >= FAR and left[-1] > SOME,
    }
    return {
        "attacks": names,
        "eps": eps,
        "accuracy": clean,
        "after": after,
        "robust": after[-1],
        "alone": [{"fgsm": fgsm, "pgd": pgd}.get(name) for name in names],
        "noise_accuracy": noise,
        "curve_eps": radii,
        "curve_accuracy": left,
        "clean_loss": clean_loss,
        "attacked_loss": attacked_loss if math.isfinite(attacked_loss) else None,
        "zero_gradients": zero,
        "late": late if "apgd-ce" in names else None,
        "masked": [reason for reason, holds in reasons.items() if holds],
        "images": len(images),
        answers.EACH: _of_each(table, names, radii, eps),
    }


def _of_each(table: Tensor, names: Sequence[str], radii: Sequence[float], eps: float) -> dict[str, Tensor]:
    """Which images (N,) are answered rightly, by the place of their share in the result; from the table
    (N, ...) of `_Suite.run`.
    """
    right, _, noise, _, fgsm, _, *more, _ = table.unbind(1)
    at, after = more[: len(radii)], more[len(radii) :]
    alone = {"fgsm": fgsm, "pgd": at[radii.index(eps)]}
    each = {"accuracy": right, "noise_accuracy": noise, "robust": after[-1]}
    each |= {f"after.{place}": held for place, held in enumerate(after)}
    each |= {f"alone.{place}": alone[name] for place, name in enumerate(names) if name in alone}
    each |= {f"curve_accuracy.{place}": held for place, held in enumerate(at)}
    return {name: held > 0.5 for name, held in each.items()}


class _Suite:
    """All that is tried on one batch of images (B, C, H, W); what is asked about an image depends on it
    alone.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        x: Tensor,
        y: Tensor,
        seed: int,
        tried: Mapping[str, Attack],
        bar: tqdm,
    ):
        self.ask = lambda x: answers.fitting(model(x), images)
        self.x, self.y, self.seed, self.tried, self.bar = x, y, seed, tried, bar
        self.content = content((255 * x).round())
        self.loss, self.right = self._judged(x, y)
        answers.finite(self.loss[:, None], images)

    def run(self, names: Sequence[str], eps: float, radii: Sequence[float], half: int) -> Tensor:
        """Of each image (B, ...): whether it is answered rightly as it is, its loss, whether it is answered
        rightly under noise, has no slope, is answered rightly under fgsm, and is fooled late; whether it is
        answered rightly at each radius, and after each attack; and its highest loss.
        """
        loss, noise = self.loss.clone(), self._under_noise(eps)
        _, _, slope = climb(self.ask, self.x, self.y, cross_entropy)
        flat = self.right & (slope == 0).flatten(1).all(1)
        fgsm, _ = self._left("fgsm", eps, self.right, counts="fgsm" in names)
        held, late = self.right, torch.zeros_like(self.right)
        at = {}
        for radius in radii:
            held, _ = self._left("pgd", radius, held, counts=radius <= eps and "pgd" in names)
            at[radius] = held
        alone = {"fgsm": fgsm, "pgd": at[eps]}
        held, after = self.right, []
        for name in names:
            if name in alone:
                held = held & alone[name]
            else:
                held, fell = self._left(name, eps, held)
                late = fell > half if name == "apgd-ce" else late
            after.append(held)
        return torch.stack([self.right, loss, noise, flat, fgsm, late, *at.values(), *after, self.loss], 1)

    def _left(self, name: str, eps: float, of: Tensor, counts: bool = True) -> tuple[Tensor, Tensor]:
        """Which of those images (B,) stay right under an attack, and at which of its steps the others fell,
        else -1.

        With `counts`, what is found counts for the highest loss of each image.
        """
        (place,), held, fell = of.nonzero(as_tuple=True), of.clone(), torch.full_like(self.y, -1)
        if len(place):
            clean, y, largest = self.x[place], self.y[place], eps / 255
            found, step = self.tried[name](self.ask, clean, y, largest, self._seeds(name)[place])
            if not ((found - clean).abs().max() <= largest + 1e-6 and found.min() >= 0 and found.max() <= 1):
                raise RuntimeError(f"{name} left the ball of {eps:g}/255, or [0, 1]")
            loss, right = self._judged(found, y)
            held[place], fell[place] = right, torch.where(right, -1, step)
            if counts:
                self.loss[place] = torch.maximum(self.loss[place], loss)
        self.bar.update(len(self.x))
        return held, fell

    def _under_noise(self, eps: float) -> Tensor:
        held = self.right
        for draw in range(NOISE):
            corner = (
                self.x + eps / 255 * (uniform(self._seeds("noise") + draw, *self.x.shape[1:]) - 0.5).sign()
            )
            held = held & self._judged(corner.clamp(0, 1), self.y)[1]
        return held

    def _seeds(self, what: str) -> Tensor:
        return Draws(self.content, seed_of(self.seed, "adversarial", what)).bits(1)[:, 0]

    def _judged(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy (B,), and which answers are right (B,)."""
        with torch.no_grad():
            fooled, loss = judged(self.ask(x), y, cross_entropy)
        return loss, ~fooled
