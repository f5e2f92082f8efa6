"""Maps and boxes: the truth where it is known, chance where nothing is, the same for any batch and order."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import specfreq
from specfreq import Experiment, ImageSet, data, measures, models
from specfreq.core.errors import UserError
from specfreq.core.randomness import keyed
from specfreq.measures import gradcam, localisation
from specfreq.models import Classifier


class Sees(nn.Module):
    """Class 1 is brightness, class 0 darkness: the maps are the image and what it lacks."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Identity()
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight = nn.Parameter(torch.eye(2).flip(0))

    def forward(self, x):
        return self.head(self.maps(torch.cat([x, 1 - x], 1)).mean((-2, -1)))


def squares(count=40, side=16, dark=False):
    """A bright square of its own place and size in each dark image; or the other way round."""
    g = keyed("squares")
    images = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    low = torch.randint(0, side // 2, (count, 2), generator=g)
    boxes = torch.cat([low, low + torch.randint(1, side // 2, (count, 2), generator=g)], 1)
    for image, (left, top, right, bottom) in zip(images, boxes, strict=True):
        image[:, top:bottom, left:right] = 255
    labels = torch.full((count,), 0 if dark else 1)
    return ImageSet(255 - images if dark else images, labels, ("dark", "bright"), "squares", boxes)


@pytest.mark.parametrize("dark", [False, True])
def test_a_network_that_sees_the_object_alone_is_found_out(dark):
    found = measures.compute("localisation", Sees(), squares(dark=dark))
    assert [found[name] for name in localisation.SCORES] == pytest.approx([100.0] * 4)
    assert (found["images"], found["empty"]) == (40, 0)


def test_a_network_that_sees_all_but_the_object_scores_zero():
    images = squares()
    wrong = ImageSet(images.images, 1 - images.labels, images.classes, images.name, images.boxes)
    found = measures.compute("localisation", Sees(), wrong)
    assert (found["pointing"], found["energy"], found["iou"]) == (0, 0, 0)
    assert found["area_iou"] < 20  # a box of more than half of the image must be met


def brute(map, box, threshold):
    """The scores of one map, pixel by pixel; of maps whose values all differ."""
    height, width = map.shape
    left, top, right, bottom = box.tolist()
    pixels = [(y, x) for y in range(height) for x in range(width)]
    within = {(y, x) for y, x in pixels if top <= y < bottom and left <= x < right}
    value = {place: float(map[place]) for place in pixels}
    ordered = sorted(pixels, key=value.__getitem__, reverse=True)
    region = {p for p in pixels if value[p] >= threshold * value[ordered[0]]}
    largest = set(ordered[: len(within)])
    return {
        "pointing": float(ordered[0] in within),
        "energy": sum(value[p] for p in within) / sum(value.values()),
        "iou": len(region & within) / len(region | within),
        "area_iou": len(largest & within) / len(largest | within),
    }


def test_the_scores_are_those_of_the_formulas():
    g = keyed("brute")
    maps = torch.rand(30, 9, 7, generator=g)
    low = torch.stack([torch.randint(0, n - 1, (30,), generator=g) for n in (7, 9)], 1)
    boxes = torch.cat(
        [low, torch.minimum(low + 1 + torch.randint(0, 5, (30, 2), generator=g), torch.tensor([7, 9]))], 1
    )
    found = localisation.scores(maps, boxes, 0.6)
    for place in range(30):
        for name, value in brute(maps[place], boxes[place], 0.6).items():
            assert float(found[name][place]) == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_constant_map_scores_what_chance_gives(level):
    boxes = torch.tensor([[0, 0, 4, 2], [3, 1, 8, 8]])
    share = torch.tensor([8, 35], dtype=torch.float64) / 64
    found = localisation.scores(torch.full((2, 8, 8), level), boxes)
    for name in ("pointing", "energy", "iou"):
        assert_close(found[name], share)
    assert_close(found["area_iou"], share / (2 - share))


def test_random_maps_score_at_chance_wherever_the_box_is():
    images = torch.randint(0, 256, (1500, 1, 24, 20), generator=keyed("images"), dtype=torch.uint8)
    maps = localisation.noise(images)
    for box in ([0, 0, 5, 8], [8, 9, 13, 17], [2, 0, 20, 24]):
        found = localisation.scores(maps, torch.tensor([box]).expand(1500, 4))
        share = (box[2] - box[0]) * (box[3] - box[1]) / 480
        for name in ("pointing", "energy"):
            error = float(found[name].std()) / 1500**0.5
            assert abs(float(found[name].mean()) - share) < 4 * error


def test_chance_is_what_the_measure_says_it_is():
    images = squares(400)
    found, each = measures.computed("localisation:maps=noise", Sees(), images)
    for name in ("pointing", "energy"):
        error = float(each[name].std()) / 20
        assert abs(found[name] - found["chance"]) < 4 * error
        assert float(each[name].mean()) == pytest.approx(found[name])
    assert found["chance"] == pytest.approx(
        100 * float(localisation.inside(images.boxes, 16, 16).double().mean())
    )


def test_a_bell_about_the_middle_is_symmetric_and_points_there():
    bell = localisation.centre(1, 8, 6)[0]
    assert_close(bell, bell.flip(0))
    assert_close(bell, bell.flip(1))
    assert bell.argmax() in (3 * 6 + 2, 3 * 6 + 3, 4 * 6 + 2, 4 * 6 + 3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that knows planted evidence, and the images with boxes."""
    name = "planted:boxes=1,classes=2,count=1000,evidence=amplitude"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        recipe = {"epochs": 6, "batch": 50, "shift": 0, "flip": False, "test_size": 150, "model": "resnet8"}
        run = specfreq.run(Experiment(data=name, **recipe), [])
        yield run.classifier(), run.image_set("test")


def test_a_trained_network_looks_where_the_evidence_was_planted(trained):
    found = measures.compute("localisation", *trained)
    assert found["accuracy"] > 70
    assert found["chance"] == 25  # half of each side
    assert found["pointing"] > 50
    assert found["energy"] > 1.5 * found["chance"]
    assert found["area_iou"] > 2 * found["area_chance"]


def test_a_bell_about_the_middle_scores_high_where_every_box_has_the_middle(trained):
    """A square of half the side always does: so a set says what its places give away."""
    middle = measures.compute("localisation:maps=centre", *trained)
    assert middle["pointing"] > 80 and middle["area_iou"] > 2 * middle["area_chance"]


def test_what_was_learned_is_gone_with_the_layers(trained):
    """Adebayo's check: maps of random networks neither localise nor resemble those of the trained one."""
    own = measures.compute("localisation:size=100", *trained)
    without = measures.compute("localisation:size=100,randomise=1", *trained)
    assert without["area_iou"] < 0.7 * own["area_iou"]
    found = measures.compute("cam-sanity:size=40,draws=2", *trained)
    assert found["layers"] == sorted(found["layers"]) and found["layers"][0] == 1
    assert max(map(abs, found["correlation"])) < 0.7
    assert json.loads(json.dumps(found)) == found


def test_a_map_that_shows_the_image_alone_fails_the_sanity_check(trained):
    """Of a layer that no class weighs, and no learned layer lies before, maps stay as they are."""

    class Edges(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.Identity()
            self.head = nn.Linear(1, 2)

        def forward(self, x):
            seen = self.maps(x.mean(1, keepdim=True)).mean((-2, -1))
            return seen * self.head.bias.exp()  # positive, whatever is drawn

    found = measures.compute("cam-sanity:size=20,draws=1", Edges(), trained[1])
    assert found["correlation"] == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("spec", ["localisation", "localisation:corruptions=fog+contrast,severities=2", "localisation:of=answer,maps=grad-cam", "localisation:maps=noise", "cam-sanity:draws=1,size=20", "cam-sanity:draws=2,shares=1"])  # fmt: skip
def test_batch_and_order_do_not_matter(trained, shuffled, spec):
    model, images = trained
    images = images.subset(20)
    order = torch.randperm(20, generator=keyed("order"))
    other = ImageSet(
        images.images[order], images.labels[order], images.classes, images.name, images.boxes[order]
    )
    expected = measures.compute(spec, model, images)
    for found in (measures.compute(spec, model, images, batch=7), measures.compute(spec, model, other)):
        for name, value in expected.items():
            assert found[name] == (
                pytest.approx(value, abs=0.05)
                if isinstance(value, float | list) and "corruptions" not in name
                else value
            ), name


def test_images_without_a_box_are_left_out():
    images = squares(20)
    boxes = images.boxes.clone()
    boxes[5:] = 0
    few = ImageSet(images.images, images.labels, images.classes, images.name, boxes)
    assert measures.compute("localisation", Sees(), few)["images"] == 5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("localisation:severities=3", "severities are those of corruptions"),
        ("localisation:maps=noise,of=answer", "asks no network"),
        ("localisation:layer=nosuch", "unknown layer 'nosuch'"),
        ("localisation:threshold=0", "threshold=0 is refused"),
        ("localisation:corruptions=fgo", "did you mean"),
        ("cam-sanity:shares=2", "shares=2 is refused"),
    ],
)
def test_options_that_cannot_be_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        measures.compute(spec, Sees(), squares(4, 32)) if measures.check(
            spec, squares(4, 32)
        ) is None else None


def test_sets_without_boxes_are_refused_before_anything_is_computed():
    with pytest.raises(UserError, match="those of digits have none"):
        measures.check("localisation", data.load("digits", "test", 20))


def test_networks_of_other_classes_and_without_numbers_are_refused(trained):
    images = squares(4)
    with pytest.raises(UserError, match="knows 2 classes, squares has 3"):
        measures.compute(
            "localisation", Sees(), ImageSet(images.images, images.labels, (*"abc",), "squares", images.boxes)
        )
    net = Sees()
    net.head.weight.data.fill_(float("nan"))
    for spec in ("localisation", "cam-sanity"):
        with pytest.raises(UserError, match="NaN or infinity"):
            measures.compute(spec, net, images)


# ---- Grad-CAM itself

SLOW = ("wrn-28-10", "resnet56", "resnext29")  # asked with colour alone


@pytest.mark.parametrize(
    ("name", "channels"),
    [(name, 3) for name in models.names()] + [(name, 1) for name in models.names() if name not in SLOW],
)
def test_grad_cam_is_the_class_activation_map_of_every_network(name, channels):
    """They average their last maps before a linear layer: then its weights are the gradients. airbench takes
    the maximum, whose gradient is the weight as well, over nine and at one place.
    """
    net = models.build(name, 3, channels, seed=1)
    model = Classifier(net, torch.full((channels,), 0.4), torch.full((channels,), 0.3)).eval()
    side = 64 if name in ("densenet121", "resnet50") else 20
    images = torch.rand(2, channels, side, side, generator=keyed("images"))
    classes = torch.tensor([2, 0])
    seen = []
    handle = net.maps.register_forward_hook(lambda _, given, out: seen.append(out.detach().clone()))
    with torch.no_grad():
        model(images)
    handle.remove()
    (last,) = seen
    weight = net.head.weight.detach()[classes] / (9 if name == "airbench" else 1)
    cam = torch.einsum("nk,nkhw->nhw", weight, last).clamp_min(0)[:, None] / last[0, 0].numel()
    wanted = F.interpolate(cam, (side, side), mode="bilinear")[:, 0]
    found = gradcam.maps(model, images, classes)
    assert found.shape == (2, side, side) and found.max() > 0
    assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))
    assert not model.training and all(p.grad is None for p in model.parameters())


def test_grad_cam_of_an_earlier_layer_is_that_of_the_paper(digits):
    """By the gradient of the formula, taken by hand."""
    model, images = digits
    layer = model.net.blocks[1]
    x, classes = images.images[:5].float() / 255, images.labels[:5]
    seen = []
    handle = layer.register_forward_hook(lambda _, given, out: seen.append(out.clone()) or seen[-1])
    logits = model(x)
    handle.remove()
    (slope,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), seen[0])
    cam = (slope.mean((-2, -1), keepdim=True) * seen[0]).sum(1, keepdim=True).clamp_min(0).detach()
    wanted = F.interpolate(cam, x.shape[-2:], mode="bilinear")[:, 0]
    assert_close(
        gradcam.maps(model, images.images[:5], classes, layer="net.blocks.1"), wanted, rtol=1e-3, atol=1e-6
    )


def test_the_layer_of_a_network_of_ones_own_is_named():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2))
    images, classes = torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 1])
    with pytest.raises(UserError, match=r"write layer=NAME, such as 0"):
        gradcam.maps(net, images, classes)
    assert gradcam.maps(net, images, classes, layer="1").shape == (3, 8, 8)
    with pytest.raises(UserError, match="not maps"):
        gradcam.maps(net, images, classes, layer="3")


