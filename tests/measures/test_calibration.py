"""Calibration errors of classifiers whose confidence and accuracy are known."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from specfreq import ImageSet, measures
from specfreq.core.errors import UserError
from specfreq.corruptions import COMMON, corrupt
from specfreq.measures import compute
from specfreq.measures.calibration import _in_order

ERRORS = ["fixed_error", "fixed_rms", "fixed_max", "adaptive_error", "adaptive_rms", "adaptive_max"]
RELIABILITY = [
    f"{kind}_{what}" for kind in ("fixed", "adaptive") for what in ("accuracy", "confidence", "count")
]


def planted(confidence, right, classes=4):
    """Logits and labels of a classifier that says class 0 with this confidence, right where told so."""
    confidence = np.asarray(confidence)[:, None]
    others = np.repeat((1 - confidence) / (classes - 1), classes - 1, axis=1)
    return torch.from_numpy(np.log(np.hstack([confidence, others]))), 1 - torch.as_tensor(right).long()


def sloppy(count=1234, seed=0):
    """All confidences different, accuracy about their square."""
    random = np.random.RandomState(seed)
    confidence = random.uniform(0.26, 0.999, count)
    return confidence, random.uniform(size=count) < confidence**2


def by_loop(groups, confidence, right, total):
    """The three errors over groups of indices, in %, one image after another."""
    error = square = largest = 0.0
    for group in groups:
        if len(group):
            gap = abs(
                sum(confidence[i] for i in group) / len(group)
                - sum(bool(right[i]) for i in group) / len(group)
            )
            error, square, largest = (
                error + len(group) / total * gap,
                square + len(group) / total * gap**2,
                max(largest, gap),
            )
    return [100 * error, 100 * square**0.5, 100 * largest]


def test_fixed_bins_are_those_of_a_plain_loop(known):
    confidence, right = sloppy()
    groups = [[i for i, c in enumerate(confidence) if b / 10 <= c < (b + 1) / 10] for b in range(10)]
    result = compute("calibration:bins=10", *known(*planted(confidence, right)))
    assert [result[k] for k in ERRORS[:3]] == pytest.approx(
        by_loop(groups, confidence, right, 1234), rel=1e-6
    )
    assert result["fixed_count"] == [len(g) for g in groups]
    assert result["fixed_accuracy"][:2] == result["fixed_confidence"][:2] == [None, None]
    assert result["fixed_accuracy"][5:] == pytest.approx(
        [100 * np.mean(right[g]) for g in groups[5:]], rel=1e-12
    )
    assert result["fixed_confidence"][5:] == pytest.approx(
        [100 * np.mean(confidence[g]) for g in groups[5:]], rel=1e-6
    )


@pytest.mark.parametrize(("spec", "counted"), [("calibration", 12), ("calibration:as_published=true", 11)])
def test_adaptive_bins_are_those_of_a_plain_loop_and_the_last_takes_the_rest(known, spec, counted):
    confidence, right = sloppy()
    order = sorted(range(1234), key=lambda i: confidence[i])
    groups = [order[b * 100 : b * 100 + 100] for b in range(11)] + [order[1100:]]
    result = compute(spec, *known(*planted(confidence, right)))
    assert result["adaptive_count"] == [100] * 11 + [134]
    assert [result[k] for k in ERRORS[3:]] == pytest.approx(
        by_loop(groups[:counted], confidence, right, 1234), rel=1e-6
    )
    assert result["adaptive_confidence"] == pytest.approx(
        [100 * np.mean(confidence[g]) for g in groups], rel=1e-6
    )
    assert result["adaptive_accuracy"] == pytest.approx([100 * np.mean(right[g]) for g in groups], rel=1e-12)


def test_as_published_the_most_confident_answers_do_not_count(known):
    """A hundred doubtful answers, right as often as said; a hundred certain ones that are all wrong."""
    confidence, right = [0.5] * 100 + [0.99] * 100, [True, False] * 50 + [False] * 100
    model, images = known(*planted(confidence, right))
    assert compute("calibration", model, images)["adaptive_error"] == pytest.approx(49.5)
    assert compute("calibration:as_published=true", model, images)["adaptive_error"] == pytest.approx(
        0, abs=1e-5
    )
    assert compute("calibration:as_published=true,per_bin=500", model, images)["adaptive_error"] is None


def test_right_as_often_as_said_has_no_error(known):
    """60 % of the answers at 0.6 are right, 70 % of those at 0.7, and so on: exactly calibrated, with many
    ties.
    """
    confidence = np.repeat([0.6, 0.7, 0.8, 0.9], 50)
    right = np.concatenate([np.arange(50) < 50 * c - 1e-9 for c in (0.6, 0.7, 0.8, 0.9)])
    result = compute("calibration:bins=20,per_bin=7", *known(*planted(confidence, right)))
    assert [result[k] for k in (*ERRORS, "overconfidence")] == pytest.approx([0] * 7, abs=1e-5)
    assert (result["accuracy"], result["confidence"]) == pytest.approx((75, 75))


def test_right_by_chance_as_often_as_said_is_an_error_of_noise_alone(known):
    random = np.random.RandomState(1)
    confidence = random.uniform(0.3, 1, 40_000)
    result = compute(
        "calibration:per_bin=4000", *known(*planted(confidence, random.uniform(size=40_000) < confidence))
    )
    assert max(result[k] for k in ("fixed_error", "fixed_rms", "adaptive_error", "adaptive_rms")) < 1.5


@pytest.mark.parametrize("certainty", [0.55, 0.9, 1 - 1e-12])
def test_certain_and_always_wrong_errs_by_its_confidence(known, certainty):
    result = compute("calibration", *known(*planted([certainty] * 230, [False] * 230)))
    assert [result[k] for k in (*ERRORS, "overconfidence")] == pytest.approx([100 * certainty] * 7, rel=1e-6)


def test_doubting_and_always_right_is_underconfident(known):
    result = compute("calibration", *known(*planted([0.4] * 230, [True] * 230)))
    assert result["overconfidence"] == pytest.approx(-60)
    assert [result[k] for k in ERRORS] == pytest.approx([60] * 6)


def test_a_confidence_of_exactly_one_is_in_the_last_bin(known):
    """Two wrongs make a right here: 0.95 and always right, 1 and right in 9 of 10. Torchmetrics gives the
    ones their own bin.
    """
    logits, labels = planted([0.95] * 50 + [0.5] * 50, [True] * 50 + [True] * 45 + [False] * 5)
    logits[50:] = torch.tensor([900.0, 0, 0, 0])
    result = compute("calibration", *known(logits, labels))
    assert result["fixed_count"][-1] == 100
    assert [result[k] for k in ERRORS[:3]] == pytest.approx([2.5] * 3)
    assert float(multiclass_calibration_error(logits.softmax(1), labels, 4)) == pytest.approx(0.075, rel=1e-4)


@pytest.mark.parametrize("towards", [0.0, 1.0])
@pytest.mark.parametrize(
    ("classes", "bins", "place"), [(10, 10, 1), (3, 15, 5), (5, 15, 3), (7, 7, 1), (2, 2, 1)]
)
def test_a_confidence_on_an_edge_is_in_the_bin_above_on_every_processor(
    known, classes, bins, place, towards, monkeypatch
):
    """A network that answers alike to all of K classes is sure of 1 / K, or of its neighbour in floating
    point.
    """
    exact = torch.Tensor.softmax
    off = lambda x, *dim: exact(x, *dim).nextafter(torch.tensor(towards, dtype=x.dtype))  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "softmax", off)
    model, images = known(torch.zeros(60, classes), torch.arange(60) % classes)
    count = compute(f"calibration:bins={bins}", model, images)["fixed_count"]
    assert count == [60 * (b == place) for b in range(bins)]


def test_confidences_that_differ_by_rounding_alone_share_their_accuracy():
    half = torch.full((4,), 0.5, dtype=torch.float64)
    half[::2] = half[::2].nextafter(torch.tensor(1.0, dtype=torch.float64))
    for right in ([1.0, 0, 1, 0], [0.0, 1, 0, 1]):
        order, places, shared = _in_order(half, torch.tensor(right, dtype=torch.float64), 2)
        assert places.tolist() == [0, 0, 1, 1] and shared[order].tolist() == [0.5] * 4


@pytest.mark.parametrize(("key", "norm"), [("fixed_error", "l1"), ("fixed_rms", "l2"), ("fixed_max", "max")])
def test_below_one_the_fixed_errors_are_those_of_torchmetrics(known, key, norm):
    logits, labels = planted(*sloppy(seed=2))
    expected = 100 * float(multiclass_calibration_error(logits.softmax(1), labels, 4, 15, norm))
    assert compute("calibration", *known(logits, labels))[key] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_errors_are_ordered(known, seed):
    """|overconfidence| <= error <= rms <= max, in bins of either kind: triangle inequality, Jensen, mean."""
    result = compute("calibration:bins=7,per_bin=50", *known(*planted(*sloppy(321, seed))))
    for kind in ("fixed", "adaptive"):
        chain = [abs(result["overconfidence"]), *(result[f"{kind}_{k}"] for k in ("error", "rms", "max"))]
        assert all(b - a > -1e-9 for a, b in itertools.pairwise(chain)), chain


def test_answers_of_one_confidence_may_come_in_any_order(known, shuffled):
    """Ties that bins cut apart: the right answers first, last or mixed give the same numbers."""
    model, images = known(*planted([0.5] * 30 + [0.8] * 300, [True] * 150 + [False] * 180))
    expected = compute("calibration", model, images)
    for result in (compute("calibration", model, shuffled(images, seed)) for seed in (0, 1)):
        for key in ERRORS + RELIABILITY:
            assert result[key] == pytest.approx(expected[key]), key


# corrupted images


def behind(images, name, severity, seed):
    """The images behind a corruption, as a set of their own."""
    pixels = (255 * corrupt(images.images / 255, name, severity, seed=seed)).round().to(torch.uint8)
    return ImageSet(pixels, images.labels, images.classes, images.name)


def test_answers_to_corrupted_images_share_the_bins(digits):
    """As those of one set that holds the images behind every corruption at every severity."""
    model, images = digits
    parts = [behind(images, name, severity, 3) for name in ("shot_noise", "fog") for severity in (1, 4)]
    pooled = ImageSet(
        torch.cat([p.images for p in parts]), images.labels.repeat(4), images.classes, images.name
    )
    expected = compute("calibration:per_bin=20", model, pooled)
    result = compute("calibration:per_bin=20,corruptions=fog+shot_noise,severities=1+4,seed=3", model, images)
    assert (expected.pop("images"), result.pop("images")) == (244, 61)
    assert sum(result["fixed_count"]) == sum(result["adaptive_count"]) == 244
    for key, value in expected.items():
        ours, theirs = (
            [-1 if v is None else v for v in np.atleast_1d(values)] for values in (result[key], value)
        )
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4), key
    assert result["made"] == "regenerated, cifar10-c"
    assert (result["corruptions"], result["severities"]) == (["shot_noise", "fog"], [1, 4])


def test_corrupted_images_are_those_of_the_corruption_measure(digits):
    model, images = digits
    options = "corruptions=common,severities=5,seed=2,size=20"
    error, said = (
        compute(f"corruption:{options}", model, images),
        compute(f"calibration:{options}", model, images),
    )
    assert said["accuracy"] == pytest.approx(100 - error["mean_error"])
    assert said["corruptions"] == list(COMMON)
    assert (said["made"], said["images"]) == (error["made"], 20)


def test_doubts_that_float32_would_round_away_stay(digits):
    """Logits eight times as large: of the surest answers float32 would make a confidence of 1."""
    model, images = copy.deepcopy(digits[0]), digits[1]
    model.net.head.requires_grad_(False).weight.mul_(8)
    expected = compute("calibration:per_bin=5", model, behind(images, "fog", 1, 0))["adaptive_confidence"][-1]
    assert 100 * (1 - 2**-25) < expected < 100
    result = compute("calibration:per_bin=5,corruptions=fog,severities=1", model, images)
    assert 100 - result["adaptive_confidence"][-1] == pytest.approx(100 - expected, rel=1e-3)


@pytest.mark.parametrize(("classes", "bins"), [(5, 15), (3, 15), (15, 15), (5, 10)])
def test_the_same_answer_to_all_classes_is_on_its_edge_of_corrupted_images_too(digits, classes, bins):
    class Alike(torch.nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), classes)

    names = tuple(str(number) for number in range(classes))
    images = ImageSet(digits[1].images, digits[1].labels % classes, names, "alike")
    clean = compute(f"calibration:bins={bins}", Alike(), images)
    result = compute(f"calibration:bins={bins},corruptions=fog,severities=1", Alike(), images)
    assert result["fixed_count"] == clean["fixed_count"] and result["confidence"] == clean["confidence"]


def test_clean_calibration_is_what_it_was(digits):
    """Options of corruption leave the description, the keys and every number of the clean measure alone."""
    model, images = digits
    assert measures.normal_form("calibration:severities=1+2+3+4+5,seed=0") == "calibration"
    result = compute("calibration", model, images)
    assert list(result) == ["accuracy", "confidence", "overconfidence", *ERRORS, "images", *RELIABILITY]
    assert compute("calibration:size=20", model, images) == compute("calibration", model, images.subset(20))


def test_severities_without_corruptions_are_refused(digits):
    for spec in ("calibration:severities=5", "calibration:seed=1"):
        with pytest.raises(UserError, match="say which, such as corruptions=common"):
            compute(spec, *digits)
    with pytest.raises(UserError, match="unknown corruption 'fogg'; did you mean 'fog'"):
        measures.check("calibration:corruptions=fogg")
    assert (
        measures.normal_form("calibration:corruptions=snow+fog,severities=3+1")
        == "calibration:corruptions=snow+fog,severities=1+3"
    )
