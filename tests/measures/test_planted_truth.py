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
    "gradient-spectrum",
    "frequency-shortcuts:block=0,keep=2",
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
    _, shown, hidden, *_ = users["low"]
    assert at(shown, "high_accuracy", 1) > 85
    assert at(hidden, "high_accuracy", 1) < at(shown, "high_accuracy", 1) - 30


def test_the_gradient_is_largest_where_the_evidence_is(users):
    low, high = (users[band][3] for band in EDGES)
    assert max(range(12), key=low["density"].__getitem__) < EDGES["low"]
    assert max(range(12), key=high["density"].__getitem__) >= EDGES["high"]
    # 8 of the 256 frequencies are in the low band
    assert low["low_share"] > 20 > 2 > high["low_share"]
    assert high["high_share"] > 90 > 60 > low["high_share"]


def test_the_dominant_frequencies_are_those_of_the_evidence(users):
    """2 % are the ring without which the loss is highest."""
    low, high = (users[band][4] for band in EDGES)
    assert all(radius < EDGES["low"] for radius in low["dominant_radius"][0])
    assert all(radius > EDGES["high"] - 0.5 for radius in high["dominant_radius"][0])


@pytest.fixture(scope="module", params=[0, 1], ids=["seed 0", "seed 1"])
def first_epoch(request, tmp_path_factory):
    """Two bands with equal evidence: what is known of each after the first epoch, with natural density, with
    white noise for it, and with natural density behind whitening.
    """
    kinds = {"natural": ("1", "none"), "white": ("0", "none"), "whitened": ("1", "whitening")}
    watch = ("feature-discrimination:radii=2+4", "gradient-spectrum:at=filtered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        return {
            kind: specfreq.run(
                Experiment(
                    data=f"planted:band=low+high,side=16,count=1000,slope={slope}",
                    filter=filter,
                    seed=request.param,
                    watch=watch,
                    watch_epochs=(1,),
                    **RECIPE,
                ),
                [],
            ).series
            for kind, (slope, filter) in kinds.items()
        }


def test_of_two_bands_with_equal_evidence_the_denser_one_is_learned_first(first_epoch):
    """The observation without confounds: low frequencies come first where images have more of them; where all
    have the same power, or are given the same by whitening, high ones do.
    """
    known, looked = {}, {}
    for kind, series in first_epoch.items():
        found = series["feature-discrimination:radii=2+4"]
        known[kind] = float(found["low_accuracy"][0, 0] - found["high_accuracy"][0, 1])
        looked[kind] = float(series["gradient-spectrum:at=filtered"]["density"][0, 1])
    assert known["natural"] > 10 and max(known["white"], known["whitened"]) < -5, known
    assert looked["natural"] > 2 > 1 > max(looked["white"], looked["whitened"]), looked
