"""The trainer: exact augmentation, keyed randomness, bit-exact repetition and resumption, and honest failure."""

import contextlib
import os
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import specfreq
from specfreq import Experiment, models, train
from specfreq.augment import APRPair, Augmentation
from specfreq.core import progress as bars
from specfreq.core.errors import UserError
from specfreq.measures.inference import logits
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.feed import Feed

RECIPE = train.Recipe(epochs=3, batch=16, lr=0.05, shift=2)


@pytest.fixture(scope="module")
def images(striped):
    return striped(contrast=0.2, noise=0.1)


def classifier(seed=0):
    return models.Classifier(
        models.build("resnet8", 3, 2, seed), torch.full((2,), 0.5), torch.full((2,), 0.25)
    )


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_it_learns_what_can_be_learned(images):
    model = classifier()
    history = train.fit(model, *images, RECIPE.model_copy(update={"epochs": 8}))
    accuracy = (logits(model, images[0]).argmax(1) == images[1]).float().mean()
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert accuracy > 0.9


def test_two_trainings_end_in_the_same_bits(images):
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)  # the global stream must not matter
        model = classifier()
        history = train.fit(model, *images, RECIPE)
        runs.append((state(model), history))
    assert_same_bits(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_another_seed_is_another_training(images):
    a, b = classifier(), classifier()
    train.fit(a, *images, RECIPE)
    train.fit(b, *images, RECIPE.model_copy(update={"seed": 1}))
    assert not torch.equal(a.net.head.weight, b.net.head.weight)


class Stopped(Exception):
    """In place of a power cut."""


def stop_after(epoch, step):
    def stop(*now):
        if now == (epoch, step):
            raise Stopped

    return stop


class Dropping(nn.Module):
    """A network whose layers draw random numbers of their own."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(288, 20), nn.Dropout(0.5), nn.Linear(20, 3))

    def forward(self, x):
        return self.net(x)


VARIANTS = {
    "sgd": {},
    "plain sgd": {"momentum": 0},
    "classical": {"nesterov": False},
    "adam": {"optimizer": "adam", "lr": 0.01},
    "averaged": {"ema": 0.9},
    "lookahead": {"lookahead": 0.9, "alternate": True, "shift_lr": 4},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("after", [(0, 1), (1, 3), (1, 6), (2, 5)])
def test_an_interrupted_training_resumes_to_the_same_bits(images, tmp_path, after, variant):
    """In the middle of an epoch as well as at its end; with donors from the whole set and masks of dropout."""
    recipe, mixed = RECIPE.model_copy(update=VARIANTS[variant]), APRPair()
    whole, resumed = Dropping(), Dropping()
    start = state(whole)
    resumed.load_state_dict(start)
    expected = train.fit(whole, *images, recipe, augmentation=mixed)
    kept = Checkpoints(tmp_path / "c", every=0)
    with pytest.raises(Stopped):
        train.fit(
            resumed, *images, recipe, augmentation=mixed, checkpoints=kept, after_step=stop_after(*after)
        )
    again = Dropping()  # nothing may be left from the process that was interrupted
    history = train.fit(again, *images, recipe, augmentation=mixed, checkpoints=Checkpoints(tmp_path / "c"))
    assert_same_bits(state(whole), state(again))
    assert history == expected


def test_after_damage_the_previous_checkpoint_leads_to_the_same_bits(images, tmp_path):
    whole, resumed = classifier(), classifier()
    expected = train.fit(whole, *images, RECIPE)
    kept = Checkpoints(tmp_path / "c", every=0)
    with pytest.raises(Stopped):
        train.fit(resumed, *images, RECIPE, checkpoints=kept, after_step=stop_after(1, 2))
    kept.path.write_bytes(kept.path.read_bytes()[:-9])
    again = classifier(seed=9)
    assert train.fit(again, *images, RECIPE, checkpoints=kept) == expected
    assert_same_bits(state(whole), state(again))


def test_a_checkpoint_of_another_recipe_is_refused(images, tmp_path):
    kept = Checkpoints(tmp_path / "c", every=0)
    train.fit(classifier(), *images, RECIPE, checkpoints=kept)
    with pytest.raises(UserError, match="another recipe"):
        train.fit(classifier(), *images, RECIPE.model_copy(update={"lr": 0.01}), checkpoints=kept)


def linear():
    return models.Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)), torch.zeros(1), torch.ones(1)
    )


STEP = train.Recipe(epochs=1, batch=8, lr=0.1, schedule="constant", weight_decay=0.01, shift=0, flip=False)


def one_step(**changes):
    """A linear model, its weights before and after one step, and the gradient known by hand."""
    model, g = linear(), torch.Generator().manual_seed(3)
    weight, x, y = model.net[1].weight, torch.rand(8, 1, 2, 2, generator=g), torch.arange(8) % 2
    torch.nn.init.uniform_(weight, -0.5, 0.5, generator=g)
    before = weight.detach().clone()
    recipe = STEP.model_copy(update=changes)
    train.fit(model, x, y, recipe)
    target = F.one_hot(y, 2) * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
    gradient = (F.softmax(x.flatten(1) @ before.T, 1) - target).T @ x.flatten(1) / 8
    return before, weight.detach(), gradient + 0.01 * before


def test_one_step_is_the_step_of_the_formula():
    """v = g + wd w; Nesterov's first step: w - lr (v + momentum v); the classical one: w - lr v; Adam's: w -
    lr sign v.
    """
    before, after, slope = one_step()
    assert_close(after, before - 0.1 * 1.9 * slope)
    before, after, slope = one_step(nesterov=False)
    assert_close(after, before - 0.1 * slope)
    before, after, slope = one_step(optimizer="adam")
    assert_close(after, before - 0.1 * slope.sign(), rtol=1e-4, atol=1e-6)


def test_smoothed_labels_share_out_their_mass():
    before, after, slope = one_step(label_smoothing=0.3)
    assert_close(after, before - 0.1 * 1.9 * slope)


def test_the_average_is_the_average_of_the_weights_after_each_step(images):
    """The first step's weights, then average <- decay average + (1 - decay) weights."""
    model, plain, seen = classifier(), classifier(), []
    recipe = RECIPE.model_copy(update={"epochs": 1})
    train.fit(plain, *images, recipe, after_step=lambda *_: seen.append(state(plain)))
    train.fit(model, *images, recipe.model_copy(update={"ema": 0.7}))
    for name in ("net.head.weight", "net.norm.weight"):
        average = seen[0][name]
        for weights in seen[1:]:
            average = 0.7 * average + 0.3 * weights[name]
        assert_close(state(model)[name], average)


@pytest.mark.parametrize("changes", [{}, {"adversary": "fgsm"}, {"precision": "bfloat16"}], ids=str)
def test_averaged_weights_have_batch_statistics_of_their_own(images, changes):
    """Means over the batches of one more epoch: those of the first normalisation depend on its convolution
    alone.
    """
    pixels, recipe = images[0].float() / 255, RECIPE.model_copy(update={"ema": 0.9, "epochs": 2, **changes})
    model = classifier()
    train.fit(model, pixels, images[1], recipe)
    first = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    seen = []
    hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].double()))
    feed = Feed(
        pixels, Augmentation(), seed=recipe.seed, shift=recipe.shift, border=recipe.border, flip=recipe.flip
    )
    with torch.no_grad():
        for (batch,) in feed.views(recipe.epochs, feed.order(recipe.epochs).tensor_split(6)):
            model(batch)
    hook.remove()
    means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)
    # attacked images and half precision move them a little
    near = {"rtol": 0.1, "atol": 0.02} if changes else {"rtol": 1e-5, "atol": 1e-6}
    assert_close(first.running_mean.double(), means, **near)
    assert_close(first.running_var.double(), variances, **near)


