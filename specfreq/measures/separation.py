"""How well scores tell two sets apart, at every threshold: images that a classifier knows, and others."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

POINTS = 100  # of a curve that is drawn
BINS = 40  # of a histogram
TAILS = 0.005  # share of the scores below the first and above the last edge of a histogram


class Thresholds(NamedTuple):
    """How many images have a score of t or more, for each distinct score t from the largest down: int64 (T +
    1,), 0 first.

    Of the known images (positive), of the known ones that are classified rightly, and of the others. Equal
    scores pass a threshold together, so neither the order of the images nor how ties are sorted matters, and
    any strictly increasing function of the scores gives the same counts.
    """

    known: Tensor
    right: Tensor
    other: Tensor

    @classmethod
    def of(cls, known: Tensor, other: Tensor, right: Tensor) -> "Thresholds":
        """Counts for scores (N,) of known images, true in `right` (N,) where classified rightly, and (M,) of
        others.
        """
        values, places = torch.cat([known, other]).unique(return_inverse=True)
        parts = (places[: len(known)], places[: len(known)][right], places[len(known) :])
        return cls(*(_from_above(part.bincount(minlength=len(values))) for part in parts))


def _from_above(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.flip(0).cumsum(0)])


def numbers(counts: Thresholds, as_published: bool = False) -> dict[str, float]:
    r"""What is said of two sets of scores, in %; known images are the positive ones.

    .. math:: \mathrm{TPR}(t) = \tfrac1N |\{i: s_i \ge t\}|, \quad
        \mathrm{FPR}(t) = \tfrac1M |\{j: s'_j \ge t\}|, \quad
        \mathrm{CCR}(t) = \tfrac1N |\{i: s_i \ge t, i \text{ right}\}|

    Args:
        as_published: auroc and tnr95 as the original program has them, where a known image is below another
            of equal score: auroc counts ties as lost. tnr95 is taken where TPR is *nearest* to 95 %, above or
            below (of two as near the larger), and there at the largest FPR: as soon as so many known images
            are left.

    Returns:
        auroc: the area under TPR over FPR: the probability that a known image scores higher, ties counting
        half. tnr95: 1 - FPR at the highest threshold whose TPR is at least 95 %, which is 1 - FPR@95.
        detection_accuracy: the largest (TPR + 1 - FPR) / 2, at least 50. auin, auout: average precision (sum
        of precision times step of recall, nothing interpolated) with the known images, and with the others,
        as what is to be found; a score that knows nothing has the share of those, so both depend on how many
        images either set has. oscr: the area under CCR over FPR; at most auroc, and at most the accuracy.

    Thresholds are chosen by whole numbers of images. The areas are scikit-learn's.

    Source: Hendrycks and Gimpel, ICLR 2017; Liang et al., ICLR 2018 (tnr95, detection accuracy); Dhamija et
    al., NeurIPS 2018 (CCR).
    """
    from sklearn import metrics

    known, right, other = counts
    n, m = int(known[-1]), int(other[-1])
    # each distinct score once, weighted by how many known images and how many others have it
    weights = torch.cat([known.diff(), other.diff()]).numpy()
    distinct = len(known) - 1
    is_known, scores = np.repeat([1, 0], distinct), np.tile(-np.arange(distinct), 2)
    if as_published:
        auroc, kept = _lost_ties(known, other), _first_near_95(known, other)
    else:
        auroc = metrics.roc_auc_score(is_known, scores, sample_weight=weights)
        kept = int(other[20 * known >= 19 * n][0])
    return {
        "auroc": 100 * float(auroc),
        "tnr95": 100 * (m - kept) / m,
        "detection_accuracy": 100 * (n * m + int((known * m - other * n).max())) / (2 * n * m),
        "auin": 100 * float(metrics.average_precision_score(is_known, scores, sample_weight=weights)),
        "auout": 100 * float(metrics.average_precision_score(1 - is_known, -scores, sample_weight=weights)),
        "oscr": 100 * float(metrics.auc(other.double() / m, right.double() / n)),
    }


def _lost_ties(known: Tensor, other: Tensor) -> float:
    """The probability that a known image scores higher than another."""
    wins = int((known.diff() * (other[-1] - other[1:])).sum())
    return wins / (int(known[-1]) * int(other[-1]))


def _first_near_95(known: Tensor, other: Tensor) -> int:
    """How many others are left when, from the lowest score up, about 95 % of the known images come to be
    left.
    """
    n = int(known[-1])
    left = (19 * n + 10) // 20
    return int(other[known > left][0]) if left < n else int(other[-1])


def of_each(known: Tensor, others: Sequence[Tensor]) -> dict[str, Tensor]:
    r"""What the areas in % are means of: ``auroc.k`` of set k, values (N + M_k,), ``mean_auroc``, (N + M,).

    .. math:: \theta + \tfrac{N+M}{N} (V_i - \theta), \qquad \theta + \tfrac{N+M}{M} (V'_j - \theta)

    for known images i and others j, V_i being the share of the others that score less than i, V'_j that of
    the known ones that score more than j, ties counting half. So their mean is θ, and its variance that of
    DeLong, var(V) / N + var(V') / M.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988, equations 4 to 6.
    """
    shares = [(_below(known, other), 1 - _below(other, known)) for other in others]
    each = {f"auroc.{place}": _spread([pair[0]], [pair[1]]) for place, pair in enumerate(shares)}
    return each | {"mean_auroc": _spread(*map(list, zip(*shares, strict=True)))}


def _below(scores: Tensor, others: Tensor) -> Tensor:
    """The share of the others that have less than each score (N,), equal ones counting half."""
    ranked = others.sort().values
    less, most = (torch.searchsorted(ranked, scores.contiguous(), right=right) for right in (False, True))
    return (less + most).double() / (2 * len(others))


def _spread(of_known: list[Tensor], of_others: list[Tensor]) -> Tensor:
    """Values in % of all images, known ones first, from shares against each of K sets, (N,) and (M_k,)."""
    sets, total = len(of_known), len(of_known[0]) + sum(map(len, of_others))
    mine = torch.stack(of_known).mean(0)
    mean = mine.mean()
    parts = [(mine - mean) * total / len(mine)]
    parts += [(each - each.mean()) * total / (len(each) * sets) for each in of_others]
    return 100 * (mean + torch.cat(parts))


def curve(counts: Thresholds) -> dict[str, list[float]]:
    """At most `POINTS` points of the curves from (0, 0) on, evenly along TPR + FPR: lists fpr, tpr and ccr,
    in %.
    """
    n, m = int(counts.known[-1]), int(counts.other[-1])
    along = (counts.known.double() / n + counts.other.double() / m).contiguous()
    marks = torch.linspace(0, 2, POINTS, dtype=torch.float64)
    places = torch.searchsorted(along, marks).clamp_max(len(along) - 1).unique()
    shares = {"fpr": (counts.other, m), "tpr": (counts.known, n), "ccr": (counts.right, n)}
    return {name: (100 * count[places].double() / total).tolist() for name, (count, total) in shares.items()}


def histograms(scores: Sequence[Tensor]) -> tuple[list[float], list[list[int]]]:
    """Edges (`BINS` + 1) shared by all sets of scores, and how many of each set lie between them.

    The edges go from the 0.5 % to the 99.5 % quantile of all scores together; what lies beyond is in the
    first and the last bin.
    """
    every = torch.cat(list(scores)).sort().values
    ends = [float(every[round(q * (len(every) - 1))]) for q in (TAILS, 1 - TAILS)]
    # of a score that never changes, one that lies in the middle of a bin and not on an edge of two
    low, high = ends if ends[0] < ends[1] else (ends[0] - 0.5, ends[1] + 0.5 + 1 / BINS)
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64)
    return edges.tolist(), [
        torch.bucketize(part, edges[1:-1], right=True).bincount(minlength=BINS).tolist() for part in scores
    ]


def means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The mean of each number over several rows."""
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
