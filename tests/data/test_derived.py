"""Image sets made of others: what they hold, that they are computed once, and what their names mean."""

import logging

import numpy as np
import pytest
import torch

from specfreq import data, experiment, filters
from specfreq.core.errors import UserError
from specfreq.data import derived
from specfreq.filters.derived import Filtered

BASE = "planted:count=40,side=16"
LOW = f'filtered:of="{BASE}",filter="gaussian-low-pass:sigma=1.5"'


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    return tmp_path


class Shifted:
    """Images brighter by what their class is, on average, above the darkest: fitted on images and labels."""

    what, version, learns_from, left_out = "a toy", 1, ("train",), ""
    calls = 0

    def __init__(self, by: float = 1.0):
        self.by = by

    def fit(self, images, labels, classes):
        means = torch.stack([images[labels == k].double().mean() for k in labels.unique()])
        self.gains = (self.by * (means - means.min()) + 1 + torch.arange(len(means))).round()
        return self

    def __call__(self, images, labels, split):
        type(self).calls += 1
        return (images + self.gains[labels][:, None, None, None]).clamp(0, 255).to(torch.uint8)


@pytest.fixture
def shifted(monkeypatch):
    monkeypatch.setitem(derived.DERIVATIONS, "shifted", Shifted)
    monkeypatch.setitem(derived.KINDS, "shifted", derived.KINDS["filtered"])
    monkeypatch.setitem(data.HOMES, "shifted", "derived")
    Shifted.calls = 0


def made_by_hand(split, spec="gaussian-low-pass:sigma=1.5"):
    filter = filters.build(spec).fit(data.load(BASE).images / 255)
    return filter(data.load(BASE, split).images.double() / 255)


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_are_those_behind_the_filter_to_half_a_level(split):
    base, found = data.load(BASE, split), data.load(LOW, split)
    assert torch.equal(found.labels, base.labels) and found.classes == base.classes
    assert (found.images.double() - 255 * made_by_hand(split)).abs().max() <= 0.5 + 1e-9
    assert found.digest != base.digest and found.left_out == ""


def test_what_a_filter_learns_it_learns_from_the_training_images_alone():
    spec = f'filtered:of="{BASE}",filter=whitening,values=stretch'
    train = made_by_hand("train", "whitening")
    test = (made_by_hand("test", "whitening") - train.min()) / (train.max() - train.min())
    assert (data.load(spec, "test").images.double() - 255 * test.clamp(0, 1)).abs().max() <= 0.5 + 1e-4
    images = data.load(spec).images
    assert images.min() == 0 and images.max() == 255


def test_what_is_cut_off_is_said():
    found = data.load(f'filtered:of="{BASE}",filter="gaussian-high-pass:sigma=1.5"')
    share = (made_by_hand("train", "gaussian-high-pass:sigma=1.5") < -0.5 / 255).double().mean()
    assert f"{100 * share:.2g} % of the values left the range and were cut off" in found.left_out


def test_without_a_filter_the_images_stay_as_they_are():
    assert torch.equal(data.load("filtered:of=digits,filter=none").images, data.load("digits").images)


def test_constant_images_stay_constant():
    filter = "gaussian-high-pass:sigma=2,as_published=cifar10"
    photos = f'filtered:of=photos,filter="{filter}",values=stretch'
    assert data.load(photos, "test", size=7).images.unique().tolist() == [0]


