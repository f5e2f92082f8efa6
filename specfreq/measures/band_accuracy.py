"""Accuracy on images of which only the low, or only the high frequencies are left."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from specfreq import fourier
from specfreq.measures import answers, inference
from specfreq.measures.answers import Count, Images, Level


def band_accuracy(
    model: nn.Module,
    images: Images,
    *,
    step: Count = 1,
    level: Level = "set",
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""Accuracy as a function of the radius of an ideal low pass and of an ideal high pass, in %.

    .. math::
        A_l(r) = \tfrac{100}{N} \textstyle\sum_i \bigl[\arg\max f(X_l^{(r)}(x_i)) = y_i\bigr], \qquad
        A_h(r) = \tfrac{100}{N} \textstyle\sum_i \bigl[\arg\max f(m + x_i - X_l^{(r)}(x_i)) = y_i\bigr]

    where :math:`X_l^{(r)}` keeps the frequencies below r cycles per image. The mean of an image is the
    frequency 0: the high pass takes it away, and with images black on average, many standard deviations from
    all that it has seen, a network is easily lost whatever frequencies it uses. So m, the mean of the set in
    each channel, stands in for it. The radii go from 0, where the high pass keeps all of an image (and the
    low pass nothing: m), to the first whole number at which the low pass does: there, exactly, :math:`A_h(0)
    = A_l(r_\text{last}) =` the accuracy on the images as they are. No image is clipped.

    Args:
        step: distance between radii, cycles per image.
        level: m; set: the mean of the set, zero: 0, the high pass as it is defined.
        size: at most so many images, balanced over the classes.

    Returns:
        radii (cycles per image), low and high (%, one for each radius), accuracy (unfiltered, %), chance (%),
        images (how many); low_half, the least radius at which the low-pass curve has come half way from
        chance to accuracy, and high_half, the largest at which the high-pass curve has not fallen below that,
        both null if the accuracy is not above chance; low_area and high_area, the means of the curves over
        the radius (%, trapezoids).

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite.

    Source: Lin et al., IJCAI 2022, who show single radii.
    """
    images = answers.balanced(images, size)
    last = math.isqrt(int(fourier.squared_radius(*images.shape[1:]).max())) + 1
    radii = [*range(0, last, step), last]

    grey = answers.level(model, images, level, batch)

    def answer(x: Tensor) -> Tensor:
        given = [
            [answers.checked(model(half), images).argmax(1) for half in pair]
            for pair in answers.halves(x, radii, grey)
        ]
        return torch.stack([torch.stack(pair, 1) for pair in given], 1)

    given = inference.evaluate(model, images, answer, precision=precision, batch=batch)
    low, high = zip(*answers.accuracies(given, images.labels), strict=True)
    chance, clean = answers.chance(images), high[0]
    # counted in right answers, so that a curve that comes exactly half way has come half way
    wholly = given == images.labels[:, None, None]
    right = wholly.sum(0)
    classes, all_right = len(images.classes), int(right[0, 1])
    half_low, half_high = (2 * classes * right >= len(images) + classes * all_right).T.tolist()
    above = classes * all_right > len(images)
    return {
        "radii": radii,
        "low": list(low),
        "high": list(high),
        "accuracy": clean,
        "chance": chance,
        "images": len(images),
        "low_half": next(itertools.compress(radii, half_low)) if above else None,
        "high_half": max(itertools.compress(radii, half_high)) if above else None,
        answers.EACH: {
            "accuracy": wholly[:, 0, 1],
            **{f"low.{place}": wholly[:, place, 0] for place in range(len(radii))},
            **{f"high.{place}": wholly[:, place, 1] for place in range(len(radii))},
        },
        "low_area": _area(radii, low),
        "high_area": _area(radii, high),
    }


def _area(radii: Sequence[int], curve: Sequence[float]) -> float:
    return float(torch.trapezoid(torch.tensor(curve, dtype=torch.float64), torch.tensor(radii))) / radii[-1]
