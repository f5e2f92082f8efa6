"""Amplitude-phase swap: of two images recombined, does the classifier see the one that gave the amplitude, or
the phase?
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from specfreq import fourier
from specfreq.core import devices
from specfreq.core.errors import UserError
from specfreq.core.images import unit
from specfreq.core.randomness import content, keyed
from specfreq.core.spec import written_parts
from specfreq.data.sets import ImageSet
from specfreq.data.streams import Stream
from specfreq.measures import answers, inference, others
from specfreq.measures.answers import Count, Images


def _single(name: str) -> str:
    if len(written_parts(name)) > 1:
        raise UserError("one other set at a time")
    return name


def amplitude_phase_swap(
    model: nn.Module,
    images: Images,
    *,
    other: Annotated[others.Names, AfterValidator(_single)] | None = None,
    channels: bool = False,
    clip: bool = False,
    seed: Annotated[int, Field(ge=0)] = 0,
    size: Count | None = None,
    precision: str = "float32",
    batch: int = 500,
) -> dict[str, Any]:
    r"""How often the classifier names the class that gave the phase, how often the one that gave the
    amplitude, in %.

    .. math:: x_{ad} = \mathcal{F}^{-1}\bigl(|\mathcal{F} x_a| \, e^{i \arg \mathcal{F} x_d}\bigr), \qquad
        \text{phase} = \tfrac{100}{P} \textstyle\sum_{(a,d)} \bigl[\arg\max f(x_{ad}) = y_d\bigr], \qquad
        \text{amplitude} = \tfrac{100}{P} \textstyle\sum_{(a,d)} \bigl[\arg\max f(x_{ad}) = y_a\bigr]

    over pairs of images of different classes, see `pairs`. Against another set, whose classes the classifier
    does not know, each image has a partner from there: *phase* is then over the images that gave the phase,
    *amplitude* over the same ones giving the amplitude instead.

    Args:
        other: the other set: any that `data.load` knows, or a computed one, see `others.find`.
        channels: transform the channel axis too, as the program of the paper does.
        clip: cut the mixtures off at 0 and 1; else they leave these limits, and have exactly the amplitude
            and phase given.
        seed: of the pairs, which depend on it and on what the set contains, not on its order.
        size: at most so many images, and so many of the other set, balanced over the classes.

    Returns:
        phase, amplitude (%), neither (%; null against another set), pairs (how many: P); right_phase,
        right_amplitude, right_neither, right_pairs, the same over the pairs of which the classifier knows the
        images of its own set as they are; accuracy, and the means of the largest softmax probability on the
        images as they are (confidence), on the mixtures with their phase (phase_confidence) and with their
        amplitude (amplitude_confidence; within one set, the same mixtures), and on the other set as it is
        (other_confidence), all in %; chance (%); images (how many), other, other_how (what was done to its
        images), other_digest. Null is what there is nothing of.

    Raises:
        UserError: a set that is not there or does not fit; the classifier has another number of outputs than
            the set has classes, or some are not finite.

    Source: Chen et al., ICCV 2021, whose figures show single images.
    """
    known = answers.balanced(images, size)
    ask = _Asked(model, known, channels, clip, precision, batch)
    keys: list[Tensor] = []
    whole = ask.whole(known, keys=keys)
    right, ranks = whole.named == known.labels, _ranks(torch.cat(keys), known.labels)
    if other is None:
        found, theirs = None, None
        a, d = (ranks[donors] for donors in pairs(known.labels[ranks], seed))
        with_phase = with_amplitude = ask.mixed(_Donors(known, a), _Donors(known, d))
        hits = {
            "phase": with_phase.named == known.labels[d],
            "amplitude": with_phase.named == known.labels[a],
        }
        hits["neither"], trusted = ~(hits["phase"] | hits["amplitude"]), right[a] & right[d]
    else:
        found = others.find(other, known, size=size, seed=seed)
        theirs = ask.whole(found.given, found.view).sure
        order = torch.randperm(len(found), generator=keyed(seed, "swap", other))
        own = _Donors(known, ranks)
        foreign = _Donors(found.given, order[torch.arange(len(known)) % len(order)], found.view)
        with_phase, with_amplitude = ask.mixed(foreign, own), ask.mixed(own, foreign)
        hits = {
            "phase": with_phase.named == known.labels[ranks],
            "amplitude": with_amplitude.named == known.labels[ranks],
        }
        trusted = right[ranks]
    return {
        "neither": None,
        **{name: _percent(hit) for name, hit in hits.items()},
        "pairs": len(trusted),
        "right_neither": None,
        **{f"right_{name}": _percent(hit[trusted]) for name, hit in hits.items()},
        "right_pairs": int(trusted.sum()),
        "accuracy": _percent(right),
        "chance": answers.chance(known),
        "confidence": _percent(whole.sure),
        "phase_confidence": _percent(with_phase.sure),
        "amplitude_confidence": _percent(with_amplitude.sure),
        "other_confidence": None if theirs is None else _percent(theirs),
        "images": len(known),
        "other": other,
        "other_how": None if found is None else found.how,
        "other_digest": None if found is None else found.digest,
        answers.EACH: {
            **hits,
            "accuracy": right[ranks],
            "confidence": whole.sure[ranks],
            "phase_confidence": with_phase.sure,
            "amplitude_confidence": with_amplitude.sure,
            **({} if theirs is None else {"other_confidence": theirs}),
        }
        if len(trusted)
        else {},
    }


def refuse(images: Images, *, other: str | None, **_: Any) -> None:
    """Refuse another set that is not there or does not fit."""
    if other is not None:
        others.refuse(other, images)


def pairs(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs of images of different classes: indices (N,) of who gives the amplitude, and of who gives the
    phase.

    Each image gives its phase once, and its amplitude once. Where one class has more than half of the images
    that cannot be: then some of it do not give their amplitude, and the others give theirs several times. No
    pairs if there is but one class.

    Args:
        labels: int64 (N,).
        seed: of the draw, which depends on the labels in their order besides.
    """
    generator, count = keyed(seed, "swap"), len(labels)
    kinds, sizes = labels.unique(return_counts=True)
    if len(kinds) < 2:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    donor = torch.randperm(count, generator=generator)
    largest = labels == kinds[sizes.argmax()]
    if 2 * int(largest.sum()) > count:
        many, few = donor[largest[donor]], donor[~largest[donor]]
        donor[many], donor[few] = few[torch.arange(len(many)) % len(few)], many[: len(few)]
    for i in torch.nonzero(labels[donor] == labels)[:, 0]:
        if labels[donor[i]] == labels[i]:  # trade donors with one who can take this one and has one to give
            able = torch.nonzero((labels != labels[i]) & (labels[donor] != labels[i]))[:, 0]
            j = able[torch.randint(len(able), (), generator=generator)]
            donor[i], donor[j] = donor[j].clone(), donor[i].clone()
    return donor, torch.arange(count)


