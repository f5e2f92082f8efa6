"""The network of airbench94: its size, what whitening does to patches, how it starts, and what it takes."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from specfreq import Experiment, models, run
from specfreq.core.errors import UserError
from specfreq.core.randomness import keyed


def patches(images):
    """Patches of 2x2 pixels, (P, 4c), cut out one by one."""
    height, width = images.shape[-2:]
    cut = [images[:, :, y : y + 2, x : x + 2] for y in range(height - 1) for x in range(width - 1)]
    return torch.cat(cut).flatten(1)


def smooth(count, channels, side):
    """Images whose neighbouring pixels are alike: far from white."""
    noise = torch.randn(count, channels, side, side, generator=keyed("smooth"))
    return 3 * F.avg_pool2d(noise, 3, stride=1, padding=1) + noise.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("width", "parameters"),
    [(64, "1.97"), (32, "0.50")],  # Jordan 2024, section 3; the second halves its widths
)
def test_sizes_are_the_published_ones(width, parameters):
    net = models.build(f"airbench:width={width}", 10)
    assert f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}" == parameters


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_whitened_patches_are_white_and_come_with_their_negatives(channels):
    images = smooth(40, channels, 12)
    net = models.build("airbench:width=4", 3, channels)
    net.fit(images)
    seen = net.whitening(images)
    assert seen.shape == (40, 8 * channels, 11, 11)
    first, second = seen.split(4 * channels, 1)
    assert torch.equal(first, -second)
    covariance = torch.cov(first.transpose(0, 1).flatten(1).double())
    # 5e-4 is added to each variance; the least here is above 0.1
    assert_close(covariance, torch.eye(4 * channels, dtype=torch.float64), atol=6e-3, rtol=0)


def test_directions_are_those_of_the_covariance_largest_variance_first():
    images = smooth(50, 2, 9).double()
    net = models.build("airbench:width=4", 3, 2).double()
    net.fit(images)
    own, vectors = torch.linalg.eigh(torch.cov(patches(images).T, correction=0))
    found = net.whitening.weight[:8].flatten(1)
    assert_close(found.norm(dim=1), (own.flip(0) + 5e-4).rsqrt())
    along = (F.normalize(found, dim=1) @ vectors.flip(1)).abs()
    assert_close(along, torch.eye(8, dtype=torch.float64), atol=1e-6, rtol=0)


def test_images_without_contrast_stay_finite():
    net = models.build("airbench:width=4", 3)
    net.fit(torch.zeros(30, 3, 8, 8))
    assert net.whitening.weight.isfinite().all()
    assert net(torch.zeros(2, 3, 8, 8)).isfinite().all()


def test_black_images_teach_the_shares_of_the_classes(tmp_path, monkeypatch):
    """Such are the images behind the high-pass rows of the original program of band-limited training."""
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    made = {"data": "photos", "filter": "gaussian-high-pass:sigma=4,as_published=cifar10"}
    recipe = {"epochs": 2, "batch": 64, "lr": 0.25, "momentum": 0.85, "shift_lr": 64}
    trained = run(Experiment(model="airbench:width=24", train_size=256, test_size=50, **made, **recipe))
    classes = len(trained.image_set("test").classes)
    assert abs(float(trained.history[-1]["loss"]) - math.log(classes)) < 0.1


def test_too_few_patches_are_refused():
    net = models.build("airbench:width=4", 3)
    with pytest.raises(
        UserError, match=r"more than 12 patches of 2x2 pixels, and 3 training image.* have 12"
    ):
        net.fit(torch.rand(3, 3, 3, 3))
    net.fit(torch.rand(4, 3, 3, 3))


def test_a_training_leaves_the_whitening_alone_and_the_run_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    trained = run(Experiment(data="digits", model="airbench:width=4", train_size=60, test_size=20, epochs=1))
    images = trained.image_set("train").images / 255
    classifier = trained.classifier("none", "cpu")
    expected = models.build("airbench:width=4", 10, 1)
    expected.fit((images - classifier.mean) / classifier.std)
    assert_close(classifier.net.whitening.weight, expected.whitening.weight)


def test_convolutions_hand_on_their_inputs_at_first():
    net = models.build("airbench:width=32", 10)
    x = torch.rand(2, 24, 7, 6)
    assert torch.equal(net.blocks[0].conv1(x)[:, :24], x)
    assert net.blocks[0].conv1.weight[24:].std() > 0  # the others are random


def test_a_block_is_its_formula():
    net = models.build("airbench:width=8", 10).train()
    block, x = net.blocks[1], torch.randn(5, 8, 8, 6)
    nn.init.uniform_(block.norm1.bias, -1, 1)

    def normalised(x, shift):
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-5).sqrt() + shift[:, None, None]

    def gelu(x):
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    halved = F.conv2d(x, block.conv1.weight, padding=1).unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1))
    inner = gelu(normalised(halved, block.norm1.bias))
    outer = F.conv2d(inner, block.conv2.weight, padding=1)
    assert_close(block(x), gelu(normalised(outer, block.norm2.bias)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", [2, 3, 8, 28, 33])
def test_images_of_any_size_are_taken(side):
    net = models.build("airbench:width=4", 5, 1).train()
    assert net(torch.rand(3, 1, side, side + 1)).shape == (3, 5)


@pytest.mark.parametrize("spec", ["airbench:width=0", "airbench:width=-1", "airbench:width=wide"])
def test_widths_that_none_can_have_are_refused(spec):
    with pytest.raises(UserError, match="width"):
        models.build(spec, 10)


def test_a_single_pixel_is_refused():
    with pytest.raises(UserError, match="airbench needs images of at least 2x2"):
        models.check("airbench", (3, 1, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is told in other units elsewhere")
def test_large_sets_are_learned_from_in_pieces():
    """Means and patches of all images at once would take 8 and 64 times the memory of their bytes."""
    program = """
import resource, torch
from specfreq.core.images import moments
from specfreq.models.airbench import Whitening
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
moments(torch.zeros(10, 3, 64, 64, dtype=torch.uint8)); Whitening(3).fit(torch.rand(10, 3, 64, 64))
images = torch.randint(256, (6000, 3, 64, 64), dtype=torch.uint8)
before = peak(); moments(images); print((peak() - before) / images.numel())
images = torch.rand(2500, 3, 64, 64)
before = peak(); Whitening(3).fit(images); print((peak() - before) / images.numel())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    of_means, of_patches = map(float, done.stdout.split())
    assert of_means < 4 and of_patches < 16, done.stderr
