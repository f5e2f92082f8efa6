"""Training on attacked images: the attack of the formula, the same for an image in any batch, and as exact as
all training.

Run as a script by torchrun, this file trains in float64, where nothing but rounding can differ.
"""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from specfreq import Experiment, attacks, augment, data, models, run, train
from specfreq.core import storage
from specfreq.core.errors import UserError
from specfreq.core.randomness import keyed, uniform
from specfreq.measures.inference import logits
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.feed import Feed

RECIPE = train.Recipe(epochs=2, batch=16, lr=0.05, shift=2, adversary="fgsm")
MIXED = "apr-p:loss=mean"


@pytest.fixture(scope="module")
def images(striped):
    return striped(contrast=0.3, noise=0.2)


class Watched(nn.Module):
    """A classifier that keeps what it was shown, with its mode."""

    def __init__(self, norm="batch"):
        super().__init__()
        self.net = models.Classifier(
            models.build(f"resnet8:norm={norm}", 3, 2, 0), torch.full((2,), 0.5), torch.full((2,), 0.25)
        )
        self.shown = []

    def forward(self, x):
        self.shown.append((self.training, x.detach().clone()))
        return self.net(x)


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def changed(**fields):
    return train.Recipe(**{**RECIPE.model_dump(), **fields})


def test_one_step_is_the_step_of_the_formula():
    """A linear network, whose slope is known: the start by the image's seed, the step, the ball, the box;
    then sgd.
    """
    weight, g = torch.empty(2, 4), torch.Generator().manual_seed(3)
    nn.init.uniform_(weight, -0.5, 0.5, generator=g)
    # some are 0 and 1: the box counts
    x, y = (
        torch.rand(8, 1, 2, 2, generator=g).round(decimals=1),
        torch.arange(8) % 2,
    )
    model = models.Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)), torch.zeros(1), torch.ones(1)
    )
    model.net[1].weight.data = weight.clone()
    plain = {"schedule": "constant", "weight_decay": 0, "momentum": 0, "shift": 0, "flip": False}
    train.fit(model, x, y, changed(epochs=1, batch=8, lr=0.1, eps=20, alpha=25, seed=6, **plain))

    seeds = torch.randint(2**63 - 1, (8,), generator=keyed(6, 0, "adversary"))
    eps, alpha, clean = 20 / 255, 25 / 255, x.flatten(1)
    begun = (clean + eps * (2 * uniform(seeds, 4) - 1)).clamp(0, 1)
    slope = (F.softmax(begun @ weight.T, 1) - F.one_hot(y, 2)) @ weight
    found = (begun + alpha * slope.sign()).clamp(clean - eps, clean + eps).clamp(0, 1)
    assert not torch.equal(found, (begun + alpha * slope.sign()))
    gradient = (F.softmax(found @ weight.T, 1) - F.one_hot(y, 2)).T @ found / 8
    assert_close(model.net[1].weight.data, weight - 0.1 * gradient, rtol=1e-5, atol=1e-6)


def test_attacked_views_stay_in_their_balls_and_in_the_box(images):
    """Also those that an augmentation had put outside the box: they come in."""
    plain, model = Watched(), Watched()
    for watched, recipe in (
        (plain, changed(adversary="none", epochs=1, batch=90)),
        (model, changed(epochs=1, batch=90)),
    ):
        train.fit(watched, *images, recipe, augmentation=augment.build(MIXED))
    ((_, clean),) = plain.shown
    (_, begun), (_, found) = model.shown[:2]
    assert clean.min() < 0 and clean.max() > 1
    for seen in (begun, found):
        assert seen.min() >= 0 and seen.max() <= 1
        assert (seen - clean.clamp(0, 1)).abs().max() <= 8 / 255 + 1e-6
    assert (begun - found).abs().mean() > 4 / 255


def test_an_attack_depends_on_the_image_and_not_on_its_batch(images):
    """The images of the first small batch are the first of the large one; every view has a start of its own."""
    begun, found = {}, {}
    for batch in (10, 30):
        model = Watched()
        train.fit(model, *images, changed(epochs=1, batch=batch), augmentation=augment.build("apr-p:p=0"))
        begun[batch], found[batch] = (views.view(2, batch, 2, 12, 12)[:, :10] for _, views in model.shown[:2])
    assert torch.equal(begun[10], begun[30])
    assert (
        (found[10] - found[30]).abs() > 1e-6
    ).float().mean() < 0.001  # where a slope is 0 but for rounding
    assert (begun[10][0] - begun[10][1]).abs().max() > 8 / 255


@pytest.mark.parametrize(("mode", "moves"), [("eval", 1), ("train", 2)])
def test_batch_statistics_move_once_a_step_and_twice_in_the_original(images, mode, moves):
    model = Watched()
    train.fit(model, *images, changed(epochs=1, batch=30, attack_mode=mode))
    assert [training for training, _ in model.shown[:6]] == [mode == "train", True] * 3
    assert int(model.net.net.norm.num_batches_tracked) == 3 * moves


