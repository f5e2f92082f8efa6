"""Randomness by key: what is drawn depends on a key alone, such as (seed, epoch, image), never on what was drawn before it."""

import hashlib

import torch
from torch import Generator


def seed_of(*key: object) -> int:
    """A seed in [0, 2^63) made of a key, such as (seed, epoch, "crop"): the first 8 bytes of the SHA-256 of its repr."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def keyed(*key: object) -> Generator:
    """A CPU generator seeded by a key: equal keys give equal streams, other keys others."""
    return torch.Generator().manual_seed(seed_of(*key))
