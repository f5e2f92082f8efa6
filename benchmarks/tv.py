"""ROF solvers, time to a true accuracy against scikit-image, deepinv and pyproximal; spectral TV, warm
against cold starts.
"""

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import skimage
import torch
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor
from torch.nn.functional import avg_pool2d

import specfreq
from benchmarks.timing import Ratio, processor, spread
from specfreq import data, tv
from specfreq.core.provenance import provenance
from specfreq.data import embedded
from specfreq.evidence import records

WEIGHT, NOISE = 0.1, 0.1
ONE, MANY, LARGE = "1 x 1x256x256", "128 x 3x32x32", "8 x 3x224x224"
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
# of our default, so that it need not be much better than the others
FINE = (
    1e-1,
    3e-2,
    1e-2,
    3e-3,
    1e-3,
    3e-4,
    1e-4,
    3e-5,
    1e-5,
)
REFERENCE = 1e-9  # gap of the energies that all others are compared with, in double precision
ROUNDS, LONGEST = 5, 3.0  # seconds; a solver that took longer gets no finer setting
SHORTEST = 0.05  # seconds; what is shorter is repeated
OURS, PLAIN = "specfreq condat", "specfreq condat, plain"
BANDS, SPECTRAL = 50, {ONE: 1, MANY: 32}  # images of the spectral transform
DEFAULT, DEEPINV, EQUAL, WARM = 0.35, 30, 50, 3  # times aimed at: the first at most, the others at least
PLANES, SECONDS = 150_000, 0.5  # on a GPU
PROFILE = "laptop"  # of the record


class Contender(NamedTuple):
    """A solver and its version, its settings from coarse to fine and the one that its authors chose, and how
    it is called.
    """

    solver: str
    version: str
    settings: Sequence[Any]
    solve: Callable[[Tensor, Any], Tensor]
    default: Any = None


class Measured(NamedTuple):
    """A solver with one setting: seconds of each round, and how far the worst image is above its minimum,
    relative to that.
    """

    solver: str
    version: str
    setting: str
    default: bool
    seconds: list[float]
    suboptimality: float


def peer(name: str) -> ModuleType | None:
    """The other package, if it is there."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"  {name} is not installed, so it is left out (pip install {name})")
        return None


def ours(images: Tensor, tol: float, **options: str) -> Tensor:
    return tv.denoise(images, WEIGHT, tol, **options).image


def by_scikit_image(images: Tensor, setting: tuple[float, int]) -> Tensor:
    eps, most = setting
    # rounding would stop it too soon
    planes = images.flatten(0, 1).numpy().astype(np.float32 if eps > 1e-7 else np.float64)
    result = denoise_tv_chambolle(planes, WEIGHT, eps=eps, max_num_iter=most, channel_axis=0)
    return torch.from_numpy(result).view(images.shape)


def by_deepinv(deepinv: ModuleType, images: Tensor, setting: tuple[float, int]) -> Tensor:
    crit, most = setting
    return deepinv.models.TVDenoiser(crit=crit, n_it_max=most)(images, WEIGHT)


def by_pyproximal(pyproximal: ModuleType, images: Tensor, setting: tuple[float, int]) -> Tensor:
    rtol, most = setting
    planes = images.flatten(0, 1).numpy()
    operator = pyproximal.TV(dims=planes.shape[1:], niter=most, rtol=rtol)
    return torch.from_numpy(np.stack([operator.prox(plane.ravel(), WEIGHT) for plane in planes])).view(
        images.shape
    )


def contenders(gpu: bool = False) -> list[Contender]:
    """Those that there are. Settings of the others: their tolerance, and the most iterations."""
    solvers = [
        Contender(
            f"specfreq {a}",
            specfreq.__version__,
            FINE if f"specfreq {a}" == OURS else TOLERANCES,
            partial(ours, algorithm=a),
        )
        for a in tv.ALGORITHMS
    ]
    if not gpu:
        solvers.append(Contender(PLAIN, specfreq.__version__, TOLERANCES, partial(ours, engine="plain")))
        finer = [(10.0**-k * 2, 10_000) for k in range(5, 10)]
        settings = [(2e-4, 200), *finer]
        solvers.append(Contender("scikit-image", skimage.__version__, settings, by_scikit_image, settings[0]))
    if deepinv := peer("deepinv"):
        settings = [*((1e-5, most) for most in (30, 100, 300, 1000)), (1e-6, 10_000)]
        solvers.append(
            Contender("deepinv", deepinv.__version__, settings, partial(by_deepinv, deepinv), settings[3])
        )
    if not gpu and (pyproximal := peer("pyproximal")):
        settings = [(1e-4, 10), *((0.0, most) for most in (30, 100, 300, 1000))]
        solvers.append(
            Contender(
                "pyproximal",
                pyproximal.__version__,
                settings,
                partial(by_pyproximal, pyproximal),
                settings[0],
            )
        )
    return solvers


def photographs() -> dict[str, Tensor]:
    """Of each case, in [0, 1], float32."""
    whole = {
        name: torch.from_numpy(embedded.photograph(name)).permute(2, 0, 1) / 255 for name in embedded.PHOTOS
    }
    crops = [picture[:, :224, :224] for picture in whole.values()] + [whole["astronaut"][:, -224:, -224:]]
    return {
        ONE: avg_pool2d(whole["astronaut"].mean(0, keepdim=True), 2)[None],
        MANY: data.load("photos", "train", size=128).images / 255,
        LARGE: torch.stack(crops),
    }


def noisy(images: Tensor) -> Tensor:
    return images + NOISE * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def energy(u: Tensor, f: Tensor) -> Tensor:
    """What all solvers minimise, of each image, in double precision."""
    return tv.total_variation(u) + (u.double() - f.double()).square().sum((-3, -2, -1)) / (2 * WEIGHT)


def timed(call: Callable) -> tuple[float, Any]:
    """Seconds of the processor, which other work does not lengthen; all solvers use one thread. With a GPU
    seconds of the clock.
    """
    gpu = torch.cuda.is_available()
    clock, repeats, end = (time.perf_counter if gpu else time.process_time), 0, 0.0
    start = clock()
    while end - start < SHORTEST:
        result, repeats = call(), repeats + 1
        if gpu:
            torch.cuda.synchronize()
        end = clock()
    return (end - start) / repeats, result


def measure(images: Tensor, solvers: Sequence[Contender], least: Tensor) -> list[Measured]:
    """Every solver with every setting, in rounds, so that the machine's other work meets all of them."""
    rows, calls = [], []
    for one in solvers:
        one.solve(images[:1], one.settings[0])  # compiles
        for setting in one.settings:
            call = partial(one.solve, images, setting)
            seconds, result = timed(call)
            shown = (
                f"{setting:g}" if isinstance(setting, float) else ", ".join(f"{value:g}" for value in setting)
            )
            above = ((energy(result.cpu(), images.cpu()) - least) / least).max().item()
            rows.append(Measured(one.solver, one.version, shown, setting == one.default, [seconds], above))
            calls.append(call)
            if seconds > LONGEST:
                break
    for n in range(1, ROUNDS):
        for row, call in zip(rows, calls, strict=True):
            if row.seconds[0] < LONGEST / n:
                row.seconds.append(timed(call)[0])
    return rows


