"""What a GPU computes against the processor, twice and after a resume, and how fast: one check after another.

`python -m benchmarks gpu`. Each check prints a line; one that fails says why, and the others go on. What no
machine has shown yet comes first, so that a borrowed quarter of an hour is well spent.
"""

import copy
import itertools
import os
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specfreq import Experiment, augment, corruptions, data, experiment, fourier, measures, models, train, tv
from specfreq.core.devices import autocast, exact, fastest
from specfreq.core.errors import UserError
from specfreq.studies.generators import runs as generators
from specfreq.train.checkpoints import Checkpoints

BUDGET = 480  # seconds; a check that would begin later is left out
CHECKS: list[tuple[str, Callable[[torch.device], Any]]] = []


def check(name: str) -> Callable[[Callable[[torch.device], Any]], Callable[[torch.device], Any]]:
    """Add a check: a function of the device that returns what is told of it."""

    def add(function: Callable[[torch.device], Any]) -> Callable[[torch.device], Any]:
        CHECKS.append((name, function))
        return function

    return add


def run(device: str | None = None, budget: float = BUDGET) -> None:
    """Run all checks on a GPU, or on the device of that name, which tries the checks themselves."""
    if device is None and not torch.cuda.is_available():
        print("\nThe checks of a GPU were not run: this machine has none.")
        return
    at, began = torch.device(device or "cuda"), time.monotonic()
    name = torch.cuda.get_device_name(at) if at.type == "cuda" else str(at)
    print(f"\nOn {name}, against the processor:", flush=True)
    for title, function in CHECKS:
        started = time.monotonic()
        if started - began > budget:
            print(f"  left out  {title}")
            continue
        try:
            with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, SPECFREQ_RUNS=folder):
                found, state = function(at), "done"
        except Exception as error:  # whatever it is, the others are wanted
            found, state = f"{type(error).__name__}: {error}", "FAILED"
            traceback.print_exc(limit=-4)
        _wait(at)
        print(f"  {state:8}  {title} ({time.monotonic() - started:.1f} s): {_told(found)}", flush=True)


