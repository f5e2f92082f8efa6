"""Numbers about two sets of scores, held against counting by hand, other libraries and distributions whose
numbers are known.
"""

from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc

from specfreq.measures import separation
from specfreq.measures.separation import Thresholds

NAMES = ["auroc", "tnr95", "detection_accuracy", "auin", "auout", "oscr"]


def numbers(known, other, right=None, as_published=False):
    known, other = (torch.as_tensor(scores, dtype=torch.float64) for scores in (known, other))
    right = torch.ones(len(known)).bool() if right is None else torch.as_tensor(right)
    return separation.numbers(Thresholds.of(known, other, right), as_published)


def planted(n, m, levels, seed):
    """Scores of few levels, so that most are tied; known ones somewhat higher, two thirds of them classified
    rightly.
    """
    random = np.random.RandomState(seed)
    return (
        random.randint(0, levels, n) + random.randint(0, 2, n),
        random.randint(0, levels, m),
        random.uniform(size=n) < 0.67,
    )


def precision(wanted, unwanted):
    """Average precision by its definition: each distinct score from the best down."""
    total, before = Fraction(0), Fraction(0)
    for t in sorted({*wanted, *unwanted}, reverse=True):
        found, false = sum(s >= t for s in wanted), sum(s >= t for s in unwanted)
        recall = Fraction(found, len(wanted))
        total += (recall - before) * Fraction(found, found + false)
        before = recall
    return total


def by_hand(known, other, right):
    """All pairs and all thresholds, one after another, in exact fractions."""
    known, other, right = known.tolist(), other.tolist(), right.tolist()
    pairs = len(known) * len(other)
    wins = [sum(Fraction((s > t) + (s >= t), 2) for t in other) for s in known]
    rates = []
    for t in [np.inf, *sorted({*known, *other}, reverse=True)]:
        rates.append(
            (
                Fraction(sum(s >= t for s in known), len(known)),
                Fraction(sum(s >= t for s in other), len(other)),
            )
        )
    enough = min((rate for rate in rates if rate[0] >= Fraction(95, 100)), key=lambda rate: rate[1])
    return {
        "auroc": sum(wins) / pairs,
        "tnr95": 1 - enough[1],
        "detection_accuracy": max((tpr + 1 - fpr) / 2 for tpr, fpr in rates),
        "auin": precision(known, other),
        "auout": precision([-s for s in other], [-s for s in known]),
        "oscr": sum(w for w, r in zip(wins, right, strict=True) if r) / pairs,
    }


