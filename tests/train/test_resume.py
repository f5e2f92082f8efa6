"""Exact resumption, proved on real processes: killed at random moments, many times, they end in the bits of
one left alone, weights and series of measures alike.

Run as a script this file is the killer: it forks trainings, which is cheap, and kills them; tests read what
it has seen.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

RECIPES = {
    "sgd, with a series": {
        "augment": "apr-p:p=0.5",
        "ema": 0.9,
        "label_smoothing": 0.1,
        "watch": ("accuracy", "gradient-spectrum:size=20"),
    },
    "adam": {
        "optimizer": "adam",
        "lr": 0.003,
        "schedule": "cosine",
        "augment": "apr-p:donor=batch,per=batch",
        "shift": 1,
    },
}
COMMON = {"data": "digits", "train_size": 120, "test_size": 40, "epochs": 8, "batch": 30}
MOST = 400  # kills, before the test gives up


def experiment(which: str):
    from specfreq import Experiment

    return Experiment(**{**COMMON, **RECIPES[which]})


def in_child(work) -> int:
    """Fork, work, and leave without cleaning up. Returns the child's number."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return child


def killer(which: str, folder: Path) -> None:
    import torch

    torch.set_num_threads(1)  # no pool of threads that a fork would lose
    from tqdm import tqdm

    import specfreq
    from specfreq.train import loop

    tqdm.monitor_interval = 0  # no thread that holds the lock of all bars while a child is forked
    tqdm.set_lock(threading.RLock())  # and none shared by processes, which a killed child would take with it

    fit, random_ = loop.fit, random.Random(which)
    asked = experiment(which)
    asked.key  # noqa: B018 - loads the images once, for all children

    def training(runs: str, log: Path | None = None):
        os.environ["SPECFREQ_RUNS"] = str(folder / runs)
        if log is not None:
            steps = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            loop.fit = partial(
                fit, after_step=lambda epoch, step: os.write(steps, f"{epoch * 4 + step}\n".encode())
            )
        specfreq.run(asked, checkpoint_every=0)

    training("whole")  # in this process: what torch imports at the first step, the children have
    # seconds; adapted to the machine, so that most children get somewhere and none gets far
    logs, patience = (
        [],
        0.1,
    )
    while len(logs) < MOST:
        log = folder / f"{len(logs)}.log"
        child = in_child(partial(training, "killed", log))
        time.sleep(random_.uniform(0, patience))
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)[1]
        logs.append([int(line) for line in log.read_text().split()] if log.exists() else [])
        patience *= 0.8 if len(logs[-1]) > 2 else 1.1
        if ended == 0:
            break
        assert ended == signal.SIGKILL
    (folder / "logs.json").write_text(json.dumps(logs))


@pytest.mark.parametrize("which", RECIPES)
def test_a_training_killed_many_times_ends_in_the_same_bits(which, tmp_path):
    command = [sys.executable, __file__, which, tmp_path]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logs = json.loads((tmp_path / "logs.json").read_text())
    assert 10 < len(logs) < MOST, "killed too seldom, or never let through"
    asked = experiment(which)
    key = asked.key
    series = ["series.safetensors"] if asked.watch else []
    for name in ("model.safetensors", "history.csv", "results/accuracy.json", *series):
        whole, killed = ((tmp_path / runs / key / name).read_bytes() for runs in ("whole", "killed"))
        assert whole == killed, name
    files = [p.name for p in (tmp_path / "killed" / key).iterdir() if p.is_file()]
    assert sorted(files) == [
        "experiment.json",
        "history.csv",
        "lock",
        "model.safetensors",
        "provenance.json",
        *series,
    ], "something is left"
    steps = [step for log in logs for step in log]
    assert steps == sorted(set(steps)), "a step that was saved was computed again"
    assert max(steps) == 32


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_intact(tmp_path):
    """The operating system refuses to let any file grow past the first checkpoint's size less one byte."""
    import torch

    from specfreq.core import storage
    from specfreq.core.errors import UserError
    from specfreq.train.checkpoints import Checkpoints

    kept = Checkpoints(tmp_path / "c", every=0)
    kept.save({"w": torch.zeros(100)}, "small")

    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with pytest.raises(UserError, match=r"cannot write .*c\.next: File too large"):
            kept.save({"w": torch.zeros(1000)}, "large")

    assert os.waitpid(in_child(full), 0)[1] == 0
    assert storage.read_tensors(tmp_path / "c")[1]["meta"] == "small"
    assert [p.name for p in tmp_path.iterdir()] == ["c"], "the part that was written is left behind"


if __name__ == "__main__":
    killer(sys.argv[1], Path(sys.argv[2]))
