"""Keys make streams: equal keys equal ones, other keys others, whatever was drawn before."""

import torch

from specfreq.core.randomness import keyed, normal, seed_of, uniform


def test_keys_make_streams():
    def draw(*key):
        return torch.rand(4, generator=keyed(*key))

    assert torch.equal(draw(1, 2, "crop"), draw(1, 2, "crop"))
    others = [
        draw(2, 2, "crop"),
        draw(1, 3, "crop"),
        draw(1, 2, "flip"),
        draw(12, "crop"),
        draw("1", 2, "crop"),
    ]
    assert not any(torch.equal(draw(1, 2, "crop"), o) for o in others)


def test_the_global_stream_is_neither_read_nor_moved():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = keyed(7).initial_seed()
    torch.rand(1)
    assert keyed(7).initial_seed() == first == seed_of(7)
    torch.manual_seed(5)
    keyed(8)
    assert torch.equal(torch.rand(3), expected)


def test_seeds_are_frozen():
    """Published results depend on them. From a shell: printf "(0, 1, 'crop')" | sha256sum."""
    assert seed_of(0, 1, "crop") == 0x3EED3476255E302C >> 1


def test_numbers_from_a_seed_are_splitmix64():
    """The first outputs for the seed 1234567, as they are published with the algorithm; their upper 23 bits."""
    outputs = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    expected = torch.tensor([((n >> 41) + 0.5) / 2**23 for n in outputs])
    assert torch.equal(uniform(torch.tensor([1234567]), 5)[0], expected)


def test_numbers_depend_on_their_own_seed_alone():
    seeds = torch.tensor([3, 2**62, 5])
    together = uniform(seeds, 2, 50)
    assert torch.equal(together[1:2], uniform(seeds[1:2], 2, 50))
    assert torch.equal(together[:, :1].flatten(1), uniform(seeds, 50))
    assert not torch.equal(together[0], together[2])


def test_numbers_are_uniform_and_normal():
    """40 000 each, their moments within 5 deviations; the least and the greatest finite."""
    seeds = torch.arange(200)
    flat, bell = uniform(seeds, 200), normal(seeds, 200)
    assert flat.min() > 0 and flat.max() < 1 and bell.isfinite().all()
    assert abs(flat.mean() - 0.5) < 5 * 12**-0.5 / 200 and abs(flat.var() - 1 / 12) < 5 * 180**-0.5 / 200
    assert abs(bell.mean()) < 5 / 200 and abs(bell.var() - 1) < 5 * 2**0.5 / 200
    assert abs((bell.abs() > 1.959964).double().mean() - 0.05) < 5 * 0.05**0.5 / 200
