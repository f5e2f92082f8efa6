"""Total variation: certified ROF denoising, the total variation flow, the spectral transform and its filters.

Pure functions of tensors (..., C, H, W), float32 or float64, on any device.

- *Weight*: min TV(u) + |u - f|² / (2 weight), isotropic, forward differences, nothing across the border.
- *Gap*: (primal - dual) / primal, evaluated in double precision: of each image: how far above the minimum it is at most.
- *Dual fields* p (..., C, 2, H, W), of vectors down and to the right not longer than 1, with u = f - weight K^T p at the solution.

All functions raise TypeError for values that are not float32 or float64, ValueError for all else that does not fit.
"""

from specfreq.tv.operators import adjoint, gradient, total_variation
from specfreq.tv.rof import Denoised, Solution, denoise, solve
from specfreq.tv.spectral import Transform, amplify, band_pass, band_stop, combine, evolve, flow, high_pass, low_pass, transform
from specfreq.tv.steps import ALGORITHMS

__all__ = [
    "ALGORITHMS",
    "Denoised",
    "Solution",
    "Transform",
    "adjoint",
    "amplify",
    "band_pass",
    "band_stop",
    "combine",
    "denoise",
    "evolve",
    "flow",
    "gradient",
    "high_pass",
    "low_pass",
    "solve",
    "total_variation",
    "transform",
]
