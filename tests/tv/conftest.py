"""Photographs for the tests of total variation, small and RGB."""

import pytest
import skimage.data
import torch


@pytest.fixture(scope="session")
def photos():
    """Three crops of a photograph, 16 x 20, RGB, float32 in [0, 1]."""
    picture = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1) / 255
    return torch.stack(
        [picture[:, y : y + 32 : 2, x : x + 40 : 2] for y, x in ((0, 150), (100, 200), (300, 10))]
    )


@pytest.fixture(scope="session")
def noisy(photos):
    return photos + 0.1 * torch.randn(photos.shape, generator=torch.Generator().manual_seed(0))
