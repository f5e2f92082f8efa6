"""Every figure of the book: arrays in, a matplotlib Figure out. No global state is set."""

from specfreq.figures.adversarial import attacked_pictures, under_attack
from specfreq.figures.detection import detection_curves, detection_scores
from specfreq.figures.results import accuracies, band_accuracy, costs, discrimination, reliability
from specfreq.figures.robustness import corruption_errors, heatmap_profiles, heatmaps, swaps
from specfreq.figures.spectra import centroids, class_spectra, pictures, radial_profiles

__all__ = [
    "accuracies",
    "attacked_pictures",
    "band_accuracy",
    "centroids",
    "class_spectra",
    "corruption_errors",
    "costs",
    "detection_curves",
    "detection_scores",
    "discrimination",
    "heatmap_profiles",
    "heatmaps",
    "pictures",
    "radial_profiles",
    "reliability",
    "swaps",
    "under_attack",
]
