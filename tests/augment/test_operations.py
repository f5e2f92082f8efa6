"""The nine operations, each against Pillow's, picture by picture."""

import logging
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from specfreq import data
from specfreq.augment import base, operations

EXACT = [name for name in operations.NAMES if name not in ("rotate", "shear_x", "shear_y")]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pictures():
    """Photographs, coloured noise of an odd height, dim grey noise that is wider than high, a single grey
    level.
    """
    noise = torch.randint(0, 256, (30, 3, 33, 20), generator=generator(), dtype=torch.uint8)
    grey = torch.randint(100, 140, (30, 1, 9, 16), generator=generator(), dtype=torch.uint8)
    return [
        data.load("photos", "train", size=100).images,
        noise,
        grey,
        torch.full((3, 1, 40, 40), 77, dtype=torch.uint8),
    ]


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def way(request, monkeypatch):
    """What follows holds of the compiled operations and of those by torch alone."""
    assert operations._compiled()
    if request.param == "torch":
        monkeypatch.setattr(operations, "_compiled", lambda: None)


def picture(image):
    return Image.fromarray((image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy())


def by_pillow(image, name, level):
    """The operation as the original calls Pillow for it; the level's sign is that of the original's coin."""
    one, size, sign, level = picture(image), image.shape[-1], math.copysign(1, level), abs(level)

    def affine(*matrix):
        return one.transform(one.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR)

    match name:
        case "autocontrast":
            out = ImageOps.autocontrast(one)
        case "equalize":
            out = ImageOps.equalize(one)
        case "posterize":
            out = ImageOps.posterize(one, 4 - int(level * 4 / 10))
        case "solarize":
            out = ImageOps.solarize(one, 256 - int(level * 256 / 10))
        case "rotate":
            out = one.rotate(sign * int(level * 30 / 10), resample=Image.Resampling.BILINEAR)
        case "shear_x":
            out = affine(1, sign * (level * 0.3 / 10), 0, 0, 1, 0)
        case "shear_y":
            out = affine(1, 0, 0, sign * (level * 0.3 / 10), 1, 0)
        case "translate_x":
            out = affine(1, 0, sign * int(level * (size / 3) / 10), 0, 1, 0)
        case "translate_y":
            out = affine(1, 0, 0, 0, 1, sign * int(level * (image.shape[-2] / 3) / 10))
    values = np.asarray(out)
    return torch.tensor(values[None] if values.ndim == 2 else values.transpose(2, 0, 1))


@pytest.mark.parametrize("name", operations.NAMES)
@pytest.mark.parametrize("severity", [3, 9.9])
def test_operations_equal_pillows(pictures, name, severity):
    """Whole numbers exactly; interpolated values to one level, in at most one pixel of 10 000."""
    for images in pictures:
        operation = torch.full((len(images),), operations.NAMES.index(name))
        level = operations.draw((len(images),), severity, generator())[1]
        out = operations.apply(images, operation, level)
        expected = torch.stack([by_pillow(x, name, float(v)) for x, v in zip(images, level, strict=True)])
        difference = (out.int() - expected.int()).abs()
        assert difference.max() <= (name not in EXACT) and (difference > 0).double().mean() <= 1e-4


SHAPES = [(3, 32, 32), (3, 33, 20), (1, 9, 16), (4, 1, 1), (2, 1, 7), (3, 6, 2), (1, 224, 200)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("severity", [1, 3, 9.99])
def test_compiled_or_not_the_bytes_are_the_same(shape, severity):
    """The kernel of AugMix's operations, on any processor and any number of threads."""
    torch.manual_seed(0)
    count = 360 if shape[1] < 100 else 45
    low, wide = torch.randint(200, (count, 1, 1, 1)), torch.randint(1, 56, (count, 1, 1, 1))
    images = (low + torch.rand(count, *shape) * wide).to(torch.uint8)
    images[::13] = images[::13, :1, :1, :1]  # of one level
    operation, level = operations.draw((count,), severity, generator(1))
    operation[::11] = -1
    assert operation.unique().numel() == 10
    expected = operations._applied(images, operation, level)
    assert torch.equal(operations.apply(images, operation, level), expected)
    across = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(operations.apply(across, operation, level), expected)


def test_threads_change_nothing(pictures):
    drawn, before = operations.draw((100,), 3, generator()), torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(operations.apply(pictures[0], *drawn))
        finally:
            torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.fixture
def anew():
    """Whether there are compiled operations is asked anew, before and after."""
    operations._imported.cache_clear()
    yield
    operations._imported.cache_clear()


def test_without_numba_torch_does_it_with_one_warning(pictures, monkeypatch, caplog, anew):
    drawn = operations.draw((100,), 3, generator())
    expected = operations._applied(pictures[0], *drawn)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "specfreq.augment.compiled", None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(operations.apply(pictures[0], *drawn), expected)
    assert len(caplog.records) == 1 and "numba" in caplog.text


def test_a_worker_compiles_nothing_for_one_epoch(pictures, monkeypatch, anew):
    monkeypatch.undo()
    monkeypatch.setattr(operations, "get_worker_info", lambda: object())
    assert operations._compiled()
    monkeypatch.delitem(sys.modules, "numba")
    assert operations._compiled() is None


def test_other_default_devices_do_not_matter(pictures, anew):
    drawn = operations.draw((100,), 3, generator())
    expected = operations.apply(pictures[0], *drawn)
    with torch.device("meta"):
        assert torch.equal(operations.apply(pictures[0], *drawn), expected)


def test_a_program_that_torch_compiles_has_the_same_graphs_as_without(pictures, monkeypatch):
    """The compiler would run into numba's own, and end with code for neither."""
    images, drawn = pictures[1], operations.draw((30,), 3, generator())
    expected = operations.apply(images, *drawn)
    program = torch.compile(lambda x: operations.apply(x, *drawn) + 1, backend="eager")
    monkeypatch.setattr(operations, "_compiled", lambda: pytest.fail("asked for"))
    assert torch.equal(program(images), expected + 1)


@pytest.mark.parametrize(
    "images, operation, level",
    [
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), torch.zeros(2).long(), torch.ones(2)),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(1).long(), torch.ones(2)),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2).long(), torch.ones(1)),
    ],
)
def test_machine_code_is_not_given_what_it_would_read_beyond(images, operation, level):
    from specfreq.augment import compiled

    with pytest.raises(ValueError, match="are needed"):
        compiled.apply(images, operation, level)