class Swap(NamedTuple):
    """Two images A and B, and their mixtures, as classifiers see them.

    Args:
        pictures: float (4, C, H, W): A, B, amplitude of A with phase of B, amplitude of B with phase of A;
            not clipped.
        classes: of A and of B.
        answers: by the name of a classifier, for each picture the class that it names and the probability, in
            %.
    """

    pictures: Tensor
    classes: tuple[str, str]
    answers: dict[str, list[tuple[str, float]]]


def examples(
    classifiers: Mapping[str, nn.Module],
    images: ImageSet,
    count: int,
    *,
    channels: bool = False,
    seed: int = 0,
) -> list[Swap]:
    """Pairs to look at: `count` of the pairs among those images that all the classifiers know as they are.

    Args:
        classifiers: by name; they are shown the same pairs.
        channels, seed: see `amplitude_phase_swap`.

    Raises:
        UserError: there are fewer such pairs.
    """
    asked = {
        name: _Asked(model, images, channels, False, "float32", 100) for name, model in classifiers.items()
    }
    right = [ask.whole(images).named == images.labels for ask in asked.values()]
    kept = torch.nonzero(torch.stack(right).all(0))[:, 0]
    a, d = (kept[donors] for donors in pairs(images.labels[kept], seed))
    if len(a) < count:
        raise UserError(
            f"of {images.name}, {len(a)} pairs are of images that all the classifiers know, fewer than "
            f"{count}"
        )
    swaps = []
    for chosen in torch.randperm(len(a), generator=keyed(seed, "examples"))[:count].tolist():
        both = torch.stack([a[chosen], d[chosen]])
        x = unit(images.images[both])
        pictures = torch.cat([x, fourier.recombine(x, x.flip(0), channels=channels)])
        answers_of = {}
        for name, ask in asked.items():
            named, sure = ask.whole(pictures)
            answers_of[name] = [(images.classes[int(n)], float(s)) for n, s in zip(named, sure, strict=True)]
        swaps.append(
            Swap(pictures, tuple(images.classes[c] for c in images.labels[both].tolist()), answers_of)
        )
    return swaps


