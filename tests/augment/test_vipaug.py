"""VIPAug and AFA: vital frequencies by the program's loops, noise and fractal phases in NumPy, waves one by
one.
"""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from specfreq import augment
from specfreq.augment import APRSingle, FourierWaves, VIPAug
from specfreq.augment.vipaug import VIPSingle, _low, _polar, fractals, vital
from specfreq.core.randomness import normal, uniform


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (60, 3, 10, 8), generator=generator(), dtype=torch.uint8)


def by_loops(amplitude, corners):
    """Block by block, as the program goes through one plane; its bounds for 16 blocks are 5 and 9."""
    mask, (down, across) = np.zeros(amplitude.shape, bool), (n // 2 for n in amplitude.shape)
    for i in range(down):
        for j in range(across):
            block = [
                (amplitude[2 * i + k, 2 * j + m], 2 * i + k, 2 * j + m) for k in range(2) for m in range(2)
            ]
            block.sort(reverse=True)
            edge = (i < 5 or i > 9) and (j < 5 or j > 9)
            for _, y, x in block[: 2 if corners and edge else 1]:
                mask[y, x] = True
    return mask


@pytest.mark.parametrize("corners", [False, True])
def test_vital_frequencies_are_the_largest_of_their_block(corners):
    amplitude = torch.rand(2, 3, 32, 32, generator=generator())
    expected = [[by_loops(plane.numpy(), corners) for plane in x] for x in amplitude]
    assert np.array_equal(vital(amplitude, "published" if corners else None).numpy(), expected)


def test_the_low_frequencies_are_those_of_the_programs_of_either_size():
    """The bounds of its loops: 5 and 9 of 16 blocks, 28 and 83 of 112; or quarters at any size."""
    small, large = torch.arange(16), torch.arange(112)
    assert torch.equal(_low(16, 16, "published"), (small < 5) | (small > 9))
    assert torch.equal(_low(112, 112, "published"), (large < 28) | (large > 83))
    for n in (16, 112):
        frequency = torch.fft.fftfreq(2 * n, 1 / (2 * n)).view(n, 2)[_low(n, n, "quarters")]
        assert (frequency < n / 2).all() and (frequency >= -n / 2).all() and frequency.numel() == n
    image = torch.rand(1, 224, 224, generator=generator())
    assert vital(image, "published").sum() == 112**2 + 56**2
    cifar = torch.rand(3, 32, 32, generator=generator())
    assert vital(cifar, "quarters").sum() == 3 * (16**2 + 8**2)
    assert vital(cifar, "published").sum() == 3 * (16**2 + 11**2)


@pytest.mark.parametrize("corners", [None, "published"])
def test_of_equal_amplitudes_the_first_is_vital_whatever_rounding_makes_of_them(corners):
    """A picture that equals its transpose has |F(ky, kx)| = |F(kx, ky)|: two bins of each block on the
    diagonal.
    """
    half = torch.randint(0, 256, (5, 2, 16, 16), generator=generator())
    levels = (half + half.mT) // 2
    amplitude, _, equal = _polar(levels, (-2, -1))
    assert (amplitude - amplitude.mT).abs().max() < 1e-9
    expected = vital(amplitude, corners, equal)
    for seed in range(4):
        rounding = 1e-15 * torch.randn(amplitude.shape, generator=generator(seed), dtype=torch.float64)
        assert torch.equal(vital(amplitude * (1 + rounding), corners, equal), expected)
    blocks = expected.unflatten(-2, (8, 2)).unflatten(-1, (8, 2)).diagonal(dim1=-4, dim2=-2)
    one, other = blocks[:, :, 0, 1], blocks[:, :, 1, 0]
    assert (one >= other).all() and (one & ~other).any()
    assert vital(amplitude * 0, corners, equal)[..., ::2, ::2].all()


def test_a_grey_picture_has_the_same_vital_bins_on_any_machine():
    """Its colours have no amplitude at all in the 3-D transform; what rounding leaves there decides nothing."""
    grey = torch.randint(0, 256, (4, 1, 12, 12), generator=generator()).expand(-1, 3, -1, -1)
    amplitude, phase, equal = _polar(grey, (-3, -2, -1))
    mask = vital(amplitude, None, equal)
    assert mask[:, 1:, ::2, ::2].all() and mask[:, 1:].sum() == 4 * 2 * 36
    assert (phase[:, 1:] == 0).all()


def test_what_is_left_over_of_odd_sides_is_not_vital():
    mask = vital(torch.rand(3, 7, 5, generator=generator()))
    assert mask.shape == (3, 7, 5) and not mask[:, 6].any() and not mask[..., 4].any()
    assert (mask[:, :6, :4].unflatten(1, (3, 2)).unflatten(3, (2, 2)).sum((2, 4)) == 1).all()


def test_without_noise_and_fractals_it_is_apr(images):
    single = VIPSingle(0, 0, 0, True, 3.0, True, "none")
    rows = single.draw(60, generator())
    assert rows["noisy"].any() and not rows["noisy"].all()
    assert_close(
        single.before(images, rows),
        APRSingle(channels=True, overflow="none").before(images, rows),
        rtol=0,
        atol=3e-6,
    )


@pytest.mark.parametrize("channels", [False, True])
def test_noise_has_one_variance_at_vital_frequencies_and_another_elsewhere(images, channels):
    """The formula in NumPy with the same numbers; the imaginary part is dropped, as the program's cast does."""
    single, dims = (
        VIPSingle(0, 0.04, 0.25, True, 3.0, channels, "none"),
        (-3, -2, -1) if channels else (-2, -1),
    )
    a, p, seed = images[:30].double(), images[30:].double(), torch.arange(30)
    spectrum = np.fft.fftn(p.numpy(), axes=dims)
    mask = np.stack([[by_loops(plane, False) for plane in x] for x in np.abs(spectrum)])
    noise = np.where(mask, 0.2, 0.5) * normal(seed, 3, 10, 8).numpy()
    mixed = np.abs(np.fft.fftn(a.numpy(), axes=dims)) * np.exp(1j * (np.angle(spectrum) + noise))
    assert_close(
        single._noisy_phase(a, p, seed),
        torch.from_numpy(np.fft.ifftn(mixed, axes=dims).real),
        rtol=0,
        atol=1e-4,
    )


def test_fractals_replace_the_phase_that_is_not_vital(images):
    """The formula in NumPy, cut off and rounded to bytes."""
    single, which = VIPSingle(1, 0, 0, False, 3.0, True, "clip"), torch.arange(60)
    out = single._fractal_phase(images, which).double()
    own = np.fft.fftn(images.double().numpy(), axes=(-3, -2, -1))
    pictures = fractals(3, 10, 8, torch.device("cpu"))[which].double().numpy()
    mask = np.stack([[by_loops(plane, False) for plane in x] for x in np.abs(own)])
    phase = np.where(mask, np.angle(own), np.angle(np.fft.fftn(pictures, axes=(-3, -2, -1))))
    expected = np.fft.ifftn(np.abs(own) * np.exp(1j * phase), axes=(-3, -2, -1)).real.clip(0, 255)
    assert (out - torch.from_numpy(expected)).abs().max() < 0.51


def test_it_draws_fractals_and_noise_as_often_as_stated():
    rows = VIPAug().draw(20_000, generator())
    assert abs((rows["fractal"] >= 0).sum() - 3000) < 5 * 2550**0.5
    assert abs(rows["noisy"].sum() - 10_000) < 5 * 5000**0.5
    assert len(rows["seed"].unique()) == 20_000


def test_fractals_are_coloured_pictures_that_never_change():
    first = fractals(3, 16, 12, torch.device("cpu"))
    assert first.shape == (64, 3, 16, 12) and first.min() >= 0 and first.max() <= 255
    assert ((first > 0).flatten(1).double().mean(1) > 0.05).all() and (first.flatten(1).std(1) > 5).all()
    fractals.cache_clear()
    assert torch.equal(fractals(3, 16, 12, torch.device("cpu")), first)


def test_waves_are_those_of_the_formula():
    """Image by image and channel by channel, from the numbers drawn; grey and not square."""
    images, afa = torch.full((5, 1, 12, 16), 0.5), FourierWaves(strength=1)
    rows = afa.draw(5, generator())
    out = afa.transform(images, rows)
    for i, (f, w, s) in enumerate(uniform(rows["seed"], 1, 3)[:, 0].double().tolist()):
        frequency, angle = 1 + int(16 * f), -np.pi * int(448 * w) / 447
        u, v = np.linspace(-6, 6, 12)[:, None], np.linspace(-8, 8, 16)
        wave = np.sin(2 * np.pi * frequency / 16 * (u * np.cos(angle) + v * np.sin(angle)) - np.pi / 4)
        expected = 0.5 - np.log(s) * 0.5 * wave / np.sqrt((wave**2).sum())
        assert_close(out[i, 0].double(), torch.from_numpy(expected.clip(0, 1)), rtol=0, atol=1e-4)


def test_waves_have_the_stated_mean_strength_and_a_channel_each():
    afa, images = FourierWaves(strength=1), torch.full((2000, 2, 32, 32), 0.5)
    added = afa.transform(images, afa.draw(2000, generator())) - images
    size = added.square().sum((-2, -1)).sqrt()
    assert abs(size.mean() - 1) < 5 / 4000**0.5  # hardly any is cut off
    correlation = (added[:, 0] * added[:, 1]).sum((-2, -1)) / size.prod(1)
    assert correlation.abs().median() < 0.1
    with pytest.raises(ValueError, match="strength"):
        augment.build("afa:strength=-1")
