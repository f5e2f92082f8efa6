"""Accuracy on CIFAR-10 over the seconds of training: strong and usual networks, and a plain torchvision loop.

Each network is trained for 1, 2, 4, 8, ... epochs, each time from the start with the schedule stretched,
until the next training would take longer than a limit. One that cannot see the images twice in that time is
left out, and named. A goal is then asked of the shortest training that reached it, over several seeds.
Trainings that have ended wait in ``runs/frontier`` until the record is written: a killed benchmark goes on.
"""

import logging
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.timing import processor
from benchmarks.training import FAST, Pictures
from specfreq import Experiment, data, experiment, models
from specfreq.core import places, storage
from specfreq.core.devices import autocast, checked_device
from specfreq.core.errors import UserError
from specfreq.core.provenance import provenance
from specfreq.evidence import records
from specfreq.measures.inference import logits

BUDGETS = (1, 2, 4, 8, 16, 32, 64)  # epochs
LIMIT = 600  # seconds that a training may take
PROBE = 2560  # images of a training that tells how long an epoch takes
TRIALS = 5  # seeds that a goal is asked of
GOALS = {  # accuracy (%), seconds, and how the networks' names begin
    "cpu": [(88, 90, "airbench"), (91, 180, "airbench"), (94, 600, "airbench")],
    "cuda": [(94, 10, "airbench"), (94, 60, "ResNet-18")],
}
STRONG = {  # the recipe of airbench94, in smaller batches
    "batch": 128,
    "lr": 0.25,
    "momentum": 0.85,
    "weight_decay": 1.33e-3,
    "peak": 0.23,
    "label_smoothing": 0.2,
    "shift_lr": 64,
    "lookahead": 0.95,
    "shift": 2,
    "border": "reflect",
    "alternate": True,
    "precision": "auto",
}
USUAL = {"batch": 128, "lr": 0.3, "border": "reflect", "precision": "auto"}
NETWORKS = {
    "airbench, w = 16": {"model": "airbench:width=16", **STRONG},
    "airbench, w = 24": {"model": "airbench:width=24", **STRONG},
    "airbench, w = 32": {"model": "airbench:width=32", **STRONG},
    "airbench, w = 64": {"model": "airbench", **STRONG},
    "ResNet-8": {"model": "resnet8", **USUAL},
    "ResNet-20": {"model": "resnet20", **USUAL},
    "ResNet-18": {"model": "resnet18", **USUAL},
}
LARGE = {"ResNet-18": {k: v for k, v in FAST.items() if k not in ("data", "epochs")}}  # on GPUs
PEER = "ResNet-20, torchvision loop"


class Point(NamedTuple):
    """One training."""

    name: str
    epochs: int
    seed: int
    seconds: float
    accuracy: float  # test, %
    precision: str


def trained(name: str, fields: dict[str, Any], epochs: int, seed: int = 0) -> Point:
    run = experiment.run(Experiment(data="cifar10", epochs=epochs, seed=seed, **fields), checkpoint_every=1e6)
    made, accuracy = run.provenance, run.results["accuracy"]["accuracy"]
    return Point(name, epochs, seed, made["seconds"], accuracy, made["precision"])


def epoch_of(fields: dict[str, Any]) -> float:
    """About how many seconds an epoch takes, by the quicker of two trainings on few images: the first one
    meets a cold machine. Compilation is left out.
    """
    few = {**fields, "data": "cifar10", "compile": False, "train_size": PROBE, "test_size": 100, "epochs": 1}
    runs = experiment.run_all(experiment.grid(**few, seed=[0, 1]), checkpoint_every=1e6)
    return min(run.provenance["seconds"] for run in runs) * 50_000 / PROBE


