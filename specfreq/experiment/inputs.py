"""What the network of an experiment is fed: filtered images, and the mean and deviation that normalise them."""

import torch
from torch import Tensor

from specfreq import filters
from specfreq.core.images import unit
from specfreq.core.randomness import keyed
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


def fitted(spec: str, images: ImageSet | Stream) -> filters.Filter:
    """The filter of that description, which has learned from the training images what it needs."""
    filter = filters.build(spec)
    return filter if spec == "none" else filter.fit(unit(_pixels(images)))


def filtered(spec: str, images: ImageSet | Stream) -> tuple[filters.Filter, Tensor]:
    """The filter, and the training images behind it, (N, C, H, W): unfiltered ones stay bytes; of a streamed
    set a sample.
    """
    pixels, filter = _pixels(images), filters.build(spec)
    if spec == "none":
        return filter, pixels
    filter.fit(unit(pixels))
    return filter, torch.cat([filter(unit(part)) for part in pixels.split(1000)])


def check(spec: str, images: ImageSet | Stream) -> None:
    """Refuse a filter that cannot do with images of this shape: it is tried on noise."""
    noise = torch.rand(2, *images.shape, generator=keyed("check"))
    filters.build(spec).fit(noise)(noise)
