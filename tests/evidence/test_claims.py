"""Claims, rules and verdicts: they follow from planted numbers; what the book's claims name exists."""

import numpy as np
import pytest

import specfreq
from specfreq import augment, filters
from specfreq.compendium import execution
from specfreq.core import places
from specfreq.core.errors import UserError
from specfreq.evidence import claims, records, rows, rules, tables, verdicts
from specfreq.measures.adversarial import ATTACKS


@pytest.fixture
def book(tmp_path, monkeypatch):
    """An empty compendium to publish into."""
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    (tmp_path / "book").mkdir()
    return tmp_path


def row(filter, values, data="cifar10"):
    label, program = filters.label(filter)
    series = rows.PUBLISHED if program else rows.CORRECTED
    same = {"spec": filter, "stands_for": filters.corrected(filter), "series": series, "chance": 10.0}
    return rows.row_of(data, label, "accuracy", dict(enumerate(values)), **same)


# those that have a record; the claims of others are open until then
JUDGED = list(dict.fromkeys(p.study for p in claims.every() if p.study and p.claim.judged))
SAID = {"name": "c", "statement": "s", "whose": "ours", "source": "our question"}
HIGH = "gaussian-high-pass:sigma=2"
QUIRK = filters.as_published(HIGH, 3)


def claim(judge, *names):
    return claims.Claim(**SAID, data="cifar10", judge=judge, filters=list(names))


@pytest.mark.parametrize(
    ("corrected", "published", "verdict"),
    [
        ([50.0, 51, 52], [10.0, 10, 10], verdicts.ONLY),
        ([9.9, 10.1, 10.0], [10.0, 10, 10], verdicts.YES),
        ([30.0, 60, 12], [10.0, 10, 10], verdicts.UNDECIDED),  # noise is no evidence of guessing
        ([50.0, 51, 52], [30.0, 31, 32], verdicts.NOT),
    ],
)
def test_a_claim_of_chance_is_judged_on_both_inputs(corrected, published, verdict):
    record = {"arms": [row(HIGH, corrected), row(QUIRK, published)]}
    assert verdicts.judge(claim("at_chance", HIGH), record)[0] == verdict


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ([80.0, 81, 82], [70.0, 71.5, 72], verdicts.YES),
        ([80.0, 81, 82], [79.0, 82, 81], verdicts.UNDECIDED),  # the interval of the difference holds 0
        ([70.0, 71, 72], [80.0, 81, 82.5], verdicts.NOT),
        ([80.0], [10.0], verdicts.UNDECIDED),  # one seed proves no difference
    ],
)
def test_a_fall_needs_an_interval_above_zero(first, second, verdict):
    record = {"arms": [row("none", first), row("whitening", second)]}
    assert verdicts.judge(claim("falls", "none", "whitening"), record)[0] == verdict


def test_differences_are_paired_by_seed():
    """Seeds differ by ten points, arms by one: only pairs can tell."""
    record = {"arms": [row("none", [60.0, 70, 80]), row("whitening", [59.0, 68.9, 79.1])]}
    assert verdicts.judge(claim("falls", "none", "whitening"), record)[0] == verdicts.YES


def test_alike_needs_an_interval_within_its_margin():
    near = {"arms": [row("none", [80.0, 81, 82]), row("whitening", [79.9, 80.8, 81.9])]}
    wide = {"arms": [row("none", [80.0, 81, 82]), row("whitening", [79.5, 79.5, 81.9])]}
    far = {"arms": [row("none", [80.0, 81, 82]), row("whitening", [70.0, 71, 72.1])]}
    found = [verdicts.judge(claim("alike", "none", "whitening"), r)[0] for r in (near, wide, far)]
    assert found == [verdicts.YES, verdicts.UNDECIDED, verdicts.NOT]


def test_what_the_seeds_cannot_tell_is_not_blamed_on_the_defect():
    """The published input falls, the corrected one may: undecided, and the evidence says both."""
    record = {"arms": [row("none", [80.0, 81, 82]), row(HIGH, [79.0, 82, 81]), row(QUIRK, [70.0, 71, 72.5])]}
    verdict, evidence, *_ = verdicts.judge(claim("falls", "none", HIGH), record)
    assert verdict == verdicts.UNDECIDED
    assert (
        "corrected: 0.3 points lower accuracy [−2.5, 3.2]: unfiltered 81.0, high-pass σ = 2 px 80.7 %"
        in evidence
    )
    assert "As published: 9.83 points lower accuracy [9.12, 10.55]: unfiltered 81.0" in evidence


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([10.4, 10.5, 10.6], verdicts.YES),  # not chance itself, but within the margin of a point
        ([10.2, 10.6, 11.0], verdicts.UNDECIDED),
        ([11.4, 11.5, 11.6], verdicts.NOT),
    ],
)
def test_guessing_is_missed_where_its_margin_is(values, verdict):
    found = verdicts.judge(claim("at_chance", "whitening"), {"arms": [row("whitening", values)]})
    assert found[0] == verdict


