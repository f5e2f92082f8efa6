"""The rule for adding seeds: when it stops, what it keeps of its path, and how often it errs."""

import numpy as np
import pytest

from specfreq.core import places
from specfreq.core.errors import UserError
from specfreq.evidence import rows, verdicts
from specfreq.evidence.claims import load
from specfreq.evidence.seeds import Looks

CLAIMS = "\n".join(
    f"      - {{name: c{i}, statement: s, whose: ours, source: ours, data: d, quantity: error, "
    f"judge: falls, arms: [a{i}, b{i}]}}"
    for i in range(3)
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of three claims, of one pair of arms each."""
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "claims.yaml").write_text(f"studies:\n  s:\n    claims:\n{CLAIMS}\n")
    return "s"


def content(values):
    """Rows of arms a0, b0, a1, ... with these values by seed, (6, S)."""
    each = enumerate(np.asarray(values, float).tolist())
    return {
        "arms": [rows.row_of("d", f"{'ab'[k % 2]}{k // 2}", "error", dict(enumerate(v))) for k, v in each]
    }


def walked(looks, values):
    """The seeds of each look at studies whose networks have these values, (6, most)."""
    seen = []
    for seeds in looks:
        seen.append(seeds)
        looks.saw(content(values[:, : len(seeds)]))
    return seen


def noise(seed=0, deviation=1.0):
    return 30 + deviation * np.random.default_rng(seed).standard_normal((6, 20))


def test_what_is_clear_at_once_needs_no_more_seeds(study):
    values = noise()
    values[1::2] -= 20
    looks = Looks(study, [0, 1, 2, 3, 4], most=20)
    assert walked(looks, values) == [[0, 1, 2, 3, 4]]
    (step,) = looks.path
    assert step["verdicts"] == dict.fromkeys(("c0", "c1", "c2"), verdicts.YES)
    assert not step["goes on"] and step["why"].startswith("all decided")


def test_what_is_never_clear_ends_at_the_last_look(study):
    looks = Looks(study, [3, 4, 7, 8, 9], most=20)
    seen = walked(looks, noise(deviation=9))
    assert list(map(len, seen)) == [5, 10, 20]
    assert seen[1] == [3, 4, 7, 8, 9, 10, 11, 12, 13, 14]
    assert [step["seeds"] for step in looks.path] == [5, 10, 20]
    assert [step["goes on"] for step in looks.path] == [True, True, False]
    assert looks.path[-1]["why"].startswith("the last look; open: c0, c1, c2")
    assert [step["error"] for step in looks.path] == pytest.approx([0.05 / 3] * 3)


def test_an_effect_that_is_known_to_within_the_margin_is_known(study):
    quiet = noise(deviation=0.1)
    assert len(walked(Looks(study, range(5), most=20), quiet)) == 1
    assert len(walked(Looks(study, range(5), most=20, margin=0.001), quiet)) == 3


def test_main_claims_alone_decide_when_to_stop_and_all_are_judged(study):
    values = noise(deviation=9)
    values[1] -= 200
    looks = Looks(study, range(5), most=20, main=["c0"])
    assert len(walked(looks, values)) == 1
    assert set(looks.path[0]["verdicts"]) == {"c0", "c1", "c2"}


def test_one_look_is_as_if_there_were_no_rule(study):
    """At the full error; and it asks for no rows of claims, as a demonstration has none."""
    looks = Looks(study, [0, 1, 2])
    for seeds in looks:
        assert seeds == [0, 1, 2]
        looks.saw({})
    assert (looks.error, [step["why"] for step in looks.path]) == (0.05, ["one look was planned"])


def test_a_record_of_the_rule_is_judged_with_its_error(study):
    """Two looks: a difference with an interval above 0 at 98 %, not at 99."""
    of = load(study).claims[:1]
    values = noise(11)
    values[1] = values[0] - 1 + 0.9 * (values[1] - 30)
    record = content(values[:, :5])
    found = {error: verdicts.family(of, record, error)[0][0].effect for error in (0.05, 0.025)}
    path = [{"seeds": 5, "error": 0.025}]
    assert verdicts.family(of, record)[0][0].effect == found[0.05]
    assert verdicts.family(of, {**record, "seeds_rule": path})[0][0].effect == found[0.025]
    assert verdicts.judge(of[0], {**record, "seeds_rule": path}).effect == found[0.025]
    assert found[0.025].low < found[0.05].low


def test_of_studies_with_looks_one_in_twenty_at_most_errs(study):
    """Claims about nothing, looked at up to three times: any decided at the end is decided wrongly."""
    g, wrong, times = np.random.default_rng(5), 0, 2000
    looks, of = Looks(study, range(5), most=20, margin=0.3), load(study).claims
    stops = set()
    for _ in range(times):
        walked(looks, 30 + g.standard_normal((6, 20)))
        stops.add(len(looks.path))
        wrong += any(v != verdicts.UNDECIDED for v in looks.path[-1]["verdicts"].values())
    assert 0 < wrong / times <= 0.06
    assert len(of) == 3 and 3 in stops


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"seeds": []}, "name at least one, and each once"),
        ({"seeds": [1, 1]}, "name at least one, and each once"),
        ({"seeds": [1, 2], "most": 1}, "most=1 seeds are fewer than the 2 to begin with"),
        ({"seeds": [1], "main": ["c9"]}, "unknown claim 'c9' for s; did you mean 'c"),
        ({"seeds": [1], "study": "t"}, "unknown study 't'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(study, given, complaint):
    with pytest.raises(UserError, match=complaint):
        Looks(**{"study": study} | given)


def test_a_turn_that_shows_no_rows_is_refused(study):
    looks = Looks(study, [0, 1], most=4)
    with pytest.raises(UserError, match=r"end each turn of the loop with looks\.saw"):
        list(looks)