def test_each_picture_has_an_operation_of_its_own(pictures):
    images = pictures[0]
    operation, level = operations.draw((len(images),), 3, generator())
    operation[::7] = -1
    out = operations.apply(images, operation, level)
    alone = [
        operations.apply(*(t[i : i + 1] for t in (images, operation, level))) for i in range(len(images))
    ]
    assert torch.equal(out, torch.cat(alone))
    assert torch.equal(out[::7], images[::7]) and not torch.equal(out, images)


def test_what_a_gpu_does_equals_what_a_processor_does(pictures, monkeypatch):
    """The way without asking how many pictures an operation has, taken on a processor."""
    drawn = operations.draw((30,), 3, generator())
    expected = operations.apply(pictures[1], *drawn)
    monkeypatch.setattr(base, "_asking_is_free", lambda device: False)
    assert torch.equal(operations.apply(pictures[1], *drawn), expected)


@pytest.mark.parametrize("free", [True, False])
def test_steps_worked_out_together_are_those_worked_out_one_by_one(pictures, monkeypatch, free):
    monkeypatch.setattr(base, "_asking_is_free", lambda device: free)
    operation, level = operations.draw((30, 4), 9, generator())
    operation[::7, 1] = -1
    together = alone = pictures[1]
    for k, step in enumerate(operations.steps(together, operation, level)):
        together = operations.apply(together, *step)
        alone = operations.apply(alone, operation[:, k], level[:, k])
        assert torch.equal(together, alone)


@pytest.mark.parametrize("free", [True, False])
def test_no_pictures_are_no_trouble(monkeypatch, free):
    monkeypatch.setattr(base, "_asking_is_free", lambda device: free)
    none = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
    assert operations.apply(none, *operations.draw((0,), 3, generator())).shape == none.shape


def test_operations_are_equally_frequent_and_levels_uniform_with_either_sign():
    operation, level = operations.draw((90_000,), 3, generator())
    counts = torch.bincount(operation)
    assert len(counts) == 9 and ((counts - 10_000).abs() < 5 * 10_000**0.5).all()
    size = level.abs()
    assert size.min() >= 0.1 and size.max() <= 3
    assert abs(size.mean() - 1.55) < 5 * 2.9 / 12**0.5 / 300
    assert abs((level > 0).double().mean() - 0.5) < 5 * 0.5 / 300


def test_strengths_are_those_of_the_original_at_level_3():
    """Its int_parameter and float_parameter: rotation to 8 degrees, 4 or 3 bits, thresholds of 180 to 254, 3
    pixels of 32.
    """
    level = operations.draw((20_000,), 3, generator())[1]
    assert set(operations._whole(level, 30).abs().tolist()) == set(range(9))
    assert set((4 - operations._whole(level.abs(), 4)).tolist()) == {3, 4}
    assert {180, 254} <= set((256 - operations._whole(level.abs(), 256)).tolist()) <= set(range(180, 255))
    assert operations._whole(level, 32 / 3).abs().max() == 3