def test_the_mean_of_the_losses_is_half_of_their_sum(images):
    losses = []
    for spec in ("apr-p", MIXED, "apr-sp", "apr-sp:loss=mean"):
        recipe = changed(epochs=1, batch=90, adversary="none")
        losses.append(train.fit(Watched(), *images, recipe, augmentation=augment.build(spec))[0]["loss"])
    assert losses[1] == losses[0] / 2 and losses[3] == losses[2] / 2


class Stopped(Exception):
    """In place of a power cut."""


VARIANTS = {
    "fgsm": {},
    "averaged": {"ema": 0.9},
    "as the original": {"attack_mode": "train", "peak": 0.5},
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_interrupted_training_resumes_to_the_same_bits(images, tmp_path, variant):
    recipe, mixed = changed(**VARIANTS[variant]), augment.build(MIXED)

    def stop(*now):
        if now == (1, 3):
            raise Stopped

    whole, again = Watched(), Watched()
    expected = train.fit(whole, *images, recipe, augmentation=mixed)
    with pytest.raises(Stopped):
        train.fit(
            Watched(),
            *images,
            recipe,
            augmentation=mixed,
            checkpoints=Checkpoints(tmp_path / "c", every=0),
            after_step=stop,
        )
    assert (
        train.fit(again, *images, recipe, augmentation=mixed, checkpoints=Checkpoints(tmp_path / "c"))
        == expected
    )
    assert_same_bits(state(whole), state(again))


def test_a_checkpoint_from_before_a_field_was_known_is_gone_on_with(images, tmp_path):
    kept = Checkpoints(tmp_path / "c", every=0)
    train.fit(Watched(), *images, changed(adversary="none"), checkpoints=kept)
    tensors, meta = kept.load()
    for field in ("adversary", "eps", "alpha", "attack_mode"):
        del meta["recipe"][1][field]
    kept.save(tensors, meta)
    train.fit(Watched(), *images, changed(adversary="none"), checkpoints=kept)
    with pytest.raises(UserError, match="another recipe"):
        train.fit(Watched(), *images, RECIPE, checkpoints=kept)


def test_a_compiled_network_is_attacked_the_same_within_rounding():
    g, ends = torch.Generator().manual_seed(2), []
    x, y = torch.rand(24, 1, 2, 2, generator=g), torch.arange(24) % 2
    weight = torch.randn(2, 4, generator=g)
    for compiled in (False, True):
        model = models.Classifier(
            nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)), torch.zeros(1), torch.ones(1)
        )
        model.net[1].weight.data = weight.clone()
        train.fit(model, x, y, changed(batch=8, shift=0, flip=False, eps=40, alpha=30, compile=compiled))
        ends.append(model.net[1].weight.detach())
    assert_close(ends[1], ends[0], rtol=1e-5, atol=1e-6)


def test_streamed_images_are_attacked(imagenet_folder, tmp_path):
    folder = imagenet_folder(tmp_path, 3, 1, 3)
    images = data.load(f"folder:{folder}?size=32&stream=1", "train")
    losses = []
    for adversary in ("none", "fgsm"):
        model = models.Classifier(
            models.build("resnet8", 3, 3, 0), torch.full((3,), 0.5), torch.full((3,), 0.25)
        )
        recipe = changed(adversary=adversary, epochs=1, batch=9, crop="random-resized")
        losses.append(train.fit(model, images, images.labels, recipe)[0]["loss"])
    assert losses[1] > losses[0]


def test_it_learns_what_attacks_cannot_take_away():
    """One value tells the class by a wide margin, most of the time; sixty others tell it always, by less than
    eps.
    """
    g = torch.Generator().manual_seed(1)
    labels = torch.arange(600) % 2
    sign = (2.0 * labels - 1)[:, None]
    lying = torch.rand(600, 1, generator=g) < 0.1
    wide = 0.5 + 0.3 * torch.where(lying, -sign, sign)
    x = torch.cat([wide, 0.5 + 0.02 * sign + 0.005 * torch.randn(600, 60, generator=g)], 1)[:, :, None, None]
    accuracy = {}
    for adversary in ("none", "fgsm"):
        model = models.Classifier(
            nn.Sequential(nn.Flatten(), nn.Linear(61, 2)), torch.full((61, 1, 1), 0.5), torch.full((61,), 0.1)
        )
        nn.init.zeros_(model.net[1].weight)
        recipe = changed(adversary=adversary, epochs=20, batch=50, lr=0.1, shift=0, flip=False)
        train.fit(model, x, labels, recipe)
        weight = (model.net[1].weight[1] - model.net[1].weight[0]).detach()
        worst = (x - 8 / 255 * (sign * weight.sign())[:, :, None, None]).clamp(0, 1)
        accuracy[adversary] = [
            100 * float((logits(model, seen).argmax(1) == labels).float().mean()) for seen in (x, worst)
        ]
    (clean, attacked), (clean_robust, attacked_robust) = accuracy["none"], accuracy["fgsm"]
    assert clean == 100 and attacked < 50
    assert clean_robust < 95 and attacked_robust > 85