def test_one_of_many_intervals_fails_a_claim_no_more_often_than_one_alone():
    """Six pairs at the very margin: by their own intervals 9 of 100 studies would find one outside."""
    random, failed = np.random.default_rng(0), 0
    for _ in range(1000):
        means = (0, 1, 1, 1)  # the first differs from the others by the margin
        arms = [
            rows.row_of("d", str(k), "q", dict(enumerate(random.normal(m, 0.3, 5))))
            for k, m in enumerate(means)
        ]
        failed += rules.alike(arms, margin=1.0).holds is False
    assert failed < 50


def test_alike_looks_at_every_pair():
    """The second differs from the first by half a point exactly; the third by up to three."""
    arms = [row("none", [90.0, 90, 90]), row("whitening", [89.5, 89.5, 89.5]), row(HIGH, [87.0, 90, 91.7])]
    assert verdicts.judge(claim("alike", "none", "whitening", HIGH), {"arms": arms})[0] == verdicts.UNDECIDED


def test_without_a_record_there_is_no_verdict():
    assert verdicts.judge(claim("falls", "none", "whitening"), None)[:2] == (
        verdicts.NO_RECORD,
        "",
    )


def test_tables_put_our_numbers_beside_the_published_ones(book):
    (book / "book" / "claims.yaml").write_text(
        "studies: {s: {claims: [], published: {cifar10: "
        "{'gaussian-high-pass:sigma=2': {printed: 10.0, listed: 9.5, note: zero}}}}}"
    )
    arms = [row(HIGH, [50.0, 51, 52]), row(QUIRK, [10.0, 10, 10])]
    specfreq.core.storage.write_json(book / "book" / "results" / "s.laptop.json", {"arms": arms})
    html = tables.published_accuracies("s").to_html()
    cells = [c.split("<")[0] for c in html.split(">") if c.split("<")[0].strip()]
    assert cells[-7:] == [
        "CIFAR-10",
        "high-pass σ = 2 px",
        "9.50",
        "10.00",
        "10",
        "51.0 ± 2.5",
        "zero",
    ]
    assert html == tables.published_accuracies("s").to_html()


def arm(name, values, quantity="error", series="corrected", stands_for=None):
    values = dict(enumerate(values))
    return rows.row_of("cifar10", name, quantity, values, series=series, stands_for=stands_for)


def test_a_quantity_that_nobody_can_guess_is_not_judged_against_guessing():
    asked = claims.Claim(**SAID, data="cifar10", quantity="error", judge="at_chance", arms=["none"])
    with pytest.raises(UserError, match="error has no accuracy of guessing"):
        verdicts.judge(asked, {"arms": [arm("none", [9.0, 10, 11])]})


@pytest.mark.parametrize(("judge", "verdict"), [("falls", verdicts.YES), ("rises", verdicts.NOT)])
def test_a_claim_about_arms_is_judged_on_its_own_quantity_and_rows(judge, verdict):
    record = {
        "arms": [arm("none", [1.0, 1, 1]), arm("apr-p", [9.0, 9, 9])],
        "hardened": [
            *(arm("none", [1.0, 2, 3], "other"), arm("apr-p", [7.0, 7, 7], "other")),
            *(arm("none", [50.0, 51, 52]), arm("apr-p", [40.0, 41, 42.5])),
        ],
    }
    asked = claims.Claim(
        **SAID, data="cifar10", rows="hardened", quantity="error", judge=judge, arms=["none", "apr-p"]
    )
    assert verdicts.judge(asked, record)[0] == verdict


