"""What all augmentations share: an image's draws are its own, they work in pipelines, and bad input is
refused by name.
"""

import inspect

import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torchvision import tv_tensors
from torchvision.transforms import v2

from specfreq import augment, experiment, models
from specfreq.core.deferred import Deferred
from specfreq.core.errors import UserError
from specfreq.train.feed import Feed

PAIRS = ["apr-p", "apr-sp", "amplitude-mix", "hybrid-augment", "vipaug"]
SINGLE = [
    "none",
    "apr-s",
    "apr-s:overflow=wrap",
    "augmix",
    "hybrid-augment:mode=s",
    "afa",
    "tv",
    "fsda-random",
]
ALL = PAIRS + SINGLE
OTHERS = [
    "apr-sp:overflow=wrap,channels=1",
    "augmix:consistency=0",
    "hybrid-augment:mode=p,plus=0",
    "vipaug:fractal=1,channels=0",
    "tv+apr-p",
    "apr-s+amplitude-mix+hybrid-augment:mode=p",
    '"apr-p:clip=1,p=1"+augmix',
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", autouse=True)
def runs(tmp_path_factory):
    """Where bands are kept meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (60, 3, 8, 8), generator=generator(), dtype=torch.uint8)


def shown(images, spec, parts, epoch=0):
    """All views of an epoch, (views, images, C, H, W), in the order of the images."""
    feed = Feed(images, augment.build(spec).fit(images), seed=1, shift=2, border="zero", flip=True)
    batches = [torch.stack(views) for views in feed.views(epoch, parts)]
    return torch.cat(batches, 1)[:, torch.cat(list(parts)).argsort()]


@pytest.mark.parametrize("spec", PAIRS + SINGLE + OTHERS)
def test_what_happens_to_an_image_does_not_depend_on_its_batch(images, spec):
    """In one batch, in parts, in another order: the same draws, to the bit, and the same result but for
    rounding.

    A Fourier transform's library chooses its kernel by the size of the batch, and where a spectrum is nearly
    zero that turns its phase. Casts to bytes make a whole level of it in some pixels. What is done in whole
    numbers is the same to the bit.
    """
    whole = shown(images, spec, [torch.arange(60)])
    mixed = torch.randperm(60, generator=generator())
    for parts in (torch.arange(60).split(17), mixed.split(31)):
        again = shown(images, spec, list(parts))
        share = ((again - whole).abs() < 1e-3).double().mean()
        assert share > 0.8 if "wrap" in spec or "vipaug" in spec else share == 1
        assert torch.equal(again, whole) or spec != "none"
    if spec != "none":
        assert not torch.equal(shown(images, spec, [torch.arange(60)], epoch=1)[-1], whole[-1])


def test_what_comes_before_the_crop_is_cropped_and_mirrored(images):
    """A black border of the crop stays black; without crop and flip the view is what `before` makes of the
    image.
    """
    apr = augment.build("apr-s")
    still = Feed(images, apr, seed=1, shift=0, border="zero", flip=False)
    (view,) = next(still.views(0, [torch.arange(60)]))
    assert torch.equal(view, apr.before(images, still._table(0)[3]))
    moved = Feed(images, apr, seed=1, shift=4, border="zero", flip=True)
    (view,) = next(moved.views(0, [torch.arange(60)]))
    _, moves, flips, rows = moved._table(0)
    for i in range(60):
        dy, dx = moves[:, i].tolist()
        x = torch.zeros(3, 16, 16)
        x[:, 4 + dy : 12 + dy, 4 + dx : 12 + dx] = apr.before(images, rows)[i]
        window = x[:, 4:12, 4:12]
        assert torch.equal(view[i], window.flip(-1) if flips[i] else window)


@pytest.mark.parametrize("spec", PAIRS + SINGLE + OTHERS)
def test_alone_it_is_a_transform(images, spec):
    transform, x = augment.build(spec).fit(images), images / 255
    out = transform(x, generator=generator())
    assert out.shape == x.shape and out.dtype == x.dtype and out.isfinite().all()
    assert torch.equal(transform(x, generator=generator()), out)
    assert spec == "none" or not torch.equal(transform(x, generator=generator(1)), out)


@pytest.mark.parametrize("spec", SINGLE)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_it_works_on_pictures_in_a_pipeline_of_torchvision(spec, mode):
    pipeline = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), augment.build(spec)])
    out = pipeline(Image.radial_gradient("L").resize((20, 31)).convert(mode))
    assert (
        out.shape == (len(mode.replace("L", "1")) if mode == "RGB" else 1, 31, 20)
        and out.dtype == torch.float32
    )


@pytest.mark.parametrize("spec", ALL)
@pytest.mark.parametrize("picture", [tv_tensors.Image, torch.as_tensor])
def test_batches_pass_through_a_pipeline_as_through_the_transform(images, spec, picture):
    to_floats = v2.ToDtype(torch.float32, scale=True)
    torch.manual_seed(0)
    out = v2.Compose([to_floats, augment.build(spec)])(picture(images))
    torch.manual_seed(0)
    assert torch.equal(out, augment.build(spec)(to_floats(images)))


@pytest.mark.parametrize("spec", ALL + OTHERS)
@pytest.mark.parametrize("shape", [(3, 3, 27, 20), (3, 1, 20, 27), (2, 1, 9, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grey_oblong_and_odd_images_keep_shape_and_type(spec, shape, dtype):
    x = torch.rand(shape, generator=generator(), dtype=dtype)
    before = x.clone()
    out = augment.build(spec).fit(x)(x, generator=generator(1))
    assert out.shape == x.shape and out.dtype == dtype and out.isfinite().all()
    assert torch.equal(x, before)
    strided = x.mT.contiguous().mT
    assert_close(augment.build(spec).fit(x)(strided, generator=generator(1)), out, rtol=0, atol=2e-6)


@pytest.mark.parametrize("spec", SINGLE)
def test_an_empty_batch_stays_empty(images, spec):
    assert augment.build(spec)(images[:0] / 255).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("spec", PAIRS)
def test_pairs_need_a_batch(images, spec):
    for alone in (images[0] / 255, images[:1] / 255):
        with pytest.raises(UserError, match="mixes images; give it a batch of at least 2"):
            augment.build(spec)(alone)


@pytest.mark.parametrize("spec", [*PAIRS, *SINGLE])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x * 255, r"in \[0, 1\]; these reach from 0 to 255"),
        (lambda x: x - 0.5, r"these reach from -0.5"),
        (lambda x: x.masked_fill(x == x.max(), torch.nan), "reach from nan"),
        (lambda x: (x * 255).byte(), "not torch.uint8; put v2.ToDtype"),
        (lambda x: x[0, 0], r"\(B, C, H, W\) or \(C, H, W\); got shape \(8, 8\)"),
        (lambda x: x[..., :0], "got shape"),
    ],
)
def test_bad_images_are_refused_by_name(images, spec, spoil, message):
    with pytest.raises(UserError, match=message):
        augment.build(spec)(spoil(images / 255))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        *((spec, "8-bit pictures") for spec in ("apr-s", "apr-sp", "augmix", "hybrid-augment", "vipaug")),
        *(
            (spec, "cuts images off")
            for spec in ("afa", "amplitude-mix", "apr-p:clip=1", "hybrid-augment:mode=p,clip=1", "tv:clip=1")
        ),
    ],
)
def test_training_images_that_are_not_pictures_are_refused_once(images, spec, why):
    augmentation = augment.build(spec)
    assert augmentation.fit(images) is augmentation.fit(images / 255) is augmentation
    for wrong in (images / 255 - 0.5, (images / 255).masked_fill(images == 0, torch.nan)):
        with pytest.raises(UserError, match=f"{why}.*, so leave out the filter"):
            augmentation.fit(wrong)


@pytest.mark.parametrize("spec", ["none", "apr-p", "hybrid-augment:mode=p", "tv"])
def test_what_neither_rounds_nor_cuts_off_takes_filtered_images_too(images, spec):
    x = images[:, :, :, 1:] / 255 - 0.5
    augmentation = augment.build(spec)
    rows = augmentation.fit(x).draw(60, generator())
    others = x.repeat(1 + ("hybrid" in spec), 1, 1, 1).flip(0)
    with_them = others if augmentation.companions is None else augmentation.companions
    assert augmentation.transform(x, rows, with_them).amin() < 0


def test_an_experiment_refuses_a_filter_whose_output_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    point = experiment.Experiment(
        data="photos", train_size=20, filter="gaussian-high-pass:sigma=2", model="resnet8", augment="apr-s"
    )
    with pytest.raises(UserError, match="leave out the filter"):
        experiment.run(point)


@pytest.mark.parametrize("spec", PAIRS)
@pytest.mark.parametrize(
    "other", [lambda x: x[..., :-1], lambda x: x[:, :1], lambda x: x[..., :1], lambda x: x[:30]]
)
def test_donors_of_another_shape_are_refused(images, spec, other):
    augmentation, x = augment.build(spec), images / 255
    donors = x if "hybrid" not in spec else x.repeat(2, 1, 1, 1)
    with pytest.raises(ValueError, match="shape"):
        augmentation.transform(x, augmentation.draw(60, generator()), other(donors))


@pytest.mark.parametrize("spec", ["apr-s", "hybrid-augment:mode=s", "vipaug"])
def test_grey_images_have_one_channel_to_transform(images, spec):
    """So that 2-D and 3-D transforms are one."""
    two, three = (augment.build(f"{spec}{',' if ':' in spec else ':'}channels={c}") for c in (0, 1))
    rows = two.draw(60, generator())
    assert_close(two.before(images[:, :1], rows), three.before(images[:, :1], rows), rtol=0, atol=3e-6)


HARD = {"adversary": "fgsm", "attack_mode": "train"}


@pytest.mark.parametrize(
    ("spec", "more"), [*((spec, {}) for spec in [*augment.names(), *OTHERS]), ("apr-p", HARD)]
)
def test_a_network_can_be_trained_with_it_and_the_passes_are_as_told(spec, more, tmp_path, monkeypatch):
    """Counted where images enter the network, in training mode."""
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    seen, forward = [], models.Classifier.forward

    def counting(self, images):
        seen.append(len(images) * self.training)
        return forward(self, images)

    monkeypatch.setattr(models.Classifier, "forward", counting)
    small = {
        "data": "digits",
        "train_size": 40,
        "test_size": 20,
        "model": "resnet8",
        "epochs": 2,
        "batch": 20,
    }
    run = experiment.run(experiment.Experiment(**small, **more, augment=spec), ["accuracy"])
    assert 0 <= run.results["accuracy"]["accuracy"] <= 100
    assert run.experiment.passes == sum(seen)


class Stranger(augment.Augmentation):
    """One whose parameter is called as another's, and that nobody has published."""

    def __init__(self, per: str = "image", gains: str = "continuous"):
        super().__init__()


class Published(Stranger):
    published = {"gains": "integers"}  # noqa: RUF012 - as a stranger writes it


@pytest.fixture
def strangers(monkeypatch):
    for cls in (Stranger, Published):
        place = Deferred(f"{__name__}:{cls.__name__}")
        monkeypatch.setitem(augment._AUGMENTATIONS, cls.__name__.lower(), place)


def test_a_class_says_itself_what_its_published_form_is(strangers):
    assert augment.as_published("stranger") == "stranger"
    assert augment.series("stranger:per=batch") == "corrected"
    assert augment.as_published("published:per=batch") == "published:gains=integers,per=batch"
    assert augment.corrected("published:gains=integers") == "published"
    assert augment.series("published:gains=integers") == "as published"


@pytest.mark.parametrize("name", augment.names())
def test_a_published_form_names_parameters_whose_defaults_are_others(name):
    entry = augment._AUGMENTATIONS[name]
    assert entry.constant("published") == entry.load().published
    parameters = inspect.signature(entry).parameters
    assert all(parameters[key].default != value for key, value in entry.constant("published").items())
    assert augment.normal_form(augment.as_published(name)) == augment.as_published(name)
