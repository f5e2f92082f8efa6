"""Attacks: images that differ from the given ones by little, chosen so that a classifier errs."""