@pytest.mark.parametrize(
    ("corrected", "published", "word", "outcome"),
    [
        ([1.0, 1.1, 1.2], [9.0, 9.1, 9.2], verdicts.CURED, verdicts.YES),
        ([9.0, 9.1, 9.2], [1.0, 1.1, 1.2], verdicts.ONLY, verdicts.NOT),
        ([1.0, 1.1, 1.2], [0.1, 4.9, 9.6], verdicts.YES, verdicts.YES),
        ([9.0, 9.1, 9.2], [0.1, 4.9, 9.6], verdicts.NOT, verdicts.NOT),
        ([0.1, 4.9, 9.6], [9.0, 9.1, 9.2], verdicts.UNDECIDED, verdicts.UNDECIDED),
    ],
)
def test_a_verdict_names_both_computations(corrected, published, word, outcome):
    quirk = arm("apr-s:x", published, series="as published", stands_for="apr-s")
    record = {"arms": [arm("none", [5.0, 5.1, 5.2]), arm("apr-s", corrected), quirk]}
    asked = claims.Claim(**SAID, data="cifar10", quantity="error", judge="falls", arms=["none", "apr-s"])
    found = verdicts.judge(asked, record)
    assert (found.verdict, found.outcome) == (word, outcome)


@pytest.mark.parametrize(
    ("rule", "second", "words"),
    [
        ("falls", [46.0, 46.2, 46.4], "4.30 points fewer errors [3.55, 5.05]: Plain 50.5, APR-S 46.20 %"),
        ("rises", [46.0, 46.2, 46.4], "4.30 points fewer errors [3.55, 5.05]: Plain 50.5, APR-S 46.20 %"),
        ("rises", [58.0, 58.6, 59.2], "8.10 points more errors [7.85, 8.35]: Plain 50.5, APR-S 58.6 %"),
    ],
)
def test_an_effect_is_told_without_negative_amounts(rule, second, words):
    record = {"arms": [arm("none", [50.0, 50.5, 51.0]), arm("apr-s", second)]}
    asked = claims.Claim(**SAID, data="cifar10", quantity="error", judge=rule, arms=["none", "apr-s"])
    assert verdicts.judge(asked, record).evidence == words


def test_a_number_that_its_own_check_calls_no_evidence_decides_nothing():
    hidden = arm("apr-sp", [90.0, 91, 92]) | {"flags": ["signs of hidden gradients (growing-eps)"]}
    record = {"arms": [arm("none", [50.0, 51, 52]), hidden]}
    asked = claims.Claim(**SAID, data="cifar10", quantity="error", judge="rises", arms=["none", "apr-sp"])
    found = verdicts.judge(asked, record)
    assert found.verdict == verdicts.UNDECIDED
    assert found.flags == ("APR-SP: signs of hidden gradients (growing-eps)",)
    assert "No evidence: APR-SP: signs of hidden gradients (growing-eps)" in found.evidence


def test_an_arm_is_judged_against_plain_training_of_equal_cost():
    """What twice as many images gain is not the augmentation's."""
    plain = [arm("none", [50.0, 51, 52]) | {"passes": 1}]
    longer = arm("none, epochs=6", [40.0, 41, 42]) | {"passes": 2}
    record = {"arms": [*plain, longer, arm("apr-p", [41.0, 42, 43.5]) | {"passes": 2}]}
    asked = claims.Claim(**SAID, data="cifar10", quantity="error", judge="falls", arms=["none", "apr-p"])
    assert verdicts.judge(asked, record)[0] == verdicts.NOT


def test_an_arm_as_published_can_be_the_only_one_that_bears_a_claim_out():
    quirk = arm("apr-s:x", [30.0, 31, 32], series="as published", stands_for="apr-s")
    partly = arm("apr-s:y", [1.0, 1, 1], series="overflow=wrap", stands_for="apr-s")
    record = {"arms": [arm("none", [50.0, 51, 52]), arm("apr-s", [60.0, 61, 62.5]), quirk, partly]}
    asked = claims.Claim(**SAID, data="cifar10", quantity="error", judge="falls", arms=["none", "apr-s"])
    assert verdicts.judge(asked, record)[0] == verdicts.ONLY


def test_an_arm_that_was_not_trained_as_published_lends_its_corrected_form_to_no_verdict():
    """APR-SP's own defect was not tried: APR-P's says nothing of what the two programs would give."""
    defect = arm("apr-p:x", [90.0, 91, 92], series="as published", stands_for="apr-p")
    record = {"arms": [arm("apr-p", [50.0, 51, 52]), arm("apr-sp", [60.0, 61, 62.5]), defect]}
    asked = claims.Claim(**SAID, data="cifar10", quantity="error", judge="falls", arms=["apr-p", "apr-sp"])
    verdict, evidence, *_ = verdicts.judge(asked, record)
    assert verdict == verdicts.NOT and "As published" not in evidence


