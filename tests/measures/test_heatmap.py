"""The Fourier heat map: it finds the one frequency that matters, and is what adding the waves one by one
gives.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from specfreq import ImageSet, fourier
from specfreq.core.errors import UserError
from specfreq.measures import compute
from specfreq.measures.answers import bands
from specfreq.measures.heatmap import PUBLISHED, _waves


class Detector(nn.Module):
    """Class 1 if the images have any power at one frequency (ky, kx) in any channel, else class 0."""

    def __init__(self, ky, kx):
        super().__init__()
        self.k = ky, kx

    def forward(self, images):
        power = torch.fft.fft2(images.contiguous())[..., self.k[0], self.k[1]].abs().amax(1)
        return torch.stack([torch.full_like(power, 0.05), power], 1)


def grey(height, width, channels=1, count=3):
    """Mid-grey images without any but the zero frequency, all of class 0."""
    pixels = torch.full((count, channels, height, width), 128, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), ("plain", "waves"), "grey")


def photographs(height, width, channels, count=9):
    """Images of random bytes, some of them black or white, of two classes."""
    g = torch.Generator().manual_seed(0)
    pixels = (
        (torch.rand(count, channels, height, width, generator=g) * 400 - 70).clamp(0, 255).to(torch.uint8)
    )
    return ImageSet(pixels, torch.arange(count) % 2, ("even", "odd"), "random")


class Watch(nn.Module):
    """A linear network of random weights that remembers what it was shown."""

    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, values, generator=torch.Generator().manual_seed(1)))
        self.seen = []

    def forward(self, images):
        self.seen.append(images.clone())
        return (images - 0.5).flatten(1) @ self.weight.T


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (9, 6), (4, 11)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_minds_one_frequency_is_wrong_there_and_at_its_mirror_image_only(shape, channels):
    height, width = shape
    for k in [(2, 1), (-2, 1), (0, 2), (3, 0), (-(height // 2), -(width // 2))]:
        result = compute("fourier-heatmap:norm=1", Detector(*k), grey(*shape, channels))
        hit = {((s * k[0]) % height, (s * k[1]) % width) for s in (1, -1)}
        wrong = {
            (ky % height, kx % width)
            for ky, row in zip(result["ky"], result["error"], strict=True)
            for kx, error in zip(result["kx"], row, strict=True)
            if error == 100
        }
        assert wrong == hit, k
        assert sum(map(sum, result["error"])) == 100 * len(hit)  # and right everywhere else
        assert result["clean_error"] == 0


@pytest.mark.parametrize(
    ("shape", "channels"), [((6, 6), 3), ((5, 8), 1), ((7, 5), 2), ((1, 1), 1), ((1, 4), 1)]
)
def test_the_network_is_shown_every_image_with_every_wave_and_the_map_counts_its_errors(shape, channels):
    """Waves by an inverse DFT, in float64, in whatever order they come, each channel with one sign or the
    other.
    """
    (height, width), images = shape, photographs(*shape, channels)
    model = Watch(channels * height * width)
    result = compute("fourier-heatmap:norm=1.5", model, images)
    x, (clean, *disturbed) = (
        images.images.double() / 255,
        torch.cat(model.seen).unflatten(0, (-1, len(images))),
    )
    assert clean.equal(x.float()) and disturbed[0].min() >= 0 and disturbed[0].max() <= 1
    signs = torch.tensor(list(itertools.product((1, -1), repeat=channels)))[:, None, :, None, None]
    for ky, kx in itertools.product(result["ky"], result["kx"]):
        spectrum = np.zeros(shape, complex)
        spectrum[ky, kx] = spectrum[-ky, -kx] = 1
        wave = np.fft.ifft2(spectrum).real
        # (2^C, N, C, H, W)
        expected = (x + signs * torch.from_numpy(1.5 * wave / np.linalg.norm(wave))).clamp(0, 1).float()
        distance = [(shown - expected).abs().amax((2, 3, 4)).amin(0).max() for shown in disturbed]
        assert min(distance) < 1e-6
        answers = model(disturbed[int(np.argmin(distance))]).argmax(1)
        error = result["error"][ky + height // 2][kx + width // 2]
        assert error == pytest.approx(100 * float((answers != images.labels).double().mean()))


def test_signs_are_those_of_a_coin_independent_for_image_frequency_and_channel():
    pixels = torch.randint(
        120, 136, (200, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    model = Watch(192)
    compute(
        "fourier-heatmap:norm=1",
        model,
        ImageSet(pixels, torch.arange(200) % 2, ("a", "b"), "greys"),
        batch=200,
    )
    clean, *disturbed = model.seen
    waves = fourier.basis(8).images
    # (34, 200, 3)
    signs = torch.stack([((x - clean) * w).sum((-2, -1)) for x, w in zip(disturbed, waves, strict=True)])
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs), rtol=0, atol=1e-5)
    signs = signs.round()
    assert signs.mean().abs() < 4 / math.sqrt(signs.numel())
    for a, b in ((signs[1:], signs[:-1]), (signs[:, 1:], signs[:, :-1]), (signs[..., 1:], signs[..., :-1])):
        assert (a * b).mean().abs() < 4 / math.sqrt(a.numel())


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 5), (8, 8), (32, 32), (6, 9), (7, 4)])
def test_waves_are_an_orthonormal_basis_and_those_of_the_fourier_module(shape):
    height, width = shape
    place = torch.arange(height * width).view(shape)
    distinct = place[place >= fourier.mirror(place)]
    waves = _waves(distinct, height, width)
    if height == width:
        torch.testing.assert_close(waves[:, 0, 0], fourier.basis(height).images, rtol=0, atol=1e-6)
    flat = waves.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shape", "bases"), [((32, 32), 514), ((7, 7), 25), ((4, 3), 7), ((6, 4), 14)])
def test_each_distinct_wave_is_shown_once(shape, bases):
    class Count(Detector):
        shown = 0

        def forward(self, images):
            self.shown += len(images)
            return super().forward(images)

    model = Count(1, 1)
    result = compute("fourier-heatmap:norm=1", model, grey(*shape))
    assert (result["bases"], model.shown) == (bases, 3 * (bases + 1))
    assert (len(result["ky"]), len(result["kx"])) == shape and result["ky"][shape[0] // 2] == result["kx"][
        shape[1] // 2
    ] == 0


def test_the_map_is_symmetric_and_without_a_norm_it_is_the_clean_error(digits):
    result = compute("fourier-heatmap:norm=2", *digits)
    error = torch.tensor(result["error"])
    assert error.equal(fourier.mirror(error)) and len(error.unique()) > 5
    still = compute("fourier-heatmap:norm=0", *digits)
    assert {e for row in still["error"] for e in row} == {still["clean_error"]} == {result["clean_error"]}
    assert still["clean_error"] == pytest.approx(100 - compute("accuracy", *digits)["accuracy"])


@pytest.mark.parametrize("shape", [(40, 40), (20, 40), (33, 32)])
def test_the_edges_of_the_bands_are_exact_on_every_processor(shape, other_rounding):
    """At 40 pixels k = (3, 4) is exactly 1/8 cycle per pixel, which belongs to the middle band."""
    height, width = shape
    squared = [
        [Fraction(y - height // 2, height) ** 2 + Fraction(x - width // 2, width) ** 2 for x in range(width)]
        for y in range(height)
    ]
    for found, low, high in zip(bands(height, width).values(), (0, 1, 2), (1, 2, 9), strict=True):
        inside = torch.tensor(
            [[f > 0 and Fraction(low, 8) ** 2 <= f < Fraction(high, 8) ** 2 for f in row] for row in squared]
        )
        assert torch.equal(found, inside)


def test_means_over_bands_and_rings_are_those_of_the_map():
    for k, band, ring in [
        ((1, 0), "low", 1),
        ((3, -2), "middle", 4),
        ((4, 1), "high", 4),
        ((8, 8), "high", None),
    ]:
        result = compute("fourier-heatmap:norm=1", Detector(*k), grey(16, 16))
        error = np.array(result["error"])
        distance = np.hypot(*np.meshgrid(result["ky"], result["kx"], indexing="ij"))
        assert result["mean_error"] == pytest.approx(error.mean())
        assert result["radii"] == list(range(9))
        for r, mean in zip(result["radii"], result["by_radius"], strict=True):
            assert mean == pytest.approx(error[np.rint(distance) == r].mean())
            assert (mean > 0) == (r == ring)
        inside = {
            "low": (distance > 0) & (distance < 2),
            "middle": (distance >= 2) & (distance < 4),
            "high": distance >= 4,
        }
        for name, there in inside.items():
            assert result[f"{name}_error"] == pytest.approx(error[there].mean())
            assert (result[f"{name}_error"] > 0) == (name == band)


@pytest.mark.parametrize(
    ("options", "ky"),
    [
        ("step=3", [-3, 0, 3]),
        ("extent=2", [-2, -1, 0, 1, 2]),
        ("as_published=1", [*range(-3, 4)]),
        ("step=2,extent=2", [-2, 0, 2]),
    ],
)
def test_a_part_of_the_map_is_that_part(digits, options, ky):
    whole, part = (
        compute("fourier-heatmap:norm=2", *digits),
        compute(f"fourier-heatmap:norm=2,{options}", *digits),
    )
    assert part["ky"] == part["kx"] == ky
    assert part["error"] == [[whole["error"][y + 4][x + 4] for x in ky] for y in ky]
    assert part["bases"] == (len(ky) ** 2 + 1) // 2
    assert part["mean_error"] == pytest.approx(np.mean(part["error"]))
    rings = {round(math.hypot(y, x)) for y in ky for x in ky}
    assert part["radii"] == [r for r in range(min(4, ky[-1] if "extent" in options else 4) + 1) if r in rings]


def test_the_published_map_of_32_pixels_is_31_by_31_of_481_waves():
    result = compute("fourier-heatmap:as_published=1", Detector(-16, 3), grey(32, 32, 3))
    assert result["ky"] == result["kx"] == list(range(-15, 16))
    assert (result["bases"], result["norm"]) == (481, 4)
    assert result["mean_error"] == 0  # what the network minds is in the row that was dropped


def test_a_seed_is_another_draw_and_a_size_a_subset(digits):
    model, images = digits
    first, second = (compute("fourier-heatmap:norm=2", model, images, seed=s) for s in (0, 1))
    assert first["error"] != second["error"] and first["clean_error"] == second["clean_error"]
    assert compute("fourier-heatmap:norm=2,size=20", model, images) == compute(
        "fourier-heatmap:norm=2", model, images.subset(20)
    )


def test_the_published_norms_disturb_as_published_and_other_sizes_need_one(digits):
    for (height, width), norm in PUBLISHED.items():
        assert compute("fourier-heatmap:extent=0", Detector(0, 0), grey(height, width))["norm"] == norm
    with pytest.raises(
        UserError, match=r"not for 8x8; say one: fourier-heatmap:norm=1 disturbs each pixel as much"
    ):
        compute("fourier-heatmap", *digits)
