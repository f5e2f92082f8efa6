"""HybridAugment: the blur against torchvision's, hybrids between and within images from their formulas."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torchvision.transforms.v2.functional import gaussian_blur

from specfreq import fourier
from specfreq.augment import APRSingle, HybridAugment, operations
from specfreq.augment.hybrid import HybridSingle, low


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (40, 3, 9, 12), generator=generator(), dtype=torch.uint8)


def blur(x):
    return gaussian_blur(x, kernel_size=[3, 3], sigma=[0.5, 0.5])


@pytest.mark.parametrize("shape", [(2, 3, 9, 12), (1, 1, 2, 2), (4, 1, 5, 3)])
def test_low_frequencies_are_torchvisions_blur(shape):
    x = torch.rand(shape, generator=generator())
    assert_close(low(x), blur(x), rtol=0, atol=1e-6)


def test_an_image_too_small_to_be_mirrored_is_refused():
    with pytest.raises(ValueError, match="at least 2 x 2"):
        low(torch.rand(1, 3, 1, 8))


@pytest.mark.parametrize("plus", [False, True])
def test_hybrids_between_images_take_two_donors(images, plus):
    x, augmentation = images.double() / 255, HybridAugment("p", plus=plus, p=0.5)
    rows = augmentation.draw(40, generator())
    first, second = x.flip(0), x.roll(7, 0)
    donors = torch.stack([first, second], 1).flatten(0, 1)
    plain, out = augmentation.views(x, rows, donors)
    assert torch.equal(plain, x)
    for i, (hybrid, again) in enumerate(rows["coin"].tolist()):
        base = fourier.recombine(blur(second[i]), blur(x[i])) if again and plus else blur(x[i])
        assert_close(out[i], base + first[i] - blur(first[i]) if hybrid else x[i])
    assert 5 < rows["coin"][:, 0].sum() < 35


@pytest.mark.parametrize("plus", [False, True])
def test_hybrids_within_an_image_are_of_two_distortions(images, plus):
    single = HybridSingle(plus, 3.0, False, "none")
    rows = single.draw(40, generator())
    out = single.before(images, rows)
    x = operations.apply(images, rows["operation"][:, 0], rows["level"][:, 0])
    y = operations.apply(x, rows["operation"][:, 1], rows["level"][:, 1])
    for i, branch in enumerate(rows["branch"].tolist()):
        a, b = (v[i : i + 1].double() / 255 for v in ((x, y) if branch == 1 else (y, x)))
        if branch == 0:
            expected = x[i] / 255
        else:
            base = blur(a)
            if plus:
                inner = {
                    k.removeprefix("low_"): v[i : i + 1] for k, v in rows.items() if k.startswith("low_")
                }
                base = APRSingle(overflow="none").before(base, inner).double()
            expected = (base + b - blur(b))[0]
        assert_close(out[i].double(), expected.double(), rtol=0, atol=3e-6)
    assert set(rows["branch"].tolist()) == {0, 1, 2}


def kernel(x):
    """The blur of planes (..., H, W) in float64, by its nine weights, mirrored at the border."""
    weight = np.exp(-2.0 * np.array([1, 0, 1]))
    weight = np.outer(weight, weight) / weight.sum() ** 2
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1)] * 2, mode="reflect")
    height, width = x.shape[-2:]
    return sum(weight[i, j] * padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3))


@pytest.mark.parametrize("spec", ["wrap", "clip"])
def test_the_low_band_is_cut_to_bytes_as_published_and_rounded_as_corrected(images, spec):
    """HybridAugment++ in NumPy, from the drawn operations on: both casts of the program, or none of them."""
    cut = spec == "wrap"
    single = HybridSingle(True, 3.0, True, spec)
    rows = single.draw(40, generator())
    out = (255 * single.before(images, rows).double()).numpy()

    def to_bytes(levels):
        return (np.trunc(levels).astype(np.int64) if cut else np.rint(levels.clip(0, 255))).astype(np.uint8)

    def distorted(levels, name, column):
        chosen = (rows[f"{name}{what}"][i : i + 1, column] for what in ("operation", "level"))
        return operations.apply(torch.from_numpy(levels)[None], *chosen)[0].numpy()

    checked = 0
    for i, (branch, again) in enumerate(
        zip(rows["branch"].tolist(), rows["low_branch"].tolist(), strict=True)
    ):
        if not branch:
            continue
        x = distorted(images[i].numpy(), "", 0)
        y = distorted(x, "", 1)
        a, b = (v.astype(float) for v in ((x, y) if branch == 1 else (y, x)))
        band = kernel(a)
        base = distorted((band + (1e-6 if cut else 0.5)).astype(np.uint8), "low_", 0)
        if again:
            twice = distorted(base, "low_", 1)
            if cut and np.array_equal(base, twice):
                continue  # whole numbers but for rounding, which decides there, as in the program
            amplitude_of, phase_of = (base, twice) if again == 1 else (twice, base)
            mixed = np.abs(np.fft.fftn(amplitude_of)) * np.exp(1j * np.angle(np.fft.fftn(phase_of)))
            mixed = np.fft.ifftn(mixed).real
            base = to_bytes(mixed) if cut else mixed.clip(0, 255)
        expected = base + b - kernel(b)
        if cut:
            difference = (out[i] - to_bytes(expected) + 128) % 256 - 128  # 0 and 255 are neighbours
            assert np.abs(difference).max() < 1.01 and (np.abs(difference) > 0.01).mean() < 0.01
        else:
            assert np.abs(out[i] - expected.clip(0, 255)).max() < 0.01
        checked += 1
    assert checked > 10


def test_a_flat_area_stays_as_bright_as_it_is():
    """Its blur is a whole number but for rounding, which must not make it one darker."""
    grey = torch.arange(256.0, dtype=torch.float64)[:, None, None, None].expand(-1, 1, 6, 6)
    for overflow in ("wrap", "clip"):
        assert torch.equal(HybridSingle(True, 3.0, False, overflow)._bytes(low(grey)), grey.to(torch.uint8))


def test_its_modes_are_one_the_other_or_both(images):
    s, p, ps = (HybridAugment(mode) for mode in ("s", "p", "ps"))
    rows = ps.draw(40, generator())
    x = images / 255
    assert (s.early, s.pairs, p.early, p.pairs, ps.early, ps.pairs) == (True, False, False, True, True, True)
    assert torch.equal(ps.before(images, rows), s.before(images, rows)) and p.before(images, rows) is images
    donors = x.repeat_interleave(2, 0)
    assert torch.equal(ps.transform(x, rows, donors), p.transform(x, rows, donors))
    (alone,) = s.views(x, rows)
    assert torch.equal(alone, x)


def test_donors_from_the_batch_are_two_permutations_of_it(images):
    batch, x = HybridAugment("p", p=1, plus=False, donor="batch"), images / 255
    detail = batch.transform(x, batch.draw(40, generator())) - low(x)
    own = (x - low(x)).flatten(1)
    nearest = torch.cdist(detail.flatten(1), own).argmin(1)
    assert torch.equal(nearest.sort()[0], torch.arange(40)) and not torch.equal(nearest, torch.arange(40))


def test_donors_of_another_shape_are_refused(images):
    x = images / 255
    p = HybridAugment("p", plus=False)
    with pytest.raises(ValueError, match="donors must be shaped as the images"):
        p.transform(x, p.draw(40, generator()), torch.rand(80, 3, 9, 11))
