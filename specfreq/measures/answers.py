"""What measures have in common: answers that fit the set, a smaller set, and images behind ideal filters."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from specfreq import fourier
from specfreq.core import devices
from specfreq.core.errors import UserError
from specfreq.core.spec import Listed
from specfreq.data.planted import BANDS
from specfreq.data.sets import ImageSet
from specfreq.data.streams import Stream
from specfreq.measures import inference

Images = ImageSet | Stream
Count = Annotated[int, Field(ge=1, le=10**9)]
Radius = Annotated[float, Field(gt=0, le=1e6)]
Level = Literal["set", "zero"]
Radii = Annotated[tuple[Radius, ...], Listed]  # written 4+8+12
# under which a measure keeps, beside its result, what numbers of it are means of: see `measures.computed`
EACH = "each"
NAMED = 5  # images that are named in a message


def refuse_other(answer: Any, count: int, images: Images, who: str = "the classifier") -> None:
    """Refuse an answer to `count` images that is not their logits (count, classes), whatever it is instead.

    Raises:
        UserError: says what it is: no tensor, such as the tuple or the dict of a network with several
            outputs; no floating-point numbers; another shape; more or fewer logits than the set has classes.
    """
    wanted = f"logits, a floating-point tensor (N, {len(images.classes)})"
    if not isinstance(answer, Tensor):
        raise UserError(
            f"{who} answers with {type(answer).__name__}; it must answer with {wanted}: {_cure(answer)}"
        )
    if not answer.is_floating_point():
        raise UserError(f"{who} answers with {answer.dtype} values; it must answer with {wanted}")
    if answer.ndim != 2 or len(answer) != count:
        raise UserError(
            f"{who} answers {count} images with {tuple(answer.shape)} values; it must answer with {wanted}"
        )
    fitting(answer, images, who)


def _cure(answer: Any) -> str:
    """Which part of an answer may be the logits."""
    parts = answer.keys() if isinstance(answer, Mapping) else getattr(answer, "_fields", ())
    held = f" of {', '.join(map(str, parts))}" if parts else ""
    return f"wrap the network in a module that returns that part alone{held}"


def ask(model: nn.Module, images: Images, who: str = "the classifier") -> None:
    """Refuse a network that answers two of the images with something else than their logits, see
    `refuse_other`.
    """

    def show(x: Tensor) -> Tensor:
        refuse_other(model(x), len(x), images, who)
        return x

    inference.evaluate(model, images.subset(min(2, len(images))), show)


@contextlib.contextmanager
def only_logits(model: nn.Module, images: Images) -> Iterator[None]:
    """Meanwhile refuse whatever else the network answers, see `refuse_other`."""
    if isinstance(model, torch.jit.ScriptModule):  # takes no hooks
        ask(model, images)
        yield
        return
    watch = model.register_forward_hook(lambda _, given, answer: refuse_other(answer, len(given[0]), images))
    try:
        yield
    finally:
        watch.remove()


def fitting(logits: Tensor, images: Images, who: str = "the classifier") -> Tensor:
    """The logits (B, classes) as they are.

    Raises:
        UserError: there are more or fewer than the set has classes.
    """
    if logits.shape[1] != len(images.classes):
        raise UserError(f"{who} knows {logits.shape[1]} classes, {images.name} has {len(images.classes)}")
    return logits


def checked(logits: Tensor, images: Images) -> Tensor:
    """The logits (B, classes) as they are; what is said of images on their way to a measure must be numbers.

    Only what an attack has made of an image may be answered with NaN or infinity: that is a wrong answer, see
    `attacks.base.wrong`.

    Raises:
        UserError: there are more or fewer than the set has classes; some are NaN or infinite.
    """
    fitting(logits, images)
    finite(logits, images)
    return logits


def finite(answers: Tensor, images: Images) -> None:
    """Refuse answers (B, ...) that are NaN or infinite; which images they are of is said if those are the
    whole set.
    """
    bad = (~answers.isfinite().flatten(1).all(1)).nonzero()[:, 0].tolist()
    if not bad:
        return
    which = ""
    if len(answers) == len(images):
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        which = f" (image {', '.join(map(str, bad[:NAMED]))}{more})"
    raise UserError(
        f"the classifier answers images of {images.name} with NaN or infinity{which}; nothing can be measured"
    )


def logits(model: nn.Module, images: Images, precision: str, batch: int) -> Tensor:
    """Logits (N, classes) in float32, on the CPU; checked."""
    return checked(inference.logits(model, images, precision, batch), images)


def balanced(images: Images, size: int | None) -> Images:
    """At most `size` of the images, balanced over the classes; all of them if not given."""
    return images if size is None or size >= len(images) else images.subset(size)


def chance(images: Images) -> float:
    """Accuracy of guessing among equally large classes, %."""
    return 100 / len(images.classes)


def accuracies(answers: Tensor, labels: Tensor) -> list[Any]:
    """Accuracy in %, for answers (N, ...) to several questions at once: nested lists of shape (...)."""
    right = answers == labels.reshape(-1, *[1] * (answers.ndim - 1))
    return (100 * right.sum(0).double() / len(labels)).tolist()


def bands(height: int, width: int) -> dict[str, Tensor]:
    """Which frequencies of the shifted grid are in each band of the planted sets, the last one with the
    corners, booleans (height, width); never the frequency 0.
    """
    ky, kx = (torch.arange(n) - n // 2 for n in (height, width))
    # |f|² times (H W)²: whole numbers, so an edge is an edge everywhere
    squared = (ky * width)[:, None] ** 2 + (kx * height) ** 2
    parts = {}
    for band, edges in BANDS.items():
        low, high = (int(edge * 8) ** 2 * (height * width) ** 2 for edge in edges)
        parts[band] = (squared > 0) & (64 * squared >= low) & ((64 * squared < high) | (band == "high"))
    return parts


def level(model: nn.Module, images: Images, kind: Level, batch: int) -> Tensor:
    """Mean of each channel over a set, or 0: float32 (C, 1, 1) on the model's device."""
    if kind == "set":
        mean = (
            inference.evaluate(model, images, lambda x: x.mean((-2, -1)), batch=batch)
            .double()
            .mean(0)
            .float()
        )
    else:
        mean = torch.zeros(images.shape[0])
    return mean.reshape(-1, 1, 1).to(devices.device_of(model))


def halves(images: Tensor, radii: Sequence[float], level: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """`fourier.low_pass` and `fourier.high_pass` of images (B, C, H, W) at each radius, from one transform of
    them.

    The half without the frequency 0, the high one but for radius 0, is raised by `level` (C, 1, 1). The half
    that has all the others is the image itself, to the bit.
    """
    height, width = images.shape[-2:]
    squared = fourier.half_of(fourier.squared_radius(height, width))
    spectrum = torch.fft.rfft2(images)
    for radius in radii:
        kept = fourier.within(squared, radius)
        low = images if kept.all() else torch.fft.irfft2(spectrum * kept.to(images), s=(height, width))
        yield (low, images - low + level) if radius else (low + level, images)
