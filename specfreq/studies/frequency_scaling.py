"""What the study of frequency scaling takes from its runs: errors, the course of the weights, the effect of
each defect.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from specfreq import augment
from specfreq.augment.fsda import masks, scaling
from specfreq.core import storage
from specfreq.evidence import comparison
from specfreq.evidence.names import label
from specfreq.evidence.rows import Row
from specfreq.evidence.tables import change
from specfreq.experiment.grids import in_turn
from specfreq.experiment.runs import Run

GRIDS = {
    "10° and 10 cycles": (10.0, 10.0),
    "2° and 2 cycles": (2.0, 2.0),
}  # the program's default; a finer one
BATCH = 256  # images, as of the program


def errors(found: Sequence[Row]) -> list[Row]:
    """Rows of accuracies as rows of errors, 100 - accuracy; others as they are."""
    return [_error(row) if row["quantity"] == "accuracy" else row for row in found]


def _error(row: Row) -> Row:
    low, high, chance = (None if v is None else 100 - v for v in (row["high"], row["low"], row["chance"]))
    values = [100 - value for value in row["values"]]
    turned = {"quantity": "error", "values": values, "mean": 100 - row["mean"], "chance": chance}
    # what varies with seeds and images, and with other rows, is the same
    return cast(Row, {**row, **turned, "low": low, "high": high})


def courses(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Name of an arm -> the weights of its clusters over the epochs: epochs (E,), mean and deviation (E, k)
    over the images of an epoch, then over seeds; of arms that learn weights.
    """
    learning = {run.key: run for run in runs if _learns(run)}
    # restored runs are trained again, as they have no weights: processes that do the same share that
    traces = in_turn(
        lambda e: _trace(learning[e.key]),
        [run.experiment for run in learning.values()],
        ("augment", "seed"),
        None,
        lambda e: storage.taken(learning[e.key].path),
    )
    of = dict(zip(learning, traces, strict=True))
    found = {}
    for arm, group in comparison.arms(runs).items():
        kept = [trace for run in group if (trace := of.get(run.key)) is not None]
        if kept:
            mean, deviation = np.mean(kept, axis=0)
            epochs = list(range(1, len(mean) + 1))
            found[label(arm)] = {"epochs": epochs, "mean": mean.tolist(), "deviation": deviation.tolist()}
    return found


def _learns(run: Run) -> bool:
    return isinstance(augment.build(run.experiment.augment), scaling.FSDA)


def _trace(run: Run) -> np.ndarray | None:
    """Mean and deviation of the weights in each epoch, (2, E, k)."""
    trace = cast(scaling.FSDA, run.augmentation()).trace
    if trace is None:
        return None
    epochs = run.experiment.epochs
    steps = -(-len(run.image_set("train")) // run.experiment.batch)
    # an average of weights takes more steps at the end
    whole = trace[: epochs * steps].double().unflatten(0, (epochs, steps))
    return whole.mean(1).transpose(0, 1).numpy()


def disagreement(images: Tensor, version: str, k: int = 3, batches: int = 12) -> dict[str, float]:
    """Of the frequencies that belong to a cluster of all images, bytes (N, C, H, W), the share in % that
    belongs to another one in a batch drawn from them, by grid: the mean over batches.
    """
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, (angle, length) in GRIDS.items():
        cells = masks.polar(*images.shape[-2:], angle, length, 0.0)
        whole = masks.clustered(images, cells, k, version == "v2")
        shares = []
        for _ in range(batches):
            some = torch.randperm(len(images), generator=generator)[:BATCH]
            other = masks.clustered(images[some], cells, k, version == "v2")
            shares.append(float((other != whole)[whole > 0].double().mean()))
        found[name] = 100 * float(np.mean(shares))
    return found


def effects(images: Tensor, seed: int = 0) -> list[dict[str, str]]:
    """Lines of a table: what each defect of the program changes in what one network makes of images, floats
    (B, C, H, W).

    The share of frequencies that belong to another cluster; and the root of the mean square by which the
    result differs, relative to that by which the corrected form changes the image. Weights are those of a new
    network, the same with and without the defect.
    """
    lines = []
    for version, defects in scaling.DEFECTS.items():
        for defect in defects:
            line = {"version": version, "defect": defect}
            for name, (angle, length) in GRIDS.items():
                spec = f"fsda:version={version},angle={angle:g},length={length:g}"
                # without `apart` no cell is empty
                both = "apart+empty" if defect == "empty" else defect
                right, wrong = (_made(images, f"{spec}{more}", seed) for more in ("", f",defects={both}"))
                moved = (right[1] != wrong[1])[right[1] > 0].double().mean()
                change = (wrong[0] - right[0]).norm() / (right[0] - images).norm()
                line[f"{name}: frequencies elsewhere (%)"] = f"{100 * moved:.0f}"
                line[f"{name}: change of the result (%)"] = f"{100 * change:.0f}"
            lines.append(line)
    return lines


def _made(images: Tensor, spec: str, seed: int) -> tuple[Tensor, Tensor]:
    """Scaled images, and the clusters that they were scaled by."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        made = augment.build(spec)
        assert isinstance(made, scaling.FSDA)
        return made.transform(images, {}), made.clusters_of(images)


def sentence(found: Sequence[Row]) -> str:
    """What was found, in words; that nothing is published yet, where there are no rows."""
    if not found:
        return "No record of this study has been published yet."
    gains, drawn = (
        {(row["arm"], row["quantity"]): row for row in comparison.differences(found, baseline)}
        for baseline in ("none", "fsda-random")
    )
    of = {named: change(row) for named, row in gains.items()}
    said = (
        f"Against plain training of as many network passes, FSDA makes {of['fsda', 'error']} on clean images "
        f"(v1: {of['fsda:version=v1', 'error']}), and the same with weights drawn at random "
        f"{of['fsda-random', 'error']}."
    )
    if ("fsda", "error") in drawn:
        said += f" With learned weights it makes {change(drawn['fsda', 'error'])} than with drawn ones."
    corrupted = {arm: of.get((arm, "corruption error")) for arm in ("fsda", "apr-sp", "augmix")}
    if all(corrupted.values()):
        said += (
            f" On corrupted images FSDA makes {corrupted['fsda']}, APR-SP {corrupted['apr-sp']}, and AugMix "
            f"{corrupted['augmix']}."
        )
    return said
