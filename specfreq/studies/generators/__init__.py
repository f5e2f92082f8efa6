"""Generators of images and of their bands of total variation, and how faithful they are."""
