"""Calibration: whether the classifier is right as often as it says that it is."""

import math
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from specfreq.core.errors import UserError
from specfreq.core.progress import progress_bar
from specfreq.corruptions import SEVERITIES, refuse_images
from specfreq.measures import answers, inference
from specfreq.measures.answers import Count, Images
from specfreq.measures.corruption import Names, Severities, named, regenerated, views

ALIKE = 2**-30  # of confidences; float64 rounds them to 2^-53


def calibration(
    model: nn.Module,
    images: Images,
    *,
    bins: Annotated[int, Field(ge=1, le=10_000)] = 15,
    per_bin: Count = 100,
    as_published: bool = False,
    corruptions: Names | None = None,
    severities: Severities = SEVERITIES,
    seed: Annotated[int, Field(ge=0)] = 0,
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""Expected, root-mean-square and maximum calibration error of the largest softmax probability, in %.

    .. math:: \text{error} = \sum_b \frac{n_b}{N}\,|a_b - c_b|, \qquad
        \text{rms} = \Bigl(\sum_b \frac{n_b}{N}\,(a_b - c_b)^2\Bigr)^{1/2}, \qquad
        \text{max} = \max_b |a_b - c_b|

    over bins of :math:`n_b` images with accuracy :math:`a_b` and mean confidence :math:`c_b`. *Fixed* bins
    are equally wide, :math:`[b/B, (b+1)/B)`, the last one closed. *Adaptive* bins hold equally many images in
    the order of their confidence, the last one the rest too; images of one confidence share their accuracy,
    so that their order does not matter. Confidences count as equal, and as being on an edge, where they
    differ by less than 1e-9 or so: exponentials are rounded differently from one processor to the next, and a
    network that answers alike to all ten classes is sure of 1/10 on each.

    Args:
        bins: number B of the fixed bins.
        per_bin: images in an adaptive bin.
        as_published: leave the last adaptive bin, the most confident answers, out of the sums, as the
            original program does.
        corruptions: ask about the images behind each of these corruptions at each severity, all answers in
            the same bins; names as in `corruption`. By default about the images as they are.
        severities, seed: of the corruptions, as in `corruption`, so that both meet the same images.
        size: at most so many images, balanced over the classes; None for all.

    Returns:
        accuracy, confidence (mean) and overconfidence (confidence minus accuracy), all in %; fixed_error,
        fixed_rms, fixed_max and adaptive_error, adaptive_rms, adaptive_max, in %; of either kind _accuracy
        and _confidence of each bin (%; null where it is empty) and _count; images (how many). Null, too, are
        errors over no bin. Of corrupted images also made (what they are), corruptions and severities; the
        counts are those of all answers, one for each image and corruption and severity.

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite; severities or a seed without corruptions; images that cannot be corrupted.

    Source: Naeini et al., AAAI 2015 (fixed bins); Hendrycks et al., ICLR 2019 (root mean square, adaptive
    bins of 100).
    """
    refuse(images, corruptions=corruptions, severities=severities, seed=seed)
    images = answers.balanced(images, size)
    if corruptions is None:
        confidence, given = answers.logits(model, images, precision, batch).double().softmax(1).max(1)
        right, made = (given == images.labels).double(), {}
    else:
        names = named(corruptions)
        confidence, right = _corrupted(model, images, names, severities, seed, precision, batch)
        told = regenerated(images, names)
        made = {"made": told, "corruptions": names, "severities": list(severities)}
    places = (bins * (confidence + ALIKE)).floor().long().clamp_max(bins - 1)
    fixed = _Bins.of(places, confidence, right, bins)
    order, places, tied = _in_order(confidence, right, per_bin)
    adaptive = _Bins.of(places, confidence[order], tied[order], int(places[-1]) + 1)
    each = _jackknife((tied - confidence)[order], places, order.argsort(), len(images))
    summed = slice(-1) if as_published else slice(None)
    mean, accuracy = (100 * math.fsum(values.tolist()) / len(values) for values in (confidence, right))
    return {
        "accuracy": accuracy,
        "confidence": mean,
        "overconfidence": mean - accuracy,
        **{f"fixed_{k}": v for k, v in _errors(fixed, fixed.count > 0).items()},
        **{f"adaptive_{k}": v for k, v in _errors(adaptive, summed).items()},
        "images": len(images),
        answers.EACH: {} if as_published else {"adaptive_rms": each},
        **_listed("fixed", fixed),
        **_listed("adaptive", adaptive),
        **made,
    }


def refuse(
    images: Images, *, corruptions: str | None, severities: tuple[int, ...], seed: int, **_: Any
) -> None:
    """Refuse options that do not go together, and images that cannot be corrupted."""
    if corruptions is not None:
        refuse_images(images.shape)
    elif (severities, seed) != (SEVERITIES, 0):
        raise UserError(
            "calibration: severities and seed are those of corruptions; say which, such as corruptions=common"
        )


def _corrupted(
    model: nn.Module,
    images: Images,
    names: list[str],
    severities: tuple[int, ...],
    seed: int,
    precision: str,
    batch: int,
) -> tuple[Tensor, Tensor]:
    """Confidence and rightness of the answers to all views of the images, float64 (images x corruptions x
    severities,).
    """

    def one(x: Tensor) -> Tensor:
        confidence, given = answers.checked(model(x), images).double().softmax(1).max(1)
        return torch.stack([confidence, given], 1)

    def answer(x: Tensor) -> Tensor:
        bar.update(len(x) * len(seen))
        return torch.stack([one(view(x)) for view in seen], 1)

    seen = views(names, severities, seed=seed)
    with progress_bar("corruptions", len(images) * len(seen), "img", line=1, unit_scale=True) as bar:
        table = inference.evaluate(model, images, answer, precision=precision, batch=batch)
    confidence, given = table.unbind(2)
    return confidence.flatten(), (given == images.labels[:, None]).double().flatten()


class _Bins(NamedTuple):
    """Number of images, accuracy and mean confidence of each bin, float64 (bins,); NaN for an empty one."""

    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    accuracy: Tensor
    confidence: Tensor

    @classmethod
    def of(cls, places: Tensor, confidence: Tensor, right: Tensor, bins: int) -> "_Bins":
        count = torch.bincount(places, minlength=bins).double()
        return cls(count, *(torch.bincount(places, each, bins) / count for each in (right, confidence)))


def _in_order(confidence: Tensor, right: Tensor, per_bin: int) -> tuple[Tensor, Tensor, Tensor]:
    """The order (N,) of the confidence, the adaptive bins (N,) of the images in it, and what is right (N,),
    shared by images of one confidence.
    """
    _, tied, ties = (confidence / ALIKE).round().unique(return_inverse=True, return_counts=True)
    right = (torch.bincount(tied, right) / ties)[tied]
    order = tied.argsort(stable=True)
    bins = max(1, len(order) // per_bin)
    return order, (torch.arange(len(order)) // per_bin).clamp_max(bins - 1), right


def _errors(bins: _Bins, counted: slice | Tensor) -> dict[str, float | None]:
    """The three errors over some of the bins, in %; None over none of them."""
    share = (bins.count / bins.count.sum())[counted]
    gap = 100 * (bins.accuracy - bins.confidence).abs()[counted]
    if not len(gap):
        return dict.fromkeys(("error", "rms", "max"))
    return {
        "error": float((share * gap).sum()),
        "rms": float((share * gap**2).sum().sqrt()),
        "max": float(gap.max()),
    }


def _jackknife(gap: Tensor, places: Tensor, back: Tensor, images: int) -> Tensor:
    r"""What the root-mean-square error in % is the mean of: a value of each image (N,).

    .. math:: \theta + N \sum_v \frac{\partial \theta}{\partial w_{iv}}, \quad
        \theta = 100 \sqrt Q, \quad Q = \sum_b \frac{D_b^2}{n_b W}

    for weights w of the answers, all 1; D_b is the sum of the gaps, right minus sure, in a bin of n_b
    answers, and W the number of all, several views v of each image. The bins stay as they are.

    Args:
        gap, places: of the answers in the order of their confidence, (W,).
        back: their places in that order, as they came: views of one image together.
    """
    count = len(gap)
    sums, sizes = torch.bincount(places, gap), torch.bincount(places).double()
    square = float((sums**2 / sizes).sum() / count)
    if not square:
        return torch.zeros(images, dtype=torch.float64)
    ratio = (sums / sizes)[places]
    slope = (2 * ratio * gap - ratio**2 - square) / count
    slope = 50 * slope / math.sqrt(square)
    return 100 * math.sqrt(square) + images * slope[back].view(images, -1).sum(1)


def _listed(kind: str, bins: _Bins) -> dict[str, list[Any]]:
    def percent(values: Tensor) -> list[float | None]:
        return [None if math.isnan(v) else 100 * v for v in values.tolist()]

    return {
        f"{kind}_accuracy": percent(bins.accuracy),
        f"{kind}_confidence": percent(bins.confidence),
        f"{kind}_count": bins.count.long().tolist(),
    }
