"""Out of distribution: whether a score of the classifier's tells images of its own kind from those of other
sets.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from specfreq import data
from specfreq.core.errors import UserError
from specfreq.core.spec import written_parts
from specfreq.measures import answers, heads, inference, others, separation
from specfreq.measures.answers import Count, Images

Score = Literal["max-logit", "max-softmax", "energy", "odin", "mahalanobis"]
Temperature = Annotated[float, Field(ge=1e-6, le=1e9)]
Step = Annotated[float, Field(ge=0, le=1)]

TEMPERATURES = {"max-softmax": 1.0, "energy": 1.0, "odin": 1000.0}  # of the papers
# ODIN's for images in [0, 1]; its program divides by the normalisation's deviation, which comes to the same
EPS = 0.0014


def out_of_distribution(
    model: nn.Module,
    images: Images,
    *,
    other: others.Names,
    score: Score = "max-logit",
    temperature: Temperature | None = None,
    eps: Step | None = None,
    fitted_on: Count | None = None,
    layer: str | None = None,
    as_published: bool = False,
    size: Count | None = None,
    seed: Annotated[int, Field(ge=0)] = 0,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""How well a score tells the images from those of other sets, set by set; the images are the positive
    ones.

    With the logits f, the features z before the last linear layer and :math:`\hat y = \arg\max_c f_c(x)`, the
    scores are

    .. math::
        \text{max-logit} = \max_c f_c, \quad \text{max-softmax} = \max_c \sigma_c(f/T), \quad
        \text{energy} = T \log \textstyle\sum_c e^{f_c/T}, \\
        \text{odin} = \text{max-softmax of }
            x + \varepsilon \operatorname{sign} \nabla_x \log \sigma_{\hat y}(f(x)/T), \\
        \text{mahalanobis} = -\tfrac12 \min_c (z - \mu_c)^\top \Sigma^{-1} (z - \mu_c).

    Args:
        other: one set or several, cifar100+svhn: any that `data.load` knows (its test split; labels are not
            needed), and the computed uniform-noise, gaussian-noise, constant and phase-scrambled, see
            `others.find`. A path with ``+`` or ``;`` is written in quotes, "folder:/data/c++/x", see
            `spec.parse`.
        score: which; pytorch-ood computes it.
        temperature: T; 1, for odin 1000. The other two have none.
        eps: of odin, in units of the images' range [0, 1]; 0.0014. The moved images are not clipped, as in
            the paper.
        fitted_on: of mahalanobis: at most so many training images of the same name, as many of each class as
            can be; all if not given. Their class means and common covariance are μ and Σ, in float64;
            pytorch-ood adds 1e-6/N to the diagonal of Σ, so that features which are 0 in all N of them weigh
            much in others.
        layer: of mahalanobis: the layer that sees z, as ``named_modules`` of the network calls it; if not
            given, the last linear one, whose output is the logits.
        as_published: auroc and tnr95 as the original program of APR computes them, see `separation.numbers`.
        size: at most so many images, and so many of each other set, balanced over the classes.
        seed: of computed images.

    Returns:
        others (names), and for each of them auroc, tnr95 (at a true positive rate of at least 95 %),
        detection_accuracy, auin, auout, oscr (%, see `separation.numbers`), other_images (how many),
        other_how (what was done to them), other_digests (of their sets; null if computed); mean_auroc and so
        on, the means over the sets; accuracy (%), images (how many), score, temperature and eps (null where
        the score has none). To be drawn: edges (41 scores), histogram (40 counts of the images) and
        other_histograms, see `separation.histograms`; fpr, tpr and ccr (%, at most 100 points for each set).

    Raises:
        UserError: a set that is not there or does not fit; an option of another score; the classifier has
            another number of outputs than the set has classes, or some are not finite; mahalanobis without a
            linear layer (see `heads.watched`), without training images of that name, or with no more of them
            than features.

    Source: Hendrycks et al., ICML 2022 (max-logit); Hendrycks and Gimpel, ICLR 2017 (max-softmax); Liu et
    al., NeurIPS 2020 (energy); Liang et al., ICLR 2018 (odin, and the two kinds of noise); Lee et al.,
    NeurIPS 2018 (mahalanobis: theirs also joins several layers and moves the input).
    """
    options = _settled(score, temperature, eps, fitted_on, layer)
    known = answers.balanced(images, size)
    sets = [others.find(name, known, size=size, seed=seed) for name in written_parts(other)]
    asked = _question(model, known, score, options, fitted_on, layer, precision, batch)

    def scores(given: Images | Tensor, about: Any, view: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        def answer(x: Tensor) -> Tensor:
            logits, *more = asked.seen(view(x))
            return torch.cat([answers.fitting(logits, about), *more], 1)

        found = inference.evaluate(model, given, answer, precision=precision, batch=batch)
        answers.finite(found, about)
        logits, more = found[:, : len(known.classes)], found[:, len(known.classes) :]
        return asked.score((more if more.shape[1] else logits).double()), logits.argmax(1)

    mine, said = scores(known, known, lambda x: x)
    right = said == known.labels
    theirs = [scores(one.given, one, one.view)[0] for one in sets]
    counts = [separation.Thresholds.of(mine, part, right) for part in theirs]
    rows = [separation.numbers(c, as_published) for c in counts]
    curves = [separation.curve(c) for c in counts]
    edges, (histogram, *histograms) = separation.histograms([mine, *theirs])
    return {
        "score": score,
        **options,
        "others": [one.name for one in sets],
        **{name: [row[name] for row in rows] for name in rows[0]},
        **{f"mean_{name}": value for name, value in separation.means(rows).items()},
        "accuracy": 100 * int(right.sum()) / len(right),
        "images": len(known),
        "other_images": [len(one) for one in sets],
        "other_how": [one.how for one in sets],
        "other_digests": [one.digest for one in sets],
        answers.EACH: {} if as_published else separation.of_each(mine, theirs),
        "edges": edges,
        "histogram": histogram,
        "other_histograms": histograms,
        **{name: [part[name] for part in curves] for name in curves[0]},
    }


def refuse(
    images: Images,
    *,
    other: str,
    score: str,
    temperature: float | None,
    eps: float | None,
    fitted_on: int | None,
    layer: str | None,
    **_: Any,
) -> None:
    """Refuse options of another score, and other sets that are not there or do not fit."""
    _settled(score, temperature, eps, fitted_on, layer)
    for name in written_parts(other):
        others.refuse(name, images)


def _settled(
    score: str, temperature: float | None, eps: float | None, fitted_on: int | None, layer: str | None
) -> dict[str, float | None]:
    """The options of the score with their defaults; those of another score are refused."""
    for name, value, has in (
        ("temperature", temperature, score in TEMPERATURES),
        ("eps", eps, score == "odin"),
        ("fitted_on", fitted_on, score == "mahalanobis"),
        ("layer", layer, score == "mahalanobis"),
    ):
        if value is not None and not has:
            raise UserError(
                f"out-of-distribution: {score} has no {name}; leave it out, or choose another score"
            )
    return {
        "temperature": TEMPERATURES.get(score) if temperature is None else temperature,
        "eps": (EPS if eps is None else eps) if score == "odin" else None,
    }


class _Question(NamedTuple):
    """What is asked about a batch of images: the logits, and what else the score needs; and the score (N,) of
    the last of these.
    """

    seen: Callable[[Tensor], tuple[Tensor, ...]]
    score: Callable[[Tensor], Tensor]


def _question(
    model: nn.Module,
    known: Images,
    score: str,
    options: dict[str, Any],
    fitted_on: int | None,
    layer: str | None,
    precision: str,
    batch: int,
) -> _Question:
    # pytorch-ood scores outliers: the larger, the less known
    from pytorch_ood.detector import EnergyBased, MaxLogit, MaxSoftmax

    temperature = options["temperature"]
    match score:
        case "max-logit":
            return _Question(lambda x: (model(x),), lambda f: -MaxLogit.score(f))
        case "max-softmax":
            return _Question(lambda x: (model(x),), lambda f: -MaxSoftmax.score(f, temperature))
        case "energy":
            return _Question(lambda x: (model(x),), lambda f: -EnergyBased.score(f, temperature))
        case "odin":
            return _Question(
                _moved(model, options["eps"], temperature), lambda f: -MaxSoftmax.score(f, temperature)
            )
    watched = heads.watched(model, known, layer, "mahalanobis")
    detector = _fitted(watched, model, known, fitted_on, precision, batch)

    def seen(x: Tensor) -> tuple[Tensor, ...]:
        features, logits = watched(x)
        return logits, features

    return _Question(seen, lambda z: -detector.predict_features(z))


def _moved(model: nn.Module, eps: float, temperature: float) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Logits of images, and of the images moved towards more confidence."""
    from pytorch_ood.detector import odin_preprocessing

    # a mean would scale gradients with the batch, and round them
    criterion: Any = functools.partial(F.cross_entropy, reduction="sum")

    def seen(x: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode(False), torch.no_grad():
            x = x.clone()
            moved = odin_preprocessing(model, x, criterion=criterion, eps=eps, temperature=temperature)
            return model(x), model(moved)

    return seen


def _fitted(
    watched: heads.Seen, model: nn.Module, known: Images, fitted_on: int | None, precision: str, batch: int
) -> Any:
    from pytorch_ood.detector import Mahalanobis

    try:
        training = data.load(known.name, "train")
    except UserError as error:
        raise UserError(f"mahalanobis needs the training images of {known.name}: {error}") from None
    if (training.shape, training.classes) != (known.shape, known.classes):
        raise UserError(
            f"mahalanobis: training images of {known.name} have another shape or other classes than those "
            "measured"
        )
    training = answers.balanced(training, fitted_on)
    features = inference.evaluate(
        model, training, lambda x: watched(x)[0], precision=precision, batch=batch
    ).double()
    count, width = features.shape
    _, labels = training.labels.unique(return_inverse=True)  # a small subset may lack classes
    if count - len(labels.unique()) < width:
        raise UserError(
            f"mahalanobis: {count} training images are too few for a covariance of {width} features; raise "
            "fitted_on"
        )
    with _float64():
        return Mahalanobis(None).fit_features(features, labels)


@contextlib.contextmanager
def _float64() -> Iterator[None]:
    """New tensors are float64 meanwhile: pytorch-ood makes its covariance, whose inverse needs that, of the
    default type.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
