"""Attacks: images that differ from the given ones by little, chosen so that a classifier errs."""

from specfreq.attacks.base import Attacked
from specfreq.attacks.gradient import apgd, fgsm, pgd
from specfreq.attacks.square import square

__all__ = ["Attacked", "apgd", "fgsm", "pgd", "square"]
