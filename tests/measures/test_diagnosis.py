"""Precision, recall, F1 and AUC: as scikit-learn has them; intervals that cover; the original's form."""

import pytest
import torch
from sklearn import metrics
from torch.testing import assert_close

from specfreq import measures
from specfreq.core.randomness import keyed


def drawn(known, count=400, classes=3, shares=(0.6, 0.3, 0.1), noise=1.5, key="drawn"):
    """Logits that know something, rounded so that some are equal, of unbalanced classes."""
    g = keyed(key)
    labels = torch.multinomial(torch.tensor(shares), count, replacement=True, generator=g)
    logits = torch.nn.functional.one_hot(labels, classes) + noise * torch.randn(count, classes, generator=g)
    return (*known(logits.mul(4).round().div(4).float(), labels), logits.mul(4).round().div(4), labels)


@pytest.mark.parametrize(("classes", "shares"), [(2, (0.7, 0.3)), (3, (0.6, 0.3, 0.1))])
def test_the_numbers_are_those_of_scikit_learn(known, classes, shares):
    model, images, logits, labels = drawn(known, classes=classes, shares=shares)
    found = measures.compute("diagnosis:resamples=0", model, images)
    given, sure = logits.argmax(1), logits.double().softmax(1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(labels, given, average="macro")
    level = (sure * 2**40).round()  # probabilities that are equal but for rounding
    areas = [metrics.roc_auc_score(labels == c, level[:, c]) for c in range(classes)]
    assert found["precision"] == pytest.approx(100 * precision)
    assert found["recall"] == pytest.approx(100 * recall)
    assert found["recall"] == pytest.approx(100 * metrics.balanced_accuracy_score(labels, given))
    assert found["f1"] == pytest.approx(100 * f1)
    assert found["auc"] == pytest.approx(100 * sum(areas) / classes)
    assert found["confusion"] == metrics.confusion_matrix(labels, given).tolist()
    assert found["auc_low"] is None
    assert found["prevalence"] == pytest.approx((100 * labels.bincount() / len(labels)).tolist())


def test_as_published_the_area_is_of_hard_answers(known):
    """For two classes half of recall and specificity: an area of a curve of one point."""
    model, images, logits, labels = drawn(known, classes=2, shares=(0.7, 0.3))
    hard = logits.argmax(1)
    found = measures.compute("diagnosis:published=1,resamples=0", model, images)
    soft = measures.compute("diagnosis:resamples=0", model, images)
    assert found["auc"] == pytest.approx(100 * metrics.roc_auc_score(labels, hard))
    assert found["auc"] == pytest.approx((soft["sensitivity"][1] + soft["specificity"][1]) / 2)
    assert found["auc"] < soft["auc"] - 1
    p, r = soft["precision"], soft["recall"]
    assert found["f1"] == pytest.approx(2 * p * r / (p + r))
    assert found["accuracy"] == soft["accuracy"]


def test_what_is_said_of_each_image_has_the_mean_and_the_variance_of_the_number(known):
    """The infinitesimal jackknife, against the bootstrap of all images."""
    model, images, logits, labels = drawn(known, count=500)
    found, each = measures.computed("diagnosis:resamples=0", model, images)
    g = keyed("again")
    again = {name: [] for name in each}
    for _ in range(200):
        kept = torch.randint(500, (500,), generator=g)
        truth, sure = labels[kept], logits[kept].double().softmax(1)
        p, r, f, _ = metrics.precision_recall_fscore_support(
            truth, sure.argmax(1), average="macro", zero_division=0
        )
        areas = [metrics.roc_auc_score(truth == c, sure[:, c]) for c in range(3)]
        accuracy = float((truth == sure.argmax(1)).double().mean())
        row = {"accuracy": accuracy, "precision": p, "recall": r, "f1": f, "auc": sum(areas) / 3}
        for name, value in row.items():
            again[name].append(100 * value)
    for name, values in each.items():
        assert float(values.mean()) == pytest.approx(found[name])
        assert_close(values.std() / 500**0.5, torch.tensor(again[name]).double().std(), rtol=0.2, atol=0)


def test_nine_of_ten_intervals_hold_the_truth(known):
    """Of 90 % intervals over 60 sets; the truth is that of a very large set."""
    truth = measures.compute("diagnosis:resamples=0", *drawn(known, 60_000, key="truth")[:2])
    held = dict.fromkeys(("accuracy", "recall", "auc"), 0)
    for draw in range(60):
        spec = "diagnosis:resamples=200,confidence=0.9"
        found = measures.compute(spec, *drawn(known, 300, key=("draw", draw))[:2])
        for name in held:
            held[name] += found[f"{name}_low"] <= truth[name] <= found[f"{name}_high"]
    # accuracy within fixed classes varies less than over drawn ones, so its intervals are narrower
    assert all(44 <= count <= 60 for count in held.values()), held


def test_an_empty_class_has_no_part_and_one_class_alone_has_no_area(known):
    logits = torch.tensor([[2.0, 1, 0], [0, 1, 3], [3, 0, 1], [0, 0, 2.0]])
    found = measures.compute("diagnosis", *known(logits, [0, 0, 0, 2]))
    assert found["recall"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert found["sensitivity"][1] is None
    alone = measures.compute("diagnosis", *known(logits, [0, 0, 0, 0]))
    assert alone["auc"] is None and alone["auc_low"] is None
    assert alone["specificity"][0] is None


def test_a_constant_answer_has_half_the_area_and_no_precision_of_the_other(known):
    found = measures.compute("diagnosis", *known(torch.tensor([[0.0, 1.0]] * 6), [0, 1, 1, 0, 1, 1]))
    assert found["auc"] == 50 and (found["auc_low"], found["auc_high"]) == (50, 50)
    assert found["recall"] == 50
    assert found["precision"] == pytest.approx(100 * (0 + 4 / 6) / 2)
