"""Every measure: described exactly, refusing what it cannot judge, the same for any batch, order and number
of threads.
"""

import copy
import json
from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

from specfreq import ImageSet, data, measures, models
from specfreq.core.errors import UserError

CORRUPTION = "corruption:corruptions=shot_noise+fog+spatter,severities=1+5"
OTHERS = "out-of-distribution:other=uniform-noise+phase-scrambled"
EVERY = [
    "accuracy",
    "nll",
    "calibration:per_bin=20",
    CORRUPTION,
    OTHERS,
    "adversarial:eps=4,curve=64,apgd_steps=4,targets=1,queries=8,steps=3",
    "fourier-heatmap:norm=2,step=3",
    "amplitude-phase-swap",
    "amplitude-phase-swap:other=uniform-noise,channels=1",
    "band-accuracy:step=3",
    "gradient-spectrum",
    "feature-discrimination:radii=1+2.5",
    "feature-discrimination:points=9,radii=2",
    "frequency-shortcuts:block=0,keep=30",
    "diagnosis:resamples=20",
]
MAPS = ["localisation", "cam-sanity"]  # need boxes or maps: test_localisation asks the same of them


def leaves(result):
    """The numbers of a result by where they stand."""
    if not isinstance(result, dict | list):
        return {(): result}
    pairs = result.items() if isinstance(result, dict) else enumerate(result)
    return {(key, *rest): value for key, part in pairs for rest, value in leaves(part).items()}


def assert_same(result, expected):
    """Counts and nulls alike, other numbers as networks give them in single precision, whose kernels depend
    on the batch.

    Logits of up to 100 are rounded to 4e-6 in each of ten layers: 4e-5 of a probability, and no more of a
    loss.
    """
    about = {
        k: pytest.approx(v, rel=1e-4, abs=4e-5) if isinstance(v, float) else v
        for k, v in leaves(expected).items()
    }
    assert leaves(result) == about


def test_every_measure_is_tested_here():
    assert list(dict.fromkeys(spec.partition(":")[0] for spec in EVERY)) == [
        n for n in measures.names() if n not in MAPS
    ]


@pytest.mark.parametrize("spec", EVERY)
def test_the_batch_size_the_order_and_the_threads_do_not_matter(digits, shuffled, spec):
    model, images = digits
    expected = measures.compute(spec, model, images)
    assert_same(measures.compute(spec, model, images, batch=7), expected)
    assert_same(measures.compute(spec, model, shuffled(images)), expected)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert_same(measures.compute(spec, model, images), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory, imagenet_folder):
    """A network for three classes of pictures, and the pictures as a set that stays on disk."""
    net = models.build("resnet8", 3, 3)
    nn.init.normal_(net.head.weight, std=9, generator=torch.Generator().manual_seed(0))
    model = models.Classifier(net, torch.full((3,), 0.4), torch.full((3,), 0.3)).eval()
    place = imagenet_folder(tmp_path_factory.mktemp("pictures"), train=1, val=4, classes=3)
    return model, data.load(f"folder:{place}?size=16&stream=1", "test")


@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize("size", [None, 7])
def test_a_streamed_set_is_measured_as_the_same_images_in_memory(streamed, monkeypatch, spec, size):
    monkeypatch.setenv("SPECFREQ_WORKERS", "0")
    model, images = streamed
    images = images if size is None else images.subset(size)
    (pixels,) = images.batches([torch.arange(len(images))])
    in_memory = ImageSet(pixels, images.labels, images.classes, images.name)
    assert_same(measures.compute(spec, model, images, batch=5), measures.compute(spec, model, in_memory))


@pytest.mark.parametrize("spec", EVERY)
def test_results_are_json_whatever_classes_are_empty(digits, spec):
    model, images = digits
    for kept in (images.labels == 3, images.labels < 2, torch.arange(len(images)) == 0):
        few = ImageSet(images.images[kept], images.labels[kept], images.classes, images.name)
        result = measures.compute(spec, model, few)
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert result["images"] == kept.sum()


@pytest.mark.parametrize("spec", EVERY)
def test_a_network_of_other_classes_is_refused(digits, spec):
    model, images = digits
    fewer = ImageSet(images.images, images.labels % 7, images.classes[:7], images.name)
    with pytest.raises(UserError, match="the classifier knows 10 classes, digits has 7"):
        measures.compute(spec, model, fewer)


@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused(known, spec, value, monkeypatch):
    # ours are one pixel
    monkeypatch.setattr("specfreq.measures.corruption.refuse_images", lambda shape: None)
    logits = torch.zeros(6, 3)
    logits[4, 1] = value
    with pytest.raises(UserError, match="NaN or infinity"):
        measures.compute(spec, *known(logits, [0, 1, 2, 0, 1, 2], torch.eye(3)))


