"""An augmentation that asks for labels: donors of other classes, or of the image's own."""

import pytest
import torch
from torch import nn

from specfreq import augment, experiment, train
from specfreq.augment.base import Augmentation, donors_by_class
from specfreq.core.deferred import Deferred
from specfreq.core.errors import UserError
from specfreq.core.randomness import keyed
from specfreq.train.feed import Feed
from specfreq.train.recipe import Recipe

CLASSES = {
    "two": [0, 1] * 20,
    "half of one": [1] * 20 + [0] * 7 + [4] * 13,
    "many": list(range(40)),
    "three": [2] * 15 + [0] * 13 + [1] * 12,
}


class OtherClass(Augmentation):
    """The mean of an image and a donor of another class: shows what the labels bring about."""

    pairs = donors = labelled = True

    def __init__(self):
        super().__init__()
        self.register_buffer("means", None)

    def fit(self, images, *, labels):
        self.means = torch.stack([images[labels == k].float().mean() for k in labels.unique()])
        return self

    def draw(self, count, generator, *, labels):
        return {"donor": donors_by_class(labels, generator)}

    def transform(self, images, rows, donors=None):
        return (images + donors) / 2


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(augment._AUGMENTATIONS, "other-class", Deferred(f"{__name__}:OtherClass"))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("seed", range(5))
def test_every_image_meets_another_class_and_is_a_donor_once(name, seed):
    labels = torch.tensor(CLASSES[name])
    donors = donors_by_class(labels, keyed(seed))
    assert (labels[donors] != labels).all()
    assert torch.equal(donors.sort().values, torch.arange(40))
    assert torch.equal(donors, donors_by_class(labels, keyed(seed)))
    assert not torch.equal(donors, donors_by_class(labels, keyed(seed, "other")))


@pytest.mark.parametrize("name", CLASSES)
def test_in_its_own_class_each_is_a_donor_once_as_well(name):
    labels = torch.tensor(CLASSES[name])
    donors = donors_by_class(labels, keyed(0), own=True)
    assert torch.equal(labels[donors], labels)
    assert torch.equal(donors.sort().values, torch.arange(40))


def test_independent_donors_are_uniform_over_all_images_of_other_classes():
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 2, 1])
    drawn = torch.stack([donors_by_class(labels, keyed(i), once=False) for i in range(4000)])
    for image in range(8):
        others = labels != labels[image]
        shares = drawn[:, image].bincount(minlength=8) / 4000
        assert not shares[~others].any()
        assert (shares[others] - 1 / others.sum()).abs().max() < 0.04  # five standard errors


def test_pairs_that_meet_once_are_as_even_as_the_classes_allow():
    """Of four equal classes each other one gives a third of the donors."""
    labels = torch.arange(40) % 4
    met = torch.stack([labels[donors_by_class(labels, keyed(i))] for i in range(500)])
    for label in range(4):
        shares = met[:, labels == label].flatten().bincount(minlength=4) / 5000
        assert shares[label] == 0 and (shares - (1 - shares.eq(0).float()) / 3).abs().max() < 0.04


@pytest.mark.parametrize(
    ("labels", "once", "message"),
    [
        ([3, 3, 3], True, "class 3 holds 3 of 3 images"),
        ([3, 3, 3], False, "class 3 holds 3 of 3 images: there are no donors of another class"),
        ([0, 0, 1], True, "class 0 holds 2 of 3 images, more than half"),
    ],
)
def test_a_class_that_leaves_no_donors_is_named(labels, once, message):
    with pytest.raises(UserError, match=message):
        donors_by_class(torch.tensor(labels), keyed(0), once=once)


def test_no_images_have_no_donors():
    none = torch.zeros(0, dtype=torch.int64)
    assert len(donors_by_class(none, keyed(0))) == len(donors_by_class(none, keyed(0), once=False)) == 0


@pytest.fixture(scope="module")
def levels():
    """Images that are white to the share of their class, 0, 1 / 3, 2 / 3 or 1."""
    labels = torch.arange(60) % 4
    return (labels * 85).to(torch.uint8)[:, None, None, None].expand(60, 1, 8, 8).contiguous(), labels


def test_the_feed_hands_out_the_labels(levels):
    images, labels = levels
    feed = Feed(images, OtherClass(), labels=labels, seed=1, shift=0, border="zero", flip=False)
    for epoch in range(3):
        (view,) = next(feed.views(epoch, [torch.arange(60)]))
        donor = 6 * view[:, 0, 0, 0] - labels
        assert (donor.round() != labels).all() and {*donor.round().int().tolist()} == {0, 1, 2, 3}
    with pytest.raises(UserError, match="OtherClass depends on the classes of images"):
        Feed(images, OtherClass(), seed=1, shift=0, border="zero", flip=False)


def test_in_a_pipeline_the_labels_are_those_of_the_sample(levels):
    images, labels = levels
    mixed, same = OtherClass()(images / 255, labels)
    assert same is labels and ((6 * mixed[:, 0, 0, 0] - labels).round() != labels).all()
    with pytest.raises(UserError, match="give it their labels"):
        OtherClass()(images / 255)


def test_the_trainer_hands_out_the_labels(levels):
    seen = []

    class Watching(OtherClass):
        def draw(self, count, generator, *, labels):
            seen.append(labels)
            return super().draw(count, generator, labels=labels)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    recipe = Recipe(epochs=2, batch=20, shift=0, flip=False)
    train.fit(model, *levels, recipe, augmentation=Watching())
    assert len(seen) == 2 and all(torch.equal(labels, levels[1]) for labels in seen)


def test_an_experiment_fits_it_with_labels(registered, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    fields = {"data": "digits", "train_size": 40, "test_size": 20, "epochs": 1, "batch": 20}
    run = experiment.run(experiment.Experiment(**fields, augment="other-class"))
    assert len(run.history) == 1
