"""Reduced sets: few training images of another set, drawn once, and all of its test images."""

from pathlib import Path

import numpy as np
import pytest
import torch

import specfreq
from specfreq import data
from specfreq.core.errors import UserError
from specfreq.data import reduced

BASE = "planted:count=40,side=16"
FEW = f'reduced:of="{BASE}",size=12'
PUBLISHED = Path(specfreq.__file__).parents[1] / "book" / "_static" / "reduced-cifar10-4000-0.txt"


def test_the_published_places_are_those_that_are_drawn():
    """Of 50,000 images, whatever they are: CIFAR-10 itself need not be here."""
    places = np.loadtxt(PUBLISHED, dtype=np.int64)
    assert np.array_equal(reduced.Reduced().indices(np.zeros(50_000, np.int64)), places)
    assert len(np.unique(places)) == 4000 and (np.diff(places) > 0).all() and places[-1] < 50_000


def test_training_images_are_some_of_the_others_and_test_images_all():
    whole, few = data.load(BASE), data.load(FEW)
    places = reduced.indices(FEW)
    assert len(few) == 12 and few.classes == whole.classes
    assert torch.equal(few.images, whole.images[places]) and torch.equal(few.labels, whole.labels[places])
    assert torch.equal(data.load(FEW, "test").images, data.load(BASE, "test").images)
    assert few.digest != data.load(f"{FEW},seed=1").digest


def test_boxes_stay_with_their_images():
    boxed = "planted:boxes=true,count=40,side=16"
    few, whole = data.load(f'reduced:of="{boxed}",size=9'), data.load(boxed)
    assert torch.equal(few.boxes, whole.boxes[reduced.indices(f'reduced:of="{boxed}",size=9')])


def test_a_subset_of_a_reduced_set_is_read_from_its_own_images():
    few = data.load(FEW)
    part = data.load(FEW, size=4)
    assert torch.equal(part.images, few.subset(4).images)


def test_a_balanced_draw_has_as_many_of_each_class_and_a_random_one_need_not():
    labels = np.repeat(np.arange(10), 500)
    counts = {
        draw: np.bincount(labels[reduced.Reduced(400, 0, draw).indices(labels)])
        for draw in ("balanced", "random")
    }
    assert set(counts["balanced"]) == {40}
    # each count has mean 40 and deviation about 5.8
    assert counts["random"].std() > 2 and counts["random"].sum() == 400


def test_a_larger_draw_of_one_seed_holds_the_smaller():
    labels = np.zeros(1000, np.int64)
    small, large = (set(reduced.Reduced(n, 3).indices(labels).tolist()) for n in (100, 300))
    assert small < large


def test_names_have_one_spelling():
    assert data.normal_form("reduced:of=cifar10,size=4000,seed=0,draw=random") == "reduced:of=cifar10"
    assert data.normal_form(FEW) == data.normal_form(f'reduced:size=12,of="{BASE}",seed=0')
    assert data.label("reduced:of=cifar10") == "CIFAR-10, reduced"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reduced", "needs the set that it is drawn from"),
        (f'reduced:of="{BASE}",size=41', "has 40 images; cannot take 41"),
        (f'reduced:of="{BASE}",size=1', "size=1 is refused"),
        (f'reduced:of="{BASE}",seed=-1', "seed=-1 is refused"),
        (f'reduced:of="{BASE}",draw=first', "draw=first is refused"),
        ("reduced:of=cifar11", "did you mean 'cifar10'"),
        (f'reduced:of="{BASE}",sise=3', "did you mean 'size'"),
    ],
)
def test_impossible_sets_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        data.load(name)