@pytest.mark.parametrize(
    ("order", "verdict"), [(["low", "high"], verdicts.YES), (["high", "low"], verdicts.NOT)]
)
def test_a_claim_can_compare_quantities_of_one_arm(order, verdict):
    arms = [
        arm("none", [10.0, 20, 30], "low"),
        arm("none", [12.0, 22, 32.5], "high"),
        arm("apr-p", [0.0, 0, 0], "high"),
    ]
    asked = claims.Claim(**SAID, data="cifar10", quantity=order, judge="rises", arms=["none"])
    assert verdicts.judge(asked, {"arms": arms})[0] == verdict


def test_a_claim_says_where_it_was_made(book):
    (book / "book" / "claims.yaml").write_text(
        "studies: {s: {claims: [{name: c, statement: It falls., whose: ours, source: abstract, "
        "judge: untestable, why: w}]}}"
    )
    assert "It falls. (abstract)" in tables.verdicts("s").to_html()


def test_what_cannot_be_tested_here_says_why():
    asked = claims.Claim(**SAID, judge="untestable", why="no such images")
    assert verdicts.judge(asked, {"arms": []})[:2] == (verdicts.UNTESTABLE, "no such images")


def test_numbers_of_arms_stand_beside_the_published_ones(book):
    (book / "book" / "claims.yaml").write_text(
        "studies: {s: {claims: [], numbers: "
        "[{data: cifar10, quantity: error, arm: apr-s, published: 9.1, setting: W, note: n}]}}"
    )
    arms = [
        arm("apr-s", [50.0, 51, 52]),
        arm("apr-s:x", [40.0, 40, 40], series="as published", stands_for="apr-s"),
    ]
    specfreq.core.storage.write_json(book / "book" / "results" / "s.laptop.json", {"arms": arms})
    cells = [
        c.split("<")[0] for c in tables.published_numbers("s").to_html().split(">") if c.split("<")[0].strip()
    ]
    assert cells[-6:] == ["error", "APR-S", "9.10", "40", "51.0 ± 2.5", "W; n"]


def test_the_books_claims_name_real_filters_and_rules():
    found = claims.load("band-limited-training")
    for c in found.claims:
        assert all(filters.normal_form(f) for f in c.filters)
        assert c.data in found.published


@pytest.mark.parametrize(
    "study", ["amplitude-versus-phase", "amplitude-phase-recombination", "fourier-heatmaps"]
)
def test_the_books_claims_name_arms_and_quantities_that_the_study_has(study):
    found, root = claims.load(study), places.root()
    source = (root / "notebooks" / f"{study}.ipynb").read_text(encoding="utf-8")
    values = execution.resolve(study, "laptop")
    arms = {"none", *values["augmentations"]}
    trained = {"arms": arms, "scores": arms, "hardened": set(values.get("hardened", []))}
    measured = {*ATTACKS, *values.get("scores", [])}
    for c in found.claims:
        assert trained[c.rows] >= set(c.arms) and set(c.arms) == {augment.normal_form(a) for a in c.arms}
        assert bool(c.why) == (c.judge == "untestable") and c.source
    for c in [*found.claims, *(n for n in found.numbers if n.data == "cifar10")]:
        for quantity in c.quantity if isinstance(c.quantity, list) else [c.quantity]:
            assert quantity in measured or f'\\"{quantity}\\": (' in source


def test_a_misspelt_claims_file_is_refused(book):
    (book / "book" / "claims.yaml").write_text(
        "studies: {s: {published: {cifar10: {none: {prnted: 1}}}, claims: []}}"
    )
    with pytest.raises(UserError, match=r"(?s)claims\.yaml.*prnted"):
        claims.load("s")


def test_rows_without_a_common_seed_prove_nothing():
    record = {"arms": [row("none", [80.0, 81]), {**row("whitening", [10.0, 11]), "seeds": [5, 6]}]}
    assert verdicts.judge(claim("falls", "none", "whitening"), record)[0] == verdicts.UNDECIDED


def test_a_limit_holds_for_every_sample():
    limit = claims.Claim(
        **SAID, data="set", quantity="q", judge="at_most", limit=2.0, unit=" px", arms=["ours"]
    )
    good = rows.of_images("set", "ours", "q", [0.5, 1.9, 0.001])
    found = verdicts.judge(limit, {"arms": [good]})
    assert found[:2] == (
        verdicts.YES,
        "q: at most 1.90 px in 3 samples, the limit is 2 px; mean: this package 0.800 px",
    )
    bad = rows.of_images("set", "ours", "q", [0.5, 2.1])
    assert verdicts.judge(limit, {"arms": [bad]})[0] == verdicts.NOT
    quirk = rows.of_images("set", "program", "q", [1.0, 1.0], stands_for="ours", series="as published")
    assert verdicts.judge(limit, {"arms": [bad, quirk]})[0] == verdicts.ONLY
    assert verdicts.judge(limit, None)[0] == verdicts.NO_RECORD


