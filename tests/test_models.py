"""Networks: sizes as published, seeds, and what they refuse."""

import pytest
import torch
from torch.testing import assert_close

from specfreq import models
from specfreq.naming import UserError


def count(name, classes=10, channels=3):
    return sum(p.numel() for p in models.build(name, classes, channels).parameters())


def by_hand(n):
    """Weights of a ResNet-(6n+2) of 16-32-64 channels, option A: convolutions, two per batch norm channel, linear layer."""
    convolutions = 9 * (3 * 16 + 16 * 16 * 2 * n + 16 * 32 + 32 * 32 * (2 * n - 1) + 32 * 64 + 64 * 64 * (2 * n - 1))
    return convolutions + 2 * (16 * (2 * n + 1) + 32 * 2 * n + 64 * 2 * n) + 64 * 10 + 10


def test_resnet20_has_the_published_size():
    assert count("resnet20") == by_hand(3)
    assert round(count("resnet20") / 1e6, 2) == 0.27  # He et al., table 6


def test_resnet8_has_the_size_of_the_formula():
    assert count("resnet8") == by_hand(1)


def test_resnet18_has_the_size_of_the_cifar_resnet18():
    assert count("resnet18") == 11_173_962


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 9, 13)])
def test_any_channel_count_and_odd_sizes_give_logits(name, shape):
    net = models.build(name, classes=7, channels=shape[0]).eval()
    assert net(torch.rand(2, *shape)).shape == (2, 7)


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    a = models.build("resnet8", 10, seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    b = models.build("resnet8", 10, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    assert not torch.equal(a.stem.weight, models.build("resnet8", 10, seed=4).stem.weight)


def test_the_shortcut_of_option_a_is_the_subsampled_input():
    from specfreq.models.resnet import Block

    block = Block(4, 8, stride=2, projection=False).eval()
    torch.nn.init.zeros_(block.norm2.weight)  # the residual branch vanishes
    x = torch.rand(1, 4, 6, 6)
    out = block(x)
    assert_close(out[:, 2:6], x[..., ::2, ::2])
    assert out[:, :2].abs().max() == 0 and out[:, 6:].abs().max() == 0


def test_a_classifier_normalises_by_its_own_statistics():
    images = torch.rand(50, 3, 8, 8)
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3), correction=0)
    seen = models.Classifier(torch.nn.Identity(), mean, std)(images)
    assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert_close(seen.std((0, 2, 3), correction=0), torch.ones(3))


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown model 'resnt20'; did you mean 'resnet20'"):
        models.build("resnt20", 10)


@pytest.mark.parametrize(("classes", "channels"), [(1, 3), (10, 0)])
def test_impossible_networks_are_refused(classes, channels):
    with pytest.raises(UserError, match="at least 2 classes and 1 channel"):
        models.build("resnet8", classes, channels)


def test_images_too_small_for_the_network_are_refused():
    with pytest.raises(UserError, match="resnet18 needs images of at least 8x8, not 4x4"):
        models.check("resnet18", (3, 4, 4))
