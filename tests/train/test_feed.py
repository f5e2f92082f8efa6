"""What a network is shown: the crops by an independent reference; the same for every batch size and number of
processes.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from specfreq import train
from specfreq.augment import APRPair, Augmentation
from specfreq.train.feed import Feed, shifted
from specfreq.train.team import Team


@pytest.mark.parametrize("border", ["zero", "grey", "edge", "reflect"])
def test_shifting_is_padding_and_cropping(border):
    """The reference: pad one image, cut the window, mirror."""
    g = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (5, 3, 7, 9), generator=g, dtype=torch.uint8)
    index = torch.tensor([4, 0, 2, 2])
    dy, dx = torch.tensor([-2, 3, 0, 1]), torch.tensor([1, -3, 0, 2])
    flip = torch.tensor([True, False, True, False])
    mode = {"zero": "constant", "grey": "constant", "edge": "replicate", "reflect": "reflect"}[border]
    value = {"value": 128.0} if border == "grey" else {}
    out = shifted(images, index, dy, dx, flip, border)
    floats = shifted(images / 255, index, dy, dx, flip, border)
    assert torch.equal((floats * 255).round().byte(), out)
    for k in range(4):
        padded = F.pad(images[index[k]].float()[None], (3, 3, 3, 3), mode=mode, **value)[0]
        window = padded[:, 3 - dy[k] : 10 - dy[k], 3 - dx[k] : 12 - dx[k]]
        assert torch.equal(out[k].float(), window.flip(-1) if flip[k] else window)


@pytest.fixture(scope="module")
def images():
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (300, 2, 9, 8), generator=g, dtype=torch.uint8), torch.arange(300) % 3


class Recorder(nn.Module):
    """A network that keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.bias, self.seen = nn.Parameter(torch.zeros(3)), []

    def forward(self, x):
        self.seen.append(x.clone())
        return self.bias.expand(len(x), -1)


class Member(Team):
    """One of several processes, without the others: enough to see what it is shown."""

    def __init__(self, rank, size):
        super().__init__(torch.device("cpu"))
        self.rank, self.size = rank, size


def shown(images, augmentation=None, batch=64, rank=0, size=1, seed=0):
    """All views in order of the epoch, (views, 2 epochs x images, C, H, W)."""
    recipe, network = (
        train.Recipe(epochs=2, batch=batch, lr=0.01, shift=2, border="reflect", seed=seed),
        Recorder(),
    )
    train.fit(network, *images, recipe, augmentation=augmentation, team=Member(rank, size))
    views = 2 if augmentation else 1
    return torch.cat([torch.stack(x.chunk(views)) for x in network.seen], dim=1)


@pytest.mark.parametrize("augmentation", [None, APRPair(), APRPair(p=1, channels=True)])
def test_what_happens_to_an_image_does_not_depend_on_the_batch_size(images, augmentation):
    """The same pictures in the same order, cut into other batches; donors come from the whole set."""
    a, b = (shown(images, augmentation, batch) for batch in (64, 128))
    assert a.shape[1] == 600
    assert torch.equal(a, b)


@pytest.mark.parametrize("augmentation", [None, APRPair()])
def test_what_happens_to_an_image_does_not_depend_on_the_number_of_processes(images, augmentation):
    """Two processes share every batch of one: its first half, its second half."""
    alone, batch = shown(images, augmentation, batch=60), 60
    first, second = (shown(images, augmentation, batch=60, rank=rank, size=2) for rank in (0, 1))
    together = torch.cat(
        [
            half
            for pair in zip(first.split(batch // 2, 1), second.split(batch // 2, 1), strict=True)
            for half in pair
        ],
        1,
    )
    assert torch.equal(together, alone)


def test_donors_from_the_batch_are_exempt(images):
    """And so the test above can fail."""
    in_batch = APRPair(p=1, donor="batch")
    a, b = (shown(images, in_batch, batch) for batch in (64, 128))
    assert torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1])


def test_epochs_and_seeds_differ_and_every_image_comes_once_an_epoch(images):
    feed = Feed(images[0], Augmentation(), seed=1, shift=0, border="zero", flip=False)
    for epoch in (0, 1):
        assert torch.equal(feed.order(epoch).sort()[0], torch.arange(300))
    assert not torch.equal(feed.order(0), feed.order(1))
    assert not torch.equal(shown(images, seed=0), shown(images, seed=1))
    first, second = shown(images)[0].split(300)
    # other crops, not only another order
    assert not torch.equal(first.flatten(1).sort(0)[0], second.flatten(1).sort(0)[0])


def test_shifts_and_flips_are_uniform(images):
    """10 epochs of 300: each of the 5 shifts of an axis 600 times, and half of the images mirrored, within 5
    deviations.
    """
    feed = Feed(images[0], Augmentation(), seed=2, shift=2, border="zero", flip=True)
    moves, flips = (torch.cat(t, -1) for t in zip(*(feed._drawn(e)[1:3] for e in range(10)), strict=True))
    for axis in moves:
        counts = torch.bincount(axis + 2, minlength=5)
        assert len(counts) == 5 and ((counts - 600).abs() < 5 * (3000 * 0.2 * 0.8) ** 0.5).all()
    assert abs(flips.sum() - 1500) < 5 * 3000**0.5 / 2


def test_alternating_flips_show_every_image_from_both_sides(images):
    """Mirrored in the odd epochs what is not in the even ones; about half in each."""
    pixels, every = images[0], torch.arange(300)
    drawn = {"seed": 5, "shift": 0, "border": "zero", "flip": True}
    feed = Feed(pixels, Augmentation(), **drawn, alternate=True)
    shown = [next(feed.plain(epoch, [every])) for epoch in range(4)]
    mirrored = [(x == pixels.flip(-1) / 255).flatten(1).all(1) for x in shown]
    assert 100 < mirrored[0].sum() < 200
    assert torch.equal(mirrored[1], ~mirrored[0])
    assert torch.equal(shown[1], shown[0].flip(-1))
    assert torch.equal(shown[2], shown[0]) and torch.equal(shown[3], shown[1])
    chance = Feed(pixels, Augmentation(), **drawn)
    assert torch.equal(feed.order(1), chance.order(1))  # nothing else depends on it
