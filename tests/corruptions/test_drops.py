"""The steps of spatter against their definitions, and against what OpenCV 4.10 gives."""

import hashlib

import numpy as np
import torch
from scipy import ndimage

from specfreq.corruptions import drops

# cv2.Canny(LAYER, 50, 150)
EDGES = """
#..#...##.#...##
#..#..##..#..##.
#..#..#...#..#..
#..#.#...##..###
...#.#..##....#.
..#..#..#....###
..#..#.##...##..
..#..###...##..#
.##...#...##..##
##.........####.
................
......#.....###.
.....#.....#..#.
.##..#.#..##.##.
.#...#.#..#..#..
.#..#.#...#.#...
"""
# the SHA-256 of the bytes after cv2.distanceTransform (threshold 20), blur, equalizeHist, filter2D and blur
RELIEF = "7cb9eb5249e8f415bf82fb160e9df245ef26757b112e965c0c7692ab0020a064"


def layer():
    y, x = np.mgrid[:16, :16]
    waves = 128 + 60 * np.sin(0.9 * x + 0.3 * y) + 60 * np.sin(0.35 * x * y / 4)
    return torch.from_numpy(np.where(waves < 140, 0, waves.clip(0, 255).astype(np.uint8))).double()[None]


def test_edges_are_opencvs():
    rows = ["".join("#" if edge else "." for edge in row) for row in drops.canny(layer())[0].tolist()]
    assert rows == EDGES.split()


def test_the_relief_is_opencvs():
    relief = drops.relief(layer())[0]
    assert relief.equal(relief.round())
    assert hashlib.sha256(relief.numpy().astype(np.uint8).tobytes()).hexdigest() == RELIEF


def test_weak_edges_count_where_they_join_a_strong_one():
    """The rim of a bar that grows brighter to the right: weak on the left; nowhere strong, it is no edge at
    all.
    """
    bar = torch.zeros(1, 24, 24).double()
    bar[:, 10:] = torch.linspace(20, 80, 24).double()
    edges = drops.canny(bar)[0]
    assert edges[9:11, 1:].any(0).all()
    assert ndimage.label(edges, np.ones((3, 3)))[1] == 1
    assert not drops.canny(bar.clamp_max(35)).any()


def test_a_layer_in_a_batch_is_what_it_is_alone():
    layers = torch.stack([layer()[0], layer()[0].T, 0 * layer()[0], layer()[0].flip(0)])
    for steps in (drops.canny, drops.relief):
        together = steps(layers)
        assert all(steps(one[None])[0].equal(found) for one, found in zip(layers, together, strict=True))


def test_distance_is_the_shortest_way_by_steps_of_three_kinds():
    edges = (
        torch.rand(3, 15, 22, generator=torch.Generator().manual_seed(3))
        < torch.tensor([0.1, 0.01, 0.0])[:, None, None]
    )
    assert edges.sum((1, 2)).tolist()[2] == 0
    found = drops.distance(edges)
    for n, y, x in np.ndindex(*edges.shape):
        away = (edges[n].nonzero() - torch.tensor([y, x])).abs().sort(1).values.double()  # short, long
        short, long = away.unbind(1)
        knight = torch.where(
            long > 2 * short,
            (long - 2 * short) + 2.1969 * short,
            2.1969 * (long - short) + 1.4 * (2 * short - long),
        )
        expected = min([40.0, *knight.tolist()])
        assert abs(float(found[n, y, x]) - expected) < 1e-4


def test_equalisation_spreads_the_levels_and_leaves_a_constant_layer():
    layers = torch.tensor([[[3, 3, 5, 9]], [[7, 7, 7, 7]]]).float()
    assert drops.equalized(layers).tolist() == [[[0, 0, 128, 255]], [[7, 7, 7, 7]]]
