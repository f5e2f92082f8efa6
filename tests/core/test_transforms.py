"""Modules in somebody's pipeline treat a sample as torchvision's transforms v2 do, or say what is missing."""

import ast
import copy
import inspect
import io
import types
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader
from torchvision import tv_tensors as tv
from torchvision.transforms import v2

from specfreq import augment, corruptions, filters, fourier
from specfreq.core.errors import UserError

PAIRS = ["apr-p", "apr-sp", "amplitude-mix", "hybrid-augment", "vipaug"]
ALONE = ["apr-s", "augmix", "hybrid-augment:mode=s", "afa", "tv"]
STILL = ["apr-p", "amplitude-mix", "hybrid-augment:mode=p", "afa", "tv"]  # leave pixels in place
MOVING = ["apr-s", "apr-sp", "augmix", "hybrid-augment", "hybrid-augment:mode=s", "vipaug"]
FILTERS = ["none", "gaussian-low-pass:sigma=1", "gaussian-high-pass:sigma=1", "whitening"]
FLOATS = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
# one after another, none leaves [0, 1]
CHAIN = [
    "apr-s",
    "augmix",
    "afa",
    "apr-p:clip=1",
    "apr-sp:clip=1",
    "amplitude-mix",
    "hybrid-augment:clip=1",
    "vipaug:clip=1",
    "tv:clip=1",
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(spec):
    """An augmentation or, by its name, a filter that has seen images."""
    if spec.partition(":")[0] in augment.names() and spec != "none":
        return augment.build(spec)
    return filters.build(spec).fit(torch.rand(8, 3, 12, 10, generator=generator()))


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (6, 3, 12, 10), generator=generator()) / 255


POINTS = tv.KeyPoints(torch.ones(1, 2), canvas_size=(12, 10))
BOXES = tv.BoundingBoxes(torch.tensor([[1.0, 1, 5, 5]]), format="XYXY", canvas_size=(12, 10))
SAMPLES = {
    "a tensor": lambda x: x,
    "an image": lambda x: tv.Image(x),
    "two arguments": lambda x: (x, torch.arange(6)),
    "a batch of a loader": lambda x: [x, torch.arange(6)],
    "soft labels": lambda x: (x, torch.full((6, 4), 0.25)),
    "an image and a class": lambda x: (tv.Image(x), 3, None, "a.png"),
    "labels first": lambda x: (torch.arange(6), {"image": tv.Image(x)}),
    "a dict": lambda x: {
        "image": x,
        "labels": torch.arange(6),
        "name": "a",
        "depth": torch.rand(6, 1, 12, 10),
    },
    "a detection": lambda x: (
        tv.Image(x),
        {"boxes": BOXES, "mask": tv.Mask(torch.ones(6, 12, 10)), "area": torch.ones(6)},
    ),
    "two images": lambda x: {"left": tv.Image(x), "right": tv.Image(x.flip(-1)), "labels": torch.arange(6)},
    "a tensor beside an image": lambda x: (torch.rand(6, 3), tv.Image(x)),
    "an array beside an image": lambda x: (tv.Image(x), np.arange(6)),
}

# what moves pixels refuses boxes
MEETINGS = [
    *((spec, name) for spec in (*STILL, *FILTERS[1:]) for name in SAMPLES),
    *((spec, name) for spec in MOVING for name in SAMPLES if name != "a detection"),
]


@pytest.mark.parametrize(("spec", "name"), MEETINGS)
def test_of_a_sample_that_is_changed_which_torchvisions_own_transforms_change(images, spec, name):
    """The same entries, of the same types, in the same places; all others are the objects that came in."""
    sample = SAMPLES[name](images)
    arguments = sample if isinstance(sample, tuple) else (sample,)
    torch.manual_seed(0)
    ours, theirs = v2.Compose([made(spec)])(*arguments), v2.GaussianNoise()(*arguments)
    (before, shape), (mine, own), (noisy, oracle) = map(tree_flatten, (sample, ours, theirs))
    assert own == oracle == shape
    for old, new, other in zip(before, mine, noisy, strict=True):
        assert type(new) is type(other)
        assert (new is old) == (other is old)
        if new is not old:
            assert new.shape == old.shape and new.dtype == old.dtype and not torch.equal(new, old)


