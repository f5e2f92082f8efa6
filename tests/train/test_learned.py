"""Augmentations and filters that learn: their parameters and buffers are part of the training, to the bit."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import specfreq
from specfreq import augment, filters, models, train
from specfreq.augment import APRPair, Augmentation
from specfreq.core import storage
from specfreq.experiment import Experiment, Run, description
from specfreq.measures.inference import logits
from specfreq.train.checkpoints import Checkpoints

RECIPE = train.Recipe(epochs=2, batch=10, lr=0.05, shift=1)


class Tinted(Augmentation):
    """The images, and beside them images of learned colours, some of them dropped, in a normalised copy."""

    def __init__(self, channels: int = 1):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(channels, 1, 1) + 0.5)
        self.norm = nn.BatchNorm2d(channels, affine=False)

    def views(self, images, rows, donors=None):
        return images, 0.5 + F.dropout(self.norm(images), 0.2) * self.gain / 10


class Blended(filters.Filter):
    """A part of each image's mirror image."""

    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.3))

    def transform(self, images):
        return (1 - self.share) * images + self.share * images.flip(-1)


class Odd(Tinted):
    """With all that a module may hold beside: tied and frozen parameters, integers, infinite masks."""

    def __init__(self):
        super().__init__()
        self.tied = self.gain
        self.kinds = nn.Parameter(torch.tensor([3, 4]), requires_grad=False)
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("wide", torch.tensor(0.5).expand(3))

    def views(self, images, rows, donors=None):
        self.count += len(images)
        return super().views(images, rows, donors)


@pytest.fixture(scope="module")
def images():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    x = torch.rand(40, 1, 8, 8, generator=g) / 2 + labels[:, None, None, None] / 3
    return x, labels


def parts(seed=0):
    torch.manual_seed(seed)
    net = models.build("resnet8", 2, 1, seed)
    return models.Classifier(net, torch.zeros(1), torch.ones(1)), Tinted()


def held(model, mixed):
    both = [*model.state_dict().items(), *mixed.state_dict(prefix="augment/").items()]
    return {name: value.clone() for name, value in both}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class Stopped(Exception):
    """In place of a power cut."""


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "adam", "lr": 0.01}, {"ema": 0.8}, {"adversary": "fgsm"}]
)
@pytest.mark.parametrize("after", [(0, 2), (1, 4)])
def test_an_interrupted_training_resumes_to_the_same_bits(images, tmp_path, changes, after):
    """With statistics and masks of dropout in the augmentation, as in networks."""
    recipe = RECIPE.model_copy(update=changes)
    whole, stopped, resumed = parts(), parts(), parts(seed=1)
    before = held(*whole)
    expected = train.fit(whole[0], *images, recipe, augmentation=whole[1])

    def stop(*now):
        if now == after:
            raise Stopped

    with pytest.raises(Stopped):
        kept = Checkpoints(tmp_path / "c", every=0)
        train.fit(stopped[0], *images, recipe, augmentation=stopped[1], checkpoints=kept, after_step=stop)
    kept = Checkpoints(tmp_path / "c")
    assert train.fit(resumed[0], *images, recipe, augmentation=resumed[1], checkpoints=kept) == expected
    after = held(*whole)
    assert_same_bits(after, held(*resumed))
    for name in ("augment/gain", "augment/norm.running_mean"):
        assert not torch.equal(after[name], before[name]), name


def test_a_step_is_that_of_the_formula():
    """Nesterov's first: w - lr (1 + momentum) (g + wd w), for the augmentation as for the network."""

    class Scaled(Augmentation):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.7))

        def transform(self, images, rows, donors=None):
            return images * self.gain

    g = torch.Generator().manual_seed(3)
    x, y = torch.rand(8, 1, 2, 2, generator=g), torch.arange(8) % 2
    weight = torch.rand(2, 4, generator=g)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    net[1].weight.data.copy_(weight)
    mixed = Scaled()
    recipe = train.Recipe(
        epochs=1, batch=8, lr=0.1, schedule="constant", weight_decay=0.01, shift=0, flip=False
    )
    train.fit(models.Classifier(net, torch.zeros(1), torch.ones(1)), x, y, recipe, augmentation=mixed)
    gain = torch.tensor(0.7, requires_grad=True)
    (slope,) = torch.autograd.grad(F.cross_entropy((gain * x).flatten(1) @ weight.T, y), gain)
    assert_close(mixed.gain.detach(), gain.detach() - 0.1 * 1.9 * (slope + 0.01 * gain.detach()))


