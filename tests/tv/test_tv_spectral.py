"""The total variation flow, the spectral transform and its filters; the dissertation's solver beside ours."""

from itertools import islice, pairwise

import pytest
import torch
from torch.testing import assert_close

from specfreq import tv

each_kind = pytest.mark.parametrize("channels", ["separate", "joint"])


@each_kind
def test_bands_and_residual_add_up(photos, channels):
    parts = tv.transform(photos, 4, channels=channels)
    assert parts.phi.shape == (4, 3, 3, 16, 20) and parts.spectrum.shape == (4, 3)
    assert_close(parts.phi.sum(0) + parts.residual, photos, rtol=0, atol=2e-7)
    assert_close(parts.spectrum, parts.phi.abs().sum((-3, -2, -1)))
    flow = tv.flow(photos, 5, channels=channels)
    assert_close(parts.residual, 5 * flow[4] - 4 * flow[5], rtol=0, atol=1e-5)
    assert_close(parts.phi[2], 3 * (flow[2] - 2 * flow[3] + flow[4]), rtol=0, atol=1e-5)


def test_steps_of_the_flow_are_rof_solutions_and_it_ends_in_the_mean(photos):
    flow = tv.flow(photos, 3, 0.5)
    assert torch.equal(flow[0], photos)
    for before, after in pairwise(flow):
        assert_close(after, tv.denoise(before, 0.5).image, rtol=0, atol=0.02)
        assert (tv.total_variation(after) <= tv.total_variation(before)).all()
    end = tv.flow(photos, 2, 20.0)[-1]
    assert_close(end, photos.mean((-2, -1), keepdim=True).expand_as(end), rtol=0, atol=1e-6)


def test_warm_starts_save_iterations(noisy):
    def count(warm):
        return sum(step.iterations.sum() for step in islice(tv.evolve(noisy, 0.005, warm=warm), 10))

    assert count(True) < 0.8 * count(False)


def test_scaling_an_image_moves_its_bands_to_later_times(photos):
    parts, scaled = tv.transform(photos, 3, 0.05), tv.transform(4 * photos, 3, 0.2)
    assert_close(scaled.phi, 4 * parts.phi, rtol=0, atol=1e-6)


def test_filters_split_the_image(photos):
    parts = tv.transform(photos, 5)
    assert_close(tv.combine(parts, torch.ones(5)), photos, rtol=0, atol=1e-6)
    assert_close(tv.high_pass(parts, 2), parts.phi[:2].sum(0))
    for cut in range(6):
        assert_close(tv.high_pass(parts, cut) + tv.low_pass(parts, cut), photos, rtol=0, atol=1e-6)
    assert_close(tv.band_pass(parts, 2, 3), parts.phi[1:3].sum(0))
    assert_close(tv.band_pass(parts, 2, 3) + tv.band_stop(parts, 2, 3), photos, rtol=0, atol=1e-6)
    assert_close(tv.amplify(parts, 2, 2, 3.0), photos + 2 * parts.phi[1], rtol=0, atol=1e-6)
    gains = torch.tensor([1.0, 2.0, 0.5])
    assert_close(tv.amplify(parts, 1, 1, gains)[2], photos[2] - 0.5 * parts.phi[0, 2], rtol=0, atol=1e-6)
    assert_close(tv.combine(parts, lambda n: 1 / n, 0), sum(parts.phi[n] / (n + 1) for n in range(5)))


def test_as_published_the_mean_drifts_and_the_problem_is_another(photos):
    ours, theirs = (tv.denoise(photos, 1 / 14, as_published=flag) for flag in (False, True))
    drift = [(d.image - photos).mean((-3, -2, -1)).abs().max() for d in (ours, theirs)]
    assert drift[0] < 1e-6 < 1e-3 < drift[1]
    assert (theirs.gap > 0.01).all() and (theirs.iterations == theirs.iterations[0]).all()
    grey = torch.full((1, 8, 8), 0.75)
    assert (tv.denoise(grey, 1 / 14, as_published=True).image - grey).abs().max() > 0.01
    assert_close(ours.image[..., 4:-4, 4:-4], theirs.image[..., 4:-4, 4:-4], rtol=0, atol=0.1)


def test_no_images_have_no_bands():
    parts = tv.transform(torch.zeros(0, 3, 8, 8), 2)
    assert (
        parts.phi.shape == (2, 0, 3, 8, 8)
        and parts.residual.shape == (0, 3, 8, 8)
        and parts.spectrum.shape == (2, 0)
    )


@pytest.mark.parametrize("call", [tv.flow, tv.transform])
def test_more_images_than_memory_holds_are_refused_before_work(photos, call):
    with pytest.raises(
        ValueError,
        match=r"=1000000000 of images of shape \(3, 3, 16, 20\) takes .* GiB of memory, and cpu has",
    ):
        call(photos, 1_000_000_000)