@pytest.mark.parametrize("spec", MOVING)
@pytest.mark.parametrize("target", [BOXES, POINTS, tv.Mask(torch.ones(12, 10))])
def test_what_moves_pixels_refuses_what_it_cannot_move_as_torchvisions_does(images, spec, target):
    sample = tv.Image(images), {"target": target}
    with pytest.raises(TypeError, match=f"{type(target).__name__} are not supported by AugMix"):
        v2.AugMix()(tv.Image(images[0]), target)
    with pytest.raises(UserError, match=f"{type(target).__name__} would no longer fit.*such as apr-p"):
        augment.build(spec)(sample)


@pytest.mark.parametrize("spec", [*PAIRS, *ALONE, *FILTERS])
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda x: [Image.fromarray(p) for p in x], "not a PIL image; put v2.ToImage"),
        (lambda x: (Image.fromarray(x[0]), 3), "not a PIL image; put v2.ToImage"),
        (lambda x: x[0], "got a NumPy array of uint8; put v2.ToImage"),
        (
            lambda x: (x[0].astype(np.float32) / 255, np.int64(3)),
            "got a NumPy array of float32, .*; put v2.ToImage",
        ),
        (
            lambda x: torch.from_numpy(x).permute(0, 3, 1, 2),
            "not torch.uint8; put v2.ToDtype.torch.float32, scale=True. before it",
        ),
        (
            lambda x: (torch.arange(6), torch.from_numpy(x)),
            "not torch.int64; images are .* tv_tensors.Image, or else",
        ),
        (lambda x: (tv.Video(x[None]), 3), "not a Video; give its frames as a batch"),
        (lambda x: {"label": 3}, "got int; put v2.ToImage"),
        (lambda x: [], "got nothing; put v2.ToImage"),
        (lambda x: None, "got NoneType; put"),
    ],
)
def test_what_holds_no_float_images_is_refused_with_the_cure(images, spec, spoil, why):
    with pytest.raises(UserError, match=why):
        made(spec)(spoil((images * 255).round().byte().permute(0, 2, 3, 1).numpy()))


@pytest.mark.parametrize("spec", [*ALONE, *FILTERS])
@pytest.mark.parametrize(
    "picture", [Image.fromarray, np.asarray, lambda x: torch.from_numpy(x).movedim(2, 0)]
)
def test_the_cure_cures(images, spec, picture):
    sample = picture((images[0] * 255).round().byte().permute(1, 2, 0).numpy()), 3
    x, label = v2.Compose([*FLOATS, made(spec)])(sample)
    assert isinstance(x, tv.Image) and x.shape == (3, 12, 10) and x.dtype == torch.float32 and label == 3


def test_values_that_an_augmentation_before_it_left_outside_get_the_hint_clip(images):
    """Of all two in a row that can be: with clip=1 for the first they work."""
    torch.manual_seed(0)
    for first in (
        "apr-p:p=1",
        "apr-sp:p=1,overflow=none",
        "tv:low=9,high=9",
        "hybrid-augment:p=1",
        "vipaug:p=1,overflow=none",
    ):
        with pytest.raises(UserError, match=r"reach from -.* leaves \[0, 1\], such as apr-p, clip=1"):
            v2.Compose([augment.build(first), augment.build("apr-s")])(images)
        out = v2.Compose([augment.build(f"{first},clip=1"), augment.build("apr-s")])(images)
        assert out.shape == images.shape and out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("spec", [*PAIRS, *ALONE, *FILTERS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_computed_in_single_and_comes_back_half(images, spec, dtype, autocast):
    x, module = images.to(dtype), made(spec)
    options = {"generator": generator()} if isinstance(module, augment.Augmentation) else {}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = module(tv.Image(x), **options)
    options = {"generator": generator()} if options else {}
    assert type(out) is tv.Image and out.dtype == dtype
    assert torch.equal(out, module(x.float(), **options).to(dtype))


def test_what_a_network_hands_on_under_autocast_is_taken(images):
    net = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1),
        nn.Sigmoid(),
        augment.build("apr-p:p=1"),
        nn.Flatten(),
        nn.Linear(360, 2),
    )
    with torch.autocast("cpu", torch.bfloat16):
        out = net(images)
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16 and net[0].weight.grad.abs().max() > 0


