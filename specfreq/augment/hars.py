"""HARS: which image of another class gives an image its low frequencies, so that they tell nothing."""

import torch
from torch import Tensor

from specfreq import fourier
from specfreq.core.errors import UserError
from specfreq.core.randomness import Draws, keyed, seed_of

ROUNDS = 64  # of exchanges between donors: after a few the donors' classes are as if drawn at random


def donors(labels: Tensor, seed: int = 0, names: tuple[str, ...] = ()) -> Tensor:
    """For every image another one, of another class; each is given once: int64 (N,), a permutation.

    Images are sorted by class and rotated by the size of the largest class, so that no image gets one of its
    own; then pairs drawn at random exchange their donors wherever both stay of another class. The class of a
    donor is so about as likely as it is frequent among the other classes. The same on every machine.

    Args:
        labels: int64 (N,), N > 0.
        seed: of the drawing.
        names: of the classes, for messages.

    Raises:
        UserError: one class has more than half of the images: there is no such permutation.
    """
    check(labels, names)
    count = len(labels)
    counts = labels.bincount()
    draws = Draws(torch.arange(count), seed_of("hars", seed))
    turn = (
        Draws(torch.arange(len(counts)), seed_of("hars", seed, "classes")).bits(1)[:, 0].argsort(stable=True)
    )
    place = torch.empty_like(turn)
    place[turn] = torch.arange(len(turn))
    shuffled = draws.bits(1)[:, 0].argsort(stable=True)
    order = shuffled[place[labels[shuffled]].argsort(stable=True)]
    donor = torch.empty(count, dtype=torch.int64)
    donor[order] = order.roll(-int(counts.max()))
    for _ in range(ROUNDS):
        a, b = draws.bits(1)[:, 0].argsort(stable=True)[: count // 2 * 2].view(2, -1)
        both = (labels[donor[b]] != labels[a]) & (labels[donor[a]] != labels[b])
        a, b = a[both], b[both]
        donor[a], donor[b] = donor[b], donor[a]
    return donor


def donors_as_published(labels: Tensor, seed: int = 0, names: tuple[str, ...] = ()) -> Tensor:
    """As `donors`, drawn as the original does: image after image draws a class among those that have images
    left, its own excepted, and one of these.

    It is nearly sure that at last its own class alone has images left. The original draws on for ever; here
    an earlier image, whose donor and class are others, hands its donor on and takes that one.
    """
    check(labels, names)
    random = keyed("hars as published", seed)
    classes = [int(k) for k in labels.unique()]
    rows = {k: (labels == k).nonzero()[:, 0] for k in classes}
    left = {k: own[torch.randperm(len(own), generator=random)].tolist() for k, own in rows.items()}
    numbers = torch.rand(len(labels), 2, generator=random, dtype=torch.float64).tolist()
    found: list[int] = []
    of = labels.tolist()
    for i, (first, second) in enumerate(numbers):
        others = [k for k in classes if k != of[i] and left[k]]
        if others:
            found.append(left[others[int(first * len(others))]].pop())
            continue
        own = left[of[i]].pop()
        able = [j for j in range(i) if of[j] != of[i] and of[found[j]] != of[i]]
        earlier = able[int(second * len(able))]
        found.append(found[earlier])
        found[earlier] = own
    return torch.tensor(found)


def donors_of_any_class(labels: Tensor, seed: int = 0, names: tuple[str, ...] = ()) -> Tensor:
    """As `donors`, of whatever class, their own among them: then low frequencies tell nothing at all."""
    return (
        Draws(torch.arange(len(labels)), seed_of("hars of any class", seed))
        .bits(1)[:, 0]
        .argsort(stable=True)
    )


def check(labels: Tensor, names: tuple[str, ...] = ()) -> None:
    """Refuse labels (N,) for which some image would find no donor of another class.

    Raises:
        UserError: a class has more than half of the images; it is named.
    """
    counts = labels.bincount()
    largest = int(counts.argmax())
    if 2 * int(counts[largest]) > len(labels):
        name = names[largest] if names else str(largest)
        raise UserError(
            f"class {name} has {int(counts[largest])} of {len(labels)} images, more than half: there are too "
            "few of other classes to give each of them frequencies; choose a set with smaller classes"
        )


def check_radius(radius: float, height: int, width: int) -> None:
    """Refuse a radius that leaves images no low, or no high frequencies.

    Raises:
        UserError: says the largest that leaves some; or that there is none.
    """
    most = float(fourier.radius(height, width).max())
    if most == 0:
        raise UserError("images of a single pixel have no high frequencies; choose larger ones")
    if not 0 < radius <= most:
        raise UserError(
            f"radius={radius:g} is refused: high frequencies begin there, and {width}x{height} pixels have "
            f"none beyond {most:.4g} cycles per image; write radius={most / 2:.2g}, say"
        )
