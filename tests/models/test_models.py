"""Networks: sizes as published, seeds, agreement with independent implementations, and what they refuse."""

import functools
import hashlib
import math
import runpy
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from specfreq import models
from specfreq.core.errors import UserError
from specfreq.models import imagenet
from specfreq.models.densenet import DenseNet
from specfreq.models.preact import PreActBlock, WideResNet
from specfreq.models.resnet import Block, Bottleneck, CifarResNet, ResNeXt29

# one network of each class
OURS = ["resnet8", "resnet18", "preact-resnet18", "wrn-40-2", "allconv", "densenet40-12", "resnext29"]
EACH = [*OURS, "densenet121", "resnet50", "airbench"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@functools.cache
def _built(spec):
    return models.build(spec, classes=7, channels=2)


@pytest.fixture
def net(name):
    """The network of that name for 2 channels and 7 classes, built once: no test below changes its
    parameters.
    """
    yield _built(name).eval()
    _built(name).zero_grad()


def count(build, *args, **options):
    """Parameters of a network that is never drawn."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(*args, **options).parameters())


def weights(build, *args, **options):
    """Parameters of convolutions and linear layers alone."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(*args, **options).parameters() if p.ndim > 1) + 10


def millions(total, like):
    """A count in millions, to as many digits as a published one."""
    return f"{total / 1e6:.{len(like.partition('.')[2])}f}"


def smallest(name):
    """The smallest side that check accepts."""
    for side in range(1, 100):
        try:
            models.check(name, (3, side, side + 50))
        except UserError:
            continue
        return side


# ---- sizes


def cifar_resnet(n):
    """Parameters of a ResNet-(6n+2), option A: convolutions, two for each normalised channel, linear layer."""
    convolutions = 9 * (
        3 * 16 + 16 * 16 * 2 * n + 16 * 32 + 32 * 32 * (2 * n - 1) + 32 * 64 + 64 * 64 * (2 * n - 1)
    )
    return convolutions + 2 * (16 * (2 * n + 1) + 32 * 2 * n + 64 * 2 * n) + 64 * 10 + 10


def resnet18():
    """Four stages of four convolutions, a projection where a stage widens, normalisation behind each
    convolution.
    """
    total = 9 * 3 * 64 + 2 * 64
    for inputs, width in ((64, 64), (64, 128), (128, 256), (256, 512)):
        total += 9 * width * (inputs + 3 * width) + 4 * 2 * width
        total += (inputs * width + 2 * width) * (inputs != width)
    return total + 512 * 10 + 10


def preact(stem, widths, n):
    """Stages of n blocks; each normalises its input and its middle; bare projections where a stage widens."""
    total = 9 * 3 * stem
    for inputs, width in zip((stem, *widths), widths, strict=False):
        total += 9 * width * (inputs + (2 * n - 1) * width) + 2 * (inputs + (2 * n - 1) * width)
        total += inputs * width * (inputs != width)
    return total + 2 * widths[-1] + widths[-1] * 10 + 10


def densenet(n, k, width):
    """Three blocks of n layers; k new channels from each, all of them normalised again by every later layer."""
    total = 9 * 3 * width
    for block in range(3):
        total += sum(9 * k * (width + i * k) + 2 * (width + i * k) for i in range(n))
        width += n * k
        total += (width * width + 2 * width) * (block < 2)
    return total + 2 * width + width * 10 + 10


def resnext(groups, width):
    """Three stages of three bottlenecks, and a projection in the first of each."""
    total, inputs = 9 * 3 * 64 + 2 * 64, 64
    for stage, outputs in enumerate((256, 512, 1024)):
        inner = groups * width * 2**stage
        for _ in range(3):
            total += (
                inputs * inner + 9 * inner * inner // groups + inner * outputs + 2 * (2 * inner + outputs)
            )
            total += (inputs * outputs + 2 * outputs) * (inputs != outputs)
            inputs = outputs
    return total + 1024 * 10 + 10


ALLCONV = (
    9 * (3 * 96 + 2 * 96 * 96 + 96 * 192 + 3 * 192 * 192)
    + 2 * 192 * 192
    + 2 * (3 * 96 + 6 * 192)
    + 192 * 10
    + 10
)


@pytest.mark.parametrize(
    ("name", "formula", "published"),
    [
        ("resnet8", cifar_resnet(1), None),
        ("resnet20", cifar_resnet(3), "0.27"),  # He et al. 2016, table 6
        ("resnet56", cifar_resnet(9), "0.85"),
        ("resnet18", resnet18(), "11.17"),
        ("preact-resnet18", preact(64, (64, 128, 256, 512), 2), "11.17"),
        ("wrn-40-2", preact(16, (32, 64, 128), 6), "2.2"),  # Zagoruyko & Komodakis 2016
        ("wrn-28-10", preact(16, (160, 320, 640), 4), "36.5"),
        ("allconv", ALLCONV, "1.4"),
        ("allconv:as_published=1", ALLCONV, "1.4"),
        ("densenet40-12", densenet(12, 12, 16), "1.0"),  # Huang et al. 2017, table 2
        ("densenet40-12:as_published=1", densenet(12, 12, 24), None),
        ("resnext29", resnext(4, 32), None),
    ],
)
def test_networks_have_the_size_of_their_formula_and_the_published_one(name, formula, published):
    total = count(models.build, name, 10)
    assert total == formula
    assert published is None or millions(total, published) == published


@pytest.mark.parametrize(("name", "published"), [("densenet121", 7_978_856), ("resnet50", 25_557_032)])
def test_torchvisions_networks_keep_their_size_at_1000_classes(name, published):
    assert count(models.build, name, 1000) == published


@pytest.mark.parametrize(
    ("network", "published"),  # millions: whole tables, so that no agreement is by chance
    [
        (partial(CifarResNet, n), m)
        for n, m in ((3, "0.27"), (5, "0.46"), (7, "0.66"), (9, "0.85"), (18, "1.7"))
    ]
    + [(partial(WideResNet, 40, k), m) for k, m in ((1, "0.6"), (2, "2.2"), (4, "8.9"), (8, "35.7"))]
    + [(partial(WideResNet, 28, k), m) for k, m in ((10, "36.5"), (12, "52.5"))]
    + [(partial(WideResNet, 22, k), m) for k, m in ((8, "17.2"), (10, "26.8"))]
    + [(partial(WideResNet, 16, k), m) for k, m in ((8, "11.0"), (10, "17.1"))]
    + [(partial(DenseNet, *p), m) for p, m in (((40, 12), "1.0"), ((100, 12), "7.0"), ((100, 24), "27.2"))],
)
def test_families_grow_as_published(network, published):
    assert millions(count(network, 10), published) == published


@pytest.mark.parametrize(("groups", "published"), [(8, "34.4"), (16, "68.1")])
# Xie et al. 2017: normalisation not counted
def test_resnext_has_the_published_number_of_weights(groups, published):
    assert millions(weights(ResNeXt29, 10, cardinality=groups, width=64), published) == published


# ---- weights


@pytest.mark.parametrize(
    ("name", "pinned"),
    [
        ("resnet8", (0.0371941477, -0.0724400878, 0.0635998324, 0.0042375326, 0.1036755145)),
        ("resnet20", (-0.1106791347, -0.0467649400, -0.0066865934, 0.1109666377, -0.0064961314)),
        ("resnet18", (-0.0502788983, 0.0809424147, 0.0072854515, 0.0010148012, 0.0425908007)),
    ],
)
def test_seed_0_draws_the_weights_of_the_published_records(name, pinned):
    net = models.build(name, 10)
    first, second = net.stem.weight.flatten()[:2]
    drawn = torch.stack(
        [first, second, net.blocks[-1].conv2.weight.flatten()[-2], net.head.weight[0, 0], net.head.bias[-2]]
    )
    assert_close(drawn, torch.tensor(pinned))


@pytest.mark.parametrize(
    ("name", "digest"),
    [("resnet8", "a2dfc5dcffb63949"), ("resnet20", "f7ec490890e7a4ef"), ("resnet18", "e95a01a8a2f83b7b")],
)
def test_tensors_keep_the_names_under_which_published_weights_are_stored(name, digest):
    with torch.device("meta"):
        names = list(models.build(name, 10).state_dict())
    assert hashlib.sha256(" ".join(names).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", EACH)
def test_the_seed_alone_decides_the_weights(name, net):
    torch.manual_seed(1)  # `net` was drawn under another global seed
    before = torch.get_rng_state()
    again = models.build(name, 7, 2).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    parameters = dict(net.named_parameters())
    for key, p in parameters.items():
        assert torch.equal(p, again[key])


def test_another_seed_draws_other_weights():
    a, b = (models.build("resnet8", 10, seed=seed) for seed in (3, 4))
    assert not torch.equal(a.stem.weight, b.stem.weight)
    assert not torch.equal(a.head.weight, b.head.weight)


@pytest.mark.parametrize("name", OURS)
def test_convolutions_start_with_he_scale(name, net):
    for m in net.modules():
        if isinstance(m, nn.Conv2d) and m.weight.numel() > 10_000:
            assert_close(
                m.weight.std() * math.sqrt(m.out_channels * m.weight[0, 0].numel() / 2),
                torch.tensor(1.0),
                atol=0.04,
                rtol=0,
            )


# ---- the interface


@pytest.mark.parametrize("name", models.names())
def test_logits_are_the_head_of_the_features(name, net):
    side = smallest(name)
    images = torch.rand(3, 2, side + 1, side + 4)
    features = net.features(images)
    assert isinstance(net.head, nn.Linear)
    assert features.shape == (3, net.head.in_features)
    assert torch.equal(net(images), net.head(features))
    assert net(images).shape == (3, 7)


@pytest.mark.parametrize("name", EACH)
def test_a_training_step_reaches_every_parameter(name, net):
    side = smallest(name)
    images = torch.rand(8, 2, side + 5, side + 2)
    F.cross_entropy(net.train()(images), torch.arange(8) % 7).backward()
    for key, p in net.named_parameters():
        if not p.requires_grad:
            continue
        assert p.grad is not None, key
        assert p.grad.isfinite().all(), key
        assert p.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", EACH)
def test_the_layout_in_memory_does_not_matter(name, net):
    side = smallest(name)
    images = torch.rand(2, 2, side, side + 3)
    expected = net(images)
    other = net.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    net.to(memory_format=torch.contiguous_format)
    assert_close(other, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", EACH)
def test_only_dropout_draws_from_the_global_stream(name, net):
    images = torch.rand(2, 2, smallest(name) + 4, smallest(name) + 4)
    before = torch.get_rng_state()
    net(images)
    assert torch.equal(before, torch.get_rng_state())
    net.train()(images)
    assert torch.equal(before, torch.get_rng_state()) == (name != "allconv")


@pytest.mark.parametrize("name", ["allconv", "wrn-40-2:dropout=0.3"])
def test_masks_of_dropout_repeat_with_the_global_seed(name, net):
    images = torch.rand(2, 2, 16, 16)
    outputs = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        outputs.append(net.train()(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])


@pytest.mark.parametrize("name", OURS)
def test_without_batch_statistics_an_image_is_alone_in_training_too(name):
    net = models.build(f"{name}:norm=group{',dropout=0' * (name == 'allconv')}", 7, 2).train()
    assert list(net.buffers()) == []
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in _built(name).parameters())
    images = torch.rand(3, 2, 13, 14)
    assert_close(net(images)[:1], net(images[:1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [f"{name}:norm=group" for name in OURS])
def test_groups_have_four_to_eight_channels(name):
    with torch.device("meta"):
        norms = [m for m in models.build(name, 10).modules() if isinstance(m, nn.GroupNorm)]
    assert norms
    assert {4 <= m.num_channels / m.num_groups <= 8 for m in norms} == {True}


def test_a_network_compiles_without_a_break():
    net, images = _built("resnet8").eval(), torch.rand(2, 2, 9, 8)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    assert_close(compiled(images), net(images))


# ---- independent implementations


def lend(weights_of, to):
    """Give a network the parameters and buffers of another one, in order; their norms are made to matter
    first.
    """
    source = weights_of.state_dict()
    for value in source.values():
        if value.ndim == 1:
            value.uniform_(0.5, 1.5)
    to.load_state_dict(dict(zip(to.state_dict(), source.values(), strict=True)))


@pytest.mark.parametrize("training", [False, True])
def test_resnet18_is_torchvisions_behind_another_stem(training):
    from torchvision.models import resnet18

    theirs, ours = resnet18(num_classes=7), models.build("resnet18", 7, 2)
    theirs.conv1, theirs.maxpool = nn.Conv2d(2, 64, 3, 1, 1, bias=False), nn.Identity()
    lend(theirs, to=ours)
    images = torch.rand(4, 2, 12, 9)
    assert_close(ours.train(training)(images), theirs.train(training)(images))


@pytest.mark.parametrize(("inputs", "stride"), [(256, 1), (64, 1), (128, 2)])
def test_the_bottleneck_of_resnext_is_torchvisions(inputs, stride):
    from torchvision.models.resnet import Bottleneck as Theirs

    ours = Bottleneck(inputs, 256, stride, inner=128, groups=4)
    projection = nn.Sequential(nn.Conv2d(inputs, 256, 1, stride, bias=False), nn.BatchNorm2d(256))
    theirs = Theirs(inputs, 64, stride, projection if inputs != 256 else None, groups=4, base_width=32)
    lend(theirs, to=ours)
    images = torch.rand(2, inputs, 6, 5)
    assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("name", ["densenet121", "resnet50"])
def test_networks_for_large_images_are_torchvisions_bit_for_bit(name):
    from torchvision import models as theirs

    torch.manual_seed(3)
    expected, ours = getattr(theirs, name)(num_classes=7).eval(), models.build(name, 7, seed=3).eval()
    images = torch.rand(2, 3, 40, 33)
    assert torch.equal(ours(images), expected(images))


@pytest.mark.parametrize(("name", "fan"), [("densenet121", 2 * 49), ("resnet50", 64 * 49)])
def test_another_number_of_channels_starts_with_torchvisions_scale(name, fan, net):
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    assert first.in_channels == 2
    assert_close(first.weight.std(), torch.tensor(math.sqrt(2 / fan)), rtol=0.05, atol=0)


def test_torchvision_is_imported_only_when_one_of_its_networks_is_built(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # from here on its import fails
    module = runpy.run_path(imagenet.__file__)
    with pytest.raises(ImportError):
        module["Torchvision"]("resnet50", 10)


@pytest.mark.parametrize(("outputs", "stride"), [(6, 1), (8, 2)])
def test_a_preactivated_block_is_its_formula(outputs, stride):
    block = PreActBlock(6, outputs, stride).eval()
    for m in (block.norm1, block.norm2):
        nn.init.uniform_(m.weight, -1, 1)
        nn.init.uniform_(m.bias, -1, 1)
    x = torch.randn(2, 6, 7, 6)
    first = block.norm1(x).relu()
    inner = F.conv2d(first, block.conv1.weight, stride=stride, padding=1)
    residual = F.conv2d(block.norm2(inner).relu(), block.conv2.weight, padding=1)
    assert_close(
        block(x), residual + (x if stride == 1 else F.conv2d(first, block.shortcut.weight, stride=2))
    )


def test_the_shortcut_of_option_a_is_the_subsampled_input():
    block = Block(4, 8, stride=2, projection=False).eval()
    nn.init.zeros_(block.norm2.weight)  # the residual branch vanishes
    x = torch.rand(1, 4, 6, 6)
    out = block(x)
    assert_close(out[:, 2:6], x[..., ::2, ::2])
    assert out[:, :2].abs().max() == 0 and out[:, 6:].abs().max() == 0


@pytest.mark.parametrize("name", ["densenet40-12"])
def test_every_layer_of_a_densenet_hands_its_input_on(name, net):
    x = net.stem(torch.rand(1, 2, 8, 8))
    for layer in net.layers[:12]:
        y = layer(x)
        assert torch.equal(y[:, :-12], x)
        x = y
    assert x.shape == (1, 16 + 12 * 12, 8, 8)


def test_allconv_as_published_is_the_layer_list_of_the_program():
    def step(inputs, outputs, size, padding):
        return [
            nn.Conv2d(inputs, outputs, size, 1, padding, bias=False),
            nn.BatchNorm2d(outputs),
            Approximate(),
        ]

    class Approximate(nn.Module):
        def forward(self, x):
            return x / (1 + torch.exp(-1.702 * x))

    pool = [nn.MaxPool2d(2, 2), nn.Dropout(0.5)]
    theirs = nn.Sequential(
        *step(3, 96, 3, 1), *step(96, 96, 3, 1), *step(96, 96, 3, 1), *pool,
        *step(96, 192, 3, 1), *step(192, 192, 3, 1), *step(192, 192, 3, 1), *pool,
        *step(192, 192, 3, 0), *step(192, 192, 1, 1), *step(192, 192, 1, 1), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(192, 10),
    )  # fmt: skip
    ours = models.build("allconv:as_published=1", 10)
    lend(theirs, to=ours)
    images = torch.rand(2, 3, 32, 32)
    assert_close(ours.eval()(images), theirs.eval()(images))
    assert not torch.allclose(
        models.build("allconv", 10).eval()(images), models.build("allconv:as_published=1", 10).eval()(images)
    )


# ---- the classifier


def test_a_classifier_normalises_by_its_own_statistics():
    images = torch.rand(50, 3, 8, 8)
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3), correction=0)
    seen = models.Classifier(nn.Identity(), mean, std)(images)
    assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert_close(seen.std((0, 2, 3), correction=0), torch.ones(3))


def test_a_classifier_has_the_features_of_its_network_behind_filter_and_normalisation():
    net, images = _built("resnet8").eval(), torch.rand(3, 2, 8, 8)
    model = models.Classifier(net, torch.tensor([0.5, 0.25]), torch.tensor([0.25, 0.5]), nn.AvgPool2d(2))
    by_hand = (F.avg_pool2d(images, 2) - torch.tensor([0.5, 0.25])[:, None, None]) / torch.tensor(
        [0.25, 0.5]
    )[:, None, None]
    assert_close(model.features(images), net.features(by_hand))
    assert_close(model(images), net.head(model.features(images)))


# ---- descriptions, and what is refused


@pytest.mark.parametrize(
    ("spec", "normal"),
    [
        ("resnet8", "resnet8"),
        (" resnet8: norm=batch ", "resnet8"),
        ("resnet20:norm=group", "resnet20:norm=group"),
        ("wrn-40-2:norm=group,dropout=0.30", "wrn-40-2:dropout=0.3,norm=group"),
        ("wrn-40-2:dropout=0.0", "wrn-40-2"),
        ("allconv:dropout=0", "allconv:dropout=0"),
        ("allconv:as_published=no,dropout=.5", "allconv"),
        ("resnext29:width=64,cardinality=8", "resnext29:cardinality=8,width=64"),
        ("resnet50", "resnet50"),
    ],
)
def test_a_description_has_one_spelling(spec, normal):
    assert models.normal_form(spec) == normal
    assert models.normal_form(normal) == normal


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnt20", "unknown model 'resnt20'; did you mean 'resnet20'"),
        ("wrn-28-1", "unknown model 'wrn-28-1'; did you mean 'wrn-28-10'"),
        ("resnet20:nrom=group", "unknown parameter 'nrom' for model resnet20; did you mean 'norm'"),
        ("resnet50:norm=group", "unknown parameter 'norm' for model resnet50"),
        ("resnet20:classes=5", "unknown parameter 'classes' for model resnet20"),
        ("resnet20:norm=layer", "model resnet20: norm=layer is refused"),
        ("wrn-40-2:dropout=1", "model wrn-40-2: dropout=1 is refused"),
        ("wrn-40-2:dropout=nan", "model wrn-40-2: dropout=nan is refused"),
        ("resnext29:cardinality=0", "model resnext29: cardinality=0 is refused"),
        ("resnet20:norm", "cannot read 'norm'"),
    ],
)
@pytest.mark.parametrize("use", [models.check, models.normal_form, partial(models.build, classes=10)])
def test_unknown_names_and_impossible_options_are_refused(use, spec, message):
    with pytest.raises(UserError, match=message):
        use(spec)


@pytest.mark.parametrize(("classes", "channels"), [(1, 3), (10, 0)])
def test_impossible_networks_are_refused(classes, channels):
    with pytest.raises(UserError, match="at least 2 classes and 1 channel"):
        models.build("resnet8", classes, channels)


def sides(net, side):
    """Run an image of that side through a network: the sides of what each halving layer saw."""
    seen = []
    hooks = [
        m.register_forward_pre_hook(lambda _, inputs: seen.append(min(inputs[0].shape[-2:])))
        for m in net.modules()
        if getattr(m, "stride", 1) in (2, (2, 2)) and not isinstance(m, (Block, Bottleneck))
    ]
    try:
        with torch.no_grad():
            net(torch.rand(1, 2, side + 3, side))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@pytest.mark.parametrize("name", models.names())
def test_the_smallest_image_is_the_last_that_every_layer_can_digest(name, net):
    least = smallest(name)
    assert min(sides(net, least), default=least) >= 2
    try:
        below = sides(net, least - 1)
    except RuntimeError as error:
        assert "too small" in str(error) or "can't be greater than" in str(error)
    else:
        assert min(below) == 1


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 4, 32), (3, 32, 4)])
def test_images_too_small_for_the_network_are_refused(shape):
    with pytest.raises(UserError, match=f"resnet18 needs images of at least 5x5, not {shape[1]}x{shape[2]}"):
        models.check("resnet18:norm=group", shape)


@pytest.mark.parametrize(
    "spec", ["resnext29:width=1000000", "resnext29:cardinality=1000000000", "resnext29:width=100000000000"]
)
def test_a_network_that_memory_cannot_hold_is_refused_by_arithmetic(spec):
    with pytest.raises(
        UserError, match=r"resnext29:cardinality=\d+,width=\d+ would take .* GB, more than half of the memory"
    ):
        models.build(spec, 10)


def test_the_weights_of_resnext_are_those_that_memory_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr("specfreq.models.resnet.check_memory", lambda needed, *_: asked.append(needed))
    for spec in ("resnext29", "resnext29:width=64,cardinality=2"):
        size = sum(4 * p.numel() for p in models.build(spec, 10).parameters())
        assert 0.8 * size < asked.pop() < 1.2 * size
