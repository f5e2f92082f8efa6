"""A series of measures beside a training: of every epoch asked for, whatever kills it, and without effect on
it.
"""

import functools

import pytest
import torch

import specfreq
from specfreq import measures
from specfreq.core import storage
from specfreq.core.errors import UserError
from specfreq.experiment import Experiment, Run, find_run, list_runs, watch
from specfreq.train import loop

SMALL = {"data": "digits", "train_size": 60, "test_size": 40, "epochs": 3, "batch": 20, "shift": 1}
ALL = ("accuracy", "band-accuracy:step=4", "gradient-spectrum:size=30")


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))


def test_a_series_changes_neither_key_nor_network_and_ends_with_the_results(monkeypatch, tmp_path):
    """The filter is in its place: the last row is what the finished run is measured to have."""
    fields = {**SMALL, "filter": "whitening:floor=0.001"}
    watched, plain = Experiment(**fields, watch=ALL), Experiment(**fields)
    assert watched.key == plain.key and watched.effective() == plain.effective()
    run = specfreq.run(watched, ALL)
    assert run.series.epochs == [1, 2, 3]
    for name in ALL:
        series, result = run.series[name], run.results[name.replace(":", " ")]
        assert series.keys() == result.keys() - {"provenance"}
        for key, values in series.items():
            assert values.dtype == torch.float64 and len(values) == 3
            last = torch.tensor(watch._filled(result[key]), dtype=torch.float64)
            assert torch.equal(values[-1].nan_to_num(-1), last.nan_to_num(-1)), key
    assert len({tuple(row.flatten().tolist()) for row in run.series["accuracy"]["confusion"]}) > 1
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "plain"))
    other = specfreq.run(plain, ALL)
    assert other.series is None
    for name in ("model.safetensors", "history.csv", "experiment.json"):
        assert (run.path / name).read_bytes() == (other.path / name).read_bytes()


@pytest.mark.parametrize("after", [(0, 3), (1, 1), (1, 3), (2, 2)])
def test_a_killed_training_has_the_series_of_one_left_alone(monkeypatch, tmp_path, after):
    fit, asked, taken = loop.fit, Experiment(**SMALL, watch=ALL), []

    def stop(*now):
        if now == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "fit", functools.partial(fit, after_step=stop))
    with pytest.raises(KeyboardInterrupt):
        specfreq.run(asked, [], checkpoint_every=0)
    monkeypatch.setattr(loop, "fit", fit)
    compute = measures.compute
    monkeypatch.setattr(measures, "compute", lambda name, *rest: taken.append(name) or compute(name, *rest))
    killed = specfreq.run(asked, [])
    assert taken == [*ALL] * (3 - after[0]), "what was recorded is not taken again"
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "whole"))
    whole = specfreq.run(asked, [])
    for name in (watch.FILE, "model.safetensors"):
        assert (killed.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_checkpoint_without_the_beginning_of_the_series_is_not_gone_on_from(monkeypatch, caplog):
    def stop(*now):
        if now == (1, 2):
            raise KeyboardInterrupt

    fit = loop.fit
    monkeypatch.setattr(loop, "fit", functools.partial(fit, after_step=stop))
    with pytest.raises(KeyboardInterrupt):
        specfreq.run(Experiment(**SMALL), [], checkpoint_every=0)
    monkeypatch.setattr(loop, "fit", fit)
    run = specfreq.run(Experiment(**SMALL, watch=("accuracy",)), [])
    assert "begins anew, as nothing was recorded" in caplog.text
    assert run.series.epochs == [1, 2, 3]


def test_a_finished_run_without_the_series_is_trained_again_to_the_same_bits(caplog):
    """And keeps what it had recorded."""
    plain = specfreq.run(Experiment(**SMALL), ["nll"])
    weights = (plain.path / "model.safetensors").read_bytes()
    run = specfreq.run(Experiment(**SMALL, watch=("accuracy",), watch_epochs=(1, 3)), [])
    assert "no series of accuracy (of this version); it is trained again" in caplog.text
    assert run.series.epochs == [1, 3] and run.key == plain.key
    assert (run.path / "model.safetensors").read_bytes() == weights
    assert run.results == plain.results, "the same network is not measured again"
    caplog.clear()
    assert specfreq.run(Experiment(**SMALL), []).series is not None
    assert specfreq.run(Experiment(**SMALL, watch="accuracy", watch_epochs="3"), []).key == run.key
    assert not caplog.text, "nothing is missing"
    run = specfreq.run(Experiment(**SMALL, watch="nll"), [])
    assert run.series.epochs == [1, 2, 3] and [*run.series.versions] == ["accuracy", "nll"]
    assert "no series of nll" in caplog.text
    with pytest.raises(UserError, match="unknown series 'calibration'"):
        _ = run.series["calibration"]


def test_what_the_series_is_refused_for_costs_no_finished_run():
    run = specfreq.run(Experiment(**SMALL), ["accuracy"])
    with pytest.raises(UserError, match="boxes"):
        specfreq.run(Experiment(**SMALL, watch="localisation"), [])
    assert run.trained and run.results.keys() == {"accuracy"}


def test_a_series_of_another_run_or_a_damaged_one_is_refused():
    run = specfreq.run(Experiment(**SMALL, watch=("accuracy",)), [])
    file = run.path / watch.FILE
    tensors, meta = storage.read_tensors(file)
    storage.write_tensors(file, tensors, {**meta, "key": "0123456789abcdef"})
    with pytest.raises(UserError, match="is of run 0123456789abcdef"):
        _ = Run(run.path).series
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"series\.safetensors is damaged"):
        _ = find_run(run.key).series


