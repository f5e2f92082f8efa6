"""Scores of images that a classifier knows and of others: computed as the papers say, for any set that can be
named.
"""

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from specfreq import ImageSet, data, measures
from specfreq.core.errors import UserError
from specfreq.core.spec import quoted
from specfreq.measures import compute, inference, others
from specfreq.models import Classifier

NUMBERS = ["auroc", "tnr95", "detection_accuracy", "auin", "auout", "oscr"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_DATA", str(tmp_path))
    return tmp_path


def store(place, pixels, name="others.npz", **labels):
    """A file of pictures (N, C, H, W), as bytes."""
    np.savez(place / name, images=np.asarray(pixels).transpose(0, 2, 3, 1), **labels)
    return f"array:{name}"


def numbered(first, count):
    """Images of one pixel, whose number `lookup` looks up."""
    number = torch.arange(first, first + count)
    return (
        torch.stack([number // 256, number % 256, torch.zeros_like(number)], 1)
        .to(torch.uint8)
        .reshape(-1, 3, 1, 1)
    )


@pytest.fixture
def known_and_others(place, lookup):
    """A classifier that gives these logits to its own images and to the others; its own set; the others'
    name.
    """

    def make(logits, labels, other):
        table = torch.cat([torch.as_tensor(logits), torch.as_tensor(other)]).float()
        classes = tuple(f"class {c}" for c in range(table.shape[1]))
        images = ImageSet(numbered(0, len(logits)), torch.as_tensor(labels), classes, "known")
        model = Classifier(lookup(table), torch.zeros(1), torch.ones(1)).eval()
        return model, images, store(place, numbered(len(logits), len(other)).numpy())

    return make


@pytest.fixture
def noise(place):
    """Pictures of 8x8 grey noise, as a file: its name, and the images in [0, 1]."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), np.uint8)
    return store(place, pixels), torch.from_numpy(pixels) / 255


def auroc(known, other):
    scores = torch.cat([known, other]).double().numpy()
    return pytest.approx(100 * roc_auc_score(np.repeat([1, 0], [len(known), len(other)]), scores), abs=1e-9)


SCORES = {
    "max-logit": lambda f: f.amax(1),
    "max-softmax": lambda f: f.softmax(1).amax(1),
    "max-softmax,temperature=4": lambda f: (f / 4).softmax(1).amax(1),
    "energy": lambda f: f.exp().sum(1).log(),
    "energy,temperature=3": lambda f: 3 * (f / 3).exp().sum(1).log(),
}


@pytest.mark.parametrize("spec", SCORES)
def test_scores_of_logits_are_those_of_the_papers(known_and_others, spec):
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(300, 4, generator=random, dtype=torch.float64).float().double()
    other = 2 * torch.randn(200, 4, generator=random, dtype=torch.float64).float().double()
    model, images, name = known_and_others(logits, torch.arange(300) % 4, other)
    result = compute(f"out-of-distribution:score={spec},other={name}", model, images)
    assert result["auroc"] == [auroc(SCORES[spec](logits), SCORES[spec](other))]
    assert result["accuracy"] == pytest.approx(
        100 * float((logits.argmax(1) == images.labels).double().mean())
    )
    assert (result["images"], result["other_images"]) == (300, [200])


def test_scores_differ_where_the_papers_say(known_and_others):
    """Adding a constant to all logits of the others: they look familiar by logit and energy; softmax does not
    see it.
    """
    logits, labels = 8 * torch.eye(4).repeat(10, 1), torch.arange(40) % 4
    model, images, name = known_and_others(logits, labels, 2 * torch.eye(4).repeat(5, 1) + 20)
    found = {
        s: compute(f"out-of-distribution:score={s},other={name}", model, images)
        for s in ("max-logit", "energy", "max-softmax")
    }
    assert {s: r["auroc"] for s, r in found.items()} == {
        "max-logit": [0],
        "energy": [0],
        "max-softmax": [100],
    }
    assert found["max-softmax"]["oscr"] == [100]


def test_confidences_that_float32_cannot_tell_apart_are_told_apart(known_and_others):
    """Both round to 1 in float32: 1 - 1e-11 and 1 - 1e-13."""
    model, images, name = known_and_others([[30.0, 0]] * 5, [0] * 5, [[25.0, 0]] * 5)
    assert compute(f"out-of-distribution:score=max-softmax,other={name}", model, images)["auroc"] == [100]


def test_a_network_that_answers_all_images_alike_knows_nothing(known_and_others):
    model, images, name = known_and_others([[1.0, 2, 0]] * 9, [1, 1, 1, 0, 0, 0, 2, 2, 2], [[1.0, 2, 0]] * 14)
    result = compute("out-of-distribution", model, images, other=name)
    assert (result["auroc"], result["detection_accuracy"], result["oscr"]) == (
        [50],
        [50],
        [pytest.approx(50 / 3)],
    )


def test_means_are_taken_over_the_sets(known_and_others, place):
    logits = torch.arange(20.0)[:, None] * torch.tensor([1.0, 0])
    model, images, low = known_and_others(logits + 10, [0] * 20, logits)
    store(place, numbered(5, 10).numpy(), "inside.npz")
    both = compute(f"out-of-distribution:other={low}+array:inside.npz", model, images)
    alone = [compute("out-of-distribution", model, images, other=name) for name in ("array:inside.npz", low)]
    assert both["others"] == ["array:inside.npz", low]
    for name in NUMBERS:
        assert both[name] == [r[name][0] for r in alone]
        assert both[f"mean_{name}"] == pytest.approx(sum(both[name]) / 2)
    assert both["auroc"][0] < both["auroc"][1]
    assert [sum(h) for h in [both["histogram"], *both["other_histograms"]]] == [20, 10, 20]
    assert len(both["edges"]) == 41 and both["fpr"][1][-1] == both["tpr"][1][-1] == 100


def odin_by_hand(model, x, eps, temperature):
    """Image by image, in float64, as the paper's equations 1 to 3 say."""
    scores = []
    for image in x.double():
        image = image[None].requires_grad_()
        log_probability = F.log_softmax(model(image) / temperature, 1).max()
        (gradient,) = torch.autograd.grad(-log_probability, image)
        moved = image.detach() - eps * torch.sign(gradient)
        scores.append((model(moved) / temperature).softmax(1).max().detach())
    return torch.stack(scores)


@pytest.mark.parametrize(
    ("options", "eps", "temperature"), [("", 0.0014, 1000), (",eps=0.02,temperature=10", 0.02, 10)]
)
def test_odin_moves_images_as_the_paper_says(digits, noise, options, eps, temperature):
    model, images = digits
    name, pixels = noise
    result = compute(f"out-of-distribution:score=odin,other={name}{options}", model, images)
    double = copy.deepcopy(model).double()
    known, other = (odin_by_hand(double, x, eps, temperature) for x in (images.images / 255, pixels))
    # a sign of a tiny gradient may differ
    assert result["auroc"][0] == pytest.approx(auroc(known, other).expected, abs=0.1)
    assert (result["eps"], result["temperature"]) == (eps, temperature)
    assert all(p.grad is None for p in model.parameters()) and not torch.is_inference_mode_enabled()


def test_odin_without_a_step_is_the_largest_softmax(digits, noise):
    model, images = digits
    still, plain = (
        compute(f"out-of-distribution:score={score},other={noise[0]}", model, images)
        for score in ("odin,eps=0,temperature=7", "max-softmax,temperature=7")
    )
    assert {k: still[k] for k in NUMBERS} == {k: plain[k] for k in NUMBERS}


def test_odin_works_in_bfloat16_and_on_a_network_whose_weights_are_fixed(digits, noise):
    model, images = digits
    fixed = copy.deepcopy(model).requires_grad_(False)
    expected = compute(f"out-of-distribution:score=odin,other={noise[0]}", model, images)["auroc"]
    assert compute(f"out-of-distribution:score=odin,other={noise[0]}", fixed, images)["auroc"] == expected
    rough = compute(f"out-of-distribution:score=odin,other={noise[0]}", model, images, precision="bfloat16")[
        "auroc"
    ]
    assert rough == pytest.approx(expected, abs=5)


def mahalanobis_by_hand(z, training, labels):
    means = np.stack([training[labels == c].mean(0) for c in np.unique(labels)])
    centred = training - np.stack([training[labels == c].mean(0) for c in labels])
    # some features are 0 in all training images
    inverse = np.linalg.inv(centred.T @ centred + 1e-6 * np.eye(64))
    return -np.min([np.einsum("nd,de,ne->n", z - m, inverse, z - m) for m in means], 0)


@pytest.mark.parametrize("count", [None, 400])
def test_mahalanobis_is_the_distance_to_the_nearest_class_of_the_training_images(digits, noise, count):
    model, images = digits
    name, pixels = noise
    given = "" if count is None else f",fitted_on={count}"
    result = compute(f"out-of-distribution:score=mahalanobis,other={name}{given}", model, images)
    training = data.load("digits", "train", count)
    z, mine, theirs = (
        inference.evaluate(model, x, model.features).double().numpy()
        for x in (training, images, pixels.float())
    )
    scores = [torch.from_numpy(mahalanobis_by_hand(x, z, training.labels.numpy())) for x in (mine, theirs)]
    assert result["auroc"] == [auroc(*scores)]
    assert result["auroc"][0] > 98
    assert torch.get_default_dtype() == torch.float32


def test_mahalanobis_does_not_change_when_features_are_rotated(digits, noise):
    model, images = digits
    rotated = copy.deepcopy(model)
    rotation, _ = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))
    plain, head = model.net.features, rotated.net.head
    rotated.net.features = lambda x: plain(x) @ rotation
    head.weight.data = head.weight @ rotation
    one, other = (
        compute(f"out-of-distribution:score=mahalanobis,other={noise[0]}+constant", m, images)
        for m in (model, rotated)
    )
    assert other["auroc"] == pytest.approx(one["auroc"], abs=0.1)


def test_mahalanobis_needs_a_linear_layer_and_enough_training_images_of_the_name(digits, noise):
    model, images = digits
    spec = f"out-of-distribution:score=mahalanobis,other={noise[0]}"
    with pytest.raises(
        UserError, match="60 training images are too few for a covariance of 64 features; raise fitted_on"
    ):
        compute(f"{spec},fitted_on=60", model, images)
    with pytest.raises(
        UserError, match="mahalanobis needs the training images of mine: unknown data set 'mine'"
    ):
        compute(spec, model, ImageSet(images.images, images.labels, images.classes, "mine"))
    with pytest.raises(UserError, match="training images of planted have another shape or other classes"):
        compute(spec, model, ImageSet(images.images, images.labels, images.classes, "planted"))
    with pytest.raises(
        UserError,
        match=r"mahalanobis needs the linear layer that gives the logits, .*; it has no linear layer",
    ):
        compute(spec, torch.nn.Sequential(torch.nn.Conv2d(1, 10, 8), torch.nn.Flatten()), images)


def test_a_network_that_knows_digits_tells_them_from_noise_better_than_one_with_random_answers(digits):
    model, images = digits
    blind = copy.deepcopy(model)
    torch.nn.init.normal_(blind.net.head.weight, generator=torch.Generator().manual_seed(0))
    spec = "out-of-distribution:other=uniform-noise+phase-scrambled"
    knows, guesses = (compute(spec, m, images) for m in (model, blind))
    assert knows["mean_auroc"] > guesses["mean_auroc"] + 10
    assert knows["mean_oscr"] > guesses["mean_oscr"] + 30


@pytest.mark.parametrize(("size", "kept"), [(None, (61, 50)), (20, (20, 20)), (55, (55, 50))])
def test_size_bounds_both_sets_and_the_counts_say_so(digits, noise, size, kept):
    model, images = digits
    result = compute(
        f"out-of-distribution:other={noise[0]}+uniform-noise",
        model,
        images,
        **({} if size is None else {"size": size}),
    )
    assert result["images"] == kept[0]
    assert result["other_images"] == [kept[1], kept[0]]  # computed ones are as many as the known
    assert result["other_how"] == ["as they are", "computed"]
    assert result["other_digests"][1] is None and len(result["other_digests"][0]) == 64
    assert compute("out-of-distribution", model, images, other="digits", size=20)["other_images"] == [20]


def test_options_of_another_score_are_refused(digits, noise):
    model, images = digits
    for options, message in (
        ("temperature=2", "max-logit has no temperature"),
        ("score=mahalanobis,temperature=2", "mahalanobis has no temperature"),
        ("score=energy,eps=0.1", "energy has no eps"),
        ("score=odin,fitted_on=50", "odin has no fitted_on"),
    ):
        with pytest.raises(UserError, match=message):
            compute(f"out-of-distribution:other={noise[0]},{options}", model, images)


def test_the_set_whose_answers_are_no_numbers_is_named(known_and_others):
    model, images, name = known_and_others([[1.0, 0]] * 3, [0] * 3, [[1.0, 0], [float("inf"), 0]])
    with pytest.raises(UserError, match=r"images of array:others\.npz with NaN or infinity"):
        compute("out-of-distribution", model, images, other=name)


# other sets


def found(name, known, **options):
    """The other images as the network meets them."""
    other = others.find(name, known, **{"size": None, "seed": 0, **options})
    return inference.evaluate(torch.nn.Identity(), other.given, other.view, batch=7), other


def colours(count=12, side=8, name="colours", channels=3):
    pixels = torch.randint(
        256, (count, channels, side, side), generator=torch.Generator().manual_seed(5), dtype=torch.uint8
    )
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), ("one",), name)


