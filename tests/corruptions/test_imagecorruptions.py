"""ImageNet-C's constants at 224 pixels against the package imagecorruptions; skips where that is not
installed.

Left out: gaussian_blur, glass_blur and fog, which fail there on current versions; elastic_transform, another
algorithm; frost, for its photographs.
"""

import numpy as np
import pytest
import torch
from skimage import data

from specfreq.corruptions import corrupt

package = pytest.importorskip("imagecorruptions")

EXACT = ("defocus_blur", "zoom_blur", "brightness", "contrast", "saturate", "pixelate", "jpeg_compression")
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "motion_blur", "snow", "spatter")


@pytest.fixture(scope="module")
def crops():
    whole = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    return np.stack([x[y : y + 224, 4 * y : 4 * y + 224] for x in whole for y in (0, 50)])


def both(crops, name, severity):
    np.random.seed(0)
    theirs = np.stack([package.corrupt(x, severity, name) for x in crops])
    ours = corrupt(torch.from_numpy(crops).permute(0, 3, 1, 2) / 255, name, severity)
    return theirs.astype(float), (255 * ours).round().permute(0, 2, 3, 1).double().numpy()


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_bytes_are_theirs_or_a_few_one_level_off(crops, name, severity):
    theirs, ours = both(crops, name, severity)
    difference = np.abs(theirs - ours)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.1


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_random_corruptions_are_as_strong_as_theirs(crops, name, severity):
    """Image by image, to five standard errors of the differences between draws."""
    theirs, ours = both(crops, name, severity)
    for strength in (
        lambda x: x.mean((1, 2, 3)),
        lambda x: np.abs(x - crops).mean((1, 2, 3)),
        lambda x: x.std((1, 2, 3)),
    ):
        difference = strength(ours) - strength(theirs)
        assert abs(difference.mean()) < 5 * difference.std(ddof=1) / len(crops) ** 0.5
