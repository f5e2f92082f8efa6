"""The Fourier core: identities, closed forms, and NumPy and SciPy as oracles."""

import math

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import skimage.filters
import torch
from torch.testing import assert_close

from specfreq.fourier import (
    amplitude,
    apply_mask,
    band_pass,
    basis,
    centroid,
    gaussian_band_pass,
    gaussian_high_pass,
    gaussian_low_pass,
    hermitian,
    high_pass,
    is_hermitian,
    low_pass,
    mirror,
    phase,
    power_spectrum,
    radial_profile,
    radius,
    recombine,
    whiten,
    within,
)

SIZES = [(32, 32), (28, 28), (9, 9), (12, 7), (7, 12), (5, 64), (2, 3), (1, 1)]

# every differentiable function of images, as a function of one image tensor
OPS = {
    "recombine": lambda x: recombine(x.flip(-1), x),
    "recombine, channels": lambda x: recombine(x.flip(-2), x, channels=True),
    "amplitude": amplitude,
    "phase": phase,
    "low_pass": lambda x: low_pass(x, 2.5),
    "high_pass": lambda x: high_pass(x, 2.5),
    "band_pass": lambda x: band_pass(x, 1, 3),
    "gaussian_low_pass": lambda x: gaussian_low_pass(x, 1.5),
    "gaussian_high_pass": lambda x: gaussian_high_pass(x, 1.5),
    "gaussian_band_pass": lambda x: gaussian_band_pass(x, 0.5, 2),
    "power_spectrum": lambda x: power_spectrum(x, window="hamming"),
    "radial_profile": lambda x: radial_profile(power_spectrum(x)),
    "radial_profile, as published": lambda x: radial_profile(power_spectrum(x), as_published=True),
    "centroid": lambda x: centroid(power_spectrum(x)),
    "centroid, no DC": lambda x: centroid(power_spectrum(x), dc=False),
    "whiten": lambda x: whiten(x, 1 + radius(*x.shape[-2:]).to(x)),
    "apply_mask": lambda x: apply_mask(x, 1 / (1 + radius(*x.shape[-2:]))),
}
each_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
each_size = pytest.mark.parametrize("size", SIZES, ids=str)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def grating(ky: int, kx: int, height: int = 32, width: int = 32) -> torch.Tensor:
    y, x = (
        torch.arange(height, dtype=torch.float64)[:, None] / height,
        torch.arange(width, dtype=torch.float64) / width,
    )
    return torch.cos(2 * math.pi * (ky * y + kx * x) + 0.3)[None]


def crops(picture: np.ndarray) -> torch.Tensor:
    tiles = picture[64:192, 64:192].reshape(4, 32, 4, 32, 3).transpose(0, 2, 4, 1, 3).reshape(16, 3, 32, 32)
    return torch.tensor(tiles / 255)


def assert_equal_within_rounding(found, expected, whole=None):
    """Within 64 units of the last place of the largest value: three transforms, each of log2(N) roundings,
    and some room.
    """
    whole = expected if whole is None else whole
    assert_close(found, expected, rtol=0, atol=64 * torch.finfo(whole.dtype).eps * whole.abs().max().item())


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return crops(skimage.data.astronaut())


@pytest.fixture(scope="module")
def others() -> torch.Tensor:
    return crops(skimage.data.coffee())


# -- amplitude and phase -------------------------------------------------------------------------------------


