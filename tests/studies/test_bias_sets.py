"""Networks that are shown the test images of several sets, as rows; densities and kernels of sets."""

import math

import pytest
import torch

from specfreq import data, experiment, fourier
from specfreq.core.errors import UserError
from specfreq.evidence import comparison
from specfreq.evidence.rows import over_images
from specfreq.studies import bias_sets
from specfreq.studies.bias_sets import Shown

OF = "planted:count=40,side=16"
FEW = "number=2,kernel_size=3,epochs=1,radius=5"
MEASURE = "band-accuracy:size=12,step=4"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))


@pytest.fixture
def sets():
    return bias_sets.derived_sets(OF, FEW, FEW)


def test_the_sets_are_scr_and_wcr_and_both_as_published(sets):
    assert list(sets) == ["none", "SCR", "SCR as published", "WCR", "WCR as published"]
    assert sets["WCR"] == data.normal_form(f'cdes:of="{OF}",kernels=all,{FEW}')
    assert "trained_on=both" in sets["SCR as published"] and "trained_on" not in sets["SCR"]
    assert "at_test=wrong" in bias_sets.with_option(sets["SCR"], "at_test=wrong")


def test_rows_hold_what_each_network_answers_to_each_set_paired_by_image(sets):
    fields = {"train_size": 24, "test_size": 12, "epochs": 1, "batch": 12, "seed": [0, 1]}
    runs = experiment.run_all(experiment.grid(data=sets["WCR"], **fields))
    arms = [Shown("WCR", runs), Shown("WCR, unchanged images", runs, OF)]
    arms.append(Shown("WCR as published", runs, None, "WCR", "as published"))
    places = bias_sets.at_radii([4, 8], runs[0].measure(MEASURE)["radii"])
    found = bias_sets.rows(arms, OF, MEASURE, {"accuracy": "accuracy"} | places)
    assert len(found) == 3 * 5 and {row["data"] for row in found} == {OF}
    for row in found:
        test = OF if row["arm"].endswith("images") else None
        key = ({"accuracy": "accuracy"} | places)[row["quantity"]]
        expected = [comparison.number(run.measure(MEASURE, data=test), key) for run in runs]
        assert row["values"] == expected and row["images"] == 12
    halves = {row["quantity"]: row for row in found if row["arm"] == "WCR"}
    assert over_images(halves["low-pass 4"], halves["high-pass 4"]), "two quantities of an arm are paired too"
    as_published = comparison.by_name(found, "as published")
    assert ("WCR", "high-pass 4") in as_published
    curves = bias_sets.curves(arms, MEASURE)
    assert curves["WCR"]["radii"] == runs[0].measure(MEASURE)["radii"]


def test_the_sets_of_class_consistency_are_there_and_the_pruned_one_has_no_low_frequencies():
    sets = bias_sets.mixed_sets(OF, 4, "gaussian-high-pass:sigma=1")
    assert next(iter(sets)) == "none" and len(set(sets.values())) == 6
    for name, spec in sets.items():
        assert spec == data.normal_form(spec)
        made = data.load(spec, "train")
        assert torch.equal(made.labels, data.load(OF, "train").labels), name
    pruned, whole = (data.load(sets[name], "test").images.double() for name in (bias_sets.PRUNED, "none"))
    power, before = (fourier.power_spectrum(x).mean((0, 1)) for x in (pruned, whole))
    # the filter's transfer function squared, up to one factor, at 1 and at 7 cycles per image
    factor = (power[8, 15] / before[8, 15]) / (power[8, 9] / before[8, 9])
    gains = [1 - math.exp(-2 * (math.pi * k / 16) ** 2) for k in (7, 1)]
    assert float(factor) == pytest.approx((gains[0] / gains[1]) ** 2, rel=0.25)


def test_runs_are_found_by_the_name_of_their_set(sets):
    fields = {"train_size": 24, "test_size": 12, "epochs": 1, "batch": 12, "seed": [0, 1]}
    two = {name: sets[name] for name in ("none", "WCR")}
    runs = experiment.run_all(experiment.grid(data=list(two.values()), **fields))
    of = bias_sets.by_set(runs, two)
    assert [run.experiment.seed for run in of["WCR"]] == [0, 1] and len(of["none"]) == 2
    assert {run.experiment.data for run in of["WCR"]} == {two["WCR"]}


def test_dominant_frequencies_are_counted_over_seeds_and_told_in_rows():
    fields = {"train_size": 24, "test_size": 12, "epochs": 1, "batch": 12, "seed": [0, 1]}
    arm = Shown("none", experiment.run_all(experiment.grid(data=OF, **fields)))
    asked = "frequency-shortcuts:block=3,keep=10+30"
    counts = torch.tensor(bias_sets.dominant_frequencies([arm], asked, 30)["none"])
    assert counts.shape == (len(data.load(OF).classes), 16, 16) and counts.max() <= 2
    assert torch.equal(counts, fourier.mirror(counts)), "a frequency and its mirror image are one"
    # each of the two networks has groups of 30 %, or one group more
    assert (counts.sum((1, 2)) >= 2 * 0.3 * 256).all() and (counts.sum((1, 2)) < 2 * (0.3 * 256 + 18)).all()
    numbers = bias_sets.known_by(30, [10, 30])
    found = {row["quantity"]: row for row in bias_sets.rows([arm], OF, asked, numbers)}
    results = [run.measure(asked) for run in arm.runs]
    assert found["their radius"]["values"] == [result["kept_radius"][1] for result in results]
    assert found["by its frequencies"]["values"] == [result["kept_accuracy"][1] for result in results]
    with pytest.raises(UserError, match="20 % is not measured; those are 10, 30"):
        bias_sets.known_by(20, [10, 30])


def test_a_radius_that_is_not_measured_is_refused():
    with pytest.raises(UserError, match="radius 5 is not measured; those are 0, 4, 8"):
        bias_sets.at_radii([5], [0, 4, 8])


def test_the_density_of_a_set_is_the_mean_of_its_images(sets):
    found = bias_sets.densities({"none": sets["none"]}, 10)
    assert len(found["none"]) == 8 and min(found["none"]) >= 0 and max(found["none"]) <= 1


def test_kernels_are_those_that_made_the_set(sets):
    classes = data.load(OF).classes
    networks = bias_sets.kernels(sets["SCR"], classes)
    assert list(networks) == list(classes) and list(bias_sets.kernels(sets["WCR"], classes)) == ["all"]
    dots, power = bias_sets.responses(networks, 9)
    assert dots.shape == (len(classes), 1, 9, 9) and power.shape == (len(classes), 9, 9)
    # Parseval: the power of a response is the sum of its squares times the pixels
    assert torch.allclose(power.sum((1, 2)), 81 * dots.double().square().sum((2, 3)).mean(1))


def test_the_published_table_has_a_line_for_each_published_number():
    table = bias_sets.published_table("spectral-density", [])
    assert len(table.rows) == 15 and table.rows[0]["published"] == "79.0"
    assert {row["as published, here"] for row in table.rows} == {"–"}
