"""Two augmentations in one description: the second works on what the first makes, each draws by itself."""

import pytest
import torch
from torch.nn import functional as F

from specfreq import augment, experiment
from specfreq.augment.base import Augmentation, donors_by_class
from specfreq.augment.composed import Composed
from specfreq.core.deferred import Deferred
from specfreq.core.errors import UserError
from specfreq.train.feed import Feed

EVERYTHING = torch.arange(24)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))


def feed(images, augmentation, **changes):
    fields = {"seed": 1, "shift": 0, "border": "zero", "flip": False} | changes
    return Feed(images, augmentation, **fields)


def drawn(feed, part):
    """The rows of a part, by its own names."""
    rows = feed._table(0)[3]
    return {k.removeprefix(f"{part} "): v for k, v in rows.items() if k.startswith(f"{part} ")}


def test_apr_s_and_then_apr_p_is_apr_sp(images):
    both = augment.build("apr-s+apr-p")
    shown = feed(images, both, shift=2, flip=True)
    views = next(shown.views(0, [EVERYTHING]))
    known = augment.build("apr-sp")
    known.draw = lambda count, generator: drawn(shown, "first") | drawn(shown, "second")
    expected = next(feed(images, known, shift=2, flip=True).views(0, [EVERYTHING]))
    assert len(views) == len(expected) == 2 and all(map(torch.equal, views, expected))


@pytest.mark.parametrize(
    "first", ["tv", "afa", '"apr-p:clip=1,p=1"', "amplitude-mix", "augmix:consistency=0"]
)
@pytest.mark.parametrize("second", ["apr-p:p=1", "hybrid-augment:mode=p", "amplitude-mix", "afa"])
def test_the_second_and_its_donors_see_what_the_first_makes(images, first, second):
    """Computed in one go on the whole set: y = A(x), then B(y) with rows of y for donors."""
    if second in ("amplitude-mix", "afa") and first == "tv":
        first = "tv:clip=1"
    one, other = (augment.build(spec.strip('"')) for spec in (first, second))
    both = augment.build(f"{first}+{second}").fit(images)
    assert isinstance(both, Composed)
    shown = feed(images, both)
    *before, kept, made = torch.cat([torch.stack(v) for v in shown.views(0, EVERYTHING.split(7))], 1)
    x, rows = images / 255, drawn(shown, "first")
    y = one.transform(x, rows, x[rows["donor"].flatten()] if one.donors else both.companions)
    rows = drawn(shown, "second")
    z = other.transform(y, rows, y[rows["donor"].flatten()] if other.donors else None)
    torch.testing.assert_close(kept, y, rtol=0, atol=1e-5)
    torch.testing.assert_close(made, z, rtol=0, atol=1e-4)
    assert len(before) == (first != "augmix:consistency=0") and all(torch.equal(v, x) for v in before)