def test_pictures_that_fit_are_met_as_they_are(place):
    pixels = colours(9).images
    seen, other = found(store(place, pixels.numpy()), colours())
    assert seen.equal(pixels / 255) and other.how == "as they are"


def test_grey_pictures_repeat_their_channel_and_colours_become_their_luma(place):
    grey = colours(channels=1)
    seen, other = found(store(place, grey.images.numpy()), colours())
    assert seen.equal((grey.images / 255).expand(-1, 3, -1, -1)) and other.how == "grey repeated"
    seen, other = found(store(place, colours().images.numpy()), grey)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close(seen, (colours().images / 255 * weights).sum(1, keepdim=True))
    assert other.how == "luma"


def test_of_larger_pictures_the_middle_is_scaled_down(place):
    """Blocks of 4x4 equal pixels: scaled down, each pixel is a block, but for the antialiasing of its edges."""
    small = torch.full((2, 3, 8, 8), 60, dtype=torch.uint8)
    small[:, :, :4] = 200
    # 32 x 64, black beside the middle
    large = F.pad(small.repeat_interleave(4, 2).repeat_interleave(4, 3), (16, 16))
    seen, other = found(store(place, large.numpy()), colours())
    assert other.how == "scaled from 32x64"
    torch.testing.assert_close(seen[:, :, [0, 1, 2, 5, 6, 7]], small[:, :, [0, 1, 2, 5, 6, 7]] / 255)