def test_averages_take_in_what_an_augmentation_learns(images):
    recipe, seen = RECIPE.model_copy(update={"epochs": 1}), []
    model, mixed = parts()
    train.fit(
        model, *images, recipe, augmentation=mixed, after_step=lambda *_: seen.append(mixed.gain.item())
    )
    model, mixed = parts()
    train.fit(model, *images, recipe.model_copy(update={"ema": 0.7}), augmentation=mixed)
    average = seen[0]
    for value in seen[1:]:
        average = 0.7 * average + 0.3 * value
    assert mixed.gain.item() == pytest.approx(average, rel=1e-5)


def test_the_gradient_goes_through_an_attack(images):
    """To the view as if the changes were constants, so the gain moves by about what it does without."""
    ends = {}
    for adversary, eps in (("none", 8), ("fgsm", 1e-9)):
        model, mixed = parts()
        recipe = RECIPE.model_copy(update={"adversary": adversary, "eps": eps, "alpha": eps, "epochs": 1})
        train.fit(model, *images, recipe, augmentation=mixed)
        ends[adversary] = mixed.gain.item()
    assert ends["fgsm"] == pytest.approx(ends["none"], rel=1e-4) != pytest.approx(parts()[1].gain.item())


def test_a_checkpoint_of_older_versions_restores(images, tmp_path):
    """It has nothing of the augmentation, whose fit has given it what it needs."""

    def training(kept=None, after_step=None):
        model, mixed = parts()[0], APRPair(normalised=True, clip=True).fit(images[0])
        train.fit(model, *images, RECIPE, augmentation=mixed, checkpoints=kept, after_step=after_step)
        return held(model, mixed)

    def stop(*now):
        if now == (1, 1):
            raise Stopped

    with pytest.raises(Stopped):
        training(Checkpoints(tmp_path / "c", every=0), stop)
    tensors, meta = storage.read_tensors(tmp_path / "c")
    older = {name: value for name, value in tensors.items() if not name.startswith("augment/")}
    assert len(older) == len(tensors) - 2
    storage.write_tensors(tmp_path / "c", older, meta)
    assert_same_bits(training(Checkpoints(tmp_path / "c")), training())


@pytest.fixture
def named(monkeypatch, tmp_path):
    """The two have names, and runs have a folder."""
    monkeypatch.setitem(augment._AUGMENTATIONS, "tinted", Tinted)
    monkeypatch.setitem(augment._AUGMENTATIONS, "odd", Odd)
    monkeypatch.setitem(filters._FILTERS, "blended", Blended)
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))


@pytest.mark.parametrize("what", [{"augment": "tinted"}, {"filter": "blended"}])
def test_a_run_keeps_what_was_learned_and_opens_without_its_data(named, tmp_path, monkeypatch, what):
    asked = Experiment(data="digits", train_size=60, test_size=20, epochs=2, batch=20, **what)
    run = specfreq.run(asked)
    pixels = asked.image_set("test").images
    before = logits(run.classifier(), pixels)

    def gone(*_, **__):
        raise AssertionError("images are read")

    monkeypatch.setattr(description, "_load", gone)
    alone = Run(run.path)
    torch.manual_seed(5)  # the global stream must not matter
    assert torch.equal(logits(alone.classifier(), pixels), before)
    tensors, _ = storage.read_tensors(run.path / "model.safetensors")
    if "augment" in what:
        assert alone.augmentation().gain.item() == tensors["augment/gain"].item()
        assert tensors["augment/norm.num_batches_tracked"] == 6
    else:
        assert alone.classifier().filter.share.item() == tensors["filter/share"].item() != 0.3
    monkeypatch.undo()


@pytest.mark.parametrize("what", [{"augment": "tinted"}, {"filter": "blended"}])
def test_two_runs_end_in_the_same_bits(named, tmp_path, monkeypatch, what):
    """What is learned starts by the seed, whatever the global stream has drawn before."""
    asked, files = Experiment(data="digits", train_size=60, test_size=20, epochs=1, batch=20, **what), []
    for noise in (1, 2):
        monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / f"{noise}"))
        torch.manual_seed(noise)
        files.append((specfreq.run(asked).path / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_whatever_a_module_holds_is_trained_averaged_and_kept(named):
    asked = Experiment(data="digits", train_size=60, test_size=20, epochs=1, batch=20, augment="odd", ema=0.5)
    run = specfreq.run(asked, checkpoint_every=0)
    held = run.augmentation().state_dict()
    assert torch.equal(held["tied"], held["gain"])
    assert held["kinds"].tolist() == [3, 4] and held["mask"].tolist() == [0.0, float("-inf")]
    assert held["count"] == 120  # three batches, and again for the statistics of the averages