def _told(found: Any) -> str:
    return "".join(f"\n      {k}: {v}" for k, v in found.items()) if isinstance(found, dict) else str(found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(call: Callable[[], Any], device: torch.device, times: int = 5) -> float:
    call()
    _wait(device)
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _apart(there: Tensor, here: Tensor) -> str:
    """The largest distance of two tensors, relative to the size of the second."""
    here = here.double()
    return f"{float((there.double().cpu() - here).norm() / here.norm().clamp_min(1e-30)):.1e}"


def _each(calls: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """What each of several calls returns; or what is wrong with it."""
    found = {}
    for name, call in calls.items():
        try:
            found[name] = call()
        except Exception as error:  # as in `run`
            found[name] = f"FAILED {type(error).__name__}: {str(error)[:200]}"
    return found


def _pictures(count: int) -> Tensor:
    """Photographs (N, 3, 32, 32) in [0, 1]."""
    images = data.load("photos", "train").images
    return images[torch.arange(count) % len(images)].float() / 255


def _classifier(name: str, device: torch.device) -> models.Classifier:
    half = torch.full((3,), 0.5), torch.full((3,), 0.25)
    return models.Classifier(models.build(name, 10), *half).to(device, memory_format=torch.channels_last)


@check("the network of airbench94 and its recipe")
def _airbench(device: torch.device) -> dict[str, Any]:
    from benchmarks.frontier import STRONG

    recipe = {**STRONG, "model": "airbench", "batch": 512, "lr": 0.75, "data": "cifar10"}
    try:
        data.load("cifar10", "test", size=10)
    except UserError:
        recipe |= {"data": "photos", "batch": 64, "lr": 0.1}
    budgets = (1, 5, 10) if device.type == "cuda" else (1,)

    def trained(epochs: int) -> str:
        found = experiment.run(Experiment(**recipe, epochs=epochs), device=str(device))
        made, accuracy = found.provenance, found.results["accuracy"]["accuracy"]
        return f"{accuracy:.2f} % in {made['seconds']:.1f} s, {made['precision']}"

    return {"faster precision": fastest(device)} | _each(
        {f"{epochs} epochs": lambda e=epochs: trained(e) for epochs in budgets}
    )


@check("trainings twice, and resumed: the same bits")
def _bits(device: torch.device) -> dict[str, Any]:
    photos = data.load("photos", "train", size=600)

    def trained(stop: tuple[int, int] | None = None, path: Path | None = None, **changes: Any) -> dict | None:
        model = _classifier("resnet8", device)
        recipe = train.Recipe(epochs=2, batch=100, lr=0.1, **changes)

        def after(*now: int) -> None:
            if now == stop:
                raise KeyboardInterrupt

        kept = None if path is None else Checkpoints(path, 0)
        mixed = augment.build("apr-sp").to(device)
        try:
            whole = photos.images.to(device), photos.labels
            train.fit(model, *whole, recipe, augmentation=mixed, checkpoints=kept, after_step=after)
        except KeyboardInterrupt:
            return None
        return model.state_dict()

    def same(**changes: Any) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint"
            once, twice = trained(**changes), trained(**changes)
            trained((1, 3), path, **changes)
            resumed = trained(None, path, **changes)
        alike = [all(torch.equal(once[k], other[k]) for k in once) for other in (twice, resumed)]
        return f"twice {alike[0]}, resumed {alike[1]}"

    return _each(
        {
            "float32, ema": lambda: same(ema=0.9),
            "bfloat16, lookahead": lambda: same(precision="bfloat16", lookahead=0.9, alternate=True),
        }
    )


@check("measures: the same network asked on both")
def _measures(device: torch.device) -> dict[str, Any]:
    found = experiment.run(Experiment(data="photos", model="resnet8", epochs=2), device=str(device))
    test = data.load("photos", "test", size=200)

    def both(spec: str) -> str:
        there, here = (measures.compute(spec, found.classifier(device=d), test) for d in (str(device), "cpu"))
        numbers = [k for k, v in there.items() if isinstance(v, float)][:3]
        return ", ".join(f"{k} {there[k]:.3f} / {here[k]:.3f}" for k in numbers)

    specs = [
        "accuracy",
        "nll",
        "calibration",
        "corruption:corruptions=fog+gaussian_noise,severities=3",
        "out-of-distribution:other=gaussian-noise",
        "fourier-heatmap:step=4",
        "amplitude-phase-swap:size=100",
        "band-accuracy:step=4",
        "feature-discrimination",
        "adversarial:size=60,apgd_steps=10,queries=50",
    ]
    return _each({spec: lambda s=spec: both(s) for spec in specs})


@check("generators of each kind")
def _generators(device: torch.device) -> dict[str, Any]:
    def trained(parts: str) -> str:
        recipe = generators.Recipe(data="photos", parts=parts, epochs=1, width=16, precision="bfloat16")
        generators.run(recipe, device=str(device))
        return "trained"

    return _each({parts: lambda p=parts: trained(p) for parts in ("image", "bands", "together", "flow")})


@check("total variation: above the minimum, largest of 64 images, and the same bits in any batch")
def _variation(device: torch.device) -> dict[str, Any]:
    noisy = _pictures(64) + 0.1 * torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def energy(u: Tensor) -> Tensor:
        u = u.cpu().double()
        return tv.total_variation(u) + (u - noisy.double()).square().sum((-3, -2, -1)) / 0.2

    least = energy(tv.denoise(noisy.double(), 0.1, 1e-9).image)

    def above(**options: Any) -> str:
        return f"{float((energy(tv.denoise(noisy.to(device), 0.1, **options).image) / least - 1).max()):.1e}"

    def of_size(*size: int) -> str:
        x = torch.rand(4, 1, *size, generator=torch.Generator().manual_seed(1))
        return _apart(tv.denoise(x.to(device), 0.05).image, tv.denoise(x, 0.05).image)

    sizes = [(28, 28), (33, 47), (64, 64), (8, 8), (3, 3), (2, 5), (1, 5), (5, 1), (1, 1), (224, 224)]
    few = noisy[:5].to(device)
    calls: dict[str, Callable[[], Any]] = {f"tol {tol}": lambda t=tol: above(tol=t) for tol in (1e-3, 1e-4)}
    calls |= {a: lambda a=a: above(tol=1e-4, algorithm=a) for a in tv.ALGORITHMS}
    calls |= {f"{size}": lambda s=size: of_size(*s) for size in sizes}
    calls["any batch"] = lambda: torch.equal(
        tv.denoise(few, 0.1).image, tv.denoise(noisy.to(device), 0.1).image[:5]
    )
    return _each(calls)


@check("Fourier analysis in float32 against float64 on the processor")
def _fourier(device: torch.device) -> dict[str, Any]:
    x, y = _pictures(128).split(64)
    calls = {
        "low pass": lambda a, b: fourier.low_pass(a, 7.5),
        "band pass": lambda a, b: fourier.band_pass(a, 3, 9),
        "gaussian": lambda a, b: fourier.gaussian_low_pass(a, 2.0),
        "recombine": fourier.recombine,
        "recombine, channels": lambda a, b: fourier.recombine(a, b, channels=True),
        "power": lambda a, b: fourier.power_spectrum(a, "hamming"),
        "profile": lambda a, b: fourier.radial_profile(fourier.power_spectrum(a)),
    }
    at = x.to(device), y.to(device)
    return _each({name: lambda f=f: _apart(f(*at), f(x.double(), y.double())) for name, f in calls.items()})


@check("augmentations: largest difference with the same draws, and ms for 512 images")
def _augmentations(device: torch.device) -> dict[str, Any]:
    images = _pictures(256)

    def views(made: augment.Augmentation, x: Tensor, rows: dict[str, Tensor]) -> tuple[Tensor, ...]:
        rows = {k: v.to(x.device) for k, v in rows.items()}
        x = made.before(x, rows)
        donors = x[rows["donor"].flatten()] if made.donors else None
        return made.views(x, rows, made.companions.to(x.device) if made.accompanied else donors)

    def both(name: str) -> str:
        here = augment.build(name).fit((images * 255).byte())
        rows, there = here.draw(256, torch.Generator().manual_seed(1)), copy.deepcopy(here).to(device)
        found, at = views(there, images.to(device), rows), images.to(device)
        pairs = zip(found, views(here, images, rows), strict=True)
        apart = max(float((one.cpu() - other).abs().max()) for one, other in pairs)
        return f"{apart:.1e}, {2e3 * _seconds(lambda: views(there, at, rows), device, 3):.2f} ms"

    return _each({name: lambda n=name: both(n) for name in augment.names()})


@check("corruptions: those that differ by more than a level, and seconds for 5 severities of 2,000 images")
def _corruptions(device: torch.device) -> dict[str, Any]:
    few, many = _pictures(64), _pictures(2000).to(device)

    def both(name: str) -> str:
        apart = [
            (corruptions.corrupt(few, name, s) - corruptions.corrupt(few.to(device), name, s).cpu()).abs()
            for s in (1, 3, 5)
        ]
        worst = max(float((a > 1.1 / 255).float().mean()) for a in apart)
        taken = _seconds(lambda: [corruptions.corrupt(many, name, s) for s in range(1, 6)], device, 1)
        return f"{100 * worst:.3f} % of the values, {taken:.2f} s"

    return _each({name: lambda n=name: both(n) for name in corruptions.names()})


@check("a step of ResNet-18, batch 512, bfloat16: bare, and ours")
def _step(device: torch.device) -> dict[str, Any]:
    size = 512 if device.type == "cuda" else 16
    x, y = torch.rand(size, 3, 32, 32, device=device), torch.arange(size, device=device) % 10
    x = x.contiguous(memory_format=torch.channels_last)

    def bare(compiled: bool) -> str:
        model = _classifier("resnet18", device).train()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, nesterov=True)
        forward: nn.Module = torch.compile(model) if compiled else model  # pyright: ignore

        def step() -> None:
            with autocast(device, "bfloat16"):
                loss = F.cross_entropy(forward(x).float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        with exact(device):
            return f"{1e3 * _seconds(step, device, 10):.1f} ms"

    def ours(**changes: Any) -> str:
        marks: list[float] = []
        images, labels = (x * 255).byte().repeat(12, 1, 1, 1), y.repeat(12)
        recipe = train.Recipe(epochs=1, batch=size, lr=0.01, precision="bfloat16", **changes)

        def after(*_: int) -> None:
            _wait(device)
            marks.append(time.perf_counter())

        train.fit(_classifier("resnet18", device), images, labels, recipe, after_step=after)
        return f"{1e3 * statistics.median(b - a for a, b in itertools.pairwise(marks[2:])):.1f} ms"

    return _each(
        {
            "bare": lambda: bare(False),
            "bare, compiled": lambda: bare(True),
            "ours": ours,
            "ours, average": lambda: ours(ema=0.9),
            "ours, compiled": lambda: ours(compile=True),
        }
    )
