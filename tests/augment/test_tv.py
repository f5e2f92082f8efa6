"""Amplified bands: they are those of the transform, belong to their image through crop and flip, and are
computed once.
"""

import logging

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from specfreq import augment, data, experiment, train, tv
from specfreq.augment.tv import TVBands
from specfreq.core import places
from specfreq.core.errors import UserError
from specfreq.train.feed import Feed, shifted


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def images():
    """Photographs in bytes; 12 of 16x16."""
    return data.load("photos", "train", 12).images[:, :, 8:24, 8:24].contiguous()


def one_part_an_image(monkeypatch):
    monkeypatch.setattr("specfreq.augment.tv.AT_ONCE", 1)


def parts(runs):
    return sorted(runs.glob("bands/*/*.safetensors"))


@pytest.mark.parametrize("bands", [(1, 2), (3,), (1, 4)])
@pytest.mark.parametrize("joint", [False, True])
def test_what_is_added_is_gain_minus_one_of_each_band_and_no_other(images, bands, joint):
    """By the transform in double precision, to half a percent or so."""
    x, amplified = images[:6] / 255, TVBands("+".join(map(str, bands)), low=0, high=5, joint=joint)
    rows = amplified.draw(6, generator(1))
    added = (amplified.transform(x, rows) - x).double()
    phi = tv.transform(x.double(), 4, 1 / 14, 1e-7, channels="joint" if joint else "separate").phi
    expected = sum(
        (rows["gain"][:, k].double() - 1).view(-1, 1, 1, 1) * phi[band - 1] for k, band in enumerate(bands)
    )
    assert (added - expected).norm() < 0.02 * expected.norm()


def test_a_gain_of_zero_removes_a_band_and_clipping_keeps_to_pictures(images):
    x = images / 255
    phi = tv.transform(x, 2).phi
    assert_close(TVBands(low=0, high=0)(x), x - phi.sum(0), rtol=0, atol=5e-4)
    loud, cut = (TVBands(low=9, high=9, clip=clip)(x) for clip in (False, True))
    assert loud.amin() < 0 and loud.amax() > 1
    assert torch.equal(cut, loud.clamp(0, 1))


@pytest.mark.parametrize("bands", ["1+2", "3"])
def test_gains_of_one_repeat_the_images_exactly_and_compute_no_bands(images, bands, runs):
    idle, x = TVBands(bands, low=1, high=1).fit(images), images / 255
    plain, again = idle.views(x, idle.draw(12, generator()))
    assert torch.equal(plain, x) and torch.equal(again, x)
    assert idle.companions is None and not runs.exists()


def test_gains_lie_in_their_range_and_each_is_its_own():
    gain = TVBands(low=2, high=4).draw(3000, generator())["gain"]
    assert gain.shape == (3000, 2) and gain.amin() >= 2 and gain.amax() <= 4 and len(gain.unique()) > 5000
    assert ((gain.mean(0) - 3).abs() < 5 * 3000**-0.5 / 3**0.5).all()
    assert abs(float(torch.corrcoef(gain.T)[0, 1])) < 5 * 3000**-0.5


def test_whole_gains_are_the_numbers_from_low_to_high_equally_often():
    gain = TVBands(gains="integers").draw(1500, generator())["gain"]
    values, counts = gain.unique(return_counts=True)
    assert values.tolist() == [3, 4] and ((counts - 1500).abs() < 5 * 3000**0.5 / 2).all()


def test_one_gain_a_batch_is_that_of_its_first_image(images):
    x, rows = images / 255, TVBands().draw(12, generator())
    first = {"gain": rows["gain"][:1].expand(12, -1)}
    assert torch.equal(TVBands(per="batch").transform(x, rows), TVBands().transform(x, first))
    assert not torch.equal(TVBands(per="batch").transform(x, rows), TVBands().transform(x, rows))


def test_the_network_is_trained_on_both_and_on_the_mean_of_their_losses():
    logits, labels = tuple(torch.randn(2, 9, 5, generator=generator())), torch.arange(9) % 5
    mean = F.cross_entropy(torch.cat(logits), labels.repeat(2))  # of the doubled batch
    assert_close(TVBands().loss(logits, labels, F.cross_entropy), mean)
    assert_close(TVBands(loss="sum").loss(logits, labels, F.cross_entropy), 2 * mean)