def test_what_is_no_number_is_kept_beside(tmp_path):
    """And numbers that there are not are NaN; a shape that changes is a list."""
    rows = {
        epoch: {"m": {"name": "max", "half": half, "list": [1.0] * epoch, "pair": [1.0, None]}}
        for epoch, half in ((1, None), (2, 3.0))
    }
    watch.write(tmp_path, rows, {"m": 1})
    found = watch.read(tmp_path).results["m"]
    assert found["name"] == ["max", "max"] and found["list"] == [[1.0], [1.0, 1.0]]
    assert found["half"][0].isnan() and found["half"][1] == 3
    assert found["pair"].shape == (2, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"watch": "acuracy"}, "did you mean 'accuracy'"),
        ({"watch": "accuracy", "watch_epochs": "4"}, "watch_epochs=4 is refused: the training has 3 epochs"),
        ({"watch": "accuracy", "watch_epochs": (0,)}, "watch_epochs.* is refused"),
        ({"watch": "accuracy", "watch_epochs": "x"}, "watch_epochs.*'x' is refused"),
        ({"watch": "accuracy", "watch_epochs": "1,"}, "watch_epochs.*'' is refused"),
        ({"watch": "accuracy", "watch_epochs": (1.5,)}, "fractional part"),
        ({"watch": "accuracy", "watch_epochs": None}, "watch_epochs=None is refused"),
        ({"watch": 3}, "watch=3 is refused"),
        ({"watch": (None,)}, "watch.*None is refused"),
        ({"watch_epochs": (1,)}, "watch_epochs is refused without watch"),
    ],
)
def test_what_cannot_be_recorded_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Experiment(**SMALL, **fields)


def test_a_measure_that_would_be_refused_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(loop, "fit", None)
    with pytest.raises(UserError, match="published norm for 32x32"):
        specfreq.run(Experiment(**SMALL, watch="fourier-heatmap"), [])


def test_measures_with_lists_are_written_in_quotes():
    asked = Experiment(**SMALL, watch='accuracy+"feature-discrimination:radii=1+2"')
    assert asked.watch == ("accuracy", "feature-discrimination:radii=1+2")


def test_one_epoch_is_a_number_and_none_are_none():
    for given, kept in ((2, (2,)), ("2", (2,)), ("", ()), ((3, 1, 3), (1, 3))):
        assert Experiment(**SMALL, watch="accuracy", watch_epochs=given).watch_epochs == kept


def test_runs_are_not_chosen_by_what_they_do_not_say():
    """A key has one run, whatever was recorded; none would ever match."""
    specfreq.run(Experiment(**SMALL, watch="accuracy"), [])
    with pytest.raises(UserError, match="no run says by which watch"):
        list(list_runs(watch="accuracy"))
    assert len(list(list_runs(epochs=3))) == 1
