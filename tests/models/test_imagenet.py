"""The recipe for ImageNet, as the book has it, on a small folder in ImageNet's layout: nothing else about it
is small.
"""

import re
import shlex
from pathlib import Path

import pytest

from specfreq import cli, experiment
from specfreq.core import storage
from specfreq.data.streams import Stream

PAGE = Path(__file__).parents[2] / "book" / "reading-and-rerunning.md"


def documented() -> list[str]:
    """The options of the command on the page that trains on ImageNet."""
    blocks = re.findall(
        r"```console\n\$ torchrun [^\n]*? -m specfreq (train .*?)```", PAGE.read_text(), re.DOTALL
    )
    (command,) = (block for block in blocks if "imagenet" in block)
    return shlex.split(command.replace("\\\n", " "))


def test_the_documented_recipe_runs_end_to_end(imagenet_folder, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))
    imagenet_folder(tmp_path / "images")
    args = [word.replace("PATH?size=224", f"{tmp_path}/images?size=32") for word in documented()]
    with pytest.raises(SystemExit) as ended:
        cli.main(
            [
                *args,
                "--epochs",
                "2",
                "--batch",
                "14",
                "--measure",
                "accuracy",
                "--measure",
                "band-accuracy:step=8",
            ]
        )
    assert not ended.value.code, capfd.readouterr().err
    (run,) = experiment.list_runs()
    assert isinstance(run.image_set("train"), Stream)
    assert run.experiment.model == "resnet50" and run.experiment.augment == "apr-sp:p=0.5"
    assert run.experiment.milestones == (0.3, 0.6, 0.9) and run.experiment.weight_decay == 1e-4
    assert run.results["accuracy"]["images"] == 14
    assert run.results["band-accuracy step=8"]["low"][-1] == run.results["accuracy"]["accuracy"]
    # the last steps: 3/8 and 7/8 of the way
    assert [row["lr"] for row in run.history] == pytest.approx([0.01, 0.001])


def test_a_run_on_streamed_pictures_is_computed_once_and_ends_in_the_same_bits(
    imagenet_folder, tmp_path, monkeypatch
):
    """In other processes, with another number of workers: crops are drawn by key."""
    from specfreq import Experiment, run

    data = f"folder:{imagenet_folder(tmp_path / 'images')}?size=16&stream=1"
    asked = Experiment(
        data=data,
        crop="random-resized",
        epochs=2,
        batch=10,
        filter="gaussian-high-pass:sigma=2",
        augment="apr-p",
    )
    models = []
    for workers in ("0", "2"):
        monkeypatch.setenv("SPECFREQ_WORKERS", workers)
        monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / workers))
        path = run(asked).path
        models.append((path / "model.safetensors").read_bytes())
        assert run(asked).path == path
    assert models[0] == models[1]
    tensors, _ = storage.read_tensors(path / "model.safetensors")
    assert tensors["mean"].abs().max() < 0.01  # of the filtered pictures: a high-pass has no mean
