"""Against statistics of what the original CIFAR-10-C program does to CIFAR-10's test images, corruption by
corruption.

Needs CIFAR-10 below $SPECFREQ_DATA and the file of statistics: both are too large for this repository, so
these tests are of those who set $SPECFREQ_CIFAR_C_REFERENCE to its place.
"""

import os

import numpy as np
import pytest
import torch

from specfreq import corruptions, data
from specfreq.corruptions import corrupt

PASSES = 2
QUANTITIES = ("mean", "channel_means", "std", "image_std", "mean_abs", "mse", "psnr", "spectrum")


pytestmark = pytest.mark.skipif(
    "SPECFREQ_CIFAR_C_REFERENCE" not in os.environ, reason="SPECFREQ_CIFAR_C_REFERENCE is not set"
)


@pytest.fixture(scope="module")
def reference():
    with np.load(os.environ["SPECFREQ_CIFAR_C_REFERENCE"], allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def images(reference):
    images = data.load("cifar10", "test").images[torch.from_numpy(reference["clean/indices"])]
    assert np.array_equal(images[:4].permute(0, 2, 3, 1).numpy(), reference["clean/images"])
    return images.float() / 255


def statistics(found, images):
    x, difference = found.double(), (found - images).double()
    mse = difference.square().mean((1, 2, 3))
    power = torch.fft.fftshift(torch.fft.fft2(difference.mean(1)).abs().square().mean(0))
    offset = torch.arange(32) - 16
    ring = (offset[:, None] ** 2 + offset**2).sqrt().round()
    return {
        "mean": x.mean(),
        "channel_means": x.mean((0, 2, 3)),
        "std": x.std(correction=0),
        "image_std": x.flatten(1).std(1, correction=0).mean(),
        "mean_abs": difference.abs().mean(),
        "mse": mse.mean(),
        "psnr": (-10 * mse[mse > 0].log10()).mean(),
        "spectrum": torch.stack([power[ring == r].mean() for r in range(17)]),
    }


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", sorted(set(corruptions.names()) - {"frost"}))
def test_statistics_are_the_originals(reference, images, name, severity):
    """Within five standard deviations of their draws; where nothing is random, bytes are equal or, few of
    them, one level off.
    """
    key = f"{name}/{severity}"
    found = [corrupt(images, name, severity, seed=seed) for seed in range(PASSES)]
    if f"{key}/outputs" in reference:
        levels = (found[0][:4] * 255).round().permute(0, 2, 3, 1).numpy()
        difference = np.abs(levels - reference[f"{key}/outputs"])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.1
        assert float((found[0] - images).abs().mean()) == pytest.approx(
            reference[f"{key}/mean_abs"], abs=4e-4
        )
        return
    passes = [statistics(one, images) for one in found]
    for quantity in QUANTITIES:
        ours = torch.stack([one[quantity] for one in passes]).mean(0).numpy()
        spread = (
            reference[f"{key}/{quantity}_draw_sd"] * (1 / PASSES + 1 / reference[f"{key}/repeats"]) ** 0.5
        )
        assert np.all(np.abs(ours - reference[f"{key}/{quantity}"]) < 5 * spread), quantity


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_computed_frost_comes_near_the_photographs(reference, images, severity):
    """As bright and as strong to a few per cent, its spectrum to a third; the photographs themselves are not
    here.
    """
    key = f"frost/{severity}"
    passes = [statistics(corrupt(images, "frost", severity, seed=seed), images) for seed in range(PASSES)]
    for quantity, share in (("mean", 0.02), ("mean_abs", 0.05), ("std", 0.03), ("spectrum", 0.33)):
        ours = torch.stack([one[quantity] for one in passes]).mean(0).numpy()
        assert ours == pytest.approx(reference[f"{key}/{quantity}"], rel=share)
