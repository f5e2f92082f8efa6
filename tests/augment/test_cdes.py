"""CDES: the density and its target, the kernels, and the sets made with them."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from specfreq import data, fourier
from specfreq.augment import cdes
from specfreq.augment.derived import DensityEnhanced
from specfreq.core import places
from specfreq.core.errors import UserError

BASE = "planted:count=40,side=16"
FEW = "number=2,kernel_size=3,epochs=1,radius=5"


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    return tmp_path


def of(options="", few=FEW, base=BASE):
    return f'cdes:of="{base}",' + ",".join(filter(None, (few, options)))


def wave(ky, kx, side=32, channels=3):
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    grating = 0.5 + 0.4 * torch.cos(2 * torch.pi * (ky * y + kx * x) / side + 0.3)
    return grating.expand(1, channels, side, side)


# the density


@pytest.mark.parametrize("k", [(0, 3), (3, 4), (9, 0), (11, 11)])
def test_a_grating_has_one_peak_at_its_own_ring(k):
    found = cdes.density(wave(*k))[0]
    ring = round(float(np.hypot(*k)))
    assert found.argmax() == ring - 1 and found[ring - 1] == 1
    assert (found > 0.05).sum() == 1


def test_white_noise_is_flat_but_for_chance():
    noise = torch.rand(400, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    heights = 20 * torch.log1p(fourier.power_spectrum(noise).sqrt())
    rings = fourier.radial_profile(heights).mean((0, 1))[1:]
    assert (rings / rings.mean() - 1).abs().max() < 0.01


def test_the_original_density_is_the_formula_of_its_program_per_image():
    image = np.random.default_rng(1).random((3, 32, 32))
    grey = np.tensordot((0.299, 0.587, 0.114), image, 1)
    heights = 20 * np.log(1 + np.abs(np.fft.fftshift(np.fft.fft2(grey))))
    y, x = np.indices((32, 32))
    ring = np.hypot(y - 15.5, x - 15.5).astype(int)
    means = np.bincount(ring.ravel(), heights.ravel()) / np.bincount(ring.ravel())
    kept = means[1:-1]
    expected = (kept - kept.min()) / (kept.max() - kept.min())
    assert len(expected) == 20
    assert_close(cdes.density(torch.tensor(image)[None], published=True)[0].numpy(), expected)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (2, 3, 31, 28), (2, 4, 9, 16), (1, 2, 4, 4)])
def test_a_density_lies_between_0_and_1_for_any_shape_and_number_of_channels(shape):
    found = cdes.density(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    assert found.shape == (shape[0], min(shape[2:]) // 2)
    assert_close(found.amin(1), torch.zeros(shape[0]))
    assert_close(found.amax(1), torch.ones(shape[0]))


def test_a_flat_spectrum_is_not_divided_by_zero():
    dot = torch.zeros(1, 1, 32, 32)
    dot[..., 16, 16] = 1  # all amplitudes are 1
    flat = torch.cat([torch.zeros(1, 1, 32, 32), torch.full((1, 1, 32, 32), 0.7), dot]).requires_grad_()
    found = cdes.density(flat)
    found.sum().backward()
    assert found.isfinite().all() and found[0].abs().max() == 0 and found.abs().max() < 0.05
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("published", [False, True])
def test_the_gradient_of_the_density_is_its_derivative(published):
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(lambda x: cdes.density(x, published), images.requires_grad_())


def test_the_target_is_the_original_one_and_has_a_second_peak_of_rho():
    r = np.arange(20)
    peaks = np.exp(-(r**2) / (2 * 3.2**2)) + np.exp(-((r - 16) ** 2) / (2 * 3.2**2))
    expected = (peaks - peaks.min()) / (peaks.max() - peaks.min())
    assert_close(cdes.target(32, 32, published=True).numpy(), expected)
    weak = cdes.target(32, 32, rho=0.4, published=True)
    assert abs(float(weak[16]) - 0.365) < 1e-3  # as the figure of the paper has it
    assert cdes.target(32, 32).argmax() == 15 and cdes.target(28, 40).shape == (14,)


def test_images_too_small_for_rings_are_refused():
    with pytest.raises(UserError, match="8x3 pixels are too small for a spectral density, which takes 4x4"):
        cdes.density(torch.rand(1, 1, 3, 8))


# the masks


def test_low_and_high_frequencies_of_one_image_are_that_image_and_the_original_loses_some():
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close(cdes.merged(x, x, 11), x)
    low, high = cdes.published_masks(32, 32, 11)
    assert not (low & high).any() and int((~(low | high)).sum()) == 56
    assert not fourier.is_hermitian(low) and not fourier.is_hermitian(high)
    lost = x - cdes.merged(x, x, 11, published=True)
    assert lost.square().mean() > 1e-6


def test_distances_of_the_original_masks_are_from_the_frequency_0_of_an_odd_side_too():
    """Which is in the middle there, so that the masks are symmetric."""
    low, high = cdes.published_masks(7, 7, 3)
    k = torch.arange(7) - 3
    squared = k[:, None] ** 2 + k**2
    assert torch.equal(low, squared <= 2**2) and torch.equal(high, squared >= 3**2)


def test_what_the_original_masks_leave_is_the_real_part_of_their_product():
    x = torch.rand(1, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    low, high = cdes.published_masks(32, 32, 11)
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)) * (low.double() + high.double())
    expected = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    assert_close(cdes.merged(x, x, 11, published=True), expected)


# the kernels


def test_the_kernels_are_linear_but_for_their_biases():
    torch.manual_seed(0)
    network = cdes.KernelNetwork(2, 3, 5).double()
    a, b = torch.rand(2, 1, 2, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        dark = network(torch.zeros_like(a))
        assert_close(network(a + 2 * b) - dark, network(a) - dark + 2 * (network(b) - dark))
        assert network(a).shape == a.shape


def test_a_response_is_what_a_dot_becomes():
    torch.manual_seed(0)
    network = cdes.KernelNetwork(1, 2, 3)
    found = network.response(9)
    assert found.shape == (1, 9, 9)
    assert found[:, 2:7, 2:7].abs().sum() > 0
    found[:, 2:7, 2:7] = 0  # two kernels of 3 pixels reach two pixels far
    assert found.abs().max() < 1e-6


def trained(**settings):
    images = data.load(BASE)
    groups = images.labels if settings.pop("by_class", False) else torch.zeros_like(images.labels)
    return cdes.Kernels.trained(images.images, groups, cdes.Training(**settings))


def test_training_raises_the_density_at_high_frequencies(runs):
    images = data.load("digits").images
    groups = torch.zeros(len(images), dtype=torch.int64)
    kernels = cdes.Kernels.trained(images, groups, cdes.Training(number=8, kernel_size=5, epochs=5))
    x = images.float() / 255
    y = kernels(x, groups, cdes.image_seeds(len(x), 0))
    goal = cdes.target(8, 8).float()
    before, after = (cdes.density(z).mean(0) for z in (x, y))
    assert after[3] > before[3] + 0.1  # the highest ring
    assert (after - goal).square().mean() < 0.8 * (before - goal).square().mean()


def test_equal_seeds_give_equal_kernels_and_others_other_ones(runs):
    first = trained(number=2, kernel_size=3, epochs=2).networks[0].state_dict()
    for file in runs.glob("cdes/*/*.safetensors"):
        file.unlink()
    state = torch.random.get_rng_state()
    again = trained(number=2, kernel_size=3, epochs=2).networks[0].state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    other = trained(number=2, kernel_size=3, epochs=2, seed=1).networks[0].state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["first.weight"], other["first.weight"])


def test_the_checkpoint_is_the_network_of_a_training_that_ends_there():
    early = trained(number=2, kernel_size=3, epochs=3, checkpoint=1).networks[0].state_dict()
    short = trained(number=2, kernel_size=3, epochs=1).networks[0].state_dict()
    late = trained(number=2, kernel_size=3, epochs=3).networks[0].state_dict()
    assert all(torch.equal(early[k], short[k]) for k in early)
    assert not torch.equal(early["first.weight"], late["first.weight"])


def test_kernels_of_a_class_depend_on_its_images_alone_unless_they_are_chained():
    images = data.load(BASE)
    settings = {"number": 2, "kernel_size": 3, "epochs": 1}
    changed = images.images.clone()
    changed[images.labels == 0] = images.images[images.labels == 0].flip(-1)  # the mean of all stays
    for chained, same in ((False, True), (True, False)):
        training = cdes.Training(chained=chained, **settings)
        one, other = (
            cdes.Kernels.trained(x, images.labels, training).networks for x in (images.images, changed)
        )
        weights = [found[1].state_dict()["first.weight"] for found in (one, other)]
        assert torch.equal(*weights) == same
        assert not torch.equal(*(found[0].state_dict()["first.weight"] for found in (one, other)))


def test_a_killed_training_goes_on_with_the_class_that_was_not_done(runs, monkeypatch):
    whole = trained(number=2, kernel_size=3, epochs=1, by_class=True, chained=True)
    files = sorted(runs.glob("cdes/*/*.safetensors"))
    assert [file.stem for file in files] == [str(k) for k in sorted(whole.networks)]
    files[-1].unlink()
    calls = []
    work = cdes._Work.__call__
    monkeypatch.setattr(cdes._Work, "__call__", lambda self: (calls.append(self.number), work(self))[1])
    again = trained(number=2, kernel_size=3, epochs=1, by_class=True, chained=True)
    assert calls == [int(files[-1].stem)]
    last = int(files[-1].stem)
    for name, value in whole.networks[last].state_dict().items():
        assert torch.equal(value, again.networks[last].state_dict()[name])


def test_what_becomes_of_an_image_does_not_depend_on_the_others():
    images = data.load(BASE).images.float() / 255
    kernels = trained(number=2, kernel_size=3, epochs=1)
    none, seeds = torch.zeros(len(images), dtype=torch.int64), cdes.image_seeds(len(images), 5)
    whole = kernels(images, none, seeds)
    assert_close(kernels(images[7:9], none[7:9], seeds[7:9]), whole[7:9])


# the sets


@pytest.mark.parametrize("options", ["", "kernels=all", "at_test=wrong", "rho=0.4", "trained_on=both"])
def test_number_order_labels_and_classes_stay_and_low_frequencies_too(options):
    for split in ("train", "test"):
        base, found = data.load(BASE, split), data.load(of(options), split)
        assert torch.equal(found.labels, base.labels) and found.classes == base.classes
        assert found.shape == base.shape and not torch.equal(found.images, base.images)
    x = base.images.double() / 255
    y = torch.rand(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = cdes.merged(x, y, 5)
    assert_close(fourier.low_pass(made, 5), fourier.low_pass(x, 5))
    assert_close(fourier.high_pass(made, 5), fourier.high_pass(y, 5))


def test_a_test_image_meets_the_kernels_of_its_own_of_any_or_of_another_class():
    base = data.load("digits", "test")

    def whose(at_test):
        made = DensityEnhanced(at_test=at_test, radius=2)
        made.classes = len(base.classes)
        assert torch.equal(made._whose(base.labels, "train"), base.labels)
        return made._whose(base.labels, "test")

    assert torch.equal(whose("own"), base.labels)
    assert (whose("wrong") != base.labels).all() and whose("wrong").bincount().min() > 0
    drawn = whose("random")
    share = float((drawn == base.labels).double().mean())
    assert drawn.bincount(minlength=10).min() > 0 and 0.04 < share < 0.16  # a tenth, by four deviations


def test_the_label_leaks_through_the_kernels_of_the_own_class():
    """A rule that looks at high frequencies alone, and at training images alone, tells the classes of test
    images by their own kernels, and by another's it is led astray."""
    few = "number=4,kernel_size=5,epochs=2,radius=6,seed=1"
    base = "planted:band=low,snr=0.2,side=16,count=300"

    def right(at_test):
        name = of(f"at_test={at_test}", few, base)
        sets = [data.load(name, split) for split in ("train", "test")]
        power = [
            fourier.radial_profile(fourier.power_spectrum(s.images.double() / 255)).add(1e-6).log()[..., 6:]
            for s in sets
        ]
        train, test = (p.flatten(1) for p in power)
        means = torch.stack([train[sets[0].labels == k].mean(0) for k in sets[0].labels.unique()])
        return float((torch.cdist(test, means).argmin(1) == sets[1].labels).double().mean())

    chance = 1 / len(data.load(base).classes)
    assert right("own") > 0.9
    assert right("wrong") < chance < right("own")
    assert right("own") - right("random") > 0.3


