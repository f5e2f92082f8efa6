"""Claims of a study judged together: how often any is decided wrongly, and what the correction leaves."""

import numpy as np
import pytest

from specfreq.evidence import claims, rows, verdicts

SAID = {"name": "c", "statement": "s", "whose": "ours", "source": "our question"}
CLAIMS = [
    claims.Claim(**SAID, data="d", quantity="error", judge="falls", arms=[f"a{i}", f"b{i}"])
    for i in range(10)
]


def record(values, each=None):
    """Arms a0, b0, a1, ... with these values by seed, (20, S), or with what they are means of, (20, S, N)."""
    found = [
        rows.row_of("d", f"{'ab'[k % 2]}{k // 2}", "error", dict(enumerate(map(float, seeds))))
        for k, seeds in enumerate(values)
    ]
    return {"arms": found if each is None else rows.crossed_with(found, list(each))}


def decided(record):
    return [v.verdict != verdicts.UNDECIDED for v in verdicts.family(CLAIMS, record)[0]]


@pytest.mark.parametrize("seeds", [3, 5])
def test_of_ten_claims_about_nothing_any_is_decided_in_one_study_of_twenty(seeds):
    g, wrong, times = np.random.default_rng(seeds), 0, 2000
    for _ in range(times):
        wrong += any(decided(record(30 + g.standard_normal((20, seeds)))))
    assert wrong / times <= 0.06
    assert wrong  # the correction leaves some


def test_with_images_too():
    g, wrong, times = np.random.default_rng(7), 0, 150
    for _ in range(times):
        shape = (20, 5, 80)
        x = (
            30
            + 0.3 * g.standard_normal((20, 5, 1))
            + g.standard_normal((1, 1, 80))
            + g.standard_normal(shape)
        )
        wrong += any(decided(record(x.mean(2), x)))
    assert wrong / times <= 0.09  # 0.05, and two deviations of so few studies


def test_what_is_clear_is_decided_whatever_else_is_claimed():
    g = np.random.default_rng(9)
    values = 30 + g.standard_normal((20, 5))
    values[1::2][:3] -= 10 + values[0::2][:3] * 0  # three claims hold
    found, together = verdicts.family(CLAIMS, record(values))
    assert together == 10
    assert [v.verdict for v in found[:3]] == [verdicts.YES] * 3


def test_the_easiest_claim_is_judged_most_strictly_and_the_last_as_alone():
    """Two claims: one at 2.5 %, the other, if that is decided, at 5 %."""
    both = CLAIMS[:2]
    clear, close = [20.0, 21, 22, 23, 24], [10.0, 11, 12, 13, 14]
    easy = [10.0, 10.5, 12.2, 12.7, 14.1]
    # the difference of the second has an interval above 0 at 95 %, not at 97.5 %
    second = [a - d for a, d in zip(close, [0.1, 1.9, 0.4, 1.5, 2.2], strict=True)]
    whole = record([clear, easy, close, second])
    assert [v.verdict for v in verdicts.family(both, whole)[0]] == [verdicts.YES, verdicts.YES]
    noisy = record([clear, [20.0, 25, 19, 26, 21], close, second])
    assert [v.verdict for v in verdicts.family(both, noisy)[0]] == [verdicts.UNDECIDED] * 2
    assert verdicts.judge(both[1], noisy).verdict == verdicts.YES  # alone it would be


def test_a_limit_is_no_test_and_costs_the_others_nothing():
    limit = claims.Claim(**SAID, data="d", quantity="error", judge="at_most", arms=["a0"], limit=99)
    found, together = verdicts.family([limit, CLAIMS[0]], record(np.full((20, 3), 30.0)))
    assert together == 1 and found[0].verdict == verdicts.YES
