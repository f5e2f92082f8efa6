"""Randomness by key: what is drawn depends on a key alone, such as (seed, epoch, image), never on what was
drawn before it.
"""

import functools
import hashlib
import math

import torch
from torch import Generator, Tensor

# SplitMix64 in two's complement, as int64 products wrap
GAMMA, FIRST, SECOND = (c - 2**64 for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def seed_of(*key: object) -> int:
    """A seed in [0, 2^63) made of a key, such as (seed, epoch, "crop"): the first 8 bytes of the SHA-256 of
    its repr.
    """
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def keyed(*key: object) -> Generator:
    """A CPU generator seeded by a key: equal keys give equal streams, other keys others."""
    return torch.Generator().manual_seed(seed_of(*key))


def uniform(seeds: Tensor, *shape: int) -> Tensor:
    """Numbers in (0, 1), float32 (B, *shape) on the device of the seeds, int64 (B,): a row depends on its
    seed alone.

    The upper 23 bits of SplitMix64, so the same on every device. Where each image needs thousands of numbers,
    a seed is all that the table of an epoch has to hold.

    Source: Steele, Lea and Flood, OOPSLA 2014.
    """
    steps = torch.arange(1, math.prod(shape) + 1, device=seeds.device) * GAMMA
    return ((_shift(mixed(seeds[:, None] + steps), 41) + 0.5) * 2**-23).view(len(seeds), *shape)


def normal(seeds: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers, float32 (B, *shape) by way of `uniform`: up to 5.3 deviations, equal between
    devices to rounding.
    """
    return torch.special.ndtri(uniform(seeds, *shape))


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; that of torch drags the sign along."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def mixed(z: Tensor) -> Tensor:
    """The output function of SplitMix64, a bijection of int64 that leaves no trace of order."""
    z = (z ^ _shift(z, 30)).mul_(FIRST)
    z ^= _shift(z, 27)
    z *= SECOND
    return z ^ _shift(z, 31)


def open_unit(bits: Tensor) -> Tensor:
    """The upper 52 bits as a number in the open interval (0, 1), float64."""
    return _shift(bits, 12).double().add_(0.5).mul_(2.0**-52)


@functools.lru_cache(maxsize=16)
def _factors(count: int, device: torch.device) -> Tensor:
    return mixed(torch.arange(1, count + 1, device=device) * GAMMA) | 1


def content(levels: Tensor) -> Tensor:
    r"""A key of each image's content: bytes (N, C, H, W) -> int64 (N,), the multilinear hash :math:`\sum_j
    a_j b_j \bmod 2^{64}`.

    The odd factors a are fixed; images that differ have different keys, but for chance (about one pair in
    2^60).
    """
    flat = levels.flatten(1).long()
    return (flat * _factors(flat.shape[1], flat.device)).sum(1)


class Draws:
    """The random numbers of N images, each image's own SplitMix64 stream; every call goes on where the last
    one ended.

    Integer arithmetic throughout, so that the bits are the same on every device.

    Args:
        keys: int64 (N,), anything; equal keys give equal numbers.
        seed: of all streams, in [0, 2^63).

    Source: Steele, Lea and Flood, OOPSLA 2014.
    """

    def __init__(self, keys: Tensor, seed: int = 0):
        self.start, self.position = mixed(mixed(keys + seed) + GAMMA), 0

    def bits(self, *shape: int) -> Tensor:
        """64 random bits each, int64 (N, *shape)."""
        count = math.prod(shape)
        steps = torch.arange(self.position + 1, self.position + count + 1, device=self.start.device) * GAMMA
        self.position += count
        return mixed(self.start[:, None] + steps).view(len(self.start), *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in the open interval (low, high), float64 (N, *shape)."""
        return open_unit(self.bits(*shape)).mul_(high - low).add_(low)

    def below(self, count: int, *shape: int) -> Tensor:
        """Integers 0 .. count - 1, int64 (N, *shape); count is small, so that the bias of at most count /
        2^52 does not matter.
        """
        return (self.uniform(*shape) * count).long()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float64 (N, *shape), at most 6.8: Box and Muller's pairs, of 32 bits each."""
        count = math.prod(shape)
        words = self.bits((count + 1) // 2)
        radius = _shift(words, 32).double().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = words.bitwise_and_(2**32 - 1).double().mul_(2 * math.pi * 2.0**-32)
        pairs = torch.cat([radius * angle.cos(), angle.sin_().mul_(radius)], 1)
        return pairs[:, :count].reshape(len(self.start), *shape)