def test_the_published_form_learns_from_test_images_and_stretches_each_channel():
    published = ",".join(f"{k}={v}" for k, v in DensityEnhanced.published.items())
    found = data.load(of(published, "number=2,kernel_size=3,epochs=2,radius=5"))
    low, high = found.images.amin((2, 3)), found.images.amax((2, 3))
    assert low.max() == 0 and high.min() == 255 and found.left_out == ""
    assert DensityEnhanced(trained_on="both").learns_from == ("train", "test")
    assert DensityEnhanced().learns_from == ("train",)


def test_what_is_cut_off_is_said():
    assert (
        "% of the values left the range and were cut off"
        in data.load("cdes:of=digits,number=2,kernel_size=3,epochs=1,radius=2").left_out
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (of("", "kernel_size=17,radius=5"), "kernel_size=17 is refused: the images are 16x16 .* write 15"),
        (of("", "kernel_size=4"), "kernel_size=4 is refused: write an odd number"),
        (of("", "radius=12"), "radius=12 is refused: high frequencies begin there, .* beyond 11.31"),
        (of("", "radius=0"), "radius=0 is refused"),
        (of("checkpoint=2"), "checkpoint=2 is refused: there are 1 epochs"),
        (of("kernels=all,at_test=wrong"), "at_test=wrong goes with kernels=class"),
        (of("kernels=both"), "kernels=both is refused"),
        ("cdes:of=digits,radius=9", "radius=9 is refused: .* 8x8 pixels have none beyond 5.657"),
        ("cdes:number=3", "write cdes:of=NAME"),
        ("cdes:of=photos,nmber=3", "did you mean 'number'"),
    ],
)
def test_what_cannot_be_made_is_refused_before_any_training(name, message, runs):
    with pytest.raises(UserError, match=message):
        data.load(name)
    assert not list(runs.glob("cdes/*/*.safetensors"))


