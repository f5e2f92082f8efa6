"""What the page on denoising computes: known noise, known blurs, a disc, the original's solver."""

import pytest
import torch
from torch.testing import assert_close

from specfreq import tv
from specfreq.core.errors import UserError
from specfreq.data import ImageSet, load
from specfreq.evidence import records
from specfreq.studies import denoising


@pytest.fixture(scope="module")
def small():
    return load("photos", "test", 7)


def test_a_picture_is_the_centre_of_the_photograph():
    whole = denoising.picture("cat", 300)
    assert whole.shape == (3, 300, 300) and whole.min() >= 0 and whole.max() <= 1
    assert_close(denoising.picture("cat", 30).mean((-2, -1)), whole.mean((-2, -1)), rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [("dog", 64, "unknown picture"), ("cat", 1, "from 2 to"), ("cat", 9999, "from 2")],
)
def test_a_picture_that_is_not_there_is_refused(name, side, message):
    with pytest.raises(UserError, match=message):
        denoising.picture(name, side)


def test_noise_has_its_standard_deviation_and_ratio():
    clean = torch.full((4, 3, 64, 64), 0.5)
    given = denoising.noisy(clean, 0.1, seed=1)
    assert_close((given - clean).std(), torch.tensor(0.1), rtol=0.02, atol=0)
    assert_close(denoising.psnr(given, clean), torch.full((4,), 20.0, dtype=torch.float64), rtol=0, atol=0.3)
    assert torch.equal(given, denoising.noisy(clean, 0.1, seed=1)) and not torch.equal(
        given, denoising.noisy(clean, 0.1)
    )


def test_of_pure_noise_the_largest_weight_is_best_and_the_discrepancy_keeps_to_the_noise():
    clean = torch.full((2, 1, 32, 32), 0.5)
    given = denoising.noisy(clean, 0.1)
    found = denoising.by_weight(clean, given, [0.01, 0.1, 1.0])
    assert found.best().tolist() == [1.0, 1.0]
    assert (found.removed.diff(dim=0) > 0).all()
    chosen = found.discrepancy(0.05)
    taken = found.removed[[found.weights.tolist().index(w) for w in chosen.tolist()], [0, 1]]
    assert (taken <= 0.05).all() and found.discrepancy(1.0).tolist() == [1.0, 1.0]


def test_a_blur_keeps_constants_and_mass():
    point = torch.zeros(1, 33, 33)
    point[0, 16, 16] = 1
    spread = denoising.blurred(point, 2.0)
    assert_close(spread.sum(), torch.tensor(1.0))
    y = torch.arange(33.0) - 16
    assert_close((spread[0].sum(1) * y.square()).sum(), torch.tensor(4.0), rtol=0.02, atol=0)
    assert_close(denoising.blurred(torch.full((3, 8, 8), 0.3), 5.0), torch.full((3, 8, 8), 0.3))


def test_the_energy_is_that_which_the_solver_minimises(small):
    f = small.images[:2].double() / 255
    found = tv.denoise(f, 0.1, tol=1e-6)
    least = denoising.energy(found.image, f, 0.1)
    for other in (f, f.mean((-2, -1), keepdim=True).expand_as(f), 0.9 * found.image + 0.1 * f):
        assert (denoising.energy(other, f, 0.1) >= least * (1 - 1e-6)).all()


def test_the_program_is_further_from_the_minimiser_and_loses_the_mean(small):
    found = denoising.faithfulness(small.images[:2].float() / 255, 1 / 14)
    ours, program = found["ours"], found["program"]
    assert (ours["excess energy (%)"] <= 0.01).all() and (ours["drift of the mean (%)"] <= 1e-4).all()
    assert (program["distance (%)"] > 10 * ours["distance (%)"]).all()
    assert (program["drift of the mean (%)"] > 0.01).all() and (
        program["excess energy (%)"] > ours["excess energy (%)"]
    ).all()


def test_flat_images_have_no_energy_to_compare(small):
    flat = torch.cat([torch.full((1, 3, 12, 12), 0.4), small.images[:2, :, :12, :12].float() / 255])
    assert len(denoising.faithfulness(flat, 0.1)["ours"]["distance (%)"]) == 2


def test_a_disc_loses_height_at_the_speed_of_theory():
    flow = denoising.disc_flow(32, 8.0, 0.25, 16)
    speed = (flow.found[0] - flow.found[4]) / flow.times[4]
    # the border of a disc of pixels is longer
    assert float(speed * flow.extinction) == pytest.approx(1.05, abs=0.06)
    assert abs(float(flow.found[-1])) < 1e-6


def test_rows_of_the_record_pair_images(small):
    crops = ImageSet(small.images[:, :, :12, :12], small.labels, small.classes, "crops")
    rows = denoising.rows(crops, sigma=0.1, weight=0.1, weights=[0.05, 0.1], blurs=[0.5, 1.0], seed=0)
    psnr = {row["arm"]: row for row in rows if row["quantity"] == "PSNR"}
    assert set(psnr) == {"noisy", "gaussian-blur", "total-variation", "total-variation:by-discrepancy"}
    assert all(row["seeds"] == list(range(7)) for row in psnr.values())
    assert psnr["total-variation:by-discrepancy"]["mean"] <= psnr["total-variation"]["mean"]
    assert {r["arm"] for r in rows if r["quantity"] == "iterations" and r["stands_for"] != "ours"} == set(
        tv.ALGORITHMS
    )
    assert {r["arm"] for r in rows if r["stands_for"] == "ours"} == {
        "ours",
        "program",
        *(f"{q} alone" for q in tv.QUIRKS),
    }
    program = [row for row in rows if row["arm"] == "program"]
    assert program and all(row["series"] == "as published" and row["stands_for"] == "ours" for row in program)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1 x 1x256x256", "1 grey picture of 256 × 256"),
        ("8 x 3x224x224", "8 colour pictures of 224 × 224"),
    ],
)
def test_the_pictures_of_a_benchmark_are_told_in_words(name, said):
    assert denoising.case(name) == said


def test_solvers_of_the_published_benchmark_have_human_names_and_keep_their_numbers():
    found = denoising.published_times()["rows"]
    kept = records.content("tv-solvers", "rows")
    assert [row["seconds"] for row in found] == [row["seconds"] for row in kept]
    assert {row["solver"] for row in found} >= {"Condat, over-relaxed", "Condat, unfused", "scikit-image"}
    assert not any("specfreq" in row["solver"] for row in found)
