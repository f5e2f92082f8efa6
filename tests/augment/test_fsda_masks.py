"""The masks of frequency scaling: cells, their energy, and exact k-means of it."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from specfreq import fourier
from specfreq.augment.fsda import masks
from specfreq.core.errors import UserError

SIZES = [(8, 8), (9, 9), (20, 27), (27, 20), (32, 32), (64, 48), (256, 256)]
SHAPES = [(10, 10, 0), (2, 2, 0), (45, 3, 2), (50, 1.5, 0.5), (180, 100, 1)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=6, channels=1, side=32):
    return torch.rand(count, channels, side, side, generator=generator())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_cells_cover_the_annulus_and_nothing_else_and_are_the_same_at_k_and_minus_k(size, shape):
    cells = masks.polar(*size, *shape)
    distance = fourier.radius(*size)
    inside = (distance > shape[2]) & (distance <= min(size) / 2) & (distance > 0)
    assert torch.equal(cells.of >= 0, inside)
    assert torch.equal(fourier.mirror(cells.of), cells.of)
    assert torch.equal(cells.of[inside].bincount().double(), cells.sizes) and (cells.sizes > 0).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("k", [2, 3, 5])
def test_masks_are_disjoint_hermitian_and_cover_the_annulus(size, k):
    x = torch.rand(3, 1, *size, generator=generator())
    found = masks.clustered(x, masks.polar(*size, 20, 2, 1), k)
    each = torch.stack([found == c for c in range(k + 1)])
    assert torch.equal(each.sum(0), torch.ones(size, dtype=torch.int64))
    assert each.flatten(1).any(1).all()
    assert all(fourier.is_hermitian(mask) for mask in each)
    distance = fourier.radius(*size)
    assert torch.equal(each[0], (distance <= 1) | (distance > min(size) / 2))


def test_the_published_grids_have_the_cells_that_were_counted_in_the_program():
    """72 cells and none empty; 1,440 cells and 776 empty; 794 of 1,024 frequencies in either."""
    for shape, count, empty in ((10, 10), 72, 0), ((2, 2), 1440, 776):
        cells = masks.polar(32, 32, *map(float, shape), 0.0, True)
        assert (len(cells), int((cells.sizes == 0).sum()), int(cells.sizes.sum())) == (count, empty, 794)


def test_the_published_cells_differ_at_k_and_minus_k():
    """Which makes masks that are not Hermitian, once two opposite cells fall into different clusters."""
    cells = masks.polar(32, 32, 10.0, 10.0, 0.0, True)
    opposite = fourier.mirror(cells.of)
    # 16 cycles are their own mirror image: left of the middle and above it
    own = {(0, 16), (16, 0)}
    same = (cells.of == opposite) & (cells.of >= 0)
    assert {tuple(place) for place in same.nonzero().tolist()} == own


def test_frequencies_on_an_edge_fall_to_the_same_side_everywhere():
    """The inner edge of a ring is the ring's before; the first edge of a sector is its own."""
    cells = masks.polar(32, 32, 45.0, 5.0, 0.0)
    at = lambda ky, kx: int(cells.of[16 + ky, 16 + kx])  # noqa: E731
    assert at(0, 5) == at(1, 2) == at(0, -5) != at(0, 6)
    assert at(2, 2) == at(1, 2) + 1 == at(-2, -2)  # 45 degrees begin the second sector
    assert at(3, 0) == at(-1, 1) - 1 == at(3, -1)  # 90 the third, 135 the fourth


def test_energies_are_means_of_the_amplitudes_written_out():
    x = images(4, 3, 16)
    cells = masks.polar(16, 16, 60.0, 3.0, 1.0)
    grey = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    size = torch.fft.fftshift(torch.fft.fft2(grey.double()).abs(), dim=(-2, -1))
    for log in (True, False):
        heights = size.log1p() if log else size
        each = [heights[:, cells.of == c] for c in range(len(cells))]
        found = cells.energies(x, log)
        assert_close(found, torch.stack([e.mean() for e in each]), rtol=1e-5, atol=1e-6)
        more = torch.stack([e.sum() / len(x) / (e.shape[1] + 1) for e in each])
        assert_close(cells.energies(x, log, one_more=True), more, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bytes_have_the_energies_of_their_floats(channels):
    levels = torch.randint(0, 256, (5, channels, 8, 8), generator=generator(), dtype=torch.uint8)
    cells = masks.polar(8, 8, 60.0, 3.0, 0.0)
    assert_close(cells.energies(levels), cells.energies(levels / 255))


def test_a_wave_gives_its_energy_to_its_own_cell():
    place = torch.arange(32)
    wave = 0.5 + 0.5 * torch.cos(2 * torch.pi * (3 * place[:, None] + 4 * place) / 32)
    cells = masks.polar(32, 32, 15.0, 4.0, 0.0)
    found = cells.energies(wave[None, None], log=False)
    assert found.argmax() == cells.of[16 + 3, 16 + 4]
    # two lines of 32 x 32 / 4 each
    assert float(found.max()) == pytest.approx(512 / float(cells.sizes[found.argmax()]), rel=1e-5)


def spreads(values, labels, k):
    """Sums of squared distances from the means of clusters, of assignments (A, n) of the numbers (n,)."""
    inside = (labels[:, None] == torch.arange(k)[:, None]).double()
    means = (inside * values).sum(2, keepdim=True) / inside.sum(2, keepdim=True).clamp_min(1)
    return (inside * (values - means).square()).sum((1, 2))


@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["random", "repeated", "skewed"])
def test_kmeans_is_as_good_as_the_best_of_all_assignments(count, k, kind):
    """Brute force: every assignment to at most k clusters."""
    if k > count:
        return
    values = torch.rand(count, generator=generator(count), dtype=torch.float64)
    values = {"random": values, "repeated": (values * 2).round(), "skewed": (9 * values).exp()}[kind]
    labels = masks.kmeans(values, k)
    assert labels.unique().tolist() == list(range(k))
    assert (labels[values.argsort(stable=True)].diff() >= 0).all()
    every = torch.tensor(list(itertools.product(range(k), repeat=count)))
    best = spreads(values, every, k).min()
    assert_close(spreads(values, labels[None], k)[0], best, rtol=1e-9, atol=1e-9)


