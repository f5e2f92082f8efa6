"""Randomness by key: what is drawn depends on a key alone, such as (seed, epoch, image), never on what was drawn before it."""

import hashlib
import math

import torch
from torch import Generator, Tensor


def seed_of(*key: object) -> int:
    """A seed in [0, 2^63) made of a key, such as (seed, epoch, "crop"): the first 8 bytes of the SHA-256 of its repr."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def keyed(*key: object) -> Generator:
    """A CPU generator seeded by a key: equal keys give equal streams, other keys others."""
    return torch.Generator().manual_seed(seed_of(*key))


def uniform(seeds: Tensor, *shape: int) -> Tensor:
    """Numbers in (0, 1), float32 (B, *shape) on the device of the seeds, int64 (B,): a row depends on its seed alone.

    The upper 23 bits of SplitMix64, so the same on every device. Where each image needs thousands of numbers, a seed is all
    that the table of an epoch has to hold.

    Source: Steele, Lea and Flood, OOPSLA 2014.
    """
    count = torch.arange(1, math.prod(shape) + 1, device=seeds.device)
    z = seeds[:, None] + count * -0x61C8864680B583EB  # products wrap round, modulo 2^64
    z = (z ^ _shifted(z, 30)) * -0x40A7B892E31B1A47
    z = (z ^ _shifted(z, 27)) * -0x6B2FB644ECCEEE15
    z = z ^ _shifted(z, 31)
    return ((_shifted(z, 41) + 0.5) * 2**-23).view(len(seeds), *shape)


def normal(seeds: Tensor, *shape: int) -> Tensor:
    """Standard normal numbers, float32 (B, *shape) by way of `uniform`: up to 5.2 deviations, equal between devices to rounding."""
    return torch.special.ndtri(uniform(seeds, *shape))


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Shift to the right, zeros coming in."""
    return (z >> bits) & (2 ** (64 - bits) - 1)
