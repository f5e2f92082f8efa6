"""The README's programs run as they stand, and do what it says of them."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import FakeData
from torchvision.transforms import v2

from specfreq import data, fourier

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def said():
    """All names that the programs define, one after the other as a reader would run them."""
    names = {
        "loader": [(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(4))]
    }
    for program in PROGRAMS:
        exec(program, names)
    return names


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(data.load("photos", "test", 1).images[0].permute(1, 2, 0).numpy())


def test_pictures_lose_the_frequencies_below_8_cycles(said, picture):
    out = said["sharp"](picture)
    assert out.shape == (3, 32, 32) and out.dtype == torch.float32
    assert fourier.low_pass(out, 8).abs().max() < 1e-6 < 0.01 < out.abs().max()


def test_pictures_are_recombined_with_themselves_before_the_crop(said, picture):
    outs = [said["single"](picture) for _ in range(8)]
    assert all(out.shape == (3, 32, 32) and out.dtype == torch.float32 for out in outs)
    assert all(out.min() >= 0 and out.max() <= 1 for out in outs)
    assert len({out.sum().item() for out in outs}) > 1


def test_pictures_are_blurred(said, picture):
    plain, blurred = v2.Compose(said["floats"])(picture), said["blurred"](picture)
    assert 0 < blurred.diff().abs().mean() < 0.9 * plain.diff().abs().mean()


def test_the_pipelines_work_in_a_process_that_is_spawned(said):
    """As on macOS and Windows: nothing in them is a lambda."""
    names = "blurred", "sharp", "single"
    pictures = ConcatDataset([FakeData(2, (3, 32, 32), transform=said[name]) for name in names])
    (batch, labels), *rest = DataLoader(pictures, 6, num_workers=1, multiprocessing_context="spawn")
    assert batch.shape == (6, 3, 32, 32) and batch.dtype == torch.float32
    assert labels.shape == (6,) and not rest
    assert torch.equal(batch[0], said["blurred"](FakeData(1, (3, 32, 32))[0][0]))


def test_batches_are_recombined_with_one_another(said):
    images, mixed = said["images"], said["mixed"]
    assert mixed.shape == images.shape == (4, 3, 32, 32) and not mixed.equal(images)
    assert said["labels"].equal(torch.arange(4))


def test_images_are_certified_and_louder_in_their_finest_bands(said):
    assert (said["gap"] <= 1e-4).all() and said["smooth"].shape == (4, 3, 32, 32)
    parts = said["parts"]
    torch.testing.assert_close(parts.phi.sum(0) + parts.residual, said["images"])
    torch.testing.assert_close(said["louder"], said["images"] + 2 * parts.phi[:2].sum(0), rtol=0, atol=1e-5)


def test_a_network_of_ones_own_is_measured(said):
    found = said["found"]
    assert list(found) == ["accuracy", "band-accuracy:size=100", "calibration"]
    assert found["accuracy"]["images"] == len(said["digits"])
    assert 0 <= found["accuracy"]["accuracy"] <= 40  # it has not been trained
