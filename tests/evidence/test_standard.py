"""The standard of evidence: equal cost, enough images, other scores, and verdicts that follow their numbers."""

import copy

import pytest

from specfreq.evidence import claims, records, rows, rules, settings, verdicts

SAID = {"name": "c", "statement": "s", "whose": "ours", "source": "our question", "data": "d"}
FALLS = SAID | {"quantity": "error", "judge": "falls"}


def arm(name, values, quantity="error", **more):
    row = rows.row_of("d", name, quantity, dict(enumerate(values)), keys=[f"{name}-{i}" for i in range(3)])
    return row | more


def judged(record, **fields):
    return verdicts.judge(claims.Claim(**FALLS | fields), record)


NONE, LONGER = arm("none", [50.0, 51, 52], passes=100), arm("none, epochs=6", [40.0, 41, 42], passes=200)
TWICE = arm("apr-p", [41.0, 42, 43.5], passes=200)


# -- equal cost


def test_plain_training_of_as_many_passes_is_taken_where_it_is():
    found = judged({"arms": [NONE, LONGER, TWICE]}, arms=["none", "apr-p"])
    assert found.verdict == verdicts.NOT and found.flags == ()
    assert "Plain, 6 epochs 41" in found.evidence and "none, epochs=6-0" in found.keys


def test_unequal_passes_are_not_compared_and_say_why():
    found = judged({"arms": [NONE, TWICE]}, arms=["none", "apr-p"])
    assert (found.verdict, found.outcome, found.effect) == (verdicts.UNTESTABLE, verdicts.UNTESTABLE, None)
    assert found.evidence == (
        "unequal network passes, Plain 100, APR-P 200; no arm that was trained for longer has these numbers"
    )


def test_any_arm_may_have_been_trained_for_longer():
    """Not plain training alone: of two augmentations, too, that with fewer views has its longer arm taken."""
    single, whole = arm("apr-s", [50.0, 51, 52], passes=100), arm("apr-sp", [45.0, 46, 47.5], passes=200)
    longer = arm("apr-s, epochs=6", [40.0, 41, 42], passes=200)
    assert judged({"arms": [single, whole]}, arms=["apr-s", "apr-sp"]).verdict == verdicts.UNTESTABLE
    assert judged({"arms": [single, longer, whole]}, arms=["apr-s", "apr-sp"]).verdict == verdicts.NOT


def test_a_claim_that_says_why_is_judged_on_unequal_passes_and_flagged():
    asked = {"arms": ["none", "apr-p"], "passes": "any", "unequal": "as in the published table"}
    found = judged({"arms": [NONE, LONGER, TWICE]}, **asked)
    assert found.verdict == verdicts.YES
    assert found.flags == ("network passes Plain 100, APR-P 200: as in the published table",)
    assert found.void == ()
    alike = judged({"arms": [NONE, TWICE | {"passes": 100}]}, **asked)
    assert alike.verdict == verdicts.YES and alike.flags == ()


def test_records_that_know_no_passes_are_judged_as_before_and_flagged():
    def older(row):
        return {k: v for k, v in row.items() if k != "passes"}

    found = judged({"arms": [older(NONE), older(TWICE)]}, arms=["none", "apr-p"])
    assert (found.verdict, found.flags) == (verdicts.YES, ("network passes unknown",))


def test_one_arm_by_itself_costs_what_it_costs():
    other = arm("none", [60.0, 61, 62.5], "other", passes=100)
    found = judged({"arms": [NONE, other]}, arms=["none"], quantity=["other", "error"])
    assert found.verdict == verdicts.YES and found.flags == ()


def test_a_claim_that_is_refused_costs_the_others_no_confidence():
    of = [
        claims.Claim(**FALLS, arms=["none", "apr-p"]),
        claims.Claim(**FALLS | {"name": "e"}, arms=["a", "b"]),
    ]
    pair = [arm("a", [50.0, 51, 52]), arm("b", [49.0, 49.9, 51.1])]
    found, together = verdicts.family(of, {"arms": [NONE, TWICE, *pair]})
    assert together == 1
    assert [v.verdict for v in found] == [verdicts.UNTESTABLE, verdicts.YES]
    assert found[1].effect == verdicts.judge(of[1], {"arms": pair}).effect


