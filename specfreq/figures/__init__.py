"""Every figure of the book: arrays in, a matplotlib Figure out. No global state is set."""

from specfreq.figures.adversarial import attacked_pictures, under_attack
from specfreq.figures.density import densities
from specfreq.figures.detection import detection_curves, detection_scores
from specfreq.figures.generation import against_real, losses, montage, part_distances
from specfreq.figures.learning import (
    class_distributions,
    discrimination_over_epochs,
    learning_maps,
    learning_shares,
)
from specfreq.figures.localisation import about_box, overlays, sanity
from specfreq.figures.results import (
    accuracies,
    band_accuracy,
    costs,
    differences,
    discrimination,
    frontier,
    over_parameter,
    reliability,
)
from specfreq.figures.robustness import corruption_errors, heatmap_profiles, heatmaps, pareto, swaps
from specfreq.figures.scaling import cluster_maps, weights_over_epochs
from specfreq.figures.spectra import (
    centroids,
    class_spectra,
    dominant_frequencies,
    pictures,
    radial_profiles,
)
from specfreq.figures.variation import (
    bands,
    disc_flow,
    gaps,
    invariances,
    panels,
    profile,
    spectrum,
    time_to_accuracy,
    weights,
)

__all__ = [
    "about_box",
    "accuracies",
    "against_real",
    "attacked_pictures",
    "band_accuracy",
    "bands",
    "centroids",
    "class_distributions",
    "class_spectra",
    "cluster_maps",
    "corruption_errors",
    "costs",
    "densities",
    "detection_curves",
    "detection_scores",
    "differences",
    "disc_flow",
    "discrimination",
    "discrimination_over_epochs",
    "dominant_frequencies",
    "frontier",
    "gaps",
    "heatmap_profiles",
    "heatmaps",
    "invariances",
    "learning_maps",
    "learning_shares",
    "losses",
    "montage",
    "over_parameter",
    "overlays",
    "panels",
    "pareto",
    "part_distances",
    "pictures",
    "profile",
    "radial_profiles",
    "reliability",
    "sanity",
    "spectrum",
    "swaps",
    "time_to_accuracy",
    "under_attack",
    "weights",
    "weights_over_epochs",
]
