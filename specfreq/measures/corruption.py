"""Corruption: how often the classifier is wrong on corrupted images, by corruption and severity."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from specfreq.core.errors import UserError
from specfreq.core.progress import progress_bar
from specfreq.core.spec import Listed, matching, parts
from specfreq.corruptions import ALEXNET, COMMON, EXTRA, SEVERITIES, corrupt, recipe_for, refuse_images
from specfreq.data import corrupted, root
from specfreq.data.sets import choose
from specfreq.measures import answers, inference
from specfreq.measures.answers import Count, Images

GROUPS = {"common": COMMON, "extra": EXTRA, "all": COMMON + EXTRA}
PHOTOGRAPHS = "frost"  # the folder below the data folder that may hold the generators' pictures of frost


def _one_spelling(names: str) -> str:
    chosen = {matching("corruption", name, [*GROUPS, *GROUPS["all"]]) for name in parts(names)}
    chosen |= {name for group in chosen & GROUPS.keys() for name in GROUPS[group]}
    ordered = tuple(name for name in GROUPS["all"] if name in chosen)
    return next((group for group, all_of in GROUPS.items() if all_of == ordered), "+".join(ordered))


# written fog+snow, or common, extra, all
Names = Annotated[str, AfterValidator(_one_spelling)]
Severities = Annotated[
    tuple[Annotated[int, Field(ge=1, le=5)], ...],
    Listed,
    AfterValidator(lambda v: tuple(sorted(set(v)))),
]


def corruption(
    model: nn.Module,
    images: Images,
    *,
    corruptions: Names = "common",
    severities: Severities = SEVERITIES,
    source: Literal["regenerated", "official"] = "regenerated",
    recipe: Literal["cifar10-c", "tiny-imagenet-c", "imagenet-c"] | None = None,
    frost: Literal["computed", "photographs"] = "computed",
    seed: Annotated[int, Field(ge=0)] = 0,
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""Error on corrupted images, in %: of each corruption c and severity s, and means over them.

    .. math:: E_{c,s} = \tfrac{100}{N} \textstyle\sum_i \bigl[\arg\max f(k_{c,s}(x_i)) \ne y_i\bigr], \quad
        \text{mean error} = \tfrac1{15} \sum_c \tfrac15 \sum_s E_{c,s}, \quad
        \text{mCE} = \tfrac{100}{15} \sum_c \frac{\sum_s E_{c,s}}{\sum_s E^\text{AlexNet}_{c,s}}

    The first mean is what is called mCE for CIFAR-10-C; the second, normalised by AlexNet, that of
    ImageNet-C.

    Args:
        corruptions: common (15), extra (4), all, or names, written fog+snow.
        severities: 1 to 5, written 1+3+5.
        source: regenerated: the recipe is applied to the images, see `corruptions.corrupt`. official: the
            published set that was made of them, from the data folder, see `data.corrupted`; of a part of the
            images as many of it.
        recipe: whose constants; by default those of the size. This and the next two are of regenerated images
            only.
        frost: a computed texture, or the generators' photographs in the data folder's `frost/`.
        seed: of the draws; an image's own depend on it and on the image's content.
        size: at most so many images, balanced over the classes.

    Returns:
        made (what the corrupted images are), corruptions, severities, error (%, a list for each corruption,
        an entry for each severity), by_corruption (%, means over the severities), mean_error (%, mean of
        those over the common ones asked for; null if none), extra_error (% over the extra ones; null if
        none), mce (%, AlexNet is 100; null unless the constants are ImageNet-C's and all 15 corruptions and 5
        severities are there), clean_error (%), images (how many).

    Raises:
        UserError: the classifier has another number of outputs than the set has classes, or some are not
            finite; images that cannot be corrupted; a published set that is not there, or options that it
            does not have.

    Source: Hendrycks and Dietterich, ICLR 2019, section 4.
    """
    asked = {"source": source, "recipe": recipe, "frost": frost, "seed": seed}
    refuse(images, corruptions=corruptions, severities=severities, **asked)
    names = named(corruptions)
    clean = answers.balanced(images, size)
    if source == "official":
        made = corrupted.name_of(images)
        corrupt_wrong = _official(model, images, names, severities, size, precision, batch)
        (wrong,) = _wrong(model, clean, [lambda x: x], precision, batch)
    else:
        chosen = recipe or recipe_for(*images.shape[1:]).name
        made = regenerated(images, names, chosen, frost)
        options = {
            "seed": seed,
            "recipe": chosen,
            "frost": root() / PHOTOGRAPHS if frost == "photographs" else None,
        }
        seen = [lambda x: x, *views(names, severities, **options)]
        wrong, *flat = _wrong(model, clean, seen, precision, batch)
        corrupt_wrong = [flat[i : i + len(severities)] for i in range(0, len(flat), len(severities))]
    error = [[_percent(each) for each in of] for of in corrupt_wrong]
    means: dict[str, Any] = dict(zip(names, map(_mean, error), strict=True))
    of_imagenet = made == "ImageNet-C" or made.startswith("regenerated, imagenet-c")
    whole = of_imagenet and set(COMMON) <= set(names) and len(severities) == 5
    return {
        "made": made,
        "corruptions": names,
        "severities": list(severities),
        "error": error,
        "by_corruption": list(means.values()),
        "mean_error": _mean([means[name] for name in COMMON if name in means]),
        "extra_error": _mean([means[name] for name in EXTRA if name in means]),
        "mce": _mean([means[name] / ALEXNET[name] for name in COMMON]) if whole else None,
        "clean_error": _percent(wrong),
        "images": len(clean),
        answers.EACH: {"clean_error": wrong, **_of_each(names, corrupt_wrong)},
    }


