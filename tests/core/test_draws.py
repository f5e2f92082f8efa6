"""Draws by key: the published generator, the promised distributions, and nothing of the neighbours."""

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from specfreq.core.randomness import GAMMA, Draws, content, mixed, open_unit


def test_the_bits_are_those_of_splitmix64():
    """The first five outputs of the authors' program for the seed 1234567."""
    known = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    outputs = mixed(1234567 + torch.arange(1, 6) * GAMMA)
    assert [bits % 2**64 for bits in outputs.tolist()] == known


def test_an_image_has_its_own_stream():
    keys = torch.tensor([5, -7, 2**62, 5])
    together = Draws(keys, 3).normal(7, 3)
    for key, numbers in zip(keys, together, strict=True):
        assert Draws(key[None], 3).normal(7, 3)[0].equal(numbers)
    assert together[0].equal(together[3])
    assert not torch.isclose(together[0], together[1]).any()
    assert not torch.isclose(together, Draws(keys, 4).normal(7, 3)).any()


def test_a_stream_goes_on_where_it_ended():
    parts = Draws(torch.arange(3))
    assert torch.cat([parts.bits(4), parts.bits(6)], 1).equal(Draws(torch.arange(3)).bits(10))


def test_numbers_lie_inside_their_open_interval_at_the_extremes_too():
    lowest, highest = open_unit(torch.tensor([0, -1])).tolist()
    assert 0 < lowest < 1e-15
    assert 1 - 1e-15 < highest < 1


def test_the_distributions_are_as_promised():
    draws = Draws(torch.arange(40), 1)
    assert stats.kstest(draws.uniform(1001, low=-3, high=1).flatten() / 4 + 0.75, "uniform").pvalue > 0.01
    assert stats.kstest(draws.normal(1001).flatten(), "norm").pvalue > 0.01
    assert stats.chisquare(draws.below(7, 1001).flatten().bincount(minlength=7)).pvalue > 0.01
    between = torch.corrcoef(draws.normal(1001))  # of the images
    assert (between - torch.eye(40)).abs().max() < 5 / 1001**0.5


def test_normal_numbers_are_independent_within_an_image():
    numbers = Draws(torch.arange(20_000), 2).normal(6)
    assert_close(torch.cov(numbers.T), torch.eye(6).double(), atol=0.04, rtol=0)


def test_content_tells_images_apart():
    image = torch.arange(48).reshape(1, 3, 4, 4) % 251
    changed = image.clone()
    changed[0, 2, 3, 3] += 1
    keys = [int(content(x)) for x in (image, changed, image.flip(-1), image.transpose(-1, -2), image + 1)]
    assert len(set(keys)) == 5
    assert int(content(image.double())) == keys[0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_odd_numbers_of_normal_numbers_are_given_too(count):
    assert Draws(torch.arange(2)).normal(count).shape == (2, count)