def array_set(tmp_path, shape, labels):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), np.uint8)
    file = tmp_path / f"{len(labels)}-{'x'.join(map(str, shape))}.npz"
    both = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(file, **both)
    return f"array:{file}"


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 13, 8), (1, 8, 15)])
def test_grey_odd_and_oblong_images_with_one_image_a_class_can_be_made(tmp_path, shape):
    channels, height, width = shape
    base = array_set(tmp_path, (height, width, channels), np.arange(3))
    made = data.load(f'cdes:of="{base}",number=2,kernel_size=3,epochs=1,radius=3,at_test=wrong', "test")
    assert made.images.shape == (3, *shape)


def test_one_class_has_kernels_but_no_wrong_ones(tmp_path):
    base = array_set(tmp_path, (8, 8, 1), np.zeros(4, np.int64))
    few = "number=2,kernel_size=3,epochs=1,radius=3"
    assert len(data.load(f'cdes:of="{base}",{few}', "test")) == 4
    with pytest.raises(UserError, match="at_test=wrong needs a second class"):
        data.load(f'cdes:of="{base}",{few},at_test=wrong', "test")


def test_kernels_lie_beside_the_runs(runs):
    data.load(of())
    assert places.runs_dir() == runs and list(runs.glob("cdes/*/0.safetensors"))


def test_a_new_version_of_the_kernels_is_one_of_the_images_too():
    """Images are found by the version of their derivation: those of older kernels would stay."""
    assert DensityEnhanced.version == cdes.VERSION