def test_bands_are_cropped_and_mirrored_with_their_images(images):
    """So that what is added to a crop is the crop of what is added to the whole image; nothing beyond its
    border.
    """
    spec, everything = TVBands().fit(images), torch.arange(12)
    plain, mixed = next(Feed(images, spec, seed=1, shift=5, border="zero", flip=True).views(0, [everything]))
    feed = Feed(images, spec, seed=1, shift=5, border="zero", flip=True)
    _, moves, flips, rows = feed._table(0)
    whole = spec.transform(images / 255, rows, spec.companions) - images / 255
    assert_close(mixed - plain, shifted(whole, everything, *moves, flips, "zero"), rtol=0, atol=1e-6)
    assert moves.abs().amax() > 3 and flips.any()


def test_a_mirrored_border_has_mirrored_bands(images):
    feed = Feed(images, TVBands(low=3, high=3).fit(images), seed=1, shift=5, border="reflect", flip=False)
    _, moves, flips, _ = feed._table(0)
    plain, mixed = next(feed.views(0, [torch.arange(12)]))
    whole = TVBands(low=3, high=3)(images / 255) - images / 255
    assert_close(mixed - plain, shifted(whole, torch.arange(12), *moves, flips, "reflect"), rtol=0, atol=1e-6)


def test_kept_bands_are_those_computed_on_the_fly_to_the_bit(images):
    def views(spec):
        return next(
            Feed(images, spec, seed=3, shift=0, border="zero", flip=False).views(0, [torch.arange(12)])
        )

    fresh, read, alone = TVBands().fit(images), TVBands().fit(images), TVBands()
    assert alone.companions is None and torch.equal(fresh.companions, read.companions)
    assert torch.equal(views(fresh)[1], views(alone)[1])
    assert fresh.companions.dtype == torch.float16 and fresh.companions.shape == (12, 6, 16, 16)


@pytest.mark.parametrize("other", [{"bands": "1"}, {"joint": True}])
def test_other_bands_and_other_images_have_files_of_their_own(images, other, runs):
    TVBands().fit(images)
    TVBands(**other).fit(images)
    TVBands().fit(images.flip(0))
    TVBands().fit(images / 255)
    assert len(list(runs.glob("bands/*"))) == 4
    # what changes no band
    TVBands(low=1, high=9, gains="integers", per="batch", clip=True, loss="sum").fit(images)
    assert len(list(runs.glob("bands/*"))) == 4


def test_bands_do_not_depend_on_the_part_in_which_they_were_computed(images, monkeypatch, runs):
    at_once = TVBands().fit(images).companions
    for file in parts(runs):
        file.unlink()
    one_part_an_image(monkeypatch)
    assert torch.equal(TVBands().fit(images).companions, at_once) and len(parts(runs)) == 12


def test_a_killed_computation_goes_on_where_it_was(images, monkeypatch, runs):
    one_part_an_image(monkeypatch)
    expected, computed = TVBands().fit(images).companions, []
    for file in parts(runs)[5:]:
        file.unlink()
    parts(runs)[0].with_name(
        ".00005.safetensors.0a1b2c3d.specfreq-part"
    ).touch()  # what a killed process leaves
    work = TVBands._computed
    monkeypatch.setattr(TVBands, "_computed", lambda self, x: computed.append(len(x)) or work(self, x))
    assert torch.equal(TVBands().fit(images).companions, expected)
    assert computed == [1] * 7 and not list(runs.glob("bands/*/.*"))


@pytest.mark.parametrize("spoil", [lambda b: b[:200], lambda b: b[:-9] + b"\x00\x07" + b[-7:], lambda b: b""])
def test_damaged_bands_are_named_and_computed_again(images, runs, caplog, spoil):
    expected = TVBands().fit(images).companions
    (file,) = parts(runs)
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(TVBands().fit(images).companions, expected)
    assert f"{file} is damaged" in caplog.text and "computed again" in caplog.text
    assert file.read_bytes() == whole


def test_a_place_that_cannot_be_written_is_named(images, runs):
    runs.parent.mkdir(exist_ok=True)
    runs.write_text("")
    with pytest.raises(UserError, match=r"cannot write .*bands"):
        TVBands().fit(images)


