"""Images of which a classifier knows nothing: other sets by name, brought to the shape of its own, and
computed ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor
from torch.nn import functional as F

from specfreq import data
from specfreq.core.errors import UserError
from specfreq.core.images import luminance
from specfreq.core.randomness import Draws, content, seed_of
from specfreq.core.spec import matching, quoted, unquoted, written_parts
from specfreq.measures.answers import Images, balanced


def _uniform(draws: Draws, shape: tuple[int, ...]) -> Tensor:
    return draws.uniform(*shape)


def _gaussian(draws: Draws, shape: tuple[int, ...]) -> Tensor:
    return (0.5 + draws.normal(*shape)).clamp(0, 1)


def _constant(draws: Draws, shape: tuple[int, ...]) -> Tensor:
    return draws.uniform(shape[0], 1, 1).expand(-1, *shape)


# of nothing: each value uniform, or normal with mean 0.5 and deviation 1 (clipped), or one colour for the
# whole image
NOISE: dict[str, Callable[[Draws, tuple[int, ...]], Tensor]] = {
    "uniform-noise": _uniform,
    "gaussian-noise": _gaussian,
    "constant": _constant,
}
SCRAMBLED = "phase-scrambled"  # the classifier's own images, see `scrambled`
COMPUTED = (*NOISE, SCRAMBLED)


def _one_spelling(names: str) -> str:
    return "+".join(sorted({_spelling(_meant(text)) for text in written_parts(names)}))


def _meant(text: str) -> str:
    """The name of a set, of which a part of an option is written: see `Names`."""
    return unquoted(text) if text.startswith('"') else text.replace(";", ",")


def _spelling(name: str) -> str:
    """The one spelling of a set's name, as a part of an option."""
    kind, colon, rest = name.partition(":")
    kind = matching("set of other images", kind, (*COMPUTED, *data.names()))
    if kind in COMPUTED and colon:
        raise UserError(f"{kind} has no parameters; leave {colon}{rest} out")
    name = kind if kind in COMPUTED else data.normal_form(f"{kind}{colon}{rest}")
    bare = name.replace(",", "")
    return name.replace(",", ";") if quoted(bare) == bare else quoted(name)


# written cifar100+svhn; a set's own commas as semicolons, planted:band=high;side=32, for a comma would end
# the option; a path
# that has + or ; itself in quotes, "folder:/data/c++/x"
Names = Annotated[str, AfterValidator(_one_spelling)]


@dataclass(frozen=True)
class Other:
    """Other images, as a classifier is asked about them.

    Args:
        name: what they were found by.
        given: what `inference.evaluate` goes through: a set, or for noise a key for each image, int64 (N,).
        view: a batch of that -> float images (B, C, H, W) in [0, 1] of the shape of the classifier's.
        classes: those of the classifier, for what is checked about its answers.
        how: what was done to the images.
        digest: SHA-256 of their set's content; None if computed.
    """

    name: str
    given: Images | Tensor
    view: Callable[[Tensor], Tensor]
    classes: tuple[str, ...]
    how: str
    digest: str | None

    def __len__(self) -> int:
        return len(self.given)


def find(name: str, known: Images, *, size: int | None, seed: int) -> Other:
    """Other images by name: the test split of a set, at most `size` of them, or as many computed ones as
    there are known images.

    Sets are brought to the shape of the known images: grey ones repeat their channel, colours become their
    luma, of larger ones the middle is scaled down (antialiased, bilinear). What is computed is rounded to
    bytes, as pictures are.

    Args:
        name: one of `COMPUTED`, or of the sets that `data.load` knows, as a part of `Names` has it.
        seed: of computed images; those of noise depend on it and their number, the scrambled ones on it and
            their content.

    Raises:
        UserError: the set is not there, has no images, or smaller ones, or another number of channels than 1
            and 3.
    """
    start, shape = seed_of(seed, "other images", name), known.shape
    if name == SCRAMBLED:
        return Other(
            name, known, lambda x: scrambled(x, start), known.classes, "computed of the known images", None
        )
    if name in NOISE:

        def noise(keys: Tensor) -> Tensor:
            return _bytes(NOISE[name](Draws(keys, start), shape))

        return Other(name, torch.arange(len(known)), noise, known.classes, "computed", None)
    other = balanced(data.load(_meant(name), "test"), size)
    if not len(other):
        raise UserError(f"{name} has no images; nothing can be measured")
    fit, how = _fitting(name, other.shape, shape)
    return Other(name, other, fit, known.classes, how, other.digest)


def refuse(name: str, known: Images) -> None:
    """Refuse other images that `find` would refuse, of which one is read.

    Raises:
        UserError: as `find`.
    """
    if name not in COMPUTED:
        _fitting(name, data.load(_meant(name), "test", 1).shape, known.shape)


def scrambled(images: Tensor, seed: int) -> Tensor:
    r"""Images with the amplitudes that they have and with phases of noise, clipped to [0, 1].

    .. math:: x' = \mathcal{F}^{-1}\bigl(\mathcal{F}x \cdot e^{i \arg \mathcal{F}u}\bigr),
        \qquad u \text{ uniform on } (0, 1)

    One u for all channels of an image, so that colours that go together still do; the mean stays.

    Args:
        images: float (B, C, H, W) in [0, 1]; the draws of each depend on its content alone.
    """
    height, width = images.shape[-2:]
    draws = Draws(content((255 * images).round()), seed)
    noise = torch.fft.rfft2(draws.uniform(1, height, width))
    moved = torch.fft.rfft2(images.double()) * noise / noise.abs()
    return _bytes(torch.fft.irfft2(moved, s=(height, width)).clamp(0, 1))


def _bytes(images: Tensor) -> Tensor:
    return (255 * images).round().float() / 255


def _fitting(
    name: str, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[Callable[[Tensor], Tensor], str]:
    """How images of one shape (C, H, W) are brought to another, and what to call it."""
    (channels, height, width), (_, tall, wide) = shape, wanted
    if height < tall or width < wide or (channels != wanted[0] and {channels, wanted[0]} != {1, 3}):
        raise UserError(
            f"images of {name} are {_said(shape)} and do not fit those of the classifier, {_said(wanted)}; "
            f"smaller ones are not enlarged: choose another set, or a folder with ?size={min(tall, wide)}"
        )
    scale = min(height / tall, width / wide)
    rows, columns = round(scale * tall), round(scale * wide)  # of the middle that is kept
    top, left = (height - rows) // 2, (width - columns) // 2

    def fit(x: Tensor) -> Tensor:
        if (height, width) != (tall, wide):
            x = x[..., top : top + rows, left : left + columns]
            x = F.interpolate(x, (tall, wide), mode="bilinear", antialias=True)
        if channels > wanted[0]:
            x = luminance(x)
        return x.expand(-1, wanted[0], -1, -1)

    done = []
    if (height, width) != (tall, wide):
        done.append(f"scaled from {height}x{width}")
    if channels != wanted[0]:
        done.append("grey repeated" if channels == 1 else "luma")
    return fit, ", ".join(done) or "as they are"


def _said(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[2]} with {shape[0]} channel{'s' * (shape[0] != 1)}"