def test_the_bands_of_donors_are_cropped_and_mirrored_with_them(images):
    """An image ends with the amplitude of its donor's amplified view, wherever that was moved."""
    plain = next(feed(images, Augmentation(), shift=3, flip=True).views(0, [EVERYTHING]))
    loud = augment.build("tv+apr-p:p=1").fit(images)
    shown = feed(images, loud, shift=3, flip=True)
    views = next(shown.views(0, [EVERYTHING]))
    assert torch.equal(views[0], plain[0])
    donors = drawn(shown, "second")["donor"]
    amplitude, expected = (torch.fft.rfft2(x).abs() for x in (views[2], views[1][donors]))
    torch.testing.assert_close(amplitude, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "spec", ['"apr-p:clip=1"+amplitude-mix+apr-p', '"tv:clip=1"+"apr-p:clip=1"+amplitude-mix']
)
def test_three_in_a_row_need_no_brackets(images, spec):
    """(a + b) + c and a + (b + c) have the same views, given the same draws."""
    a, b, c = (augment.build(part) for part in (s.strip('"') for s in spec.split("+")))
    left, right = Composed(Composed(a, b), c), Composed(a, Composed(b, c))
    shown = feed(images, left.fit(images))
    outer = drawn(shown, "first")
    first, second = (
        {k[len(p) :]: v for k, v in outer.items() if k.startswith(p)} for p in ("first ", "second ")
    )
    third = drawn(shown, "second")
    views = next(shown.views(0, [EVERYTHING]))
    parts = {a: first, b: second, c: third}
    for part, rows in parts.items():
        part.draw = lambda count, generator, rows=rows: rows
    again = next(feed(images, right.fit(images)).views(0, [EVERYTHING]))
    assert len(views) == len(again) == 4
    for one, other in zip(views, again, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_the_seconds_loss_stands_where_the_firsts_criterion_was(images):
    logits = tuple(torch.randn(4, 10, 5, generator=torch.Generator().manual_seed(1)))
    labels = torch.arange(10) % 5
    both = augment.build("tv:clip=1+augmix").fit(images)
    assert len(next(feed(images, both).views(0, [EVERYTHING]))) == 4
    joint = augment.build("augmix").loss(logits[1:], labels, F.cross_entropy)
    expected = (F.cross_entropy(logits[0], labels) + joint) / 2
    torch.testing.assert_close(both.loss(logits, labels, F.cross_entropy), expected)


def test_a_part_draws_the_same_whatever_the_other_draws(images):
    tables = [
        augment.build(spec).draw(24, torch.Generator().manual_seed(5))
        for spec in ("apr-s+apr-p", "afa+apr-p", "afa+amplitude-mix")
    ]
    assert torch.equal(tables[0]["second coin"], tables[1]["second coin"])
    assert torch.equal(tables[1]["first seed"], tables[2]["first seed"])
    twice = augment.build("afa+afa").draw(24, torch.Generator().manual_seed(5))
    assert not torch.equal(twice["first seed"], twice["second seed"])


@pytest.mark.parametrize(
    ("spec", "spelled"),
    [
        ("apr-s + apr-p", "apr-s+apr-p"),
        ("apr_s+none+apr-p:p=0.6", "apr-s+apr-p"),
        ("none+none", "none"),
        ('"tv:bands=2+1,low=0"+apr-p', "tv:low=0+apr-p"),
        ('"tv:bands=3+1"+apr-p', '"tv:bands=1+3"+apr-p'),
        ("tv:bands=1+apr-p", "tv:bands=1+apr-p"),
        ("apr-p:p=0.5,clip=1+augmix", '"apr-p:clip=True,p=0.5"+augmix'),
        ('apr-s+"apr-p:clip=1+augmix"', "apr-s+apr-p:clip=True+augmix"),
        ('"apr-p:p=0.5"', "apr-p:p=0.5"),
        ("tv:bands=1+3", "tv:bands=1+3"),
    ],
)
def test_a_composition_has_one_spelling(spec, spelled):
    assert augment.spelling(spec) == spelled
    assert augment.spelling(spelled) == spelled
    assert augment.normal_form(spec) == spelled


def test_a_composition_has_a_published_form_and_a_corrected_one():
    published = '"apr-s:channels=True,overflow=wrap"+"apr-p:channels=True,donor=batch,per=batch"'
    assert augment.as_published("apr-s+apr-p") == published
    assert augment.corrected(published) == "apr-s+apr-p"
    assert [augment.series(s) for s in ("apr-s+apr-p", published)] == ["corrected", "as published"]
    assert augment.series("apr-s:overflow=wrap+apr-p") == "apr-s overflow=wrap"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("apr-p+apr-s", "APRSingle works before crop and flip, APRPair after them; put APRSingle first"),
        ("augmix+apr-p", "the loss of AugMix compares its views .*augmix:consistency=0"),
        ("afa+tv", "TVBands keeps something of every training image"),
        (
            "apr-sp+augmix",
            r"AugMix needs images in \[0, 1\], as it works on 8-bit pictures, and APRBoth leaves",
        ),
        ("apr-p+afa", "FourierWaves needs .* as it cuts images off"),
        ("apr-s+augmx", "unknown augmentation 'augmx'; did you mean 'augmix'"),
        ("apr-s+apr-p:q=1", "unknown parameter 'q' for augmentation apr-p"),
        ('"apr-s+apr-p', "cannot read"),
        ("tv:bands=1+2+apr-p", "unknown augmentation '2'.*write \"tv:bands=1\\+2\" with its quotes"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_reason(spec, why):
    with pytest.raises(UserError, match=why):
        augment.check(spec)


class Donor(Augmentation):
    """A donor of another class in the place of the image."""

    pairs = donors = labelled = True

    def draw(self, count, generator, *, labels):
        return {"donor": donors_by_class(labels, generator)}

    def transform(self, images, rows, donors=None):
        return donors


def test_a_part_that_asks_for_labels_gets_them(images, monkeypatch):
    monkeypatch.setitem(augment._AUGMENTATIONS, "donor", Deferred(f"{__name__}:Donor"))
    labels, both = EVERYTHING % 3, augment.build("afa+donor")
    assert both.labelled
    met = feed(images, both.fit(images, labels=labels), labels=labels)._table(0)[3]["second donor"]
    assert (labels[met] != labels).all()


def test_a_network_is_trained_with_several_and_ends_the_same_twice(tmp_path, monkeypatch):
    ends = []
    for place in ("one", "two"):
        monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / place))
        fields = {"data": "digits", "train_size": 40, "test_size": 20, "epochs": 1, "batch": 20}
        run = experiment.run(experiment.Experiment(**fields, augment='"tv:clip=1"+"apr-p:clip=1"+augmix'))
        ends.append(run.history)
    assert ends[0] == ends[1]


def test_each_part_is_shown_once():
    shown = repr(augment.build("apr-s:severity=2+afa"))
    assert shown.count("APRSingle(") == shown.count("FourierWaves(") == 1 and "severity=2" in shown


def test_what_does_nothing_after_crop_and_flip_may_stand_before_what_works_before_them():
    for spec in ("apr-s+apr-s+apr-sp", "hybrid-augment:mode=s+apr-s"):
        assert augment.build(spec).late == ("sp" in spec)
    with pytest.raises(UserError, match="works before crop and flip"):
        augment.build("apr-s+apr-p+apr-s")


def test_a_defect_of_another_kind_than_the_originals_is_no_corrected_form():
    assert augment.series("apr-s:overflow=none") == "overflow=none"
    assert augment.series("fsda:defects=even") == "defects=even"
