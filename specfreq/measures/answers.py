"""What measures have in common: answers that fit the set, a smaller set, and images behind ideal filters."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from specfreq import fourier
from specfreq.core import devices
from specfreq.core.errors import UserError
from specfreq.data.sets import ImageSet
from specfreq.data.streams import Stream
from specfreq.measures import inference

Images = ImageSet | Stream
Count = Annotated[int, Field(ge=1, le=10**9)]
Radius = Annotated[float, Field(gt=0, le=1e6)]
Level = Literal["set", "zero"]
# written 4+8+12, for a comma would end the option
Radii = Annotated[tuple[Radius, ...], BeforeValidator(lambda v: v.split("+") if isinstance(v, str) else v)]


NAMED = 5  # images that are named in a message


def fitting(logits: Tensor, images: Images) -> Tensor:
    """The logits (B, classes) as they are.

    Raises:
        UserError: there are more or fewer than the set has classes.
    """
    if logits.shape[1] != len(images.classes):
        raise UserError(
            f"the classifier knows {logits.shape[1]} classes, {images.name} has {len(images.classes)}"
        )
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
    """At most `size` of the images, as many of each class as can be; all of them if not given."""
    return images if size is None or size >= len(images) else images.subset(size)


def chance(images: Images) -> float:
    """Accuracy of guessing among equally large classes, %."""
    return 100 / len(images.classes)


def accuracies(answers: Tensor, labels: Tensor) -> list[Any]:
    """Accuracy in %, for answers (N, ...) to several questions at once: nested lists of shape (...)."""
    right = answers == labels.reshape(-1, *[1] * (answers.ndim - 1))
    return (100 * right.sum(0).double() / len(labels)).tolist()


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