def ratio(row: Measured, floor: Measured) -> Ratio:
    """Times of one over those of another in the same rounds."""
    pairs = list(zip(row.seconds, floor.seconds, strict=False))
    return spread([a / b for a, b in pairs] * (2 if len(pairs) == 1 else 1))


def as_accurate(rows: Sequence[Measured], suboptimality: float) -> Measured | None:
    """Our default with its coarsest setting that reaches this accuracy; None if none does."""
    return next((row for row in rows if row.solver == OURS and row.suboptimality <= suboptimality), None)


def report(name: str, rows: Sequence[Measured]) -> None:
    print(
        f"\nROF of {name}, weight {WEIGHT:g}: seconds of the processor, how far the worst image is above its "
        "minimum, how many"
    )
    print(
        f"times as long as {OURS} takes to be at least as accurate: median (quartiles) of up to {ROUNDS} "
        "rounds; * the default."
    )
    for row in rows:
        times = ""
        if floor := as_accurate(rows, row.suboptimality):
            times = "{:8.2f} ({:.2f} .. {:.2f})".format(*ratio(row, floor))
        what = f"{row.solver} {row.version}{' *' * row.default}"
        print(
            f"  {what:36}{row.setting:>14}{statistics.median(row.seconds):10.4f} "
            f"s{row.suboptimality:10.1e}{times}"
        )


def targets(name: str, rows: Sequence[Measured]) -> list[dict[str, Any]]:
    """What was aimed at, and what was reached: at the best accuracy of the other that ours reaches too."""
    found = []

    def against(what: str, row: Measured, floor: Measured, goal: str) -> None:
        times = ratio(row, floor)
        print(f"  -> {what}: {times.median:.2f} ({times.lower:.2f} .. {times.upper:.2f})  target {goal}")
        found.append({"case": name, "what": what, **times._asdict(), "target": goal})

    for other, case, least in (("deepinv", MANY, DEEPINV), ("scikit-image", ONE, EQUAL)):
        reached = [row for row in rows if row.solver == other and as_accurate(rows, row.suboptimality)]
        if name == case and reached:
            best = min(reached, key=lambda row: row.suboptimality)
            what = f"{other} at {best.suboptimality:.1e}, over {OURS} at least as accurate"
            against(what, best, as_accurate(rows, best.suboptimality), f">= {least}")
    if name == MANY:
        floor = next(row for row in rows if row.solver == "scikit-image" and row.default)
        certified = next(row for row in rows if row.solver == OURS and row.setting == f"{1e-4:g}")
        what = f"{OURS} at gap 1e-4, over scikit-image as it comes, at {floor.suboptimality:.1e}"
        against(what, certified, floor, f"<= {DEFAULT}")
    return found