def test_an_average_helps_where_the_rate_stays_high(images):
    """At a constant rate the last weights are noisy, and their average is not: on new images it must not do
    worse.
    """
    recipe = RECIPE.model_copy(update={"epochs": 12, "lr": 0.1, "schedule": "constant"})
    g = torch.Generator().manual_seed(1)
    new = (images[0].float() / 255 + 0.15 * torch.randn(images[0].shape, generator=g)).clamp(0, 1)
    losses = {0.0: [], 0.9: []}
    for seed in range(3):
        for ema, kept in losses.items():
            model = classifier(seed)
            train.fit(model, *images, recipe.model_copy(update={"ema": ema, "seed": seed}))
            kept.append(F.cross_entropy(logits(model, new), images[1]))
    assert sum(losses[0.9]) < sum(losses[0.0])


def test_lookahead_is_its_formula():
    """After steps 5, 10, ...: average <- d average + (1 - d) weights, d = decay^5 progress^3; then the weights
    are the average. The first average is the weights, and the last is what the network ends with.
    """
    g = torch.Generator().manual_seed(4)
    x, y = torch.rand(96, 1, 2, 2, generator=g), torch.arange(96) % 2
    model, recipe = linear(), STEP.model_copy(update={"lookahead": 0.9, "epochs": 2, "momentum": 0.5})
    weight = model.net[1].weight
    expected = weight.detach().clone().requires_grad_()
    optimizer = torch.optim.SGD([expected], 0.1, 0.5, weight_decay=0.01, nesterov=True)
    train.fit(model, x, y, recipe)
    feed, taken, average = Feed(x, Augmentation(), seed=0, shift=0, border="zero", flip=False), 0, None
    for epoch in range(2):
        for index in feed.order(epoch).tensor_split(12):
            optimizer.zero_grad()
            F.cross_entropy(x[index].flatten(1) @ expected.T, y[index]).backward()
            optimizer.step()
            taken += 1
            if taken % 5 == 0:
                decay, now = 0.9**5 * (taken / 24) ** 3, expected.detach()
                average = now.clone() if average is None else decay * average + (1 - decay) * now
                now.copy_(average)
    assert_close(weight, average)


