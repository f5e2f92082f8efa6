"""Frequency scaling: what weights do to an image, where they come from, and what the original does."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import specfreq
from specfreq import augment, fourier, models, train
from specfreq.augment.fsda import masks, scaling
from specfreq.augment.fsda.network import PatternNetwork
from specfreq.core.errors import UserError
from specfreq.core.images import grey
from specfreq.experiment import Experiment, Run

ALL = ["fsda", "fsda:version=v1", "fsda-random", "fsda-random:version=v1"]
LEARNED = ALL[:2]
FORMS = ["defects=published", "version=v1,defects=published", "per=batch,version=v1,defects=even+rolled"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def built(spec, seed=0):
    torch.manual_seed(seed)
    return augment.build(spec)


@pytest.fixture(scope="module")
def images():
    x = torch.rand(12, 3, 32, 32, generator=generator(), dtype=torch.float64)
    return fourier.gaussian_low_pass(x, 1.0)  # more energy at low frequencies, as in pictures


@pytest.fixture(scope="module")
def clusters(images):
    return masks.clustered(images, masks.polar(32, 32, 10.0, 10.0, 0.0), 3)


def energy(images, mask):
    spectra = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1)).abs().square()
    return spectra[..., mask].sum(-1)


# what weights do


def test_weights_of_one_are_the_identity(images, clusters):
    assert_close(scaling.scaled(images, clusters, torch.ones(12, 3).double()), images)


def test_the_energy_of_a_cluster_scales_with_the_square_of_its_weight(images, clusters):
    """And what is outside the cells keeps its own; negative weights as well."""
    weights = torch.randn(12, 3, generator=generator(), dtype=torch.float64)
    out = scaling.scaled(images, clusters, weights)
    for c, factor in enumerate([torch.ones(12).double(), *weights.unbind(1)]):
        expected = energy(images, clusters == c) * factor.square()[:, None]
        assert_close(energy(out, clusters == c), expected)


def test_a_negative_weight_turns_phases_around(images, clusters):
    weights = torch.tensor([[1.0, -2.0, 1.0]]).double()
    out = scaling.scaled(images[:1], clusters, weights)
    chosen = (clusters == 2).double()
    assert_close(fourier.apply_mask(out, chosen), -2 * fourier.apply_mask(images[:1], chosen))


def test_scaling_is_linear_and_its_own_adjoint(images, clusters):
    one, other = images[:1], images[1:2]
    weights = torch.tensor([[0.3, 1.7, -0.4]]).double()
    a, b = (scaling.scaled(x, clusters, weights) for x in (one, other))
    assert_close((a * other).sum(), (one * b).sum())
    assert_close(scaling.scaled(2 * one - other, clusters, weights), 2 * a - b)


def test_scaling_agrees_with_its_gradients():
    x = torch.rand(1, 1, 8, 8, generator=generator(), dtype=torch.float64)
    clusters = masks.clustered(x, masks.polar(8, 8, 30.0, 2.0, 0.0), 3)
    weights = torch.tensor([[0.5, 1.0, 2.0]]).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: scaling.scaled(x, clusters, w), weights)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_standardised_values_have_mean_0_and_deviation_1(k):
    t = scaling.standardised(torch.randn(50, k, generator=generator(), dtype=torch.float64).softmax(1))
    assert_close(t.mean(1), torch.zeros(50).double())
    assert_close(t.std(1), torch.ones(50).double(), rtol=1e-4, atol=0)


def test_weights_lie_in_the_ranges_of_their_versions():
    """Of k = 3: t is at most 2 / sqrt 3 in absolute value, as the deviation is 1."""
    z = 10 * torch.randn(20_000, 3, generator=generator())
    edge = 2 / 3**0.5
    for version, low, high in ("v1", 1 - edge, 1 + edge), ("v2", 2.718282**-edge, 2.718282**edge):
        found = scaling.weights_of(scaling.standardised(z.softmax(1)), version)
        assert low - 1e-4 <= found.min() < low + 0.01 and high - 0.02 < found.max() <= high + 1e-4


def test_equal_logits_leave_the_image_alone():
    """Where the original stops, as the deviation it divides by is 0; the gradient is finite too."""
    z = torch.full((2, 3), 0.7, requires_grad=True)
    for version in ("v1", "v2"):
        weights = scaling.weights_of(scaling.standardised(z.softmax(1)), version)
        assert_close(weights, torch.ones(2, 3))
        (slope,) = torch.autograd.grad((weights * torch.randn(2, 3)).sum(), z)
        assert slope.isfinite().all()


# what learns


@pytest.mark.parametrize("spec", LEARNED)
def test_gradients_reach_every_encoder(spec, images):
    """And all else that learns: through the weights alone, as nothing else has parameters."""
    learned = built(spec)
    head = nn.Linear(3 * 32 * 32, 4)
    x, y = images.float(), torch.arange(12) % 4
    views = learned.views(x, {})
    logits = tuple(head(view.flatten(1)) for view in views)
    learned.loss(logits, y, F.cross_entropy).backward()
    assert len(learned.patterns.encoders) == 3
    for number, encoder in enumerate(learned.patterns.encoders):
        norms = [p.grad.norm() for p in encoder.parameters() if p.grad is not None]
        assert len(norms) == len(list(encoder.parameters())) and min(norms[::3]) > 0, number
    # a bias that all logits share cancels in the softmax
    rest = {name: p for name, p in learned.patterns.named_parameters() if "encoders" not in name}
    assert all(p.grad is not None and p.grad.norm() > 0 for n, p in rest.items() if "bias" not in n)


@pytest.mark.parametrize("spec", LEARNED)
def test_a_step_of_training_moves_every_encoder(spec, images):
    learned = built(spec).fit(images.float())
    before = [next(e.parameters()).clone() for e in learned.patterns.encoders]
    torch.manual_seed(0)
    model = models.Classifier(models.build("resnet8", 2, 3, 0), torch.zeros(3), torch.ones(3))
    recipe = train.Recipe(epochs=1, batch=12, lr=0.1, shift=1, weight_decay=0)
    train.fit(model, images.float(), torch.arange(12) % 2, recipe, augmentation=learned)
    for old, encoder in zip(before, learned.patterns.encoders, strict=True):
        assert not torch.equal(next(encoder.parameters()), old)


@pytest.mark.parametrize("telling", [1, 3])
def test_the_weights_learn_which_cluster_tells_the_classes(telling):
    """A wave in one of three rings has the classes, noise fills the other two; before a classifier that
    measures the wave, the ring with the wave becomes the strongest.
    """
    g = generator(3)
    labels = torch.arange(32) % 2
    distance = fourier.radius(16)
    clusters = torch.bucketize(distance, torch.tensor([0.5, 3, 5.5]).double()) * (distance <= 8)
    wave = torch.cos(torch.arange(16) * 2 * torch.pi / 16 * (1, 2, 4, 7)[telling])
    waves = torch.stack([wave.expand(16, 16), wave[:, None].expand(16, 16)])
    noise = fourier.apply_mask(torch.randn(32, 1, 16, 16, generator=g), (clusters != telling).float())
    x = 0.5 + 0.05 * waves[labels][:, None] + 0.2 * noise
    learned = built("fsda:loss=only,width=4")
    learned.clusters = clusters
    optimizer = torch.optim.Adam(learned.parameters(), 0.01)
    for _ in range(25):
        logits = learned.views(x, {})[0].flatten(1) @ waves.flatten(1).T / 10
        loss = learned.loss((logits,), labels, F.cross_entropy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    told = learned.weights(x).mean(0)
    assert told.argmax() == telling - 1 and told.max() > 2.5


def test_two_clusters_are_refused_as_their_weights_cannot_learn():
    """Two numbers of deviation 1 about 0 are always the same two: no gradient comes back from them."""
    z = torch.randn(5, 2, generator=generator(), dtype=torch.float64).requires_grad_()
    t = scaling.standardised(z.softmax(1))
    assert_close(t.abs(), torch.full((5, 2), 0.5**0.5).double(), rtol=1e-4, atol=0)
    (slope,) = torch.autograd.grad(t[:, 0].sum(), z)
    assert slope.abs().max() < 1e-4
    with pytest.raises(UserError, match="k must be 3 or more where weights are learned"):
        augment.build("fsda:k=2")
    assert augment.build("fsda-random:k=2").k == 2


def test_the_loss_is_that_of_its_form():
    y, logits = torch.tensor([0, 1]), (torch.randn(2, 3), torch.randn(2, 3))
    one, two = (F.cross_entropy(each, y) for each in logits)
    for spec, expected in (
        ("lam=0.3", 0.7 * one + 0.3 * two),
        ("lam=0.3,loss=added", one + 0.3 * two),
        ("loss=only", one),
    ):
        for name in ("fsda", "fsda-random"):
            found = augment.build(f"{name}:{spec}")
            assert_close(found.loss(logits[: found.shown], y, F.cross_entropy), expected)


def test_what_was_learned_and_its_course_stay_with_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    run = specfreq.run(
        Experiment(data="digits", train_size=60, test_size=20, epochs=2, batch=20, augment="fsda:width=4")
    )
    learned = Run(run.path).augmentation()
    assert learned.clusters.shape == (8, 8) and learned.clusters.unique().tolist() == [0, 1, 2, 3]
    mean, deviation = learned.trace.unbind(1)
    assert mean.shape == (6, 3) and (mean > 0).all() and (deviation >= 0).all()
    # exp t with the mean of t 0: the product of an image's weights is 1, and so their mean is above 1
    assert (mean.mean(1) > 1).all()
    x = run.image_set("test").images / 255
    assert_close(learned.weights(x).prod(1), torch.ones(20), rtol=0, atol=1e-3)


# batches


@pytest.mark.parametrize("spec", [*ALL, "fsda:per=batch", "fsda-random:per=batch,version=v1"])
def test_permuting_the_batch_permutes_the_result(spec, images):
    made, x = built(spec), images.float()
    if "per" not in spec:
        made.fit(x)
    rows = made.draw(12, generator())
    mixed = torch.randperm(12, generator=generator(1))
    there = made.transform(x[mixed], {name: row[mixed] for name, row in rows.items()})
    assert_close(there, made.transform(x, rows)[mixed], rtol=0, atol=1e-4)


def test_masks_of_a_set_do_not_depend_on_the_batch_and_those_of_a_batch_do(images):
    x = images.float()
    of_set, of_batch = (augment.build(f"fsda-random:k=5,per={per}").fit(x) for per in ("set", "batch"))
    whole = of_batch.clusters_of(x)
    assert torch.equal(of_set.clusters_of(x[:1]), of_set.clusters) and torch.equal(of_set.clusters, whole)
    assert of_batch.clusters is None and not torch.equal(of_batch.clusters_of(x[:1]), whole)


def test_an_image_is_scaled_as_in_any_other_batch_where_weights_are_drawn(images):
    made = augment.build("fsda-random").fit(images)
    rows = made.draw(12, generator())
    whole = made.transform(images, rows)
    for part in torch.arange(12).split(5):
        assert_close(made.transform(images[part], {"weight": rows["weight"][part]}), whole[part])


def test_drawn_weights_are_as_told():
    n = 4000
    rows = augment.build("fsda-random").draw(n, generator())["weight"]
    assert_close(rows.log().mean(1), torch.zeros(n), rtol=0, atol=1e-5)
    assert_close(rows.log().std(1), torch.ones(n), rtol=0, atol=1e-4)
    assert rows.log().mean(0).abs().max() < 0.06  # no cluster is preferred: 4 deviations of the mean
    free = augment.build("fsda-random:draws=normal").draw(n, generator())["weight"]
    assert free.log().std() == pytest.approx(1, abs=0.04) and free.log().mean(1).std() > 0.5
    v1 = augment.build("fsda-random:version=v1").draw(n, generator())["weight"]
    assert_close(v1.mean(1), torch.ones(n), rtol=0, atol=1e-5)
    # a weight is 1 + 2 cos(phi) / sqrt(3), with phi uniform: below 0 a sixth of the time
    assert float((v1 < 0).double().mean()) == pytest.approx(1 / 6, abs=0.02)


# sizes, channels, bad input


@pytest.mark.parametrize("spec", ALL)
@pytest.mark.parametrize(
    "shape", [(2, 1, 8, 8), (1, 3, 8, 8), (2, 4, 9, 9), (2, 3, 27, 20), (2, 1, 20, 27), (1, 1, 256, 256)]
)
def test_grey_and_colour_from_8_to_256_pixels(spec, shape):
    x = torch.rand(shape, generator=generator())
    if min(shape[2:]) > 100:
        spec += ",width=2" if "random" not in spec and ":" in spec else ""
        spec += ":width=2" if spec == "fsda" else ""
    out = built(spec).fit(x)(x, generator=generator())
    assert out.shape == x.shape and out.isfinite().all() and not torch.equal(out, x)
    assert_close(out.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=1e-5)  # the mean of a channel stays


@pytest.mark.parametrize("spec", ALL)
def test_all_channels_are_scaled_by_the_weights_of_the_luminance(spec):
    grey = torch.rand(4, 1, 16, 16, generator=generator())
    made = built(spec)
    rows = made.draw(4, generator())
    alone = made.transform(grey, rows)
    colour = made.transform(grey.expand(-1, 3, -1, -1), rows)
    assert_close(colour, alone.expand(-1, 3, -1, -1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("spec", [*ALL, *(f"fsda:{form}" for form in FORMS)])
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_constant_image_stays_as_it_is(spec, value):
    x = torch.full((3, 3, 16, 16), value)
    assert_close(built(spec)(x, generator=generator()), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec", ALL)
def test_bad_images_are_refused(spec):
    x = torch.rand(4, 3, 16, 16, generator=generator())
    for wrong, message in (
        (x.masked_fill(x > 0.9, torch.nan), "hold NaN or infinite"),
        (x.masked_fill(x > 0.9, torch.inf), "hold NaN or infinite"),
        (x[..., :3], "from 4x4 pixels on; got 3x16"),
    ):
        with pytest.raises(UserError, match=message):
            augment.build(spec).fit(wrong)
    with pytest.raises(UserError, match="reach from nan"):
        augment.build(spec)(x.masked_fill(x > 0.9, torch.nan))
    fitted = built(spec).fit(x)
    with pytest.raises(UserError, match="images of 16x16 pixels; these have 8x16"):
        fitted(x[..., :8])


@pytest.mark.parametrize("name", ["fsda", "fsda-random"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("k=1", "k must be from 2 to 64"),
        ("k=65", "k must be from 2 to 64"),
        ("angle=0", "0 < angle <= 180"),
        ("length=-1", "length > 0"),
        ("preserve=-1", "preserve >= 0"),
        ("lam=1.5", "lam must be from 0 to 1 with loss=mixed"),
        ("lam=-1,loss=added", "lam must be from 0 to 1000"),
        ("version=v3", "version=v3 is refused"),
        ("per=image", "per=image is refused"),
    ],
)
def test_impossible_parameters_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        augment.build(f"{name}:{options}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("width=0", "width must be from 1 to 1024"),
        ("defects=other", "write apart, empty, even, rectified, rolled with"),
        ("defects=rolled", "v2 has no defect rolled; it has apart, empty, even"),
        ("version=v1,defects=empty", "empty needs apart as well"),
    ],
)
def test_impossible_parameters_of_what_learns_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        augment.build(f"fsda:{options}")


@pytest.mark.parametrize("spec", ALL)
def test_more_clusters_than_cells_are_refused_when_it_is_fitted(spec):
    x = torch.rand(4, 1, 8, 8, generator=generator())
    more = "k=9,angle=60,length=4"
    with pytest.raises(UserError, match="k=9 clusters need as many cells, and 8x8 pixels have 3"):
        augment.build(f"{spec}{',' if ':' in spec else ':'}{more}").fit(x)


# the original


def test_in_the_program_an_encoder_sees_another_cluster_and_an_image_has_the_weights_of_another(images):
    """What `fftshift` over all axes does, computed with it."""
    x = images.float()
    right, rolled = (built(f"fsda:version=v1{more}").eval() for more in ("", ",defects=rolled"))
    clusters = right.clusters_of(x)
    seen = grey(x)[:, 0]
    chosen = torch.stack([clusters == c for c in (1, 2, 3)]).float()
    spectra = torch.fft.fftshift(torch.fft.fft2(seen))  # rolls the batch as well
    patterns = torch.fft.ifft2(torch.fft.ifftshift(spectra * chosen[:, None])).abs()  # and the clusters
    assert_close(rolled.seen(x), patterns.transpose(0, 1), rtol=0, atol=1e-5)
    weights = scaling.weights_of(
        scaling.standardised(rolled.patterns(patterns.transpose(0, 1)).softmax(1)), "v1"
    )
    out = torch.stack(
        [spectra * (clusters == 0)] + [spectra * chosen[c] * weights[:, c, None, None] for c in range(3)]
    ).sum(0)
    made = torch.fft.ifft2(torch.fft.ifftshift(out)).real
    assert_close(grey(rolled.transform(x, {}))[:, 0], made, rtol=0, atol=1e-4)


def test_in_the_program_a_pattern_is_added_to_its_mirror_image(images):
    x = images.float()
    right, lost = built("fsda").seen(x), built("fsda:defects=even").seen(x)
    mirrored = right.flip((-2, -1)).roll((1, 1), (-2, -1))
    assert_close(lost, (right + mirrored) / 2, rtol=0, atol=1e-5)
    assert (lost - right).norm() > 0.3 * right.norm()


def test_in_the_program_masks_are_not_hermitian():
    """A picture whose two cells at 16 cycles differ from those they mirror: taken apart, they part."""
    x = torch.rand(8, 1, 32, 32, generator=generator(5), dtype=torch.float64)
    parted = [built(f"fsda:k={k},defects=apart").clusters_of(x) for k in range(6, 9)]
    tied = [built(f"fsda:k={k}").clusters_of(x) for k in range(6, 9)]
    assert not all(torch.equal(fourier.mirror(found), found) for found in parted)
    assert all(torch.equal(fourier.mirror(found), found) for found in tied)


def test_the_result_of_v1_is_rectified_as_published(images):
    x = images.float() - 0.5
    right, rectified = (built(f"fsda:version=v1{more}") for more in ("", ",defects=rectified"))
    out = right.transform(x, {})
    assert out.min() < 0
    assert_close(rectified.transform(x, {}), out.abs())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_published_form_is_all_defects_of_the_version(version, images):
    spec = augment.as_published(f"fsda:version={version}")
    made = built(spec)
    assert made.defects == {*scaling.DEFECTS[version]} and made.per == "batch"
    assert "as published" in augment.label(spec) and augment.series(spec) == "as published"
    x = images.float()
    assert (
        made.fit(x).transform(x, {}) - built(f"fsda:version={version}").fit(x).transform(x, {})
    ).norm() > 1


# the network


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("side", [4, 8, 33])
def test_a_pattern_has_a_logit_whatever_its_size(version, side):
    torch.manual_seed(0)
    net = PatternNetwork(4, 4, version)
    assert net(torch.randn(3, 4, side, side)).shape == (3, 4)


def test_the_original_widths_have_their_numbers_of_parameters():
    """Two 3 x 3 convolutions a level with their normalisations, counted by hand."""
    levels = {"v1": (64, 128, 256), "v2": (64, 128, 256, 512)}
    for version, widths in levels.items():
        inputs = (1, *widths)
        each = sum(9 * o * (i + o) + 4 * o for i, o in zip(inputs, widths, strict=False))
        outputs = 128 if version == "v1" else 32
        rest = (widths[-1] + 1) * outputs
        channels, inner = 3 * outputs, 3 * outputs // 16
        gate = 2 * channels * inner + channels + inner + 2 * 49
        net = PatternNetwork(3, 64, version)
        assert sum(p.numel() for p in net.parameters()) == 3 * each + rest + gate


def test_a_logit_follows_its_own_pattern_most():
    """Each encoder has its place: another pattern moves a logit through the attention alone."""
    torch.manual_seed(1)
    net = PatternNetwork(3, 8, "v1").eval()
    x = torch.randn(4, 3, 16, 16)
    other = x.clone()
    other[:, 1] = torch.randn(4, 16, 16)
    moved = (net(other) - net(x)).abs().mean(0)
    assert moved.argmax() == 1
