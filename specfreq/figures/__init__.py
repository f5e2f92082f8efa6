"""Every figure of the book: arrays in, a matplotlib Figure out. No global state is set."""

from specfreq.figures.results import accuracies, band_accuracy, costs, discrimination, reliability
from specfreq.figures.spectra import centroids, class_spectra, pictures, radial_profiles

__all__ = [
    "accuracies",
    "band_accuracy",
    "centroids",
    "class_spectra",
    "costs",
    "discrimination",
    "pictures",
    "radial_profiles",
    "reliability",
]