@pytest.mark.parametrize("spec", EVERY)
def test_no_images_are_refused(digits, spec):
    model, images = digits
    with pytest.raises(UserError, match="digits has no images"):
        measures.compute(
            spec, model, ImageSet(images.images[:0], images.labels[:0], images.classes, images.name)
        )


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        ("accuracy", "accuracy"),
        (" calibration: per_bin = 100", "calibration"),
        ("calibration:per_bin=50,bins=15", "calibration:per_bin=50"),
        ("calibration:as_published=true", "calibration:as_published=True"),
        ("band-accuracy:step=2,size=500", "band-accuracy:size=500,step=2"),
        ("band-accuracy:level=set", "band-accuracy"),
        ("fourier-heatmap:seed=0,norm=2.0,as_published=yes", "fourier-heatmap:as_published=True,norm=2"),
        (
            "amplitude-phase-swap:clip=0,channels=1,other=svhn",
            "amplitude-phase-swap:channels=True,other=svhn",
        ),
        (
            "corruption:corruptions=snow+fog+snow,severities=3+1",
            "corruption:corruptions=snow+fog,severities=1+3",
        ),
        ("corruption:corruptions=extra+common,severities=5+4+3+2+1,seed=0", "corruption:corruptions=all"),
        ("feature-discrimination:radii=4.0+8+12.5", "feature-discrimination:radii=4+8+12.5"),
        ('feature-discrimination:radii="4.0"+8', "feature-discrimination:radii=4+8"),
        ('corruption:corruptions="snow"+fog,severities="3"', "corruption:corruptions=snow+fog,severities=3"),
        ('adversarial:attacks="fgsm"+pgd,curve="2"+4', "adversarial:attacks=fgsm+pgd,curve=2+4"),
    ],
)
def test_descriptions_have_one_spelling(spec, form):
    assert measures.normal_form(spec) == form
    assert measures.normal_form(form) == form


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("acuracy", "unknown measure 'acuracy'; did you mean 'accuracy'"),
        ("band_acuracy", "did you mean 'band-accuracy'"),
        ("accuracy:batch=7", "unknown parameter 'batch' for measure accuracy"),
        ("nll:precision=bfloat16", "unknown parameter 'precision' for measure nll"),
        ("calibration:perbin=7", "did you mean 'per_bin'"),
        ("calibration:bins=0", "bins=0 is refused"),
        ("calibration:per_bin=2.5", r"per_bin=2\.5 is refused"),
        ("band-accuracy:step=0", "step=0 is refused"),
        ("band-accuracy:level=mean", "level=mean is refused"),
        ("band-accuracy:size=-1", "size=-1 is refused"),
        ("fourier-heatmap:norm=-1", "norm=-1 is refused"),
        ("fourier-heatmap:norm=inf", "norm=inf is refused"),
        ("fourier-heatmap:step=0", "step=0 is refused"),
        ("fourier-heatmap:extent=-1", "extent=-1 is refused"),
        ("fourier-heatmap:radius=3", "unknown parameter 'radius' for measure fourier-heatmap"),
        ("amplitude-phase-swap:clip=maybe", "clip=maybe is refused"),
        ("corruption:corruptions=fogg", "unknown corruption 'fogg'; did you mean 'fog'"),
        ("corruption:severities=0", "severities=0 is refused"),
        ("corruption:severities=", "severities= is refused"),
        ('corruption:severities="1+3"', r'severities="1\+3" is refused'),
        ('corruption:severities="1', 'severities="1 is refused: cannot read "1; write it as'),
        ("corruption:source=publishd", "source=publishd is refused"),
        ("corruption:recipe=cifar", "recipe=cifar is refused"),
        ("corruption:seed=-1", "seed=-1 is refused"),
        ("feature-discrimination:radii=4+x", r"radii=4\+x is refused"),
        ("feature-discrimination:radii=", "radii= is refused"),
        ("feature-discrimination:radii=0", "radii=0 is refused"),
        ("feature-discrimination:radii=inf", "radii=inf is refused"),
    ],
)
def test_descriptions_that_cannot_be_meant_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        measures.check(spec)


def test_options_by_name_are_those_of_the_description(digits):
    model, images = digits
    assert measures.compute("calibration", model, images, per_bin=20) == measures.compute(
        "calibration:per_bin=20", model, images
    )
    views = measures.compute("feature-discrimination", model, images, radii=[1, 2.5])
    assert views == measures.compute("feature-discrimination:radii=1+2.5", model, images)
    with pytest.raises(UserError, match="per_bin=0 is refused"):
        measures.compute("calibration", model, images, per_bin=0)
    with pytest.raises(UserError, match="did you mean 'per_bin'"):
        measures.compute("calibration", model, images, perbin=3)


class Says(nn.Module):
    """A network that answers with something made of its logits."""

    def __init__(self, net, answer):
        super().__init__()
        self.net, self.answer = net, answer

    def forward(self, images):
        return self.answer(self.net(images))


Parts = namedtuple("Parts", ["logits", "auxiliary"])


@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (
            lambda z: (z, z),
            "answers with tuple; it must answer with logits, a floating-point tensor .N, 10.: wrap",
        ),
        (lambda z: Parts(z, None), "answers with Parts; .* that part alone of logits, auxiliary"),
        (
            lambda z: OrderedDict(loss=z, logits=z),
            "answers with OrderedDict; .* that part alone of loss, logits",
        ),
        (lambda z: None, "answers with NoneType; it must answer with logits"),
        (lambda z: z.argmax(1), r"answers with torch\.int64 values; it must answer with logits"),
        (lambda z: z[:, 0], r"answers \d+ images with \(\d+,\) values; it must"),
        (lambda z: z[..., None, None], r"answers \d+ images with \(\d+, 10, 1, 1\) values; it must"),
        (lambda z: z[:1], r"answers \d+ images with \(1, 10\) values; it must"),
        (lambda z: z[:, 1:], "knows 9 classes, digits has 10"),
    ],
)
def test_an_answer_that_is_not_logits_is_refused_by_every_measure(digits, spec, answer, complaint):
    model, images = digits
    network = Says(copy.deepcopy(model), answer).train()
    with pytest.raises(UserError, match=f"the classifier {complaint}"):
        measures.compute(spec, network, images.subset(20))
    assert network.training and not network._forward_hooks