@pytest.mark.parametrize("spec", ["none", *PAIRS, *ALONE])
def test_evaluation_switches_an_augmentation_off_and_training_on(images, spec):
    module, sample = augment.build(spec), (images[0] - 5, Image.new("L", (4, 4)))
    # as a dropout layer, whatever it is given
    assert module.eval()(sample) is sample and module(*sample) == sample
    on = module.train()(images, generator=generator())
    assert torch.equal(on, augment.build(spec)(images, generator=generator()))
    assert spec == "none" or not torch.equal(on, images)


@pytest.mark.parametrize("spec", [*PAIRS, *ALONE])
def test_a_network_that_holds_an_augmentation_is_evaluated_without(images, spec):
    net = nn.Sequential(nn.Flatten(), nn.Linear(360, 4))
    whole = nn.Sequential(augment.build(spec), net)
    assert not torch.equal(whole(images), net(images))
    assert torch.equal(whole.eval()(images[:1]), net(images[:1]))


@pytest.mark.parametrize("spec", [*PAIRS, *ALONE])
def test_what_the_trainer_calls_does_not_depend_on_the_mode(images, spec):
    module = augment.build(spec)
    rows = module.draw(len(images), generator())
    on = module.views(module.before(images, rows), rows)
    off = module.eval().views(module.before(images, rows), rows)
    assert all(torch.equal(a, b) for a, b in zip(on, off, strict=True))


@pytest.mark.parametrize("spec", FILTERS)
def test_evaluation_leaves_a_filter_on(images, spec):
    assert torch.equal(made(spec).eval()(images), made(spec)(images))


SHOWN = ["apr-p:p=0.25,clip=1", "tv:bands=3+1", "vipaug:fractal=0"]


@pytest.mark.parametrize("spec", [*augment.names(), *FILTERS, *SHOWN])
def test_all_parameters_are_shown(spec):
    module = made(spec)
    given = spec.partition(":")[2]
    shown, parameters = repr(module), inspect.signature(type(module)).parameters
    assert shown.startswith(type(module).__name__ + "(")
    assert all(f"{key}={p.default!r}" in shown for key, p in parameters.items() if key not in given)
    assert "apr-p:" not in spec or ("p=0.25," in shown and "clip=True," in shown)
    assert "tv:" not in spec or "bands='1+3'" in shown
    assert "fractal=0" not in spec or "fractal=0.0," in shown


def test_what_is_shown_can_be_written_back_and_follows_changes():
    module = augment.APRPair(0.5, donor="batch")
    again = eval(repr(module), {"APRPair": augment.APRPair})
    assert repr(again) == repr(module) and again.p == 0.5 and again.in_batch
    module.p = 0.125  # a schedule
    assert "p=0.125" in repr(module) and "p=0.125" in repr(copy.deepcopy(module))


def test_an_augmentation_of_ones_own_is_shown_as_well():
    class Brighter(augment.Augmentation):
        def __init__(self, by: float = 0.5):
            super().__init__()
            self.by = by

        def transform(self, images, rows, donors=None):
            return images + self.by

    assert repr(Brighter(by=0.25)).endswith("Brighter(by=0.25)")
    assert torch.equal(Brighter()(torch.zeros(3, 4, 4)), torch.full((3, 4, 4), 0.5))


@pytest.mark.parametrize("spec", [*CHAIN, "hybrid-augment:mode=s", *FILTERS])
def test_copies_are_equal(images, spec):
    module = made(spec)
    saved = io.BytesIO()
    torch.save(module, saved)
    saved.seek(0)
    for twin in (copy.deepcopy(module), torch.load(saved, weights_only=False)):
        torch.manual_seed(0)
        a = module(images)
        torch.manual_seed(0)
        assert torch.equal(twin(images), a) and repr(twin) == repr(module)


def test_workers_that_are_spawned_draw_for_themselves_and_as_torchs_seed_says():
    """All augmentations and filters go to the workers; a worker's seed is the loader's plus its number."""
    batch = torch.rand(4, 3, 12, 10, generator=generator())
    chain = v2.Compose([augment.build(spec) for spec in CHAIN] + [made(spec) for spec in FILTERS])
    load = DataLoader(
        [batch] * 4,
        None,
        collate_fn=chain,
        num_workers=2,
        generator=generator(7),
        multiprocessing_context="spawn",
    )
    found = list(load)
    start = torch.empty((), dtype=torch.int64).random_(generator=generator(7)).item()
    for worker in (0, 1):
        torch.manual_seed(start + worker)
        for out in found[worker::2]:
            assert_close(out, chain(batch), rtol=0, atol=1e-4)
    assert min((a - b).abs().max() for i, a in enumerate(found) for b in found[:i]) > 0.01