class _Donors(NamedTuple):
    """Images by index, in a set or of another that is brought to its shape."""

    given: Images | Tensor
    places: Tensor
    view: Callable[[Tensor], Tensor] = lambda x: x

    def batches(self, size: int) -> Iterator[Tensor]:
        parts = self.places.split(size)
        if isinstance(self.given, Stream):
            return self.given.batches(parts)
        pixels = self.given.images if isinstance(self.given, ImageSet) else self.given
        return (pixels[part] for part in parts)


class _Answers(NamedTuple):
    """The classes named, int64 (N,), and the largest softmax probabilities, % (N,)."""

    named: Tensor
    sure: Tensor


class _Asked(NamedTuple):
    """A classifier of the classes of a set, and how it is asked."""

    model: nn.Module
    known: Images
    channels: bool
    clip: bool
    precision: str
    batch: int

    def _answers(self, given: Images | Tensor, view: Callable[[Tensor], Tensor]) -> _Answers:
        def answer(x: Tensor) -> Tensor:
            sure, named = answers.checked(self.model(view(x)), self.known).float().softmax(1).max(1)
            return torch.stack([named, 100 * sure], 1)

        named, sure = inference.evaluate(
            self.model, given, answer, precision=self.precision, batch=self.batch
        ).T
        return _Answers(named.long(), sure.double())

    def whole(
        self,
        given: Images | Tensor,
        view: Callable[[Tensor], Tensor] = lambda x: x,
        keys: list[Tensor] | None = None,
    ) -> _Answers:
        """What it says of images as they are; ``keys`` collects what tells them apart by content, int64."""

        def viewed(x: Tensor) -> Tensor:
            if keys is not None:
                keys.append(content((255 * x.double()).round_()).cpu())
            return view(x)

        return self._answers(given, viewed)

    def mixed(self, amplitude_of: _Donors, phase_of: _Donors) -> _Answers:
        """What it says of the mixtures of as many pairs."""
        if not len(phase_of.places):
            return _Answers(phase_of.places, torch.empty(0))
        device = devices.device_of(self.model)
        parts = zip(amplitude_of.batches(self.batch), phase_of.batches(self.batch), strict=True)

        def view(_: Tensor) -> Tensor:
            pair = zip((amplitude_of, phase_of), next(parts), strict=True)
            a, d = (donors.view(unit(part.to(device))) for donors, part in pair)
            mixture = fourier.recombine(a, d, channels=self.channels)
            return mixture.clamp(0, 1) if self.clip else mixture

        return self._answers(torch.arange(len(phase_of.places)), view)


def _ranks(keys: Tensor, labels: Tensor) -> Tensor:
    """Indices of images, in an order that depends on their content and labels alone: int64 (N,)."""
    return torch.from_numpy(np.lexsort((labels.numpy(), keys.numpy())))


def _percent(values: Tensor) -> float | None:
    """The mean of percentages, or the share of what is true; None of nothing."""
    if not len(values):
        return None
    return (
        100 * int(values.sum()) / len(values)
        if values.dtype == torch.bool
        else math.fsum(values.tolist()) / len(values)
    )