def by_definition(amplitude_of: torch.Tensor, phase_of: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    a, p = np.fft.fftn(amplitude_of.numpy(), axes=axes), np.fft.fftn(phase_of.numpy(), axes=axes)
    p[np.abs(p) < 1e-10] = 1  # 8-bit images do have zeros; their phase is taken as 0
    return torch.tensor(np.fft.ifftn(np.abs(a) * np.exp(1j * np.angle(p)), axes=axes).real)


@pytest.mark.parametrize("channels, axes", [(False, (-2, -1)), (True, (-3, -2, -1))])
@each_size
def test_recombination_is_its_definition(size, channels, axes):
    a, p = noise(2, 3, *size), noise(2, 3, *size, seed=1)
    assert_close(recombine(a, p, channels=channels), by_definition(a, p, axes), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels, axes", [(False, (-2, -1)), (True, (-3, -2, -1))])
def test_recombination_of_photographs_is_its_definition(photos, others, channels, axes):
    assert_close(
        recombine(photos, others, channels=channels), by_definition(photos, others, axes), rtol=0, atol=1e-12
    )


def test_recombining_the_channels_too_gives_another_image(photos, others):
    assert (recombine(photos, others) - recombine(photos, others, channels=True)).abs().max() > 0.05


@pytest.mark.parametrize("channels", [False, True])
def test_an_image_recombined_with_itself_is_unchanged(photos, channels):
    assert_equal_within_rounding(recombine(photos, photos, channels=channels), photos)


@pytest.mark.parametrize("channels", [False, True])
def test_swapping_amplitudes_twice_restores_both(photos, others, channels):
    one, other = recombine(photos, others, channels=channels), recombine(others, photos, channels=channels)
    assert_close(recombine(one, other, channels=channels), photos, rtol=0, atol=1e-11)
    assert_close(recombine(other, one, channels=channels), others, rtol=0, atol=1e-11)


@each_size
def test_the_result_has_the_amplitude_of_one_and_the_phase_of_the_other(size):
    a, p = noise(3, *size), noise(3, *size, seed=1)
    result = recombine(a, p)
    assert_close(amplitude(result), amplitude(a), rtol=1e-11, atol=0)
    assert_close(torch.cos(phase(result) - phase(p)), torch.ones_like(p), rtol=0, atol=1e-12)


def test_the_mean_has_the_size_of_one_and_the_sign_of_the_other(photos):
    assert_close(recombine(photos, -photos.flip(0)).mean((-2, -1)), -photos.mean((-2, -1)))


def test_the_scale_of_the_phase_donor_does_not_matter(photos, others):
    plain = recombine(photos.float(), others.float())
    assert_equal_within_rounding(recombine(photos.float(), 1e-6 * others.float()), plain)


@pytest.mark.parametrize("size", [(32, 32), (61, 97)], ids=str)
@pytest.mark.parametrize("blank", [0.0, 0.7137, 1e-30])
def test_a_blank_phase_donor_has_phase_zero_also_where_rounding_leaves_noise(size, blank):
    a = noise(3, *size).float()
    zero_phase = torch.fft.ifft2(torch.fft.fft2(a.double()).abs()).real
    assert_equal_within_rounding(recombine(a, torch.full_like(a, blank)), zero_phase.float())
    assert phase(torch.full_like(a, blank)).abs().max() < 1e-6


def test_a_grey_phase_donor_has_phase_zero_at_the_channel_frequencies(photos, others):
    grey = others.mean(-3, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.fft.fftn(grey, dim=(-3, -2, -1))[:, 1:].abs().max() < 1e-12
    assert_close(
        recombine(photos, grey, channels=True), by_definition(photos, grey, (-3, -2, -1)), rtol=0, atol=1e-12
    )


def test_a_blank_phase_donor_of_one_colour_has_phase_zero_where_rounding_leaves_noise():
    a, blank = noise(3, 61, 97).float(), torch.zeros(3, 61, 97)
    blank[2] = 0.7137
    expected = by_definition(a.double(), blank.double(), (-3, -2, -1))
    assert_equal_within_rounding(recombine(a, blank, channels=True), expected.float())


@each_size
def test_amplitude_and_phase_are_those_of_the_full_transform(size):
    x = noise(2, *size)
    assert_close(torch.polar(amplitude(x), phase(x)), torch.fft.fft2(x), rtol=0, atol=1e-12 * math.prod(size))
    assert phase(x).abs().max() <= math.pi


@pytest.mark.parametrize("channels", [False, True])
def test_the_compiled_recombination_is_the_eager_one(photos, others, channels):
    compiled = torch.compile(recombine, backend="eager")  # takes the branch for compilers without needing one
    assert_close(
        compiled(photos, others, channels=channels),
        recombine(photos, others, channels=channels),
        rtol=0,
        atol=1e-12,
    )
    a, blank = noise(3, 61, 97).float(), torch.full((3, 61, 97), 0.7137)
    assert_equal_within_rounding(
        compiled(a, blank, channels=channels), recombine(a, blank, channels=channels)
    )


# -- band limits ---------------------------------------------------------------------------------------------


@each_size
def test_low_and_high_pass_add_up(size):
    x = noise(2, 3, *size)
    assert_equal_within_rounding(low_pass(x, 2.5) + high_pass(x, 2.5), x)
    assert_equal_within_rounding(gaussian_low_pass(x, 2) + gaussian_high_pass(x, 2), x)


def test_bands_add_up(photos):
    assert_close(low_pass(photos, 4) + band_pass(photos, 4, 9) + high_pass(photos, 9), photos)
    assert_close(
        gaussian_low_pass(photos, 4) + gaussian_band_pass(photos, 1, 4) + gaussian_high_pass(photos, 1),
        photos,
    )


@each_size
def test_ideal_low_pass_is_the_full_transform_times_a_disc(size):
    x = noise(2, *size)
    ky, kx = (np.fft.fftshift(np.fft.fftfreq(n, 1 / n)) for n in size)
    disc = np.fft.ifftshift(np.hypot(ky[:, None], kx) < 4)
    assert_close(low_pass(x, 4), torch.tensor(np.fft.ifft2(np.fft.fft2(x.numpy()) * disc).real))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ky, kx", [(3, 4), (1, 1), (0, 16), (16, 16), (-12, 5)])
def test_the_edge_of_a_band_belongs_to_the_frequencies_above_it(ky, kx, dtype):
    x, edge = grating(ky, kx).to(dtype), math.sqrt(ky**2 + kx**2)
    nothing = torch.zeros_like(x)
    assert_close(low_pass(x, edge), nothing, rtol=0, atol=1e-6)
    assert_close(low_pass(x, math.nextafter(edge, 99)), x, rtol=0, atol=1e-6)
    assert_close(band_pass(x, edge, edge + 1), x, rtol=0, atol=1e-6)
    assert_close(band_pass(x, edge - 1, edge), nothing, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ky, kx", [(1, 1), (1, 2), (3, 4), (5, 7)])
def test_where_an_edge_lies_does_not_depend_on_the_processor(ky, kx, other_rounding):
    x, edge = grating(ky, kx), math.sqrt(ky**2 + kx**2)
    assert_close(low_pass(x, edge), torch.zeros_like(x), rtol=0, atol=1e-6)
    assert_close(low_pass(x, math.nextafter(edge, 99)), x, rtol=0, atol=1e-6)
    assert_close(band_pass(x, edge, edge + 0.1), x, rtol=0, atol=1e-6)


def test_a_radius_holds_the_frequencies_whose_rounded_distance_is_below_it():
    squared = torch.arange(5000)
    for k in (0, 1, 2, 25, 3000, 4761):
        for edge in (math.nextafter(math.sqrt(k), 0), math.sqrt(k), math.nextafter(math.sqrt(k), 99)):
            assert within(squared, edge).tolist() == [math.sqrt(s) < edge for s in range(5000)]
    assert within(squared, math.inf).all() and within(squared, 1e300).all()


def test_the_radius_counts_from_nothing_over_the_mean_to_everything(photos):
    assert low_pass(photos, 0).count_nonzero() == 0
    assert_close(low_pass(photos, 1), photos.mean((-2, -1), keepdim=True).expand_as(photos))
    assert_close(low_pass(photos, 22.7), photos)
    assert_close(low_pass(photos, math.inf), photos)
    assert not torch.allclose(low_pass(photos, 22.6), photos, rtol=0, atol=1e-6)


def test_an_ideal_filter_applied_twice_does_nothing_more(photos):
    assert_close(band_pass(band_pass(photos, 3, 9), 3, 9), band_pass(photos, 3, 9))


@pytest.mark.parametrize("size", [(32, 32), (27, 40)], ids=str)
@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_gaussian_low_pass_is_the_periodic_blur_of_each_channel(size, sigma):
    x = noise(2, 3, *size)
    blurred = scipy.ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="wrap", truncate=10)
    assert_close(gaussian_low_pass(x, sigma), torch.tensor(blurred), rtol=0, atol=1e-8)


@pytest.mark.parametrize("sigma", [0.2, 1.0, 20.0])
@each_size
def test_gaussian_low_pass_has_the_exact_transfer_function(size, sigma):
    x = noise(*size)
    blurred = np.fft.ifft2(scipy.ndimage.fourier_gaussian(np.fft.fft2(x.numpy()), sigma)).real
    assert_close(gaussian_low_pass(x[None], sigma)[0], torch.tensor(blurred), rtol=0, atol=1e-12)


def test_gaussian_filters_keep_or_remove_the_mean(photos):
    mean = photos.mean((-2, -1))
    assert_close(gaussian_low_pass(photos, 12).mean((-2, -1)), mean)
    assert_close(gaussian_high_pass(photos, 12).mean((-2, -1)), torch.zeros_like(mean))


def test_gaussian_band_pass_is_the_difference_of_gaussians(photos):
    expected = skimage.filters.difference_of_gaussians(
        photos[0].numpy(), 2, 3, mode="wrap", channel_axis=0, truncate=10
    )
    assert_close(gaussian_band_pass(photos[0], 2, 3), torch.tensor(expected), rtol=0, atol=1e-8)


# -- power ---------------------------------------------------------------------------------------------------


@each_size
def test_power_is_that_of_the_full_transform_with_dc_in_the_middle(size):
    x = noise(2, *size)
    expected = np.fft.fftshift(np.abs(np.fft.fft2(x.numpy())) ** 2, axes=(-2, -1))
    assert_close(power_spectrum(x), torch.tensor(expected))
    assert_close(power_spectrum(x)[..., size[0] // 2, size[1] // 2], x.sum((-2, -1)) ** 2)


@each_size
def test_power_sums_to_the_energy_of_the_image(size):  # Parseval
    x = noise(2, *size)
    assert_close(power_spectrum(x).sum((-2, -1)), math.prod(size) * x.square().sum((-2, -1)))


@each_size
def test_the_hamming_window_is_that_of_numpy(size):
    x = noise(2, *size)
    windowed = x * torch.tensor(np.outer(np.hamming(size[0]), np.hamming(size[1])))
    assert_close(power_spectrum(x, window="hamming"), power_spectrum(windowed))


@pytest.mark.parametrize("size", [32, 33, 28])
@pytest.mark.parametrize("ky, kx", [(0, 0), (0, 1), (1, 0), (-1, 1), (2, 2), (3, 4), (-5, 12), (14, 0)])
def test_the_profile_of_a_grating_is_one_peak_at_its_frequency(size, ky, kx):
    profile = radial_profile(power_spectrum(grating(ky, kx, size, size)))[0]
    expected = round(math.sqrt(ky**2 + kx**2))
    assert profile.shape == (size // 2 + 1,)
    assert profile.argmax() == expected
    assert (profile.sum() - profile[expected]) < 1e-20 * profile[expected]


def test_the_profile_of_white_noise_is_flat():
    images, counts = 400, torch.bincount(radius(32).round().long().flatten())[:17]
    profile = radial_profile(power_spectrum(noise(images, 1, 32, 32))).mean((0, 1)) / 32**2
    assert ((profile - 1).abs() < 4.5 * (2 / (images * counts)).sqrt()).all()


@each_size
def test_the_profile_is_the_mean_over_each_ring(size):
    power, ring = noise(*size).abs(), radius(*size).round()
    rings = torch.arange(min(size) // 2 + 1)
    expected = torch.stack([power[ring == r].mean() for r in rings])
    assert_close(radial_profile(power), expected)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("size", [32, 33, 64])
def test_the_rings_are_those_of_exact_roots_on_every_processor(size, as_published, other_rounding):
    k = (np.arange(size) - (size - 1) / 2) * 2 if as_published else (np.arange(size) - size // 2) * 2
    fourfold = (k[:, None] ** 2 + k**2).astype(int).ravel().tolist()  # of twice the distance, a whole number
    ring = np.array([math.isqrt(n) // 2 if as_published else (math.isqrt(n) + 1) // 2 for n in fourfold])
    power = noise(size, size).abs()
    bins = range(1, ring.max()) if as_published else range(size // 2 + 1)
    expected = [power.numpy().ravel()[ring == r].mean() for r in bins]
    assert_close(radial_profile(power, as_published=as_published), torch.tensor(expected))


@pytest.mark.parametrize("size, bins", [(32, 20), (28, 18), (64, 43), (224, 156)])
def test_the_published_profile_has_the_bins_of_the_original(size, bins):
    power = noise(size, size).abs().numpy()
    y, x = np.indices(power.shape)
    ring = np.hypot(x - (size - 1) / 2, y - (size - 1) / 2).astype(int).ravel()
    expected = (np.bincount(ring, power.ravel()) / np.bincount(ring))[1:-1]
    assert_close(radial_profile(torch.tensor(power), as_published=True), torch.tensor(expected))
    assert len(expected) == bins


def test_the_published_profile_loses_half_of_the_first_ring():
    power = (radius(32) == 1).double()
    rounded, as_published = radial_profile(power), radial_profile(power, as_published=True)
    # all four, of the eight bins with round(|k|) = 1
    assert_close(rounded, torch.eye(17, dtype=torch.float64)[1] * 4 / 8)
    floor = (torch.arange(32) - 15.5).square()
    assert_close(
        as_published[0] * ((floor[:, None] + floor).sqrt().floor() == 1).sum(),
        torch.tensor(2.0, dtype=torch.float64),
    )
    assert as_published[1:].count_nonzero() == 0


@each_size
def test_the_profile_has_no_empty_ring(size):
    assert radial_profile(torch.ones(size)).eq(1).all()


@pytest.mark.parametrize("size", [(33, 33), (37, 37), (32, 20)], ids=str)
def test_a_delta_has_a_flat_spectrum_and_the_mean_frequency_as_centroid(size):
    delta = torch.zeros(1, *size, dtype=torch.float64)
    delta[0, 3, 4] = -2
    fy, fx = np.fft.fftfreq(size[0]), np.fft.fftfreq(size[1])
    assert_close(power_spectrum(delta), torch.full_like(delta, 4))
    assert_close(centroid(power_spectrum(delta))[0], torch.tensor(np.hypot(fy[:, None], fx).mean()))


def test_a_box_is_a_low_pass_and_a_laplacian_a_high_pass():
    kernels = torch.tensor(
        [
            [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
            [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
            [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
        ]
    )
    power = power_spectrum(torch.nn.functional.pad(kernels.double(), (15, 15, 15, 15)))
    box, delta, laplacian = centroid(power)
    assert box < 0.5 * delta
    assert laplacian > 1.2 * delta
    assert_close(centroid(power[2], dc=False), laplacian)  # a Laplacian has no DC to leave out
    assert centroid(power[0], dc=False) > box


@pytest.mark.parametrize("size", [(32, 32), (33, 40)], ids=str)
@pytest.mark.parametrize("ky, kx", [(0, 1), (3, 4), (-8, 15), (16, 16)])
def test_the_centroid_of_a_grating_is_its_frequency_in_cycles_per_pixel(ky, kx, size):
    wave, frequency = (
        grating(ky, kx, *size),
        torch.tensor([math.hypot(ky / size[0], kx / size[1])], dtype=torch.float64),
    )
    assert_close(centroid(power_spectrum(wave)), frequency)
    assert_close(centroid(power_spectrum(wave + 5), dc=False), frequency)
    assert (centroid(power_spectrum(wave + 5)) < 0.1 * frequency).all()


@pytest.mark.parametrize("dc", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (61, 97), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_centroid_of_a_blank_image_is_zero(size, dtype, dc):
    for value in (0.0, 0.7137):
        assert centroid(power_spectrum(torch.full((1, *size), value, dtype=dtype)), dc=dc).abs() < 1e-6


def test_one_faint_pixel_is_power_enough_for_a_centroid():
    x = torch.full((1, 256, 256), 0.9)
    x[0, 5, 9] += 1 / 255
    assert_close(centroid(power_spectrum(x), dc=False), torch.tensor([0.3826]), rtol=0.01, atol=0)


def test_whitening_a_set_by_its_own_power_leaves_power_one_everywhere(photos):
    mean_power = power_spectrum(photos).mean(0)
    assert (mean_power > 1e-8 * mean_power.amax((-2, -1), keepdim=True)).all()
    assert_close(power_spectrum(whiten(photos, mean_power)).mean(0), torch.ones_like(mean_power))


@each_size
def test_whitening_works_at_any_size(size):
    x = noise(5, 2, *size)
    mean_power = power_spectrum(x).mean(0)
    assert_close(power_spectrum(whiten(x, mean_power)).mean(0), torch.ones_like(mean_power))


def test_whitening_does_not_amplify_what_is_below_the_floor(photos):
    blurred = gaussian_low_pass(photos, 2)
    power = power_spectrum(blurred).mean(0)
    floor = 1e-6 * power.amax((-2, -1), keepdim=True)
    whitened = power_spectrum(whiten(blurred, power, floor=1e-6)).mean(0)
    assert (power < floor).any()
    assert_close(whitened, (power / floor).clamp(max=1), rtol=1e-6, atol=1e-9)


# -- grids, masks, basis -------------------------------------------------------------------------------------


@each_size
def test_a_mask_of_the_radius_is_hermitian_and_zero_in_the_middle(size):
    distance = radius(*size)
    assert is_hermitian(distance < 3)
    assert distance[size[0] // 2, size[1] // 2] == 0
    assert (distance == 0).sum() == 1


@each_size
def test_the_mirror_conjugates_the_spectrum_of_a_real_image(size):
    spectrum = torch.fft.fftshift(torch.fft.fft2(noise(2, *size)), dim=(-2, -1))
    assert_close(mirror(spectrum), spectrum.conj())


@each_size
def test_dropping_the_imaginary_part_is_taking_the_hermitian_part_of_the_mask(size):
    x, mask = noise(2, *size), noise(*size, seed=1)
    crude = torch.fft.ifft2(torch.fft.fft2(x) * torch.fft.ifftshift(mask))
    assert_close(apply_mask(x, hermitian(mask)), crude.real)
    if min(size) > 2:
        assert crude.imag.abs().max() > 1e-3
        assert not is_hermitian(mask)


def test_a_mask_centred_on_the_array_is_not_hermitian():  # as in the original of CDES
    d = torch.arange(32) - 15.5
    disc = (d[:, None] ** 2 + d**2).sqrt() <= 10
    assert not is_hermitian(disc)
    assert is_hermitian(hermitian(disc))
    with pytest.raises(ValueError, match="symmetric"):
        apply_mask(noise(1, 32, 32), disc)


def test_a_mask_with_nan_is_refused():
    with pytest.raises(ValueError, match="symmetric"):
        apply_mask(noise(1, 4, 4), torch.full((4, 4), math.nan))


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 32])
def test_the_basis_is_orthonormal_and_has_each_frequency_once(size):
    images, k = basis(size, dtype=torch.float64)
    assert len(images) == len(k) == (size**2 // 2 + 2 if size % 2 == 0 else (size**2 + 1) // 2)
    assert_close(images.flatten(1) @ images.flatten(1).T, torch.eye(len(images), dtype=torch.float64))
    seen = torch.zeros(size, size)
    seen[tuple((k + size // 2).T)] += 1
    assert (torch.maximum(seen, mirror(seen)) == 1).all()


@pytest.mark.parametrize("size", [8, 9])
def test_a_basis_image_has_power_at_its_frequency_and_the_opposite_only(size):
    images, k = basis(size, dtype=torch.float64)
    for power, (y, x) in zip(power_spectrum(images), (k + size // 2).tolist(), strict=True):
        at = torch.zeros(size, size, dtype=torch.float64)
        at[y, x] = 1
        at = torch.maximum(at, mirror(at))
        assert_close(power, size**2 * at / at.sum())


def test_an_image_is_the_sum_of_its_even_part_in_the_basis():
    x, (images, _) = noise(9, 9), basis(9, dtype=torch.float64)
    even = (x + x.flip((0, 1)).roll((1, 1), (0, 1))) / 2
    assert_close(torch.einsum("kyx,k->yx", images, torch.einsum("kyx,yx->k", images, x)), even)


# -- what holds for every function ---------------------------------------------------------------------------


@each_op
def test_gradients_are_those_of_finite_differences(op):
    x = noise(2, 3, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(op, (x,))


@pytest.mark.parametrize("channels", [False, True])
def test_the_gradients_of_both_donors_are_those_of_finite_differences(channels):
    a, p = noise(2, 3, 4, 5).requires_grad_(), noise(2, 3, 4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, p: recombine(a, p, channels=channels), (a, p))


@each_op
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.7137, 1e-25])
def test_gradients_stay_finite_where_spectra_vanish(op, value, dtype):
    x = torch.full((1, 3, 7, 8), value, dtype=dtype, requires_grad=True)
    result = op(x)
    (gradient,) = torch.autograd.grad(result.sum(), x)
    assert result.isfinite().all()
    assert gradient.isfinite().all()


def continuous(op):
    """An operation; the phase as a spectrum, for where that is small rounding turns the angle, and -π and π
    are one.
    """
    if op is phase:
        return lambda x: torch.view_as_real(torch.polar(amplitude(x), phase(x)))
    return op


@each_op
def test_an_image_does_not_depend_on_its_batch_mates(op, photos):
    """But for rounding: a transform's library chooses its kernel by the size of the batch."""
    op = continuous(op)
    for x in (photos, photos.float()):
        together = op(x)
        for i in (0, 5, 15):
            assert_equal_within_rounding(op(x[i : i + 1])[0], together[i], together)


@each_op
def test_any_number_of_leading_dimensions_will_do(op, photos):
    op = continuous(op)
    expected = op(photos)
    assert_equal_within_rounding(op(photos.unflatten(0, (2, 2, 4))).flatten(0, 2), expected)
    assert_equal_within_rounding(op(photos[3]), expected[3], expected)
    assert op(photos[:0]).shape == (0, *expected.shape[1:])


@each_op
def test_memory_layout_does_not_matter(op, photos):
    transposed = photos.mT.contiguous().mT
    assert_close(op(transposed), op(photos), rtol=1e-9, atol=1e-9)


@each_op
def test_single_precision_agrees_with_double(op):
    x = noise(2, 3, 12, 9)
    exact, single = op(x), op(x.float())
    assert single.dtype == torch.float32
    assert exact.dtype == torch.float64
    assert_close(single.double(), exact, rtol=2e-5, atol=1e-5 * exact.abs().max().item())


@each_op
def test_nan_is_not_hidden(op):
    x = noise(2, 3, 6, 6)
    x[0, 1, 2, 3] = math.nan
    assert op(x)[0, 1].isnan().any()
    assert op(x)[1].isfinite().all()


@each_op
@pytest.mark.parametrize(
    "bad, error",
    [
        (torch.zeros(3, 8, 8, dtype=torch.uint8), TypeError),
        (torch.zeros(3, 8, 8, dtype=torch.float16), TypeError),
        (torch.zeros(3, 8, 8, dtype=torch.complex64), TypeError),
        (torch.zeros(8, 8), ValueError),
    ],
    ids=["uint8", "half", "complex", "no channels"],
)
def test_what_is_no_float_image_is_refused(op, bad, error):
    with pytest.raises(error, match="expected a"):
        op(bad)


def test_an_array_is_refused():
    with pytest.raises(TypeError, match="ndarray"):
        low_pass(np.zeros((3, 8, 8)), 2)


IMAGE = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: recombine(IMAGE, IMAGE[:1]), "same shape"),
        (lambda: recombine(IMAGE, IMAGE.double()), "same dtype"),
        (lambda: recombine(IMAGE, IMAGE.to("meta")), "same device"),
        (lambda: amplitude(IMAGE[:, :0]), "shape"),
        (lambda: low_pass(IMAGE, -1), "low <= high"),
        (lambda: low_pass(IMAGE, math.nan), "low <= high"),
        (lambda: high_pass(IMAGE, -0.1), "low <= high"),
        (lambda: band_pass(IMAGE, 3, 2), "low <= high"),
        (lambda: band_pass(IMAGE, -1, 2), "low <= high"),
        (lambda: gaussian_low_pass(IMAGE, 0), "sigma"),
        (lambda: gaussian_low_pass(IMAGE, -2), "sigma"),
        (lambda: gaussian_high_pass(IMAGE, math.nan), "sigma"),
        (lambda: gaussian_low_pass(IMAGE, math.inf), "sigma"),
        (lambda: gaussian_band_pass(IMAGE, 4, 2), "sigma_low < sigma_high"),
        (lambda: gaussian_band_pass(IMAGE, 0, 2), "sigma_low < sigma_high"),
        (lambda: power_spectrum(IMAGE, window="hann"), "hamming"),
        (lambda: radial_profile(torch.ones(2, 2), as_published=True), "no ring"),
        (lambda: radial_profile(torch.ones(4)), "expected"),
        (lambda: centroid(torch.ones(4)), "expected"),
        (lambda: whiten(IMAGE, torch.zeros(8, 8)), "not zero everywhere"),
        (lambda: whiten(IMAGE, -torch.ones(8, 8)), "not negative"),
        (lambda: whiten(IMAGE, torch.full((8, 8), math.nan)), "finite"),
        (lambda: whiten(IMAGE, torch.full((8, 8), math.inf)), "finite"),
        (lambda: whiten(IMAGE, torch.ones(8, 9)), "as high and wide"),
        (lambda: whiten(IMAGE, torch.ones(8, 8), floor=0), "floor"),
        (lambda: whiten(IMAGE, torch.ones(8, 8), floor=math.nan), "floor"),
        (lambda: apply_mask(IMAGE, torch.ones(7, 8)), "as high and wide"),
        (lambda: radius(0), "positive"),
        (lambda: basis(0), "positive"),
    ],
)
def test_impossible_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