def spectral(images: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The transform with each step of the flow started from nothing, and from the one before: at one gap, and
    at one error.
    """
    print(
        f"\nSpectral TV, {BANDS} bands, float64; each step of the flow started anew (cold), or from the last "
        "(warm)."
    )
    found = []
    for name, count in SPECTRAL.items():
        f = images[name][:count].double()  # in float32 not all of these gaps can be reached
        case = f"{count} x {name.split(' x ')[1]}"
        exact = tv.transform(f, BANDS, tol=1e-6).phi
        arms = [("cold", 1e-4), *(("warm", tol) for tol in (1e-4, 5e-5, 2.5e-5))]
        rounds = [
            [timed(partial(tv.transform, f, BANDS, tol=tol, warm=start == "warm")) for start, tol in arms]
            for _ in range(3)
        ]
        rows = []
        for k, (start, tol) in enumerate(arms):
            error = ((rounds[0][k][1].phi - exact).abs().sum() / exact.abs().sum()).item()
            march = tv.evolve(f, tol=tol, warm=start == "warm")
            steps = sum(int(next(march).iterations.sum()) for _ in range(BANDS + 1))
            times = spread([each[0][0] / each[k][0] for each in rounds])
            row = {
                "case": case,
                "start": start,
                "tol": tol,
                "seconds": statistics.median(each[k][0] for each in rounds),
            }
            rows.append({**row, "iterations": steps, "error": error, **times._asdict()})
            print(
                f"  {case} {start}, gap {tol:g}: {row['seconds']:.2f} s, {steps} iterations, Σ|φ - exact| / "
                f"Σ|exact| {error:.1%}"
            )
        equal = next((row for row in rows[1:] if row["error"] <= rows[0]["error"]), None)
        shown = f"{equal['median']:.2f} at gap {equal['tol']:g}" if equal else "never as accurate"
        print(
            f"  -> cold over warm: {rows[1]['median']:.2f} at the same gap, {shown} with the same error  "
            f"target >= {WARM}"
        )
        found += rows
    return found


def on_gpu(images: dict[str, Tensor], least: dict[str, Tensor]) -> dict[str, list[Measured]]:
    """On a GPU: the cases again, and as many planes as CIFAR-10 has for training."""
    if not torch.cuda.is_available():
        print(f"\nROF of {PLANES:,} planes of 32x32 is measured on a GPU; this machine has none.")
        return {}
    device, solvers, found = torch.cuda.get_device_name(), contenders(gpu=True), {}
    for name, f in images.items():
        found[f"{name}, {device}"] = rows = measure(f.cuda(), solvers, least[name])
        report(f"{name}, {device}", rows)
    crops = data.load("photos", "train").images
    planes = noisy(crops[torch.arange(PLANES // 3) % len(crops)] / 255).cuda()
    seconds = [timed(partial(tv.denoise, planes, WEIGHT))[0] for _ in range(6)][1:]
    shown = ", ".join(f"{value:.2f}" for value in seconds)
    print(
        f"  {PLANES:,} planes of 32x32, gap 1e-4: median {statistics.median(seconds):.2f} s ({shown})  "
        f"target <= {SECONDS} s"
    )
    return found


def run() -> None:
    clean, solvers, found, reached = photographs(), contenders(), {}, []
    images = {name: noisy(f) for name, f in clean.items()}
    least = {name: energy(tv.denoise(f.double(), WEIGHT, REFERENCE).image, f) for name, f in images.items()}
    for name, f in images.items():
        found[name] = measure(f, solvers, least[name])
        report(name, found[name])
        reached += targets(name, found[name])
    warmth = spectral(clean)
    found |= on_gpu(images, least)
    rows = [
        {"case": name, **row._asdict(), "seconds": statistics.median(row.seconds), "rounds": len(row.seconds)}
        for name, measured in found.items()
        for row in measured
    ]
    settings = {
        "weight": WEIGHT,
        "noise": NOISE,
        "reference_gap": REFERENCE,
        "threads": torch.get_num_threads(),
        "dtype": "float32",
    }
    origin = {k: [v] for k, v in provenance(torch.device("cpu")).items()} | {
        "device": [processor()],
        "runs": ROUNDS,
    }
    record = {
        "study": "tv-solvers",
        "profile": PROFILE,
        "parameters": settings,
        "rows": rows,
        "spectral": warmth,
        "targets": reached,
    }
    records.save("tv-solvers", {**record, "provenance": origin})
