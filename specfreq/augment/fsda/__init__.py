"""Frequency scaling data augmentation (FSDA): masks of like energy, and how strong each of them is made."""