def test_a_set_other_than_the_one_it_was_fitted_on_is_refused(images):
    with pytest.raises(UserError, match="fitted on 11 other images"):
        Feed(images, TVBands().fit(images[:11]), seed=0, shift=0, border="zero", flip=False)


def test_images_that_have_no_bands_are_refused(images):
    with pytest.raises(
        UserError, match="have no bands of total variation: the images hold values that are not finite"
    ):
        TVBands().fit((images / 255).masked_fill(images == images.max(), torch.nan))
    with pytest.raises(UserError, match=r"cuts images off.*leave out the filter"):
        TVBands(clip=True).fit(images / 255 - 0.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tv:bands=0", "bands=0 is refused: write numbers from 1 to 100"),
        ("tv:bands=", "bands"),
        ("tv:bands=1-3", "as in bands=1\\+2"),
        ("tv:low=4,high=3", "0 <= low <= high <= 1000, not from 4.0 to 3.0"),
        ("tv:low=-1", "0 <= low"),
        ("tv:high=inf", "not from 3.0 to inf"),
        ("tv:gains=integers,low=2.5", "whole numbers for low and high, not 2.5"),
        ("tv:gain=3", "did you mean 'gains'"),
    ],
)
def test_impossible_values_are_refused_by_name(spec, message):
    with pytest.raises(UserError, match=message):
        augment.normal_form(spec)


def test_bands_have_one_spelling():
    assert augment.normal_form("tv:bands=2+1+2") == "tv"
    assert augment.normal_form("tv:bands= 4 + 3 ,per=image") == "tv:bands=3+4"


def test_as_published_is_whole_gains_one_a_batch():
    assert augment.as_published("tv:bands=3") == "tv:bands=3,gains=integers,per=batch"
    assert augment.corrected("tv:gains=integers,per=batch") == "tv"
    assert [augment.series(s) for s in ("tv", "tv:gains=integers,per=batch", "tv:per=batch")] == [
        "corrected",
        "as published",
        "per=batch",
    ]


def test_streamed_sets_are_refused_before_anything_is_computed(imagenet_folder, tmp_path, runs):
    place = imagenet_folder(tmp_path / "pictures")
    fields = {"data": f"folder:{place}?size=32&stream=1", "crop": "random-resized", "epochs": 1, "batch": 8}
    with pytest.raises(UserError, match="tv keeps something of every training image; leave stream=1 out"):
        experiment.run(experiment.Experiment(**fields, augment="tv"))
    assert not runs.exists()


def test_gains_of_one_train_as_images_shown_twice(images):
    """The arm to compare with is plain training on a batch of everything twice, to the bit."""

    class Twice(augment.Augmentation):
        def views(self, images, rows, donors=None):
            return images, images

        def loss(self, logits, labels, criterion):
            return super().loss(logits, labels, criterion) / 2

    def weights(augmentation):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.LazyLinear(3)
        )
        model(images[:2] / 255)
        train.fit(
            model,
            images,
            torch.arange(12) % 3,
            train.Recipe(epochs=2, batch=4, shift=1),
            augmentation=augmentation,
        )
        return torch.cat([t.flatten().double() for t in model.state_dict().values()])

    assert torch.equal(weights(TVBands(low=1, high=1).fit(images)), weights(Twice()))
    assert not torch.equal(weights(TVBands().fit(images)), weights(Twice()))


def test_two_runs_with_the_same_images_compute_their_bands_once(runs, monkeypatch):
    calls, work = [], TVBands._computed
    monkeypatch.setattr(TVBands, "_computed", lambda self, x: calls.append(len(x)) or work(self, x))
    fields = {
        "data": "digits",
        "train_size": 20,
        "test_size": 10,
        "model": "resnet8",
        "epochs": 1,
        "batch": 10,
        "shift": 1,
    }
    for more in ({"augment": "tv"}, {"augment": "tv", "seed": 1}, {"augment": "tv:gains=integers,per=batch"}):
        experiment.run(experiment.Experiment(**fields, **more))
    assert calls == [20]
    assert places.runs_dir() == runs and len(list(experiment.list_runs())) == 3  # bands are no runs
