"""What the network of an experiment is fed: filtered images, and what normalises them."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from specfreq import filters
from specfreq.core.images import unit
from specfreq.core.randomness import keyed, seed_of
from specfreq.data.sets import ImageSet
from specfreq.data.streams import Stream

SAMPLE = 2000  # images of a streamed set that filters and normalisation learn from


def _sample(images: ImageSet | Stream) -> ImageSet | Stream:
    """The set that filters, augmentations and normalisation learn from: all, or as many images of a streamed
    set as memory can hold.
    """
    return images.subset(min(SAMPLE, len(images))) if isinstance(images, Stream) else images


def labels(images: ImageSet | Stream) -> Tensor:
    """The labels (n,) of the images that are learned from."""
    return _sample(images).labels


def _pixels(images: ImageSet | Stream) -> Tensor:
    """The images that are learned from, bytes (n, C, H, W)."""
    sample = _sample(images)
    if not isinstance(sample, Stream):
        return sample.images
    return torch.cat(list(sample.batches(torch.arange(len(sample)).split(100), "centre")))


def fitted(spec: str, training: Callable[[], ImageSet | Stream]) -> filters.Filter:
    """The filter of that description, which has learned from the training images what it needs; most need
    none.
    """
    filter = filters.build(spec)
    return filter.fit(unit(_pixels(training()))) if learns(filter) else filter


def learns(filter: filters.Filter) -> bool:
    """Whether a filter needs to see the training images: their mean power spectrum, say."""
    return type(filter).fit is not filters.Filter.fit


@contextlib.contextmanager
def drawing(*key: object) -> Iterator[None]:
    """What is built and fitted meanwhile draws its parameters by the key, not from the global stream."""
    with torch.random.fork_rng(devices=[]):  # of the CPU alone, where things are built
        torch.default_generator.manual_seed(seed_of(*key))
        yield


def filtered(spec: str, images: ImageSet | Stream) -> tuple[filters.Filter, Tensor]:
    """The filter, and the training images behind it, (N, C, H, W): unfiltered ones stay bytes; of a streamed
    set a sample.
    """
    pixels, filter = _pixels(images), filters.build(spec)
    if spec == "none":
        return filter, pixels
    filter.fit(unit(pixels))
    with torch.no_grad():
        return filter, torch.cat([filter(unit(part)) for part in pixels.split(1000)])


def check(spec: str, images: ImageSet | Stream) -> None:
    """Refuse a filter that cannot do with images of this shape: it is tried on noise."""
    noise = torch.rand(2, *images.shape, generator=keyed("check"))
    filters.build(spec).fit(noise)(noise)