def test_lookahead_averages_the_running_statistics_with_the_weights(images):
    """A network that cannot learn moves its statistics alone."""
    recipe = RECIPE.model_copy(update={"epochs": 1, "lr": 1e-30, "weight_decay": 0, "batch": 15})
    plain, model, seen = classifier(), classifier(), []
    train.fit(plain, *images, recipe, after_step=lambda *_: seen.append(state(plain)))
    train.fit(model, *images, recipe.model_copy(update={"lookahead": 0.9}))
    assert_close(model.net.head.weight, plain.net.head.weight)
    means = [held["net.norm.running_mean"] for held in seen]
    assert not torch.equal(model.net.norm.running_mean, means[-1])
    assert_close(model.net.norm.running_mean, means[-1], rtol=0.3, atol=0.02)


def test_shifts_of_normalisation_can_have_a_rate_of_their_own(images):
    """They begin at 0, where weight decay does nothing: the first step is so many times as long."""
    one = RECIPE.model_copy(update={"epochs": 1, "batch": len(images[0])})
    start, plain, faster = state(classifier()), classifier(), classifier()
    train.fit(plain, *images, one)
    train.fit(faster, *images, one.model_copy(update={"shift_lr": 8}))
    shifts = {n for n in start if "norm" in n and n.endswith("bias")}
    assert shifts
    for name, value in dict(faster.named_parameters()).items():
        factor = 8 if name in shifts else 1
        step = factor * (state(plain)[name] - start[name])
        assert_close(value.detach() - start[name], step, rtol=1e-4, atol=1e-6)


def test_a_compiled_network_learns_the_same_within_rounding():
    before, plain, _ = one_step()
    _, compiled, _ = one_step(compile=True)
    assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
    assert not torch.equal(plain, before)


def test_a_compiled_training_resumes_to_the_same_bits(tmp_path):
    """With batches of two sizes, which the resumed one meets in another order."""
    g = torch.Generator().manual_seed(5)
    x, y = torch.rand(27, 1, 2, 2, generator=g), torch.arange(27) % 2
    recipe, ends = STEP.model_copy(update={"compile": True, "epochs": 2}), []
    start = state(linear())
    for kept, stop in (
        (None, None),
        (Checkpoints(tmp_path / "c", every=0), (0, 3)),
        (Checkpoints(tmp_path / "c"), None),
    ):
        model = linear()
        model.load_state_dict(start)
        with contextlib.suppress(Stopped):
            train.fit(model, x, y, recipe, checkpoints=kept, after_step=stop and stop_after(*stop))
        ends.append(state(model))
    assert_same_bits(ends[0], ends[2])


def test_backward_passes_are_exact_too(images):
    """What the settings of cuDNN are, forwards and backwards; elsewhere they are the caller's."""
    seen = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append((torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32))
            return x.clone()

        @staticmethod
        def backward(ctx, slope):
            seen.append((torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32))
            return slope

    class Watching(Dropping):
        def forward(self, x):
            return Watched.apply(super().forward(x))

    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32
    train.fit(Watching(), *images, RECIPE)
    assert len(seen) == 2 * 3 * 6 and set(seen) == {(True, False)}
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32) == before != (True, False)


def test_compilation_without_a_compiler_is_refused(images, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        train.fit(classifier(), *images, RECIPE.model_copy(update={"compile": True}))


def test_crops_and_batches_that_do_not_fit_are_refused(images):
    with pytest.raises(
        UserError, match="crop=random-resized does not fit images that are in memory; take crop=shift"
    ):
        train.fit(classifier(), *images, RECIPE.model_copy(update={"crop": "random-resized"}))
    with pytest.raises(UserError, match="batches of 1 images are too small"):
        train.fit(classifier(), images[0][:1], images[1][:1], RECIPE)


def test_the_global_stream_is_left_as_it_was(images):
    model, before = Dropping(), torch.random.get_rng_state()
    train.fit(model, *images, RECIPE)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("cosine", {0: 1, 0.5: 0.5, 1: 0}),
        ("one-cycle", {0: 0, 0.2: 1, 0.6: 0.5, 1: 0}),
        ("step", {0: 1, 0.25: 0.1, 0.74: 0.01, 0.8: 0.001}),
    ],
)
def test_schedules_pass_through_their_points(schedule, points):
    recipe = train.Recipe(lr=1, schedule=schedule)
    for progress, expected in points.items():
        assert train.learning_rate(recipe, progress) == pytest.approx(expected)