# -- images


def with_images(row, images, shared):
    """A row as of that many images, whose differences have nearly no error."""
    return row | {"images": images, "products": {name: [1e-6, 1e-6, 1e-6] for name in shared}}


def test_fewer_images_than_the_standard_are_flagged_and_undo_nothing():
    pair = [with_images(row, 500, ("none", "apr-p")) for row in (NONE, TWICE | {"passes": 100})]
    found = judged({"arms": pair}, arms=["none", "apr-p"], images=2000)
    assert found.verdict == verdicts.YES
    assert (found.flags, found.void) == (("500 images, fewer than 2,000",), ())
    assert judged({"arms": pair}, arms=["none", "apr-p"], images=500).flags == ()


def test_an_interval_without_images_says_so():
    found = judged({"arms": [NONE, TWICE | {"passes": 100}]}, arms=["none", "apr-p"], images=2000)
    assert found.flags == ("the interval is over seeds alone",)


def test_a_number_that_is_no_evidence_is_void_and_undecided():
    hidden = TWICE | {"passes": 100, "flags": ["signs of hidden gradients (growing-eps)"]}
    found = judged({"arms": [NONE, hidden]}, arms=["none", "apr-p"], images=2000)
    assert found.verdict == verdicts.UNDECIDED
    assert found.void == ("APR-P: signs of hidden gradients (growing-eps)",)
    assert found.flags == (*found.void, "the interval is over seeds alone")


# -- scores of a family


def scores(**by_score):
    """Rows of a plain arm and of another, by the difference that a score finds, give or take a little."""
    found = []
    for score, gain in by_score.items():
        found.append(arm("none", [50.0, 52, 54], score, passes=1))
        found.append(arm("apr-sp", [50 + gain, 52.1 + gain, 54.3 + gain], score, passes=1))
    return {"scores": found}


DETECTS = {"quantity": "energy", "judge": "rises", "rows": "scores", "family": "scores"}


@pytest.mark.parametrize(
    ("gains", "verdict", "void"),
    [
        ({"energy": 8, "odin": 3}, verdicts.YES, ()),
        ({"energy": 8, "odin": 0}, verdicts.YES, ()),  # what does not decide does not contradict
        ({"energy": 8, "odin": -9}, verdicts.UNDECIDED, ("contradicted by odin",)),
        ({"energy": -8, "odin": 9}, verdicts.UNDECIDED, ("contradicted by odin",)),
        ({"energy": -8, "odin": -9}, verdicts.NOT, ()),
        ({"energy": 0, "odin": 9}, verdicts.UNDECIDED, ()),  # its own score decides, or none
    ],
)
def test_a_score_of_the_family_can_leave_a_claim_undecided_and_never_decide_it(gains, verdict, void):
    found = judged(scores(**gains), arms=["none", "apr-sp"], **DETECTS)
    assert (found.verdict, found.void) == (verdict, void)
    assert "by other scores, at 95 % each: odin " in found.evidence


def test_a_family_counts_once_among_the_claims_of_its_study():
    asked = claims.Claim(**SAID, arms=["none", "apr-sp"], **DETECTS)
    content = scores(energy=8, odin=3, mahalanobis=2)
    found, together = verdicts.family([asked], content)
    assert together == 1
    assert found[0].effect == verdicts.judge(asked, content).effect


# -- plain words