def usual_loop(epochs: int, device: torch.device, seed: int = 0) -> Point:
    """What one would write with torchvision: the same network, schedule and optimizer."""
    training, test = data.load("cifar10", "train"), data.load("cifar10", "test")
    torch.manual_seed(seed)
    started = time.monotonic()
    scaled = torch.full((3,), 0.49), torch.full((3,), 0.25)
    model = models.Classifier(models.build("resnet20", 10, seed=seed), *scaled).to(device).train()
    loader = DataLoader(Pictures(training.images, training.labels), 128, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.3, total_steps=steps, pct_start=0.2, anneal_strategy="linear", cycle_momentum=False
    )
    for _ in range(epochs):
        for x, y in loader:
            with autocast(device, "float32"):
                loss = F.cross_entropy(model(x.to(device)), y.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    seconds = time.monotonic() - started
    right = logits(model, test).argmax(1) == test.labels
    return Point(PEER, epochs, seed, seconds, 100 * float(right.double().mean()), "float32")


def kept(path: Path, train: Callable[[], Point]) -> Point:
    """The training that was written there, or a new one."""
    if path.exists():
        return Point(**storage.read_object(path))
    point = train()
    storage.write_json(path, point._asdict())
    return point


def within(limit: float, train: Callable[[int], Point]) -> Iterator[Point]:
    """Longer and longer trainings, as far as the limit allows; the time of one tells that of the next."""
    each = 0.0
    for epochs in BUDGETS:
        if epochs * each > limit:
            return
        point = train(epochs)
        each = point.seconds / epochs
        print(f"  {point.name:30}{epochs:4} epochs{point.seconds:8.1f} s{point.accuracy:8.2f} %", flush=True)
        yield point


def asked(goal: float, named: str, networks: dict[str, dict[str, Any]], points: list[Point]) -> list[Point]:
    """The quickest training that reached a goal, and other seeds of it; none if no training did."""
    reached = [p for p in points if p.accuracy >= goal and p.name.startswith(named) and p.name in networks]
    if not reached:
        return []
    best = min(reached, key=lambda p: p.seconds)
    more = [trained(best.name, networks[best.name], best.epochs, seed) for seed in range(1, TRIALS)]
    return [best, *more]


def run() -> None:
    try:
        data.load("cifar10", "test", size=10)
    except UserError as error:
        print(f"\nThe frontier of training was not measured: {error}")
        return
    device = checked_device()
    if device.type == "cpu":
        torch.set_num_threads(torch.get_num_interop_threads())  # all that the machine has
    networks = NETWORKS | (LARGE if device.type == "cuda" else {})
    print(f"\nTraining on all 50,000 images of CIFAR-10, {processor()}, at most {LIMIT} s each:")
    logging.disable(logging.WARNING)
    # a training that lies elsewhere was timed on another machine, or beside other work
    folder = places.runs_dir() / "frontier" / storage.digest(f"{processor()} {torch.__version__}")[:16]
    with mock.patch.dict(os.environ, SPECFREQ_RUNS=str(folder)):
        each = {name: epoch_of(fields) for name, fields in networks.items()}
        slow = {name: seconds for name, seconds in each.items() if 2 * seconds > LIMIT}
        for name, seconds in slow.items():
            print(f"  {name:30}is left out: an epoch takes about {seconds:.0f} s")
        points = [
            point
            for name, fields in networks.items()
            if name not in slow
            for point in within(LIMIT, lambda epochs, n=name, f=fields: trained(n, f, epochs))
        ]
        points += within(LIMIT, lambda n: kept(folder / f"loop-{n}.json", lambda: usual_loop(n, device)))
        goals = []
        for goal, seconds, named in GOALS[device.type]:
            found = asked(goal, named, networks, points)
            points += [p for p in found if p not in points]
            goals.append(told(goal, seconds, found))
    origin = {k: [v] for k, v in provenance(device).items()} | {"runs": len(points)}
    left = [{"name": name, "seconds": seconds} for name, seconds in slow.items()]
    content = {
        "rows": [p._asdict() for p in points],
        "goals": goals,
        "left_out": left,
        "provenance": origin,
    }
    parameters = {"limit": LIMIT, "trials": TRIALS, "threads": torch.get_num_threads()}
    record = {"study": "training-frontier", "profile": "bench", "parameters": parameters}
    records.save("training-frontier", {**record, **content})
    shutil.rmtree(folder)


def told(goal: int, seconds: float, found: list[Point]) -> dict[str, Any]:
    """What became of a goal, printed and as it is recorded."""
    row = {"accuracy": goal, "seconds": seconds, "name": None, "measured": None, "reached": None}
    if not found:
        print(f"  {goal} % in {seconds} s: no training of at most {LIMIT} s reached that")
        return row
    measured = statistics.median(p.seconds for p in found)
    reached = statistics.median(p.accuracy for p in found)
    print(
        f"  {goal} % in {seconds} s: {found[0].name}, {found[0].epochs} epochs: medians of {len(found)} "
        f"seeds {reached:.2f} % in {measured:.1f} s, {measured / seconds:.2f} times the goal"
    )
    return row | {"name": found[0].name, "measured": measured, "reached": reached}
