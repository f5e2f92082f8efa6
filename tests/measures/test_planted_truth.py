"""Networks trained on evidence planted in one band: the measures show in which."""

import pytest

import specfreq
from specfreq import Experiment, measures

# cycles per image at 16 pixels: the low band ends below 2, the high one begins at 4
EDGES = {
    "low": 2,
    "high": 4,
}
RECIPE = {"model": "resnet8", "epochs": 3, "batch": 50, "shift": 0, "flip": False, "test_size": 400}
MEASURES = (
    "band-accuracy",
    "feature-discrimination:radii=1+2+4",
    "feature-discrimination:level=zero,radii=1",
)
CHANCE = pytest.approx(25, abs=10)  # of 400 test images in 4 classes: 4.6 standard deviations


@pytest.fixture(scope="module", params=[0, 1], ids=["seed 0", "seed 1"])
def users(request, tmp_path_factory):
    """The results of the network that uses the low band, and of the one that uses the high band."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        results = {}
        for band in EDGES:
            run = specfreq.run(
                Experiment(data=f"planted:band={band},side=16,count=1000", seed=request.param, **RECIPE)
            )
            asked = run.classifier(), run.image_set("test")
            results[band] = [measures.compute(spec, *asked) for spec in MEASURES]
            assert results[band][0]["accuracy"] > 85
        return results


def at(result, key, radius):
    return result[key][result["radii"].index(radius)]


def test_the_curves_show_which_band_a_network_uses(users):
    low, high = (users[band][0] for band in EDGES)
    # at the edge of its band each network keeps its accuracy with that band alone, and has none without it
    assert at(low, "low", EDGES["low"]) > 75 and at(low, "high", EDGES["low"]) == CHANCE
    assert at(high, "high", EDGES["high"]) > 85 and at(high, "low", EDGES["high"]) == CHANCE
    assert low["low_half"] <= EDGES["low"] < EDGES["high"] < high["low_half"]
    assert low["high_half"] < EDGES["low"] < EDGES["high"] <= high["high_half"]
    assert low["low_area"] > high["low_area"] + 8 and high["high_area"] > low["high_area"] + 8


def test_the_features_show_which_band_a_network_uses(users):
    low, high = (users[band][1] for band in EDGES)
    assert (
        at(low, "low_fisher", EDGES["low"]) > 0.5 * low["fisher"] > 20 * at(low, "high_fisher", EDGES["low"])
    )
    assert (
        at(high, "high_fisher", EDGES["high"])
        > 0.5 * high["fisher"]
        > 20 * at(high, "low_fisher", EDGES["high"])
    )
    for without in (at(low, "high_fisher", EDGES["low"]), at(high, "low_fisher", EDGES["high"])):
        assert without < 10 * low["fisher_chance"]
    assert at(low, "low_accuracy", EDGES["low"]) > 75 and at(high, "high_accuracy", EDGES["high"]) > 85


def test_a_high_pass_without_the_mean_hides_which_band_a_network_uses(users):
    """Why the level of the set is kept: black on average, 7 standard deviations off, images with all their
    evidence are lost.
    """
    _, shown, hidden = users["low"]
    assert at(shown, "high_accuracy", 1) > 85
    assert at(hidden, "high_accuracy", 1) < at(shown, "high_accuracy", 1) - 30