@pytest.mark.parametrize(
    ("quantity", "less", "more"),
    [
        ("error", "3.0 points fewer errors", "3.0 points more errors"),
        ("corruption error", "3.0 points fewer errors", "3.0 points more errors"),
        ("high", "3.0 points fewer errors", "3.0 points more errors"),
        ("high-pass 8", "3.0 points lower accuracy", "3.0 points higher accuracy"),
        ("high last", "3.0 points less of the gradient's power", "3.0 points more of the gradient's power"),
        ("low peak", "3.0 points earlier", "3.0 points later"),
        ("calibration error", "3.0 points lower calibration error", "3.0 points higher calibration error"),
        ("accuracy", "3.0 points lower accuracy", "3.0 points higher accuracy"),
        ("AUROC", "3.0 points lower AUROC", "3.0 points higher AUROC"),
        ("mahalanobis,fitted_on=5000", "3.0 points lower AUROC", "3.0 points higher AUROC"),
        ("square", "3.0 points less accuracy under attack", "3.0 points more accuracy under attack"),
        ("sure of a foreign phase", "3.0 points less sure", "3.0 points surer"),
        ("phase donor", "3.0 points less often", "3.0 points more often"),
        ("iterations", "3.0 fewer iterations", "3.0 more iterations"),
        ("FID, band 1", "FID 3.0 lower", "FID 3.0 higher"),
        ("a quantity of its own", "3.0 points lower", "3.0 points higher"),
    ],
)
@pytest.mark.parametrize("rule", ["falls", "rises"])
def test_every_quantity_has_its_plain_words_with_the_effect_first(quantity, less, more, rule):
    low, high = arm("a", [10.0, 11, 12], quantity), arm("b", [13.0, 13.5, 15.5], quantity)
    told = [rules.RULES[rule].judge(pair).evidence for pair in ([low, high], [high, low])]
    assert [text.partition(" [")[0] for text in told] == [more, less]
    assert not any("-3" in text for text in told)


def test_a_value_beside_its_limit_has_the_digits_that_tell_them_apart():
    row = rows.of_images("d", "disc", "outside (%)", [7.0, 10.0164])
    found = rules.RULES["at_most"].judge([row], limit=10.0)
    assert found.evidence.startswith("outside: at most 10.02 % in 2 samples, the limit is 10 %")


# -- the book's own records


def changed(record, part, add, *, seeds=3, **fields):
    """A copy of a record in which a row with these fields has other values for its first seeds."""
    record = copy.deepcopy(record)
    (row,) = [row for row in record[part] if all(row[k] == v for k, v in fields.items())]
    values = [value + add * (k < seeds) for k, value in enumerate(row["values"])]
    row.update(rows.summary(dict(zip(row["seeds"], values, strict=True))))
    return record


@pytest.mark.parametrize(("seeds", "outcome"), [(1, verdicts.UNDECIDED), (3, verdicts.NOT)])
def test_changing_one_number_of_a_record_changes_its_verdict(seeds, outcome):
    """One number of one seed, or one mean; those of the other claims stay, whose levels may widen alone."""
    record = records.published("band-limited-training")
    of = claims.load("band-limited-training").claims
    place = [claim.name for claim in of].index("blur-costs-on-cifar10")
    before = verdicts.family(of, record)[0]
    sought = {"data": "cifar10", "stands_for": "gaussian-low-pass:sigma=2", "series": "corrected"}
    after = verdicts.family(of, changed(record, "arms", 30, seeds=seeds, **sought))[0]
    assert before[place].verdict == verdicts.YES
    assert after[place].outcome == outcome
    assert before[0].verdict == after[0].verdict == verdicts.ONLY


def test_what_the_program_returns_fails_as_published_and_holds_once_corrected():
    """And neither where the published computation is right, too."""
    record = records.published("rof-denoising")
    (claim,) = [c for c in claims.load("rof-denoising").claims if c.name == "returned-minimises-energy"]
    assert verdicts.judge(claim, record).verdict == verdicts.CURED
    record = copy.deepcopy(record)
    for row in record["arms"]:
        if row["quantity"] == "excess energy (%)":
            row["values"] = [0.0 for _ in row["values"]]
    assert verdicts.judge(claim, record).verdict == verdicts.YES


