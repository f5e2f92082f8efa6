"""The amplitude-phase swap: it names the donor that the network goes by, over pairs that leave no other way
to tell.
"""

import itertools

import pytest
import torch
from torch import nn

import specfreq
from specfreq import Experiment, ImageSet, data, fourier
from specfreq.core.errors import UserError
from specfreq.measures import compute, inference, others
from specfreq.measures.swap import examples, pairs


@pytest.mark.parametrize("evidence", ["phase", "amplitude"])
def test_a_network_trained_on_planted_evidence_names_the_donor_that_gave_it(evidence, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    planted = f"planted:evidence={evidence},band=high,side=16,count=1000"
    recipe = {"model": "resnet8", "epochs": 5, "batch": 50, "shift": 0, "flip": False, "test_size": 400}
    run = specfreq.run(Experiment(data=planted, **recipe))
    result = compute("amplitude-phase-swap", run.classifier(), run.image_set("test"))
    assert result["pairs"] == 400
    assert result[evidence] >= 95 and result[f"right_{evidence}"] >= 95
    noise = compute("amplitude-phase-swap:other=uniform-noise", run.classifier(), run.image_set("test"))
    other = "amplitude" if evidence == "phase" else "phase"
    assert noise[evidence] > 80 > 40 > noise[other]  # four classes


class Reader(nn.Module):
    """Reads the class off the spectrum of an image of `written`: off its phase, or off its amplitude."""

    def __init__(self, half):
        super().__init__()
        self.half = half

    def forward(self, images):
        spectrum = torch.fft.fft2(images.mean(1, keepdim=True).contiguous())[..., 0, 1:4].flatten(1)
        if self.half == "amplitude":
            return spectrum.abs()
        angle = spectrum.angle()[:, :1]
        return torch.cos(angle - torch.tensor([0.0, 2.0, 4.0], device=images.device))


def written(labels, side=8, channels=1, seed=0):
    """Images that say their class twice: by the phase of frequency 1 (0, 2 or 4 radians), and by which of 3
    is strongest.
    """
    labels = torch.as_tensor(labels)
    g = torch.Generator().manual_seed(seed)
    x = torch.arange(side) / side * 2 * torch.pi
    strength = torch.where(torch.arange(3) == labels[:, None], 0.2, 0.08)[:, :, None]
    phase = torch.stack([2.0 * labels, *6 * torch.rand(2, len(labels), generator=g)], 1)[:, :, None]
    wave = (strength * torch.cos(torch.arange(1, 4)[:, None] * x + phase)).sum(1)
    images = 0.5 + wave[:, None, None] + 0.002 * torch.randn(len(labels), channels, side, side, generator=g)
    return ImageSet((255 * images.clamp(0, 1)).round().to(torch.uint8), labels, ("a", "b", "c"), "written")


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize(("half", "other"), [("phase", "amplitude"), ("amplitude", "phase")])
def test_a_network_that_reads_one_half_names_its_donor_in_every_pair(half, other, channels):
    labels = [0] * 9 + [1] * 12 + [2] * 7
    result = compute("amplitude-phase-swap", Reader(half), written(labels), channels=channels)
    assert (result[half], result[other], result["neither"], result["pairs"]) == (100, 0, 0, 28)
    assert (result[f"right_{half}"], result["right_pairs"], result["accuracy"]) == (100, 28, 100)


def test_the_numbers_are_those_of_the_mixtures_of_the_pairs(digits):
    model, images = digits
    result, seen = compute("amplitude-phase-swap", model, images), []

    def hook(module, inputs):
        seen.append(inputs[0].clone())

    handle = model.register_forward_pre_hook(hook)
    compute("amplitude-phase-swap", model, images)
    handle.remove()
    plain, mixed = torch.cat(seen).split(len(images))
    x = images.images.float() / 255
    assert plain.equal(x)
    counts, own, donors = dict.fromkeys(["phase", "amplitude", "neither"], 0), [], []
    spectra = torch.fft.fft2(x.double())
    for mixture, named in zip(mixed.double(), inference.logits(model, mixed).argmax(1), strict=True):
        spectrum = torch.fft.fft2(mixture)
        d = int(
            (spectra * spectrum.conj())
            .real.sum((1, 2, 3))
            .div((spectra.abs() * spectrum.abs()).sum((1, 2, 3)))
            .argmax()
        )
        a = int((spectra.abs() - spectrum.abs()).square().sum((1, 2, 3)).argmin())
        torch.testing.assert_close(mixture.float(), fourier.recombine(x[a], x[d]), rtol=0, atol=1e-5)
        y_a, y_d = int(images.labels[a]), int(images.labels[d])
        assert y_a != y_d
        counts["phase" if named == y_d else "amplitude" if named == y_a else "neither"] += 1
        own.append(d)
        donors.append(a)
    assert sorted(own) == sorted(donors) == list(range(len(images)))
    assert {k: result[k] for k in counts} == {
        k: pytest.approx(100 * v / len(images)) for k, v in counts.items()
    }
    assert min(counts.values()) > 0


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1],
        [0, 0, 1, 1],
        [0, 1, 2] * 5,
        [0] * 10 + [1] * 7 + [2] * 3,
        [2] * 40 + [5] * 25 + [7] * 15,
        list(range(9)),
        [0] * 5 + [1] * 4 + [2],
    ],
)
def test_pairs_are_of_different_classes_and_every_image_gives_each_half_once(labels):
    labels = torch.tensor(labels)
    for seed in range(20):
        a, d = pairs(labels, seed)
        assert (labels[a] != labels[d]).all()
        assert a.sort().values.tolist() == d.tolist() == list(range(len(labels)))