def test_the_peak_of_one_cycle_can_be_moved():
    half, none = train.Recipe(lr=1, peak=0.5), train.Recipe(lr=1, peak=0)
    assert [train.learning_rate(half, p) for p in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.5, 1, 0.5, 0]
    assert [train.learning_rate(none, p) for p in (0, 0.5, 1)] == [1, 0.5, 0]


def test_a_diverging_loss_is_not_kept_as_a_checkpoint(images, tmp_path):
    model, kept = classifier(), Checkpoints(tmp_path / "c", every=0)
    with torch.no_grad():
        model.net.head.weight.fill_(float("inf"))
    with pytest.raises(train.Diverged):
        train.fit(model, *images, RECIPE, checkpoints=kept)
    assert kept.load() is None


def test_a_diverging_loss_names_epoch_step_and_rate(images):
    model = classifier()
    with torch.no_grad():
        model.net.head.weight.fill_(float("inf"))
    with pytest.raises(train.Diverged, match=r"the loss is nan in epoch 1, step 1 of 6, at lr .*; lower lr"):
        train.fit(model, *images, RECIPE)


def test_weights_that_leave_the_numbers_in_the_last_step_are_noticed(images):
    """The loss of a step is computed before it: the last one shows only in the weights."""
    recipe = train.Recipe(epochs=1, batch=90, lr=1e30, weight_decay=1e10, schedule="constant")
    with pytest.raises(train.Diverged, match=r"no longer finite after the last step, at lr 1e\+30"):
        train.fit(classifier(), *images, recipe)


def test_progress_is_drawn_on_the_terminal_that_is_named_and_nowhere_else(images, monkeypatch, capfd):
    master, slave = os.openpty()
    train.fit(classifier(), *images, RECIPE)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("SPECFREQ_PROGRESS", os.ttyname(slave))
    train.fit(classifier(), *images, RECIPE)
    assert capfd.readouterr() == ("", "")
    drawn = os.read(master, 100_000).decode()
    assert "train" in drawn and "/270" in drawn and "img/s" in drawn


def test_progress_in_a_file_is_a_line_a_minute(images, monkeypatch, tmp_path):
    place = tmp_path / "progress"
    monkeypatch.setenv("SPECFREQ_PROGRESS", str(place))
    train.fit(classifier(), *images, RECIPE)
    assert bars.lines(place.read_text()) == []  # it took less
    monkeypatch.setattr(bars, "EVERY", 0)
    train.fit(classifier(), *images, RECIPE)
    written = bars.lines(place.read_bytes().decode())
    assert len(written) > 3
    seen = re.compile(r"train: [\d.]+ of 270 img, 00:\d\d gone, [\d:?]+ left")
    assert all(map(seen.match, written)), written


def test_zero_epochs_change_nothing(images):
    model = classifier()
    before = state(model)
    assert train.fit(model, *images, RECIPE.model_copy(update={"epochs": 0})) == []
    assert_same_bits(before, state(model))


def test_averaged_weights_of_low_precision_settle_on_views_made_as_in_training(monkeypatch, tmp_path):
    """AugMix mixes in float32: within autocast it would fail at the very end."""
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    small = {"data": "digits", "train_size": 40, "test_size": 20, "batch": 20, "epochs": 1}
    run = specfreq.run(Experiment(**small, augment="augmix", ema=0.9, precision="bfloat16"))
    assert run.results["accuracy"]["images"] == 20


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": -1},
        {"lr": 0},
        {"lr": float("inf")},
        {"batch": 1},
        {"momentum": 1},
        {"schedule": "stair"},
        {"milestones": (0.5, 2)},
        {"milestones": 2.5},
        {"milestones": None},
        {"lrr": 1},
        {"optimizer": "sdg"},
        {"ema": 1},
        {"lookahead": 1},
        {"lookahead": 0.9, "ema": 0.9},
        {"shift_lr": 0},
        {"label_smoothing": -0.1},
        {"peak": 1},
        {"seed": 2**70},
    ],
)
def test_impossible_recipes_are_refused(bad):
    with pytest.raises(ValueError):
        train.Recipe(**bad)
