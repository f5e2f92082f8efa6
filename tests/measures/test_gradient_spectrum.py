"""The gradient spectrum: networks whose gradients are known, the original's loop written out, and what it leaves
as it was.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from specfreq import ImageSet, filters, fourier
from specfreq.core.errors import UserError
from specfreq.measures import compute, computed
from specfreq.measures.gradient_spectrum import profiled, published_profiles
from specfreq.models import Classifier


class Linear(nn.Module):
    """Two logits, ± 1 % of the product of the image with a pattern (C, H, W): every gradient is along it."""

    def __init__(self, pattern):
        super().__init__()
        self.register_buffer("pattern", pattern)

    def forward(self, x):
        z = (x * self.pattern).sum((1, 2, 3)) / 100
        return torch.stack([z, -z], 1)


def linear(pattern, filter=None):
    channels = len(pattern)
    return Classifier(Linear(pattern), torch.zeros(channels), torch.ones(channels), filter).eval()


def noise(channels, height, width, count=20, seed=0):
    g = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, channels, height, width), generator=g, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2, ("a", "b"), "noise")


def wave(ky, kx, height, width):
    y, x = torch.arange(height)[:, None], torch.arange(width)
    return torch.cos(2 * torch.pi * (ky * y / height + kx * x / width))[None]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (15, 15), (16, 24), (9, 14)])
@pytest.mark.parametrize(("ky", "kx"), [(0, 3), (3, -1), (0, 0), (4, 4)])
def test_a_network_that_looks_at_a_grating_has_one_peak(height, width, ky, kx):
    result = compute("gradient-spectrum", linear(wave(ky, kx, height, width)), noise(1, height, width))
    density, ring = torch.tensor(result["density"]), round((ky**2 + kx**2) ** 0.5)
    peak = height * width / result["frequencies"][ring]  # all power on one ring
    assert_close(density, peak * F.one_hot(torch.tensor(ring), len(density)), atol=1e-4, rtol=1e-4)
    assert result["frequencies"][0] == 1 and sum(result["frequencies"]) == height * width
    assert result["centroid"] == pytest.approx(float(np.hypot(ky / height, kx / width)), abs=1e-4)
    assert result["silent"] == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_images_without_published_rings_have_an_empty_profile_and_no_warning(shape):
    result = compute("gradient-spectrum", linear(torch.ones(1, *shape)), noise(1, *shape))
    assert result["published"] == result["published_std"] == result["published_radii"] == []
    assert result["density"][0] == pytest.approx(shape[0] * shape[1]), "the sum looks at the mean alone"


def test_a_single_pixel_is_looked_at_by_all_frequencies_alike():
    """The power of an impulse is exactly flat; as published its profile is 0, not one divided by zero."""
    impulse = torch.zeros(1, 16, 16)
    impulse[0, 5, 2] = 3
    result = compute("gradient-spectrum", linear(impulse), noise(1, 16, 16))
    assert_close(torch.tensor(result["density"]), torch.ones(12), atol=1e-5, rtol=0)
    assert result["published"] == result["published_std"] == [0] * len(result["published_radii"])
    shares = [result[f"{band}_share"] for band in ("low", "middle", "high")]
    assert shares == pytest.approx([100 * n / 256 for n in (8, 36, 211)], rel=1e-5)


def test_of_random_functionals_the_profile_is_flat():
    """To 5 standard errors, twice that of the mean square of normal numbers of 3 channels."""
    g = torch.Generator().manual_seed(0)
    _, found = profiled(torch.randn(400, 3, 32, 32, generator=g))
    counts = torch.bincount(fourier.ring_index(32, 32).flatten())
    gap = (found[:, : len(counts)].mean(0) - 1).abs()
    assert (gap < 5 * 2 / (400 * 3 * counts / 2).sqrt()).all()


def by_definition(gradients):
    """Power (N, H, W) of the channels together, shifted; NumPy in double precision, of each image by itself."""
    power = [np.abs(np.fft.fftshift(np.fft.fft2(g), axes=(-2, -1))) ** 2 for g in gradients.double().numpy()]
    return np.stack(power).sum(1) / gradients[0].numel()


def gradients_of(model, images):
    x = (images.images / 255).requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x).double(), images.labels, reduction="sum"), x)[0]


def test_it_is_its_definition_on_a_real_network(digits):
    model, images = digits
    result, power = compute("gradient-spectrum", model, images), by_definition(gradients_of(model, images))
    ring = fourier.ring_index(8, 8).numpy()
    rings = np.stack([power[:, ring == r].mean(1) for r in result["radii"]], 1)
    relative = rings / power.mean((1, 2))[:, None]
    for name, values in {"power": rings, "density": relative}.items():
        assert result[name] == pytest.approx(values.mean(0), rel=1e-4)
        assert result[f"{name}_std"] == pytest.approx(values.std(0), rel=1e-3)
    squared = np.add.outer(np.arange(-4, 4) ** 2, np.arange(-4, 4) ** 2)
    for band, low, high in (("low", 1, 1), ("middle", 1, 4), ("high", 4, 99)):  # of 8 pixels
        share = 100 * power[:, (squared >= low) & (squared < high)].sum(1) / power.sum((1, 2))
        assert result[f"{band}_share"] == pytest.approx(share.mean(), rel=1e-4, abs=1e-4)
    assert_close(
        torch.tensor(result["density"][:5]),
        fourier.radial_profile(torch.from_numpy(power / power.mean((1, 2), keepdims=True))).mean(0).float(),
        rtol=1e-4,
        atol=1e-5,
    )


def azimuthal(image):
    """Of the original: rings about the centre, whole parts of radii, sorted and summed; first and last lost."""
    y, x = np.indices(image.shape)
    centre = np.array([(x.max() - x.min()) / 2.0, (y.max() - y.min()) / 2.0])
    r = np.hypot(x - centre[0], y - centre[1])
    order = np.argsort(r.flat)
    radius, values = r.flat[order].astype(int), image.flat[order]
    edges = np.where(radius[1:] - radius[:-1])[0]
    sums = np.cumsum(values, dtype=float)
    return (sums[edges[1:]] - sums[edges[:-1]]) / (edges[1:] - edges[:-1])


@pytest.mark.parametrize("side", [32, 28])
def test_the_published_profile_is_that_of_the_original_loop(side):
    g = torch.Generator().manual_seed(0)
    gradients = torch.randn(7, 3, side, side, generator=g)
    rows = []
    for gradient in gradients.sum(1).numpy():
        profile = azimuthal(np.abs(np.fft.fftshift(np.fft.fft2(gradient))))
        rows.append((profile - profile.min()) / (profile.max() - profile.min()))
    published = published_profiles(gradients)
    assert published.shape[1] == {32: 20, 28: 18}[side]
    assert_close(published.double(), torch.from_numpy(np.stack(rows)), rtol=1e-4, atol=1e-5)


def test_a_network_that_compares_colours_is_lost_by_the_sum_of_the_channels():
    red_less_green = torch.cat([wave(0, 4, 32, 32), -wave(0, 4, 32, 32), torch.zeros(1, 32, 32)])
    result = compute("gradient-spectrum", linear(red_less_green), noise(3, 32, 32))
    assert np.argmax(result["density"]) == 4
    assert result["published"] == [0] * 20


def test_the_length_of_the_gradient_is_in_the_power_alone():
    """However small: the logits are about alike, and so each gradient is ± 1 % of the pattern."""
    pattern, images = wave(0, 3, 16, 16), noise(1, 16, 16)
    tiny, small = (compute("gradient-spectrum", linear(s * pattern), images) for s in (1e-30, 1e-3))
    assert tiny["density"] == pytest.approx(small["density"], rel=1e-3, abs=1e-4)
    power = fourier.radial_profile(fourier.power_spectrum(pattern.double())[0] / pattern.numel())
    assert tiny["power"][3] == pytest.approx(1e-64 * float(power[3]), rel=1e-4)
    assert small["power"][3] == pytest.approx(1e-10 * float(power[3]), rel=1e-2)


def test_without_a_slope_an_image_is_silent_and_counts_for_no_density(known):
    class Some(nn.Module):
        """Sees images whose first pixel is bright, and nothing of the others."""

        def forward(self, x):
            z = (x * wave(0, 2, 8, 8)).sum((1, 2, 3)) * (x[:, 0, 0, 0] > 0.5).detach()
            return torch.stack([z, -z], 1)

    images = noise(1, 8, 8, count=40)
    model = Classifier(Some(), torch.zeros(1), torch.ones(1)).eval()
    seen = (images.images[:, 0, 0, 0] > 127.5).double()
    result, each = computed("gradient-spectrum", model, images)
    assert result["silent"] == pytest.approx(100 * (1 - float(seen.mean())))
    assert np.argmax(result["density"]) == 2 and result["published"][0] == 1
    assert float(each["low_share"].mean()) == pytest.approx(result["low_share"], abs=1e-9)
    blind = compute("gradient-spectrum", *known(torch.zeros(4, 2), [0, 1, 0, 1]))
    assert blind["silent"] == 100 and blind["density"] == [None] and blind["low_share"] is None


def test_the_input_is_the_image_or_what_the_filter_makes_of_it():
    """A blur is its own adjoint: <Hx, p> = <x, Hp>."""
    g = torch.Generator().manual_seed(1)
    pattern, images = torch.randn(3, 32, 32, generator=g), noise(3, 32, 32)
    behind_blur = linear(pattern, filters.build("gaussian-low-pass:sigma=2"))
    blurred = compute("gradient-spectrum", linear(fourier.gaussian_low_pass(pattern, 2)), images)
    sharp = compute("gradient-spectrum", linear(pattern), images)
    before = compute("gradient-spectrum", behind_blur, images)
    behind = compute("gradient-spectrum:at=filtered", behind_blur, images)
    assert before["power"] == pytest.approx(blurred["power"], rel=1e-3, abs=1e-9)
    assert behind["density"] == pytest.approx(sharp["density"], rel=1e-4)
    assert behind_blur.filter is not None
    none = compute("gradient-spectrum:at=filtered", linear(pattern), images)
    assert none == sharp, "without a filter the two are one"


def test_the_network_is_left_as_it_was(digits):
    """In evaluation mode meanwhile; no parameter gets a gradient, none loses its own."""
    model = copy.deepcopy(digits[0]).train()
    state, mark = copy.deepcopy(model.state_dict()), torch.ones(1)
    next(model.parameters()).grad = mark.expand_as(next(model.parameters())).clone()
    before = torch.get_rng_state()
    compute("gradient-spectrum", model, digits[1])
    assert model.training and torch.equal(torch.get_rng_state(), before)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    first, *others = model.parameters()
    assert torch.equal(first.grad, torch.ones_like(first)) and all(p.grad is None for p in others)


def test_what_is_unknown_is_refused(digits):
    with pytest.raises(UserError, match="at=net is refused"):
        compute("gradient-spectrum:at=net", *digits)