@pytest.mark.parametrize(
    ("n", "m", "levels"), [(40, 60, 5), (60, 23, 3), (20, 20, 1000), (1, 1, 2), (7, 1, 2), (1, 9, 4)]
)
@pytest.mark.parametrize("seed", range(3))
def test_all_numbers_are_those_counted_by_hand(n, m, levels, seed):
    case = planted(n, m, levels, seed)
    expected = {name: pytest.approx(100 * float(value), rel=1e-12) for name, value in by_hand(*case).items()}
    assert numbers(*case) == expected


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_areas_are_those_of_sklearn_and_torchmetrics(levels):
    known, other, _ = planted(700, 400, levels, 0)
    result, scores = numbers(known, other), np.concatenate([known, other]).astype(float)
    is_known = np.repeat([1, 0], [700, 400])
    theirs = binary_auroc(torch.as_tensor(scores / scores.max()), torch.as_tensor(is_known))
    assert result["auroc"] == pytest.approx(100 * roc_auc_score(is_known, scores), rel=1e-12)
    assert result["auroc"] == pytest.approx(100 * float(theirs), rel=1e-6)
    assert result["auin"] == pytest.approx(100 * average_precision_score(is_known, scores), rel=1e-12)
    assert result["auout"] == pytest.approx(100 * average_precision_score(1 - is_known, -scores), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_two_normal_distributions_have_their_known_numbers(shift):
    random, normal = np.random.RandomState(0), NormalDist()
    result = numbers(random.normal(shift, 1, 40_000), random.normal(0, 1, 30_000))
    assert result["auroc"] == pytest.approx(100 * normal.cdf(shift / 2**0.5), abs=0.7)
    assert result["detection_accuracy"] == pytest.approx(100 * normal.cdf(shift / 2), abs=0.7)
    assert result["tnr95"] == pytest.approx(100 * normal.cdf(shift + normal.inv_cdf(0.05)), abs=1.2)


def test_increasing_functions_of_the_scores_change_nothing():
    known, other, right = planted(200, 300, 40, 1)
    expected = numbers(known, other, right)
    for function in (np.exp, lambda s: 1e-9 * s - 7, lambda s: np.arctan(s / 10), lambda s: (s - 20.0) ** 3):
        assert numbers(function(known), function(other), right) == expected


def test_the_order_of_the_images_changes_nothing():
    known, other, right = planted(200, 300, 4, 2)
    order, others = (np.random.RandomState(0).permutation(n) for n in (200, 300))
    assert numbers(known[order], other[others], right[order]) == numbers(known, other, right)
    by_score = known.argsort()
    assert numbers(known[by_score], np.sort(other)[::-1].copy(), right[by_score]) == numbers(
        known, other, right
    )


def test_exchanging_the_two_sets_mirrors_the_areas():
    known, other, _ = planted(150, 250, 30, 3)
    one, mirrored, turned = numbers(known, other), numbers(other, known), numbers(-other, -known)
    assert one["auroc"] + mirrored["auroc"] == pytest.approx(100, abs=1e-9)
    assert (turned["auin"], turned["auout"]) == (one["auout"], one["auin"])
    assert (
        turned["auroc"] == pytest.approx(one["auroc"])
        and turned["detection_accuracy"] == one["detection_accuracy"]
    )


def test_a_constant_score_knows_nothing():
    result = numbers([0.3] * 30, [0.3] * 90, [True] * 20 + [False] * 10)
    assert [result[name] for name in NAMES] == pytest.approx([50, 0, 50, 25, 75, 100 / 3])


def test_a_score_that_separates_the_sets_has_100_and_as_oscr_the_accuracy():
    """The original program's curve is one step ahead of itself: there the area would miss the last right
    image.
    """
    result = numbers(np.arange(50) + 100, np.arange(70), np.arange(50) % 5 != 0)
    assert [result[name] for name in NAMES] == pytest.approx([100, 100, 100, 100, 100, 80])


@pytest.mark.parametrize("seed", range(4))
def test_oscr_is_at_most_auroc_and_at_most_the_accuracy(seed):
    known, other, right = planted(80, 50, 20, seed)
    result = numbers(known, other, right)
    assert result["oscr"] <= min(result["auroc"], 100 * right.mean()) + 1e-9
    assert numbers(known, other, ~right)["oscr"] + result["oscr"] == pytest.approx(result["auroc"])


def test_at_least_95_of_100_known_images_are_kept():
    """Of 31 known images 29 are 93.5 %, nearer to 95 % than the 30, 96.8 %, that count."""
    assert numbers(range(1, 32), [0.5, 1.5, 2.5, 3.5])["tnr95"] == 50
    assert numbers(range(1, 31), [1.5, 2.2, 2.8, 3.5])["tnr95"] == 25  # 28.5 are 95 %


def program(known, other):
    """AUROC and TNR at 95 % by the original's loop: one image after another leaves, of equal scores known
    ones first.
    """
    known, other = sorted(known), sorted(other)
    n, m, k, j = len(known), len(other), 0, 0
    left = [(n, m)]
    while k < n or j < m:
        if k == n or (j < m and other[j] < known[k]):
            j += 1
        else:
            k += 1
        left.append((n - k, m - j))
    # the first of equals
    at = min(range(len(left)), key=lambda i: abs(Fraction(left[i][0], n) - Fraction(95, 100)))
    tpr, fpr = (np.array([0, *(one[i] / left[0][i] for one in reversed(left)), 1]) for i in (0, 1))
    return {"auroc": 100 * np.trapezoid(tpr, fpr), "tnr95": 100 * (1 - left[at][1] / m)}


@pytest.mark.parametrize(
    ("n", "m", "levels"), [(200, 900, 12), (200, 900, 10**6), (33, 40, 5), (10, 7, 3), (5, 5, 1)]
)
@pytest.mark.parametrize("seed", range(4))
def test_as_published_is_the_programs_walk_through_the_scores(n, m, levels, seed):
    known, other, right = planted(n, m, levels, seed)
    result, corrected = numbers(known, other, right, as_published=True), numbers(known, other, right)
    expected = program(known.tolist(), other.tolist())
    assert {name: result[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert {name: result[name] for name in result if name not in expected} == {
        name: corrected[name] for name in corrected if name not in expected
    }
    assert result["auroc"] <= corrected["auroc"] + 1e-9


def test_the_original_takes_the_worst_end_of_a_vertical_step():
    """Half of the others leave while 95 % of the known images stay: the first of those thresholds, and the
    last.
    """
    known, other = [0.0, *[10.0] * 19], [1.0, 2.0, 11.0, 12.0]
    assert numbers(known, other, as_published=True)["tnr95"] == 0
    assert numbers(known, other)["tnr95"] == 50


def test_of_thresholds_that_keep_the_same_known_images_the_one_that_keeps_fewest_others_counts():
    known = [0.0, *[10.0] * 19]  # 95 % exactly for every threshold above 0 and up to 10
    assert numbers(known, [1, 2, 3, 4])["tnr95"] == 100
    assert numbers(known, [1, 2, 10, 11])["tnr95"] == 50


def test_the_drawn_curve_is_short_and_lies_on_the_true_one():
    known, other, right = planted(3000, 2000, 10**6, 5)
    counts = Thresholds.of(*(torch.as_tensor(v) for v in (known, other, right)))
    drawn, exact = separation.curve(counts), separation.numbers(counts)
    fpr, tpr, ccr = (np.array(drawn[k]) for k in ("fpr", "tpr", "ccr"))
    true = {
        (100 * int(o) / 2000, 100 * int(k) / 3000, 100 * int(r) / 3000)
        for k, r, o in zip(counts.known, counts.right, counts.other, strict=True)
    }
    assert 90 < len(fpr) <= 100 and set(zip(fpr, tpr, ccr, strict=True)) <= true
    assert (fpr[0], tpr[0], ccr[0]) == (0, 0, 0)
    assert (fpr[-1], tpr[-1], ccr[-1]) == (100, 100, pytest.approx(100 * right.mean()))
    assert np.trapezoid(tpr, fpr) / 100 == pytest.approx(exact["auroc"], abs=0.1)
    assert np.trapezoid(ccr, fpr) / 100 == pytest.approx(exact["oscr"], abs=0.1)


def test_a_curve_of_few_distinct_scores_keeps_every_corner():
    counts = Thresholds.of(
        torch.tensor([1.0, 2, 2]), torch.tensor([0.0, 2]), torch.tensor([True, True, False])
    )
    drawn = separation.curve(counts)
    assert (drawn["fpr"], drawn["tpr"]) == ([0, 50, 50, 100], pytest.approx([0, 200 / 3, 100, 100]))
    assert drawn["ccr"] == pytest.approx([0, 100 / 3, 200 / 3, 200 / 3])


def test_histograms_share_their_edges_and_count_every_score():
    random = np.random.RandomState(0)
    parts = [
        torch.from_numpy(v)
        for v in (random.normal(2, 1, 5000), random.normal(0, 1, 800), np.array([-1e6, 1e6]))
    ]
    edges, counts = separation.histograms(parts)
    assert [len(c) for c in counts] == [len(edges) - 1] * 3 == [40] * 3
    assert [sum(c) for c in counts] == [5000, 800, 2]
    assert counts[0][1:-1] == np.histogram(parts[0].numpy(), edges)[0].tolist()[1:-1]
    assert counts[2] == [1, *[0] * 38, 1]
    assert -3 < edges[0] < edges[-1] < 6


def test_equal_scores_are_in_one_bin(other_rounding):
    edges, (one, other) = separation.histograms([torch.full((7,), 3.0), torch.full((2,), 3.0)])
    assert edges[0] < 3 < edges[-1] and one[19] == 7 and other[19] == 2
    assert edges[19] + 0.01 < 3 < edges[20] - 0.01  # far from the edges, which rounding may move