@pytest.mark.parametrize(
    "labels", [[0] * 9 + [1] * 4, [1] * 7 + [0], [0, 0, 1], [3] * 20 + [1] * 3 + [0] * 2]
)
def test_of_a_class_with_more_than_half_of_the_images_some_do_not_give_their_amplitude(labels):
    labels = torch.tensor(labels)
    for seed in range(20):
        a, d = pairs(labels, seed)
        assert (labels[a] != labels[d]).all() and d.tolist() == list(range(len(labels)))
        largest = labels == labels.mode().values
        many, few = int(largest.sum()), int((~largest).sum())
        times = a.bincount(minlength=len(labels))
        assert times[largest].max() == 1 and times[largest].sum() == few
        assert times[~largest].min() >= many // few and times[~largest].max() <= -(-many // few)


def test_pairs_of_all_classes_come_and_seeds_draw_others():
    labels = torch.arange(600) % 4
    a, d = pairs(labels, 0)
    met = torch.zeros(4, 4).index_put_((labels[a], labels[d]), torch.ones(600), accumulate=True)
    assert met.diagonal().sum() == 0
    assert met[~torch.eye(4, dtype=torch.bool)].min() > 25  # 50 each on average, with a deviation of about 6
    assert not pairs(labels, 1)[0].equal(a) and pairs(labels, 0)[0].equal(a)


def test_a_class_alone_has_no_pairs():
    result = compute("amplitude-phase-swap", Reader("phase"), written([1] * 5))
    assert result["pairs"] == result["right_pairs"] == 0
    assert result["accuracy"] == 100
    assert (
        result["phase"]
        is result["amplitude"]
        is result["neither"]
        is result["right_phase"]
        is result["phase_confidence"]
        is None
    )


def test_pairs_are_trusted_where_both_images_are_known(digits):
    model, images = digits
    result, accuracy = (
        compute("amplitude-phase-swap", model, images),
        compute("accuracy", model, images)["accuracy"],
    )
    assert result["accuracy"] == pytest.approx(accuracy)
    wrong = round(len(images) * (1 - accuracy / 100))
    assert len(images) - 2 * wrong <= result["right_pairs"] <= len(images) - wrong


@pytest.mark.parametrize(("half", "other"), [("phase", "amplitude"), ("amplitude", "phase")])
def test_against_another_set_each_half_is_asked_about_by_itself(half, other, monkeypatch):
    images, strangers = written([0, 1, 2] * 6), written([1] * 11, seed=5)
    monkeypatch.setattr(data, "load", lambda name, split, *_: strangers)
    result = compute("amplitude-phase-swap:other=cifar100", Reader(half), images)
    assert (result[half], result["pairs"], result["images"]) == (100, 18, 18)
    # it names the strangers' class, which every third image has as well
    assert result[other] == pytest.approx(100 / 3)
    assert result["neither"] is None
    assert (result["other"], result["other_how"], result["other_digest"]) == (
        "cifar100",
        "as they are",
        strangers.digest,
    )


def test_confidence_is_the_mean_of_the_largest_probability(digits):
    model, images = digits
    result, noise = (
        compute("amplitude-phase-swap:other=uniform-noise", model, images),
        others.find("uniform-noise", images, size=None, seed=0),
    )

    def sure(x):
        return 100 * float(model(x).softmax(1).amax(1).mean())

    with torch.no_grad():
        assert result["confidence"] == pytest.approx(sure(images.images / 255))
        assert result["other_confidence"] == pytest.approx(sure(noise.view(noise.given)))
    within = compute("amplitude-phase-swap", model, images)
    assert within["phase_confidence"] == within["amplitude_confidence"] and within["other_confidence"] is None


def test_clipping_keeps_the_mixtures_inside_the_unit_interval():
    class Watch(Reader):
        low, high = 1.0, 0.0

        def forward(self, images):
            self.low, self.high = min(self.low, float(images.min())), max(self.high, float(images.max()))
            return super().forward(images)

    g = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (12, 3, 8, 8), generator=g, dtype=torch.uint8)
    images = ImageSet(noise, torch.arange(12) % 3, ("a", "b", "c"), "noise")
    inside, outside = Watch("phase"), Watch("phase")
    compute("amplitude-phase-swap:clip=1", inside, images)
    compute("amplitude-phase-swap", outside, images)
    assert (inside.low, inside.high) == (0, 1) and outside.low < 0 and outside.high > 1


def test_examples_are_pairs_that_all_know_with_what_each_says_of_the_four_pictures():
    images, asked = written([0, 1, 2] * 4), {"by phase": Reader("phase"), "by amplitude": Reader("amplitude")}
    swaps = examples(asked, images, 5)
    assert len(swaps) == 5
    for swap in swaps:
        first, second = swap.classes
        assert first != second
        torch.testing.assert_close(swap.pictures[2], fourier.recombine(*swap.pictures[:2]))
        torch.testing.assert_close(swap.pictures[3], fourier.recombine(swap.pictures[1], swap.pictures[0]))
        assert [name for name, _ in swap.answers["by phase"]] == [first, second, second, first]
        assert [name for name, _ in swap.answers["by amplitude"]] == [first, second, first, second]
        assert all(33 < sure <= 100 for answers in swap.answers.values() for _, sure in answers)
    assert not any(a.pictures.equal(b.pictures) for a, b in itertools.combinations(swaps, 2))
    with pytest.raises(
        UserError, match="of written, 12 pairs are of images that all the classifiers know, fewer than 13"
    ):
        examples(asked, images, 13)


@pytest.mark.parametrize(
    ("spec", "message"),
    [("other=svhn+cifar100", "one other set at a time"), ("other=svnh", "did you mean 'svhn'")],
)
def test_other_sets_that_cannot_be_meant_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        specfreq.measures.check(f"amplitude-phase-swap:{spec}")