def named(corruptions: str) -> list[str]:
    """The names of all corruptions that an option names, one by one or as a group."""
    return [name for part in parts(corruptions) for name in GROUPS.get(part, (part,))]


def refuse(
    images: Images,
    *,
    corruptions: str,
    severities: Sequence[int],
    source: str,
    recipe: str | None,
    frost: str,
    seed: int,
    **_: Any,
) -> None:
    """Refuse options that do not go together, images that cannot be corrupted, and what is missing in the
    data folder.
    """
    if source == "official":
        if (recipe, frost, seed) != (None, "computed", 0):
            raise UserError(
                "corruption: recipe, frost and seed are of regenerated images; leave them out for the "
                "official ones"
            )
        for name, severity in itertools.product(named(corruptions), severities):
            corrupted.source(images, name, severity)
        return
    refuse_images(images.shape)
    if frost == "photographs" and "frost" in named(corruptions):  # they are found, and large enough
        corrupt(torch.zeros(1, *images.shape), "frost", 1, recipe=recipe, frost=root() / PHOTOGRAPHS)


def views(
    names: Sequence[str], severities: Sequence[int], **options: Any
) -> list[Callable[[Tensor], Tensor]]:
    """What makes each corruption, of each severity, of images (N, C, H, W); with options of `corrupt`."""
    each = itertools.product(names, severities)
    return [functools.partial(corrupt, name=name, severity=severity, **options) for name, severity in each]


def regenerated(
    images: Images, names: Sequence[str], recipe: str | None = None, frost: str = "computed"
) -> str:
    """How corrupted images were made, as results say it; by default by the recipe for their size."""
    chosen = recipe or recipe_for(*images.shape[1:]).name
    return f"regenerated, {chosen}{f', frost {frost}' if 'frost' in names else ''}"


def _wrong(
    model: nn.Module, images: Images, views: Sequence[Callable[[Tensor], Tensor]], precision: str, batch: int
) -> list[Tensor]:
    """Which images (N,) are answered wrongly, for several views of them, which are read once."""

    def one(view: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        given = answers.checked(model(view(x)), images).argmax(1)
        bar.update(len(x))
        return given

    def answer(x: Tensor) -> Tensor:
        return torch.stack([one(view, x) for view in views], 1)

    with progress_bar("corruptions", len(images) * len(views), "img", line=1, unit_scale=True) as bar:
        given = inference.evaluate(model, images, answer, precision=precision, batch=batch)
    return list((given != images.labels[:, None]).unbind(1))


def _percent(wrong: Tensor) -> float:
    return 100 * int(wrong.sum()) / len(wrong)


def _of_each(names: Sequence[str], wrong: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    """Which images are answered wrongly: by corruption (severities, N), and over the common ones (..., N).
    None, if they are not the same images each time.
    """
    if len({len(each) for of in wrong for each in of}) > 1:
        return {}
    by_name = {name: torch.stack(list(of)) for name, of in zip(names, wrong, strict=True)}
    each = {f"by_corruption.{place}": of for place, of in enumerate(by_name.values())}
    common = [by_name[name] for name in COMMON if name in by_name]
    return each | ({"mean_error": torch.cat(common)} if common else {})


def _official(
    model: nn.Module,
    images: Images,
    names: Sequence[str],
    severities: Sequence[int],
    size: int | None,
    precision: str,
    batch: int,
) -> list[list[Tensor]]:
    wanted = len(answers.balanced(images, size))

    def one(name: str, severity: int) -> Tensor:
        found = corrupted.source(images, name, severity)
        kept = np.arange(len(found.labels))
        if wanted < len(kept):
            kept = choose(found.labels, wanted, 0, f"{corrupted.name_of(images)} {name}")

        def answered() -> Iterator[Tensor]:
            for start in range(0, len(kept), batch):
                part = torch.from_numpy(found.read(kept[start : start + batch]))
                yield answers.checked(inference.logits(model, part, precision, batch), images).argmax(1)
                bar.update(len(part))

        return torch.cat(list(answered())) != torch.from_numpy(found.labels[kept])

    total = len(names) * len(severities) * wanted
    with progress_bar("corruptions", total, "img", line=1, unit_scale=True) as bar:
        return [[one(name, severity) for severity in severities] for name in names]


def _mean(values: Sequence[Any]) -> float | None:
    return sum(values) / len(values) if values else None