def test_frozen_networks_have_maps_too(digits):
    model, images = digits
    before = gradcam.maps(model, images.images[:3], images.labels[:3])
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    try:
        assert_close(gradcam.maps(model, images.images[:3], images.labels[:3]), before)
    finally:
        for parameter in model.parameters():
            parameter.requires_grad_(True)


def test_random_layers_are_those_nearest_the_logits_and_the_model_stays(digits):
    model, _ = digits
    before = {name: value.clone() for name, value in model.state_dict().items()}
    last, count = gradcam.randomised(model, 0.01, seed=3)
    changed = {name for name, value in last.state_dict().items() if not torch.equal(value, before[name])}
    assert count == 1 and changed == {"net.head.weight", "net.head.bias"}
    every, count = gradcam.randomised(model, 1, seed=3)
    assert torch.equal(gradcam.randomised(model, 1, seed=3)[0].net.stem.weight, every.net.stem.weight)
    assert not torch.equal(every.net.stem.weight, before["net.stem.weight"])
    assert count == sum(isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear) for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_scaled_map_reaches_one_unless_it_is_empty():
    maps = gradcam.scaled(torch.stack([torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [2.0, 4.0]])]))
    assert maps.flatten(1).amax(1).tolist() == [0, 1]
    assert np.isfinite(maps.numpy()).all()
