"""The compendium as a whole: its notebooks, their execution, sweeps, and the book made of them."""