def test_what_the_smaller_grid_cannot_show_is_averaged_away(place):
    """Stripes of 4 pixels' period, scaled down to a quarter: grey, not what lies in the middle of every four
    pixels.
    """
    stripes = torch.tensor([255, 0, 0, 255], dtype=torch.uint8).repeat(8).expand(1, 3, 32, 32)
    seen, _ = found(store(place, stripes.numpy()), colours())
    assert (seen[..., 1:-1] - 0.5).abs().max() < 0.1


@pytest.mark.parametrize(("count", "side", "channels"), [(1, 7, 3), (2, 8, 1)])
def test_what_does_not_fit_is_refused_by_name(place, count, side, channels):
    known = colours() if side < 8 else colours(channels=2)
    name = store(place, colours(count, side, channels=channels).images.numpy())
    with pytest.raises(
        UserError, match=rf"images of {name} are {side}x{side} with {channels} channels? and do not fit .*8x8"
    ):
        found(name, known)


def test_sets_that_are_not_there_are_refused_by_name():
    with pytest.raises(UserError, match=r"array:absent\.npz: no such file"):
        found("array:absent.npz", colours())
    with pytest.raises(UserError, match=r"cifar100 \(test\): .* is missing"):
        found("cifar100", colours())


def test_noise_has_its_distribution_and_is_on_the_grid_of_bytes():
    known = colours(60, 16)
    uniform, normal, flat = (
        found(name, known)[0] for name in ("uniform-noise", "gaussian-noise", "constant")
    )
    assert uniform.mean() == pytest.approx(0.5, abs=0.01) and uniform.var() == pytest.approx(
        1 / 12, abs=0.002
    )
    # of a normal distribution with deviation 1 around the middle, 30.9 % lie beyond either end
    assert (normal == 0).double().mean() == pytest.approx(0.309, abs=0.01) == (normal == 1).double().mean()
    assert (flat == flat[..., :1, :1]).all() and len(flat[:, :, 0, 0].unique(dim=0)) == 60
    for images in (uniform, normal, flat):
        assert images.shape == (60, 3, 16, 16)
        assert (255 * images).equal((255 * images).round()) or torch.allclose(
            255 * images, (255 * images).round(), atol=1e-4
        )


