"""Total variation: certified ROF denoising, the total variation flow, the spectral transform and its filters.

Pure functions of tensors (..., C, H, W), float32 or float64, on any device.

- *Weight*: min TV(u) + |u - f|² / (2 weight), isotropic, forward differences, nothing across the border.
- *Gap*: (primal - dual) / primal of each image, evaluated in double precision: how far above the minimum it
  is at most.
- *Dual fields* p (..., C, 2, H, W), of vectors down and to the right not longer than 1, with u = f - weight
  K^T p at the solution.

To transpose an image, or to shift what is away from the border, transposes or shifts the solution. To rotate
it by 90 degrees or to mirror it does not quite, since differences look forward: of 24 x 24 pixels, values in
[0, 1] and weight 0.15, the solutions of a smooth image differ by up to 0.04, of noise by 0.08.

All functions raise TypeError for values that are not float32 or float64, ValueError for all else that does
not fit.
"""

from specfreq.tv.curve import Convergence, convergence
from specfreq.tv.exact import disc_extinction, taut_string
from specfreq.tv.operators import adjoint, gradient, total_variation
from specfreq.tv.published import QUIRKS
from specfreq.tv.rof import Denoised, Solution, denoise, solve
from specfreq.tv.spectral import (
    Transform,
    amplify,
    band_pass,
    band_stop,
    combine,
    evolve,
    flow,
    high_pass,
    low_pass,
    transform,
)
from specfreq.tv.steps import ALGORITHMS

__all__ = [
    "ALGORITHMS",
    "QUIRKS",
    "Convergence",
    "Denoised",
    "Solution",
    "Transform",
    "adjoint",
    "amplify",
    "band_pass",
    "band_stop",
    "combine",
    "convergence",
    "denoise",
    "disc_extinction",
    "evolve",
    "flow",
    "gradient",
    "high_pass",
    "low_pass",
    "solve",
    "taut_string",
    "total_variation",
    "transform",
]
