"""Frequency shortcuts: networks that look at one frequency, found by their dominant frequencies."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from specfreq import ImageSet, fourier
from specfreq.measures import compute
from specfreq.measures.shortcut import dominant, grouped
from specfreq.models import Classifier

SIDE = 16


def wave(ky, kx):
    y, x = torch.arange(SIDE)[:, None], torch.arange(SIDE)
    return torch.cos(2 * torch.pi * (ky * y + kx * x) / SIDE)[None]


WAVES = {0: (0, 2), 1: (3, 1), 2: (0, 6)}  # the frequency of each class


class Looks(nn.Module):
    """Each logit is the amplitude of the frequency of its class in the image; that of class 2 is given away
    where there is nothing to be seen.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer("waves", torch.stack([wave(*k) for k in WAVES.values()]).flatten(1))

    def forward(self, x):
        seen = (x.flatten(1) @ self.waves.T) / SIDE
        return 4 * seen + torch.tensor([0.0, 0.0, 0.5])


@pytest.fixture(scope="module")
def marked():
    """Images with the wave of their class on faint noise, and the network that knows these."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    pictures = [
        0.5 + 0.25 * wave(*WAVES[int(c)]) + 0.02 * torch.randn(1, SIDE, SIDE, generator=g) for c in labels
    ]
    pixels = (255 * torch.stack(pictures).clamp(0, 1)).round().to(torch.uint8)
    model = Classifier(Looks(), torch.zeros(1), torch.ones(1)).eval()
    return model, ImageSet(pixels, labels, ("a", "b", "c"), "marked")


@pytest.mark.parametrize("block", [1, 2])
def test_the_frequency_that_a_class_is_known_by_is_its_dominant_one(marked, block):
    result = compute(f"frequency-shortcuts:block={block},keep=0.5", *marked)
    groups = np.array(result["groups"])
    for c, (ky, kx) in WAVES.items():
        first = int(np.argmax(result["increase"][c]))
        assert groups[SIDE // 2 + ky, SIDE // 2 + kx] == groups[SIDE // 2 - ky, SIDE // 2 - kx] == first
    assert result["tpr"] == result["kept_tpr"][0] == [100] * 3 and result["accuracy"] == 100
    # without its own frequency a class is never recognised, but for the one that is said of everything else
    assert result["removed_tpr"][0] == [0, 0, 100]
    # and that one is seen in every image without the others
    assert result["kept_fpr"][0] == [0, 0, 100]
    assert result["kept_accuracy"] == [100] and result["kept_alarm"] == pytest.approx([100 / 3])


def test_rings_find_the_radius(marked):
    result = compute("frequency-shortcuts:block=0,keep=1", *marked)
    assert np.array(result["groups"]).max() == fourier.ring_index(SIDE, SIDE).max()
    assert [int(np.argmax(row)) for row in result["increase"]] == [2, 3, 6]
    assert result["dominant_radius"][0] == pytest.approx([2, 3, 6], abs=0.35)
    assert result["kept_radius"] == pytest.approx([sum(result["dominant_radius"][0]) / 3])


def test_all_frequencies_are_the_image_itself(marked):
    result = compute("frequency-shortcuts:block=0,keep=100", *marked)
    assert result["kept_tpr"][0] == result["tpr"] and result["kept_fpr"][0] == result["fpr"]


def test_the_increase_is_that_of_images_filtered_one_by_one(digits):
    model, images = digits
    result, x = compute("frequency-shortcuts:block=1", model, images), images.images / 255
    groups = torch.tensor(result["groups"])
    for group in (0, 1, 7, int(groups.max())):
        without = fourier.apply_mask(x, (groups != group).float())
        if group == 0:
            without = without + x.mean()
        with torch.no_grad():
            rise = [F.cross_entropy(model(v), images.labels, reduction="none") for v in (without, x)]
        for c in range(10):
            mine = images.labels == c
            expected = float((rise[0] - rise[1])[mine].mean())
            assert result["increase"][c][group] == pytest.approx(expected, abs=1e-4, rel=1e-3)


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (8, 12), (32, 32)])
@pytest.mark.parametrize("block", [0, 1, 2, 3, 40])
def test_groups_hold_a_frequency_with_its_mirror_image(shape, block):
    groups = grouped(*shape, block)
    assert torch.equal(groups, fourier.mirror(groups))
    assert torch.equal(groups.unique(), torch.arange(int(groups.max()) + 1))
    if block == 1:
        assert groups[shape[0] // 2, shape[1] // 2] == 0 and groups.flatten().bincount().max() == 2
    if (shape, block) == ((32, 32), 1):
        assert groups.max() + 1 == 514


def test_the_dominant_groups_hold_their_share_or_just_more():
    groups = grouped(8, 8, 1)
    masks = F.one_hot(groups).movedim(-1, 0).bool()
    increase = torch.rand(3, len(masks), generator=torch.Generator().manual_seed(0))
    for share in (1, 10, 33, 100):
        chosen = dominant(increase, groups, share)
        assert ((chosen.sum((1, 2)) >= share * 0.64) & (chosen.sum((1, 2)) < share * 0.64 + 2)).all()
        for row, mask in zip(increase, chosen, strict=True):
            inside = (masks & mask).any((1, 2))
            assert inside.all() or row[inside].min() >= row[~inside].max()


@pytest.mark.parametrize("share", [15, 27, 30, 54, 60])
def test_a_share_that_groups_hold_exactly_is_not_exceeded(share):
    # as float32, 15 % of 1,600 are 240.00002
    groups = torch.arange(1600).view(40, 40) // 16
    chosen = dominant(torch.arange(100.0).flip(0)[None], groups, share)
    assert chosen.sum() == 16 * share and torch.equal(chosen[0], groups < share)