def test_kmeans_finds_groups_that_lie_apart_whatever_their_order():
    mixed = torch.randperm(90, generator=generator())
    groups = torch.arange(90) // 30
    values = 10.0 * groups + torch.rand(90, generator=generator())
    assert torch.equal(masks.kmeans(values[mixed], 3), groups[mixed])


def test_kmeans_of_many_numbers_is_computed_in_parts(monkeypatch):
    values = torch.randn(200, generator=generator())
    whole = masks.kmeans(values, 4)
    monkeypatch.setattr(masks, "ROWS", 300)
    assert torch.equal(masks.kmeans(values, 4), whole)


@pytest.mark.parametrize("spoil", [torch.zeros_like, lambda x: torch.full_like(x, 0.3)])
def test_constant_images_have_masks_as_others_have(spoil):
    found = masks.clustered(spoil(images()), masks.polar(32, 32, 10.0, 10.0, 0.0), 3)
    assert found.unique().tolist() == [0, 1, 2, 3]


def test_the_order_of_a_batch_does_not_change_its_masks():
    x = images(16)
    cells = masks.polar(32, 32, 10.0, 10.0, 0.0)
    found = masks.clustered(x, cells, 3)
    mixed = x[torch.randperm(16, generator=generator(1))]
    assert torch.equal(masks.clustered(mixed, cells, 3), found)


def test_more_clusters_mean_more_energy():
    """Labels ascend with energy, whatever the images, so that an encoder always sees the same kind."""
    smooth = fourier.gaussian_low_pass(images(8), 2.0)
    cells = masks.polar(32, 32, 10.0, 4.0, 0.0)
    found, distance = masks.clustered(smooth, cells, 4), fourier.radius(32)
    means = [float(distance[found == c].mean()) for c in range(1, 5)]
    assert means == sorted(means, reverse=True)


def test_in_the_v1_program_labels_after_an_empty_cell_are_those_of_others():
    """The five cells with frequencies get labels 0, 0, 1, 1, 1; dealt out in a row they miss by one from the
    empty second cell on, and the last has none.
    """
    of = torch.tensor([[0, 2, 3], [4, 5, -1]])
    cells = masks.Cells(of, torch.tensor([1.0, 0, 1, 1, 1, 1]).double())
    assert cells.clusters(torch.tensor([0, 0, 1, 1, 1])).tolist() == [[1, 2, 2], [2, 0, 0]]
    assert cells.clusters(torch.tensor([0, 9, 0, 1, 1, 1])).tolist() == [[1, 1, 2], [2, 2, 0]]


def test_in_the_v2_program_empty_cells_are_a_cluster_of_their_own():
    cells = masks.polar(32, 32, 2.0, 2.0, 0.0, True)
    shifted = masks.clustered(images(), cells, 3, shifted=False)
    right = masks.clustered(images(), masks.polar(32, 32, 2.0, 2.0, 0.0), 3)
    assert shifted.unique().tolist() == [0, 2, 3]  # 1 is that of the cells without a frequency
    assert right.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 10, 0), "0 < angle <= 180"),
        ((200, 10, 0), "got angle=200"),
        ((10, 0, 0), "length > 0"),
        ((10, float("nan"), 0), "length > 0"),
        ((10, 10, -1), "preserve >= 0"),
        ((10, 10, 4), "preserve=4 leaves no frequency of 8x8 pixels.* up to 4"),
    ],
)
def test_cells_without_extent_are_refused(shape, message):
    with pytest.raises(UserError, match=message):
        masks.polar(8, 8, *shape)


def test_more_clusters_than_cells_are_refused():
    cells = masks.polar(8, 8, 90.0, 10.0, 0.0)
    with pytest.raises(UserError, match="k=3 clusters need as many cells, and 8x8 pixels have 2"):
        masks.clustered(images(side=8), cells, 3)