def test_small_numbers_of_a_claim_are_not_written_as_zero():
    limit = claims.Claim(**SAID, data="set", quantity="q", judge="at_most", limit=1.0, arms=["ours"])
    assert verdicts.judge(limit, {"arms": [rows.of_images("set", "ours", "q", [2e-7])]})[1].startswith(
        "q: at most 0.000000200 % in 1 sample"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"judge": "falls", "arms": ["none"]},
        {"judge": "at_chance"},
        {"judge": "untestable"},
        {"judge": "at_most", "arms": ["none"]},
        {"judge": "falls", "arms": ["none", "apr-p"], "limit": 1.0},
    ],
)
def test_a_claim_that_could_only_come_true_is_refused(fields):
    with pytest.raises(ValueError, match=r"compares at least|says why|limit: (Field required|Extra inputs)"):
        claims.Claim(**SAID, **fields)


def test_a_rule_is_registered_once_and_claims_know_it(monkeypatch):
    monkeypatch.setitem(rules.RULES, "at_least", None)  # so that it is taken out again

    @rules.rule(least=1)
    def at_least(found, *, limit: float, unit: str = " %"):
        effect = rules.Effect(limit, None, None, unit)
        return rules.Judgement(all(v >= limit for r in found for v in r["values"]), f"all{unit}", effect)

    asked = {**SAID, "data": "cifar10", "quantity": "error", "arms": ["none"]}
    record = {"arms": [arm("none", [3.0, 4.0])]}
    for limit, verdict in ((3, verdicts.YES), (3.5, verdicts.NOT)):
        stated = claims.Claim(**asked, judge="at_least", limit=limit, unit=" px")
        assert verdicts.judge(stated, record)[:2] == (verdict, "all px")


@pytest.mark.parametrize(
    ("margin", "verdict"),
    [({}, verdicts.YES), ({"margin": 0.7}, verdicts.UNDECIDED), ({"margin": 0.1}, verdicts.NOT)],
)
def test_a_threshold_is_the_rules_own_or_what_the_claim_states(margin, verdict):
    """The seeds differ by 0.6, 0.7 and 0.8 points."""
    arms = [row("none", [80.6, 81.7, 82.8]), row("whitening", [80.0, 81, 82])]
    stated = claims.Claim(**claim("alike", "none", "whitening").model_dump() | margin)
    assert stated.options == {"margin": 1.0, "unit": " %"} | margin
    assert verdicts.judge(stated, {"arms": arms})[0] == verdict


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"judge": "fals"}, "unknown rule 'fals'; did you mean 'falls'"),
        ({"judge": "falls", "sorce": "abstract"}, "falls, sorce: Extra inputs"),
        ({"judge": "at_chance", "margin": "wide"}, "at_chance, margin: Input should be a valid number"),
        ({"judge": "falls", "filters": ["whitenin"]}, "unknown filter 'whitenin'"),
    ],
)
def test_a_misspelt_rule_option_or_filter_is_refused_by_name(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        claims.Claim(**SAID | {"filters": ["none", "whitening"]} | fields)


@pytest.mark.parametrize("study", JUDGED)
def test_every_claim_that_can_be_tested_finds_its_rows_in_the_published_record(study):
    """Records of version 0.1 among them, whose rows had other shapes."""
    record = records.published(study)
    found = [verdicts.judge(claim, record) for claim in claims.load(study).claims]
    assert record and all(each.evidence and each.verdict != verdicts.NO_RECORD for each in found)


def test_claims_given_twice_are_refused(book):
    (book / "book" / "claims.yaml").write_text("studies:\n  s: {claims: []}\n  s: {claims: []}\n")
    with pytest.raises(UserError, match=r"claims\.yaml, line 3: 's' is given twice"):
        claims.load("s")


@pytest.mark.parametrize("study", JUDGED)
def test_every_verdict_names_the_figure_or_table_with_its_numbers(study):
    of = claims.load(study).claims
    for claim, line in zip(of, tables.verdicts(study).rows, strict=True):
        assert (f"{{numref}}`{claim.shown}`" in line["verdict"]) == bool(claim.shown)


@pytest.mark.parametrize("study", JUDGED)
def test_the_caption_says_how_many_are_judged_together(study):
    found, together = verdicts.family(claims.load(study).claims, records.published(study))
    caption = tables.verdicts(study).caption
    assert ("All are judged together" in caption) == (together == len(found))
    assert together < 2 or together == len(found) or f"{together} of them are judged together" in caption
