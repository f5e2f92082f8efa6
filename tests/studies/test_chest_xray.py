"""What the study of X-rays takes from its networks: rows that are the measures', maps in coordinates of boxes."""

import re

import pytest
import torch

from specfreq import experiment, measures
from specfreq.data import normal_form
from specfreq.measures import localisation
from specfreq.studies import chest_xray

DATA = normal_form("planted:boxes=1,classes=2,count=60,evidence=amplitude")
CORRUPTION = "corruptions=gaussian_noise+fog,severities=2"


@pytest.fixture(scope="module")
def of(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        recipe = {"model": "resnet8", "epochs": 1, "batch": 30, "test_size": 12, "shift": 0, "seed": [0, 1]}
        boxes = experiment.run_all(experiment.grid(data=DATA, augment=["none", "apr-s"], **recipe))
        none = experiment.run_all(experiment.grid(data="digits", train_size=60, **recipe))
        yield {"squares": boxes, "digits": none}


def test_sets_without_boxes_are_diagnosed_alone(of):
    rows = chest_xray.rows(of, CORRUPTION)
    seen = {data: {row["quantity"] for row in rows if row["data"] == data} for data in of}
    assert seen["digits"] == {*chest_xray.DIAGNOSIS, *chest_xray.HARD}
    assert seen["squares"] == seen["digits"] | {*chest_xray.LOCATED}
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)


def test_rows_are_what_the_measures_say(of):
    rows = {(r["data"], r["arm"], r["quantity"]): r for r in chest_xray.rows(of, CORRUPTION)}
    run = of["squares"][0]
    for quantity, (measure, number) in chest_xray.quantities(CORRUPTION, True).items():
        assert rows["squares", "none", quantity]["values"][0] == run.measure(measure)[number], quantity


def test_maps_that_are_not_above_a_bell_are_no_evidence(of):
    """By the interval of their difference; the bell's own scores are those of the measure."""
    beside = {row["quantity"]: row for row in chest_xray.beside_bells(of)}
    bell = of["squares"][0].measure("localisation:maps=centre")
    assert beside["energy in box, bell"]["values"] == [pytest.approx(bell["energy"])] * 2
    assert beside.keys() == {f"{score}{end}" for score in chest_xray.SCORES for end in ("", chest_xray.BELL)}
    bells = chest_xray._bells(of["squares"])
    rows = [row for row in chest_xray.rows(of, CORRUPTION) if row["quantity"] in chest_xray.LOCATED]
    for row in rows:
        score = bells[row["arm"], row["quantity"].removesuffix(chest_xray.CORRUPTED)]
        assert ("flags" in row) != chest_xray._above(row, score)
    flagless = {**beside["energy in box"], "values": [90.0, 91.0], "mean": 90.5, "low": 80.0, "high": 99.0}
    assert chest_xray._above(flagless, beside["energy in box, bell"])


def test_chances_are_those_of_maps_that_do_not_know_the_picture(of):
    lines = chest_xray.chances(of)
    assert {line["data"] for line in lines} == {"squares"}
    run = of["squares"][0]
    noise = measures.compute("localisation:maps=noise", run.classifier(), run.image_set("test"))
    assert lines[0]["energy in box"][0] == pytest.approx(noise["energy"], rel=1e-5)
    table = chest_xray.chance_table(lines)
    assert table[0]["data"] == "squares" and "±" in table[0]["pointing"]


def test_a_map_that_is_its_box_is_a_square_about_the_middle():
    """Whatever the boxes' sizes and places; half a pixel of the rim aside."""
    boxes = torch.tensor([[8, 8, 24, 24], [20, 4, 36, 60], [4, 40, 60, 56]])
    maps = localisation.inside(boxes, 64, 64).float()
    found = chest_xray.around(maps, boxes, reach=2.0, points=41)
    steps = torch.linspace(-2, 2, 41)
    within = (steps.abs()[:, None] < 0.85) & (steps.abs() < 0.85)
    without = (steps.abs()[:, None] > 1.15) | (steps.abs() > 1.15)
    torch.testing.assert_close(found[within], torch.ones(int(within.sum())))
    assert torch.nan_to_num(found[without]).abs().max() < 1e-6


def test_where_no_image_reaches_there_is_no_mean():
    boxes = torch.tensor([[0, 0, 32, 32]])
    found = chest_xray.around(torch.ones(1, 32, 32), boxes, reach=2.0, points=5)
    torch.testing.assert_close(found[1:4, 1:4], torch.ones(3, 3))
    assert found[0].isnan().all() and found[:, 4].isnan().all()


def test_what_is_drawn_is_of_every_arm_clean_and_corrupted(of):
    shown = chest_xray.pictures(of["squares"], CORRUPTION, 3)
    assert len(shown["images"]) == 4 and list(shown["images"]) == list(shown["maps"])
    clean, noisy = list(shown["images"].values())[:2]
    assert clean.shape == (3, 1, 32, 32) and not torch.equal(clean, noisy)
    about = chest_xray.about_boxes(of["squares"], CORRUPTION)
    assert [list(kinds) for kinds in about.values()] == [["clean", "gaussian noise"]] * 2
    assert len(chest_xray.sanity(of["squares"], 4)) == 2


def test_the_balance_counts_the_images_of_every_class(of):
    lines = chest_xray.balance(of)
    assert lines[0]["classes"] == "pattern 0 30, pattern 1 30"
    assert [line["images"] for line in lines] == [60, 12, 60, 12]


def test_the_sentence_has_the_numbers_or_says_that_there_are_none(of):
    assert "No record" in chest_xray.sentence([], [])
    rows = chest_xray.rows(of, CORRUPTION)
    said = chest_xray.sentence(rows, chest_xray.chances(of))
    assert "On squares a plain network has an AUC of" in said and "On digits a plain network" in said
    assert re.search(
        r"% of the energy of a plain network's maps, and of maps that do not know the picture .* \(random maps\), .* \(bell about the middle\)",
        said,
    )