def test_history_tells_how_the_network_stands_against_more_than_one_step(images, tmp_path, monkeypatch):
    """The images of the last batch, cropped and mirrored but not mixed, under pgd, by the network as it is
    after the epoch.
    """
    model, steps = Watched(), math.ceil(90 / 16)
    history = train.fit(model, *images, RECIPE, augmentation=augment.build(MIXED))
    feed = Feed(images[0], augment.build(MIXED), seed=0, shift=2, border="zero", flip=True)
    index = feed.order(1).tensor_split(steps)[-1]
    (clean,) = feed.plain(1, [index])
    seeds = torch.randint(2**63 - 1, (90,), generator=keyed(0, 1, "adversary"))
    fell = attacks.pgd(model, clean, images[1][index], 8 / 255, seeds[index], steps=10).step >= 0
    assert history[1]["robust"] == 100 - 100 * float(fell.double().mean())
    assert "robust" not in train.fit(Watched(), *images, changed(adversary="none"))[0]

    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    done = run(Experiment(data="digits", train_size=20, test_size=10, epochs=1, batch=10, adversary="fgsm"))
    assert [list(row) for row in done.history] == [["epoch", "loss", "accuracy", "lr", "robust"]]


def test_fields_that_have_no_effect_do_not_change_the_key():
    fields = {"data": "digits", "train_size": 20, "test_size": 10}
    plain = Experiment(**fields)
    assert Experiment(**fields, eps=4, alpha=2, attack_mode="train").key == plain.key
    keys = [
        Experiment(**fields, adversary="fgsm", **other).key
        for other in ({}, {"eps": 4}, {"alpha": 4}, {"attack_mode": "train"})
    ]
    assert len({plain.key, *keys}) == 5


def test_what_cannot_be_attacked_is_refused(images):
    with pytest.raises(
        UserError, match=r"reach from .*; attacked images stay in \[0, 1\], so leave out the filter"
    ):
        train.fit(Watched(), images[0] / 255 - 0.5, images[1], RECIPE)
    with pytest.raises(
        UserError, match=r"eps=0.03 is refused: it is counted in 255ths; for 0.03 of \[0, 1\] write 7.65"
    ):
        Experiment(adversary="fgsm", eps=0.03)
    for bad in ({"eps": -1}, {"alpha": 300}, {"adversary": "pgd"}, {"attack_mode": "both"}):
        with pytest.raises(ValueError):
            changed(**bad)


def apart(norm: str, team=None, checkpoints=None, after_step=None):
    """A small network after two epochs on attacked noise whose brightness tells the class, all in float64."""
    from specfreq.train.team import Team

    g, labels = torch.Generator().manual_seed(0), torch.arange(101) % 3  # batches of 20 and 21
    x = torch.rand(101, 1, 8, 8, generator=g, dtype=torch.float64) / 2 + labels[:, None, None, None] / 6
    model = models.Classifier(
        models.build(f"resnet8:norm={norm}", 3, 1), torch.zeros(1), torch.ones(1)
    ).double()
    recipe = changed(batch=24, ema=0.5, seed=4, eps=20, attack_mode="eval" if norm == "group" else "train")
    history = train.fit(
        model,
        x.clamp(0, 1),
        labels,
        recipe,
        augmentation=augment.build(MIXED),
        team=team or Team(torch.device("cpu")),
        checkpoints=checkpoints,
        after_step=after_step,
    )
    curves = {
        key: torch.tensor([row[key] for row in history], dtype=torch.float64) for key in ("loss", "robust")
    }
    return {**model.state_dict(), **curves}


def main(folder: str) -> None:
    from specfreq.train import team

    team, results = team.join("cpu"), {}

    def stop(*now):
        if now == (1, 3):
            raise Stopped

    for norm in ("group", "batch"):
        results |= {f"{norm}/{k}": v for k, v in apart(norm, team).items()}
    kept = Checkpoints(Path(folder) / "c", every=0)
    try:
        apart("batch", team, kept, stop)
    except Stopped:
        team.told(None)  # the first has written before the second reads
    results |= {f"resumed/{k}": v for k, v in apart("batch", team, kept).items()}
    storage.write_tensors(Path(folder) / f"{team.rank}.safetensors", results)


def test_two_processes_take_the_steps_of_one_and_resume_to_the_same_bits(tmp_path):
    """With batch statistics too, which each process has of its own, the first one's are kept."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, __file__, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = (storage.read_tensors(tmp_path / f"{rank}.safetensors")[0] for rank in (0, 1))
    expected = apart("group")
    del expected["robust"]  # the first process asks about its share of the batch
    for name, value in expected.items():
        for results in (first, second):
            assert_close(
                results[f"group/{name}"], value, rtol=1e-8, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
            )
    for name in first:
        training, _, rest = name.partition("/")
        if training == "batch":
            assert torch.equal(first[name], first[f"resumed/{rest}"]), name
        if "running" not in name:
            assert torch.equal(first[name], second[name]), name


if __name__ == "__main__":
    main(sys.argv[1])
