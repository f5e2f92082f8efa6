"""Coming from the originals: every command on the right of its tables runs, in small."""

import functools
import re
import shlex

import click
import pytest

from specfreq import cli, measures
from specfreq.cli import experiments
from specfreq.compendium import notebooks
from specfreq.core import places
from specfreq.experiment import Experiment, profiles

PAGE = (places.root() / "book" / "originals.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| there", "| set", "| `cdes", "| `hars", "| |"))
]
COMMANDS = [command for row in ROWS for command in re.findall(r"`((?:specfreq|torchrun) .+?)`", row[1])]
OWN = {command: shlex.split(re.sub(r"^torchrun .* -m ", "", command))[1:] for command in COMMANDS}
# what makes a training long, and what a test machine has not got
SMALL = {"data": "photos", "model": "resnet8", "train_size": 60, "test_size": 14, "epochs": 1, "batch": 20}
SMALL |= {"crop": "shift", "compile": False}
# measures that take long, with options that make them short
QUICK = {
    "adversarial": "adversarial:attacks=fgsm,size=7",
    "corruption": "corruption:corruptions=fog,severities=3",
    "fourier-heatmap": "fourier-heatmap:size=4,step=8",
    "out-of-distribution:other=svhn": "out-of-distribution:other=phase-scrambled,size=14",
}


def of(command):
    return [args[1:] for args in OWN.values() if args[0] == command]


def described(args):
    """The experiment that the arguments of `specfreq train` describe, read by its own parser."""
    context = experiments.train.make_context("train", list(args))
    given = {k: v for k, v in context.params.items() if v is not None and k in Experiment.model_fields}
    profile = context.params["profile"]
    return {**(profiles.training(profile) if profile else {}), **given}


def test_every_row_has_a_command_here_or_says_that_there_is_none_yet():
    assert len(ROWS) > 30
    assert [
        row
        for row in ROWS
        if len(row) != 3 or not (row[1] == "not yet" or "`specfreq" in row[1] or "`torchrun" in row[1])
    ] == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small experiment that has been trained; its key stands for KEY."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        from specfreq.experiment import run

        yield run(Experiment(**SMALL))


@pytest.mark.parametrize("args", of("train"), ids=" ".join)
def test_every_training_is_a_valid_experiment_and_trains(args, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    fields = described(args)
    Experiment(**fields)
    told = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in (fields | SMALL).items()}
    options = [f"--{k.replace('_', '-')}={v}" for k, v in told.items() if not isinstance(v, bool)]
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", *options])
    assert not ended.value.code


@pytest.mark.parametrize("args", of("measure"), ids=" ".join)
def test_every_measure_is_known_and_measures(args, run):
    key, *names = args
    assert key == "KEY"
    for name in names:
        measures.check(name)
        assert run.measure(QUICK.get(name, name))


@pytest.mark.parametrize("args", of("data"), ids=" ".join)
def test_every_set_is_made(args, tmp_path, monkeypatch):
    """In small: of few pictures, by few kernels."""
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    small = {"of=cifar10": 'of="planted:count=40,side=32"', "number=16": "number=2", "epochs=20": "epochs=1"}
    told = [functools.reduce(lambda text, pair: text.replace(*pair), small.items(), arg) for arg in args]
    few = ",number=2,kernel_size=3,epochs=1"
    told = [arg + few if arg.startswith("cdes:") and "epochs" not in arg else arg for arg in told]
    told = [str(tmp_path / arg) if arg.endswith(".png") else arg for arg in told]
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", *told])
    assert not ended.value.code
    assert len(list(tmp_path.glob("derived/*/images.safetensors"))) == 2
    assert [tmp_path / name for name in args if name.endswith(".png")] == list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("args", of("run"), ids=" ".join)
def test_every_study_takes_its_profile_and_parameters(args):
    study, *options = args
    profile = options[options.index("--profile") + 1] if options else "quick"
    assert notebooks.resolve(study, profile)["profile"] == profile


def test_a_misspelt_option_would_be_refused():
    with pytest.raises(click.NoSuchOption):
        described(["--agument", "apr-p"])
