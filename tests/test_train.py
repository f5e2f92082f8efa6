"""The trainer: exact augmentation, keyed randomness, bit-exact repetition and resumption, and honest failure."""

import os

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from specfreq import models, train
from specfreq.naming import UserError

RECIPE = train.Recipe(epochs=3, batch=16, lr=0.05, shift=2)


@pytest.fixture(scope="module")
def images():
    """Three classes of stripes under noise, as bytes."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    stripes = torch.sin(torch.arange(12)[None, :] * (labels[:, None] + 1) * 0.7)
    x = 0.5 + 0.2 * stripes[:, None, None, :].expand(-1, 2, 12, -1) + 0.1 * torch.randn(90, 2, 12, 12, generator=g)
    return (x.clamp(0, 1) * 255).to(torch.uint8), labels


def classifier(seed=0):
    return models.Classifier(models.build("resnet8", 3, 2, seed), torch.full((2,), 0.5), torch.full((2,), 0.25))


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_it_learns_what_can_be_learned(images):
    model = classifier()
    history = train.fit(model, *images, RECIPE.model_copy(update={"epochs": 8}))
    accuracy = (train.logits(model, images[0]).argmax(1) == images[1]).float().mean()
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


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_training_resumes_to_the_same_bits(images, tmp_path, after):
    whole, resumed = classifier(), classifier()
    expected = train.fit(whole, *images, RECIPE)

    def stop(epoch):
        if epoch == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.fit(resumed, *images, RECIPE, checkpoint=tmp_path / "c", after_epoch=stop)
    again = classifier(seed=9)  # nothing may be left from the process that was interrupted
    history = train.fit(again, *images, RECIPE, checkpoint=tmp_path / "c")
    assert_same_bits(state(whole), state(again))
    assert history == expected


def test_a_damaged_checkpoint_is_refused_by_name(images, tmp_path):
    train.fit(classifier(), *images, RECIPE, checkpoint=tmp_path / "c.safetensors")
    content = bytearray((tmp_path / "c.safetensors").read_bytes())
    content[-5] ^= 255
    (tmp_path / "c.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"c\.safetensors is damaged"):
        train.fit(classifier(), *images, RECIPE, checkpoint=tmp_path / "c.safetensors")


def test_a_checkpoint_of_another_recipe_is_refused(images, tmp_path):
    train.fit(classifier(), *images, RECIPE, checkpoint=tmp_path / "c")
    with pytest.raises(UserError, match="another recipe"):
        train.fit(classifier(), *images, RECIPE.model_copy(update={"lr": 0.01}), checkpoint=tmp_path / "c")


def test_one_step_is_the_step_of_the_formula():
    """v = g + wd w; w' = w - lr (v + momentum v), Nesterov's first step, for a linear model with a gradient known by hand."""
    model = models.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)), torch.zeros(1), torch.ones(1))
    weight = model.net[1].weight
    before = weight.detach().clone()
    x = torch.rand(8, 1, 2, 2)
    y = torch.arange(8) % 2
    recipe = train.Recipe(epochs=1, batch=8, lr=0.1, schedule="constant", weight_decay=0.01, shift=0, flip=False)
    train.fit(model, x, y, recipe)
    flat = x.flatten(1)
    gradient = (F.softmax(flat @ before.T, 1) - F.one_hot(y, 2)).T @ flat / 8
    assert_close(weight.detach(), before - 0.1 * 1.9 * (gradient + 0.01 * before))


@pytest.mark.parametrize("border", ["zero", "edge", "reflect"])
def test_shifting_is_padding_and_cropping(border):
    """The reference: pad one image, cut the window, mirror."""
    g = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (5, 3, 7, 9), generator=g, dtype=torch.uint8)
    index = torch.tensor([4, 0, 2, 2])
    dy, dx = torch.tensor([-2, 3, 0, 1]), torch.tensor([1, -3, 0, 2])
    flip = torch.tensor([True, False, True, False])
    mode = {"zero": "constant", "edge": "replicate", "reflect": "reflect"}[border]
    out = train.shifted(images, index, dy, dx, flip, border)
    for k in range(4):
        padded = F.pad(images[index[k]].float()[None], (3, 3, 3, 3), mode=mode)[0]
        window = padded[:, 3 - dy[k] : 10 - dy[k], 3 - dx[k] : 12 - dx[k]]
        assert torch.equal(out[k].float(), window.flip(-1) if flip[k] else window)


def test_what_happens_to_an_image_does_not_depend_on_the_batch_size(images):
    """Record what the network is shown: per epoch the same pictures, in the same order, cut into other batches."""

    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias, self.seen = nn.Parameter(torch.zeros(3)), []
            self.register_buffer("nothing", torch.zeros(1))

        def forward(self, x):
            self.seen.append(x.clone())
            return self.bias.expand(len(x), -1)

    shown = []
    for batch in (8, 45):
        recorder = Recorder()
        train.fit(recorder, *images, RECIPE.model_copy(update={"batch": batch}))
        shown.append(torch.cat(recorder.seen))
    assert shown[0].shape[0] == 3 * 90
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0][:90].sort(0)[0], shown[0][90:180].sort(0)[0])  # and the next epoch is another one


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


def test_keys_make_streams():
    def draw(*key):
        return torch.rand(4, generator=train.keyed(*key))

    assert torch.equal(draw(1, 2, "crop"), draw(1, 2, "crop"))
    others = [draw(2, 2, "crop"), draw(1, 3, "crop"), draw(1, 2, "flip"), draw(12, "crop"), draw("1", 2, "crop")]
    assert not any(torch.equal(draw(1, 2, "crop"), o) for o in others)


def test_logits_leave_the_mode_and_the_statistics_alone(images):
    model = classifier().train()
    before = state(model)
    out = train.logits(model, images[0])
    assert model.training and out.shape == (90, 3)
    assert_same_bits(before, state(model))
    assert_close(train.logits(model, images[0].float() / 255), out)


def test_a_diverging_loss_names_epoch_step_and_rate(images):
    model = classifier()
    with torch.no_grad():
        model.net.head.weight.fill_(float("inf"))
    with pytest.raises(train.Diverged, match=r"the loss is nan in epoch 1, step 1 of 6, at lr .*; lower lr"):
        train.fit(model, *images, RECIPE)


def test_weights_that_leave_the_numbers_in_the_last_step_are_noticed(images):
    """The loss of a step is computed before it: the last one shows only in the weights."""
    recipe = train.Recipe(epochs=1, batch=90, lr=3e38, weight_decay=1e5, schedule="constant")
    with pytest.raises(train.Diverged, match=r"no longer finite after the last step, at lr 3e\+38"):
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


def test_zero_epochs_change_nothing(images):
    model = classifier()
    before = state(model)
    assert train.fit(model, *images, RECIPE.model_copy(update={"epochs": 0})) == []
    assert_same_bits(before, state(model))


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
        {"lrr": 1},
    ],
)
def test_impossible_recipes_are_refused(bad):
    with pytest.raises(ValueError):
        train.Recipe(**bad)
