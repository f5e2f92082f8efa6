"""APR-S and APR-SP: the formula in float64, how often what happens, what becomes of values out of range."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from specfreq import augment, data
from specfreq.augment import base, operations
from specfreq.augment.apr import APRBoth, APRPair, APRSingle, from_levels
from specfreq.core.images import moments


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return data.load("photos", "train", size=80).images


def by_numpy(images, rows, channels):
    """The recombinations, in float64 on the 0 .. 255 scale, and the images that are not recombined as they
    are.
    """
    operation, level, dims = rows["operation"], rows["level"], (-3, -2, -1) if channels else (-2, -1)
    x = operations.apply(images, operation[:, 0], level[:, 0])
    y = operations.apply(x, operation[:, 1], level[:, 1])
    out = x.double().numpy()
    for i, branch in enumerate(rows["branch"].tolist()):
        if branch:
            a, p = (
                np.fft.fftn(v[i].double().numpy(), axes=dims) for v in ((x, y) if branch == 1 else (y, x))
            )
            out[i] = np.fft.ifftn(np.abs(a) * np.exp(1j * np.angle(p)), axes=dims).real
    return out


@pytest.mark.parametrize("channels", [False, True])
def test_it_is_the_published_formula(images, channels):
    apr = APRSingle(channels=channels, overflow="none")
    rows = apr.draw(len(images), generator())
    expected = by_numpy(images, rows, channels)
    assert (expected < 0).any() and (expected > 255).any()
    assert_close(apr.before(images, rows).double(), torch.from_numpy(expected / 255), rtol=0, atol=2e-6)
    clipped = APRSingle(channels=channels).before(images, rows)
    assert_close(clipped.double(), torch.from_numpy(expected / 255).clamp(0, 1), rtol=0, atol=2e-6)


def test_wrapping_is_a_cast_to_bytes(images):
    """On the recombinations of real images, 3-D as in the original, and on made values; NumPy casts by way of
    int64.
    """
    values = by_numpy(images, APRSingle().draw(len(images), generator()), channels=True)
    values = np.concatenate([values.ravel(), [-0.5, -1, -1.5, -256, 255.9, 256, 511.99, 0, 255]])
    expected = values.astype(np.int64).astype(np.uint8)
    assert torch.equal(
        from_levels(torch.from_numpy(values), "wrap"), torch.from_numpy(expected).float() / 255
    )
    assert expected[-9:].tolist() == [0, 255, 255, 0, 255, 0, 255, 0, 255]


def test_wrapped_images_are_those_of_the_original(images):
    """All of its chain but the rounding of the transform: which whole numbers it puts below themselves
    differs.
    """
    apr = APRSingle(channels=True, overflow="wrap")
    rows = apr.draw(len(images), generator())
    out, values = apr.before(images, rows) * 255, by_numpy(images, rows, channels=True)
    expected = torch.from_numpy(values.astype(np.int64).astype(np.uint8)).float()
    safe = (
        torch.from_numpy(np.abs(values - np.rint(values)) > 1e-9) | (rows["branch"] == 0)[:, None, None, None]
    )
    assert_close(out[safe], expected[safe], rtol=0, atol=1e-3)
    assert safe.double().mean() > 0.8 and ((values < 0) | (values >= 256)).any()


def test_half_of_the_images_are_recombined_and_either_way_equally_often():
    rows = APRSingle().draw(40_000, generator())
    counts = torch.bincount(rows["branch"], minlength=3)
    assert (counts - torch.tensor([20_000, 10_000, 10_000])).abs().max() < 5 * 100
    assert (rows["operation"] >= 0).all()
    idle = APRSingle(p=0.9).draw(40_000, generator())
    nothing = (idle["operation"] < 0).all(1)
    assert (
        abs(nothing.sum() - 4000) < 5 * 60
        and (idle["branch"][nothing] == 0).all()
        and (idle["operation"] < 0).any(1).equal(nothing)
    )


@pytest.mark.parametrize("channels", [False, True])
def test_an_image_recombined_with_itself_stays(images, channels):
    """A second operation that does nothing, so amplitude and phase are of the same image."""
    apr = APRSingle(channels=channels)
    rows = apr.draw(len(images), generator())
    rows["operation"] = torch.full_like(rows["operation"], -1)
    assert_close(apr.before(images, rows), images / 255, rtol=0, atol=2e-6)


def test_amplitude_and_phase_before_clipping_are_those_of_the_two(images):
    apr = APRSingle(overflow="none")
    rows = apr.draw(len(images), generator()) | {"branch": torch.arange(len(images)) % 2 + 1}
    x = operations.apply(images, rows["operation"][:, 0], rows["level"][:, 0])
    y = operations.apply(x, rows["operation"][:, 1], rows["level"][:, 1])
    out, x, y = (torch.fft.fft2(v.double()) for v in (apr.before(images, rows) * 255, x, y))
    first = (rows["branch"] == 1)[:, None, None, None]
    amplitude, phase = torch.where(first, x, y), torch.where(first, y, x)
    assert_close(out.abs(), amplitude.abs(), rtol=1e-4, atol=0.5)
    loud = (amplitude.abs() > 50) & (phase.abs() > 50)
    turned = (out / out.abs() * (phase / phase.abs()).conj()).angle()[loud]
    assert turned.abs().max() < 0.02 and loud.double().mean() > 0.5


def test_floats_are_rounded_to_bytes(images):
    apr = APRSingle()
    rows = apr.draw(len(images), generator())
    expected = apr.before(images, rows)
    off = (torch.rand(images.shape, generator=generator()) - 0.5) * 0.9 / 255
    assert torch.equal(apr.before(images / 255, rows), expected)
    assert torch.equal(apr.before((images / 255 + off).clamp(0, 1), rows), expected)


@pytest.mark.parametrize(
    "spec", ["apr-s", "apr-s:channels=1,overflow=wrap", "hybrid-augment:mode=s", "vipaug"]
)
def test_what_a_gpu_does_equals_what_a_processor_does(images, spec, monkeypatch):
    single = augment.build(spec)
    rows = single.draw(len(images), generator())
    expected = single.before(images, rows)
    monkeypatch.setattr(base, "_asking_is_free", lambda device: False)
    assert_close(single.before(images, rows), expected, rtol=0, atol=2e-6)


class Launches(TorchDispatchMode):
    """Counts what is computed; views compute nothing."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("spec", "most"), [("apr-s", 200), ("augmix", 220), ("vipaug", 340), ("hybrid-augment", 420)]
)
def test_a_batch_takes_few_launches_on_a_gpu(images, spec, most, monkeypatch):
    """A launch costs more than what so small a computation takes, and hundreds cost as much as a training
    step.
    """
    monkeypatch.setattr(base, "_asking_is_free", lambda device: False)
    augmentation = augment.build(spec)
    rows = augmentation.draw(len(images), generator())

    def shown():
        early = augmentation.before(images, rows) / 1
        donors = early[rows["donor"].flatten()] if augmentation.donors else None
        return augmentation.views(early, rows, donors)

    shown()  # makes what is kept, such as fractals
    with Launches() as launches:
        shown()
    assert most / 2 < launches.count <= most