@pytest.mark.parametrize("spec", ["apr-s", "apr-p:p=1"])
def test_a_generator_of_its_own_leaves_torchs_alone(images, spec):
    module, state = augment.build(spec), torch.get_rng_state()
    own = generator()
    first, second = module(images, generator=own), module(images, generator=own)
    assert torch.equal(torch.get_rng_state(), state) and not torch.equal(first, second)
    for wrong in (3, types.SimpleNamespace(device=torch.device("cuda"))):
        with pytest.raises(UserError, match="give a generator of the CPU"):
            module(images, generator=wrong)


@pytest.mark.parametrize("spec", ["apr-p:normalised=1", "apr-sp:normalised=1", "whitening"])
def test_what_was_learned_is_restored_into_a_fresh_module(images, spec):
    fresh = (augment if "apr" in spec else filters).build
    fitted = nn.Sequential(fresh(spec).fit(images[:4]))
    again = nn.Sequential(fresh(spec))
    again.load_state_dict(fitted.state_dict())
    assert fitted.state_dict().keys() == again.state_dict().keys() and len(again.state_dict())
    torch.manual_seed(0)
    out = fitted(images)
    torch.manual_seed(0)
    assert torch.equal(again.to("cpu")(images), out)
    with pytest.raises(RuntimeError, match="Missing key"):
        fitted.load_state_dict({})


def test_they_compose_with_torchvisions_transforms(images):
    apr, labels = augment.build("apr-p:p=1"), torch.arange(6)
    for compose in (v2.RandomApply([apr], p=1.0), v2.RandomChoice([apr]), v2.RandomOrder([apr])):
        out, kept = compose(images, labels)
        assert kept is labels and out.shape == images.shape and not torch.equal(out, images)
    out, mixed = v2.Compose([apr, v2.MixUp(num_classes=6)])(images, labels)
    assert out.shape == images.shape and mixed.shape == (6, 6)
    flipped = v2.Compose([augment.build("tv"), v2.RandomHorizontalFlip(1.0)])
    image, target = flipped(tv.Image(images[0]), {"boxes": BOXES})
    assert type(image) is tv.Image and target["boxes"].tolist() == [[5, 1, 9, 5]]
    single = nn.Sequential(filters.build("gaussian-low-pass:sigma=1"), augment.build("apr-s"))
    assert single(images).shape == images.shape and single(images[0]).shape == images[0].shape


@pytest.mark.parametrize("name", augment.names())
def test_which_need_a_batch_can_be_read_off_their_source(images, name):
    """A literal in the body of the class: what lists augmentations need not import them."""
    kind = type(augment.build(name))
    (tree,) = ast.parse(inspect.getsource(kind)).body
    said = {t.id: s.value for s in tree.body if isinstance(s, ast.Assign) for t in s.targets}
    assert ast.literal_eval(said.get("pairs", ast.Constant(False))) == kind.pairs == (name in PAIRS)
    if kind.pairs:
        with pytest.raises(
            UserError,
            match=r"batch of at least 2.*not one image: call it in the training loop or in collate_fn",
        ):
            augment.build(name)(images[0])
    else:
        assert augment.build(name)(images[0]).shape == images[0].shape


def test_functions_go_through_workers_as_partials_and_name_the_cure(images):
    high = v2.Lambda(partial(fourier.high_pass, radius=2))
    flat = v2.Compose([*FLOATS, high])(Image.new("L", (8, 8), 9))
    assert_close(flat, torch.zeros(1, 8, 8), rtol=0, atol=1e-6)
    with pytest.raises(TypeError, match=r"got torch.float16 values; take x\.float\(\)"):
        high(images.half())
    with pytest.raises(TypeError, match="of uint8 images take x / 255"):
        high(images.byte())
    picture = Image.new("L", (8, 8))
    with pytest.raises(TypeError, match=r"got Image; put v2\.ToImage\(\), v2\.ToDtype"):
        high(picture)
    with pytest.raises(UserError, match=r"not Image; put v2\.ToImage\(\), v2\.ToDtype"):
        corruptions.corrupt(picture, "fog", 1)