def of_equal_cost(record, part):
    """A record as if all its arms had been trained for as many network passes."""
    return record | {part: [row | {"passes": 1} for row in record[part]]}


def test_records_of_the_first_version_know_their_passes():
    found = records.published("amplitude-phase-recombination")
    passes = {row["arm"]: row["passes"] for row in found["arms"]}
    assert passes["none"] == passes["apr-s"] == 15_000 * 5
    assert passes["apr-sp"] == passes["none, epochs=10"] == 15_000 * 5 * 2
    assert {row["passes"] for row in found["hardened"] if row["arm"] == "none"} == {5_000 * 6 * 2}
    band = records.published("band-limited-training")
    assert {row["passes"] for row in band["arms"]} == {10_000 * 6}


def test_a_claim_about_attacks_gives_way_to_signs_of_hidden_gradients():
    study = "amplitude-phase-recombination"
    record = of_equal_cost(records.published(study), "hardened")
    (claim,) = [c for c in claims.load(study).claims if c.name == "apr-sp-attacked"]
    name = claim.compared[1][0]
    clear = changed(record, "hardened", 30, stands_for=name, quantity="square")
    assert verdicts.judge(claim, clear).verdict == verdicts.YES
    for row in clear["hardened"]:
        row["flags"] = ["signs of hidden gradients (growing-eps)"]
    assert verdicts.judge(claim, clear).verdict == verdicts.UNDECIDED


def test_scores_of_the_record_contradict():
    """By the largest logit APR-SP would be better, once its seeds agreed; by Mahalanobis it is worse."""
    study = "amplitude-phase-recombination"
    record = of_equal_cost(records.published(study), "scores")
    (claim,) = [c for c in claims.load(study).claims if c.name == "apr-sp-tells-the-unknown"]
    clear = changed(record, "scores", 300, stands_for="apr-sp", quantity="max-logit")
    found = verdicts.judge(claim, clear)
    assert (found.verdict, found.void) == (verdicts.UNDECIDED, ("contradicted by mahalanobis",))
    assert "mahalanobis −14.5 [−16.7, −12.3]" in found.evidence


def test_a_verdict_names_our_setting_its_record_and_its_runs():
    record = records.published("amplitude-phase-recombination")
    of = {c.name: c for c in claims.load("amplitude-phase-recombination").claims}
    plain, hard = (verdicts.judge(of[name], record) for name in ("apr-sp-corruption", "apr-sp-attacked"))
    assert plain.record == "amplitude-phase-recombination.laptop.json"
    assert (
        plain.ours
        == "ResNet-8, 15,000 training images of CIFAR-10, 5 epochs, 150,000 network passes; 3 seeds"
    )
    assert hard.ours == (
        "ResNet-8, 5,000 training images of CIFAR-10, 6 epochs, 60,000 and 120,000 network passes; 3 seeds"
    )
    assert len(plain.keys) == len(set(plain.keys)) == 6
    pictures = records.published("rof-denoising")
    claim = claims.load("rof-denoising").claims[0]
    assert verdicts.judge(claim, pictures).ours == "CIFAR-10, 100 samples"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"arm": "none", "spec": "none", "passes": 3000}, "all 1,000 training images"),
        ({"arm": "none, epochs=6", "spec": "none", "passes": 6000}, "all 1,000 training images"),
        ({"arm": "apr-p", "spec": "apr-p", "passes": 6000}, "all 1,000 training images"),
        ({"arm": "none", "spec": "none"}, "all training images"),
    ],
)
def test_a_setting_says_how_many_all_training_images_are(row, told):
    """As far as the network passes tell: a set can be a sample."""
    claim = claims.Claim(**FALLS | {"data": "cifar10", "arms": ["none", "apr-p"]})
    record = {"parameters": {"seeds": [0], "epochs": 3, "train_size": None, "model": "resnet8"}}
    said = settings.told(claim, record, [{**row, "seeds": [0]}])
    assert f"{told} of CIFAR-10" in said