def test_both_are_one_after_the_other(images):
    both, single, pair = APRBoth(p=1), APRSingle(), APRPair(p=1)
    rows = both.draw(len(images), generator())
    early = both.before(images, rows)
    assert torch.equal(early, single.before(images, rows))
    donors = early.flip(0)
    assert all(map(torch.equal, both.views(early, rows, donors), pair.views(early, rows, donors)))
    logits, labels = tuple(torch.randn(2, 80, 4, generator=generator())), torch.arange(80) % 4
    assert_close(
        both.loss(logits, labels, F.cross_entropy),
        F.cross_entropy(logits[0], labels) + F.cross_entropy(logits[1], labels),
    )


def test_pairs_can_be_cut_off(images):
    x = images / 255
    rows = APRPair(p=1).draw(80, generator())
    free, cut = (APRPair(p=1, clip=clip).transform(x, rows, x.flip(0)) for clip in (False, True))
    assert free.min() < 0 and free.max() > 1
    assert torch.equal(cut, free.clamp(0, 1))


@pytest.mark.parametrize("channels", [False, True])
def test_pairs_can_be_normalised_first(images, channels):
    """NumPy's transforms of (x - mean) / std, as the original's ImageNet program sees images, brought back."""
    # no frequency is empty
    x = torch.rand(images.shape, generator=generator(), dtype=torch.float64) / 5 + images / 320
    apr = APRPair(p=1, normalised=True, channels=channels).fit(x)
    mean, std = (v.double().numpy()[:, None, None] for v in moments(x))
    dims = (-3, -2, -1) if channels else (-2, -1)
    own, donor = (np.fft.fftn((v.numpy() - mean) / std, axes=dims) for v in (x, x.flip(0)))
    expected = np.fft.ifftn(np.abs(donor) * np.exp(1j * np.angle(own)), axes=dims).real * std + mean
    out = apr.transform(x, apr.draw(80, generator()), x.flip(0))
    assert_close(out, torch.from_numpy(expected), rtol=0, atol=1e-6)
    assert not torch.allclose(
        out, APRPair(p=1, channels=channels).transform(x, apr.draw(80, generator()), x.flip(0))
    )
    with pytest.raises(ValueError, match=r"call fit\(images\) first"):
        APRPair(normalised=True)(x)