def test_a_set_is_computed_once_and_again_when_it_is_damaged(shifted, runs, caplog):
    spec = f'shifted:of="{BASE}"'
    first = data.load(spec)
    assert data.load(spec).digest == first.digest and Shifted.calls == 1
    data.load(spec, "test")
    data.load(f'shifted:of="{BASE}",by=2')
    data.load('shifted:of="planted:count=40,side=16,seed=1"')
    assert Shifted.calls == 4
    for file in runs.glob("derived/*/images.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    with caplog.at_level(logging.WARNING):
        assert data.load(spec).digest == first.digest
    assert Shifted.calls == 5 and "is damaged" in caplog.text and "computed again" in caplog.text


def test_another_version_is_computed_anew(shifted, monkeypatch):
    data.load("shifted:of=digits")
    monkeypatch.setattr(Shifted, "version", 2)
    data.load("shifted:of=digits")
    assert Shifted.calls == 2


def test_sets_are_made_of_sets_that_are_made_of_sets(shifted):
    inner = f'shifted:of="{BASE}"'
    outer = data.normal_form(f"filtered:of={derived.quoted(inner)},filter=none")
    assert torch.equal(data.load(outer, "test").images, data.load(inner, "test").images)
    assert data.normal_form(outer) == outer


def test_a_size_is_a_subset_of_the_whole():
    assert data.load(LOW, size=8, seed=3).digest == data.load(LOW).subset(8, seed=3).digest


def test_boxes_stay_where_the_images_do():
    boxed = 'filtered:of="planted:count=20,boxes=1",filter="gaussian-low-pass:sigma=1"'
    assert torch.equal(data.load(boxed).boxes, data.load("planted:count=20,boxes=1").boxes)


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("filtered:filter=whitening,of=photos", "filtered:filter=whitening:floor=1e-08,of=photos"),
        ("filtered: of = planted:band=middle , filter=none, values=clip", "filtered:filter=none,of=planted"),
        (
            'filtered:of="planted:snr=3.0,band=low",filter="gaussian_low_pass:sigma=2.0"',
            'filtered:filter=gaussian-low-pass:sigma=2,of="planted:band=low,snr=3"',
        ),
    ],
)
def test_a_name_has_one_spelling(name, spelled):
    assert data.normal_form(name) == spelled
    assert data.normal_form(spelled) == spelled


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("filtered", "filtered needs filter"),
        ("filtered:filter=none", "filtered needs the set that it is made of; write filtered:of=NAME"),
        ("filtered:of=photo,filter=none", "unknown data set 'photo'; did you mean 'photos'"),
        ("filtered:of=photos,filter=whitenin", "unknown filter 'whitenin'; did you mean 'whitening'"),
        ("filtered:of=photos,filter=none,value=clip", "unknown parameter 'value' .* did you mean 'values'"),
        ("filterd:of=photos", "unknown data set 'filterd'; did you mean 'filtered'"),
        ("filtered:of=planted:band=low,side=16,filter=none", "unknown parameter 'side'"),
        ('filtered:of=photos,filter="gaussian-low-pass:sigma=-1"', "sigma must be"),
    ],
)
def test_names_that_mean_nothing_are_refused_with_advice(name, message):
    with pytest.raises(UserError, match=message):
        data.load(name)


def test_a_streamed_set_is_refused(imagenet_folder, tmp_path):
    folder = imagenet_folder(tmp_path / "pictures")
    with pytest.raises(UserError, match="holds all images in memory; leave stream=1 out"):
        data.load(f"filtered:of=folder:{folder}?size=32&stream=1,filter=none")


def test_getting_it_is_getting_what_it_is_made_of():
    assert data.get("filtered:of=digits,filter=none") == "digits needs no download"


def test_every_derivation_is_known_by_name():
    assert set(derived.DERIVATIONS) <= set(data.HOMES)
    assert derived.DERIVATIONS["filtered"].load() is Filtered


def test_a_network_is_trained_on_it():
    fields = {"train_size": 24, "test_size": 12, "epochs": 1, "batch": 12}
    run = experiment.run(experiment.Experiment(data=LOW, **fields))
    assert run.experiment.data == data.normal_form(LOW)
    assert np.isfinite(run.history[0]["loss"])


def test_what_is_there_is_read_from_a_folder_that_cannot_be_written(runs):
    first = data.load(LOW)
    for lock in runs.glob("derived/*/lock"):
        lock.unlink()
        lock.mkdir()  # nobody can lock it, whatever the rights
    assert data.load(LOW).digest == first.digest


def test_the_published_form_keeps_the_other_parameters():
    name = derived.as_published("cdes:of=photos,kernels=all,number=3,epochs=5")
    parts = dict(p.split("=") for p in name.removeprefix("cdes:").split(","))
    assert parts.items() >= {("of", "photos"), ("kernels", "all"), ("number", "3"), ("chained", "True")}
    assert derived.as_published(name) == name
    with pytest.raises(UserError, match="filtered has no published form"):
        derived.as_published("filtered:of=photos,filter=none")


def test_images_are_shown_beside_what_they_have_become():
    old, new = derived.contrasted(f'hars:of="{BASE}",radius=3', 4)
    assert old.shape == new.shape and len(old) == min(4, len(data.load(BASE).classes))
    assert not torch.equal(old, new)