@pytest.mark.parametrize("name", others.COMPUTED)
def test_what_is_computed_depends_on_the_seed_and_not_on_the_batch(name):
    known = colours()
    seen, other = found(name, known)
    assert seen.equal(inference.evaluate(torch.nn.Identity(), other.given, other.view, batch=12))
    assert not seen.equal(found(name, known, seed=1)[0])
    assert len(seen.flatten(1).unique(dim=0)) == len(known)


def test_scrambled_images_follow_their_content_whatever_the_order():
    known = colours()
    turned = ImageSet(known.images.flip(0), known.labels, known.classes, known.name)
    assert found("phase-scrambled", turned)[0].equal(found("phase-scrambled", known)[0].flip(0))


def test_scrambling_keeps_amplitudes_and_mean_and_what_channels_have_in_common():
    random = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    images = (
        255 * (0.45 + 0.1 * torch.cat([random, random, 1 - random], 1))
    ).round() / 255  # far from black and white
    seen = others.scrambled(images, 3)
    before, after = (torch.fft.fft2(x.double()).abs() for x in (images, seen))
    # bytes: of 256 pixels, 16 * 0.3 / 255 deviation
    torch.testing.assert_close(after, before, atol=0.25, rtol=0)
    torch.testing.assert_close(seen.mean((-2, -1)), images.mean((-2, -1)), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[:, 0], seen[:, 1])
    assert (seen - images).abs().mean() > 0.02
    correlated = [np.corrcoef(seen[i, 0].flatten(), seen[i, 2].flatten())[0, 1] for i in range(4)]
    assert correlated == pytest.approx([-1] * 4, abs=0.02)


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        ("other=svhn+cifar100+svhn", "other=cifar100+svhn"),
        ("other=cifar100,score=max-logit,seed=0", "other=cifar100"),
        ("other=folder:pets?size=32+constant", "other=constant+folder:pets?size=32"),
        ("other=planted:side=16;band=high", "other=planted:band=high;side=16"),
        ("other=array:none.npz,score=odin,temperature=10", "other=array:none.npz,score=odin,temperature=10"),
        ("other=gaussian_noise+fashion_mnist", "other=fashion-mnist+gaussian-noise"),
        ("other=folder:/data/a;b", "other=folder:/data/a;b"),
        ('other="folder:/data/a,b"', "other=folder:/data/a;b"),
        ('other="folder:/data/c++/x"', 'other="folder:/data/c++/x"'),
        ('other=svhn+"folder:/data/c++/a;b",size=9', 'other="folder:/data/c++/a;b"+svhn,size=9'),
        ('other="svhn"+"planted:side=16,band=high"', "other=planted:band=high;side=16+svhn"),
    ],
)
def test_descriptions_have_one_spelling(spec, form):
    assert measures.normal_form(f"out-of-distribution:{spec}") == f"out-of-distribution:{form}"
    assert measures.normal_form(f"out-of-distribution:{form}") == f"out-of-distribution:{form}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("out-of-distribution", "needs other; write out-of-distribution:other="),
        (
            "out-of-distribution:other=cifar1000",
            "unknown set of other images 'cifar1000'; did you mean 'cifar100'",
        ),
        ("out-of-distribution:other=uniform-nois", "did you mean 'uniform-noise'"),
        ("out-of-distribution:other=constant:side=3", "constant has no parameters; leave :side=3 out"),
        ("out-of-distribution:other=planted:sid=3", "unknown parameter 'sid'"),
        ("out-of-distribution:other=svhn,score=maxlogit", "score=maxlogit is refused"),
        ("out-of-distribution:other=svhn,temperature=0", "temperature=0 is refused"),
        ("out-of-distribution:other=svhn,eps=-1", "eps=-1 is refused"),
    ],
)
def test_descriptions_that_cannot_be_meant_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        measures.check(spec)


@pytest.mark.parametrize("folder", ["c++", "a;b", "a,b", 'it\'s "it"', "a=b"])
def test_a_set_is_found_whatever_its_path(digits, place, folder):
    model, images = digits
    pictures = torch.arange(5 * 64, dtype=torch.uint8).reshape(5, 1, 8, 8)
    (place / folder).mkdir()
    name = store(place, pictures, f"{folder}/x.npz")
    result = compute(f"out-of-distribution:other={quoted(name)}+uniform-noise", model, images)
    assert result["other_images"][0] == 5
    assert result["others"] == [others._spelling(name), "uniform-noise"]
    swapped = compute(f"amplitude-phase-swap:other={quoted(name)}", model, images)
    assert swapped["other_digest"] == data.load(name, "test").digest


def test_parameters_of_a_planted_set_are_written_with_semicolons(digits):
    model, images = digits
    result = compute("out-of-distribution:other=planted:count=9;side=8;classes=3", model, images)
    assert result["other_images"] == [len(data.load("planted:count=9,side=8,classes=3", "test"))]
