"""Networks that are shown the test images of several sets, as rows; densities and kernels of sets."""

import pytest
import torch

from specfreq import data, experiment
from specfreq.core.errors import UserError
from specfreq.evidence import comparison
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
    as_published = comparison.by_name(found, "as published")
    assert ("WCR", "high-pass 4") in as_published
    curves = bias_sets.curves(arms, MEASURE)
    assert curves["WCR"]["radii"] == runs[0].measure(MEASURE)["radii"]


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
