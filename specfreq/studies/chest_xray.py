"""What the study of chest X-rays takes from its networks: diagnosis, and maps about the boxes of findings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from specfreq.corruptions import corrupt
from specfreq.data import label as label_of
from specfreq.data.sets import ImageSet
from specfreq.evidence import comparison
from specfreq.evidence.intervals import interval
from specfreq.evidence.names import label
from specfreq.evidence.rows import Row, apart
from specfreq.evidence.tables import change, shown
from specfreq.experiment.runs import Run
from specfreq.measures import gradcam
from specfreq.measures.localisation import with_boxes

REACH, GRID = 3.0, 49  # half boxes about the centre of a box that are looked at; points of a side
PLAIN = "none"
DIAGNOSIS = {
    "accuracy": ("diagnosis:resamples=0", "accuracy"),
    "precision": ("diagnosis:resamples=0", "precision"),
    "recall": ("diagnosis:resamples=0", "recall"),
    "F1": ("diagnosis:resamples=0", "f1"),
    "AUC": ("diagnosis:resamples=0", "auc"),
}
HARD = {"AUC of hard answers": ("diagnosis:published=True,resamples=0", "auc")}
BLIND = {  # maps that do not know the picture -> options of `localisation`
    "random maps": "maps=noise",
    "bell about the middle": "maps=centre",
    "network with random layers": "randomise=1",
}
SCORES = {"pointing": "pointing", "energy in box": "energy", "area IoU": "area_iou"}
BELL = ", bell"
CORRUPTED = ", corrupted"
LOCATED = [*SCORES, *(f"{score}{CORRUPTED}" for score in SCORES)]


def boxed(run: Run) -> bool:
    """Whether some of the run's test images have a box."""
    found = run.image_set("test")
    return isinstance(found, ImageSet) and found.boxes is not None and bool(found.boxes.any())


def quantities(corruption: str, boxes: bool) -> dict[str, tuple[str, str]]:
    """What networks are compared by: name -> a measure and a number of its result.

    Args:
        corruption: options of `localisation` for corrupted images.
        boxes: whether there are any.
    """
    found = {**DIAGNOSIS, **HARD}
    if boxes:
        kinds = {"": "localisation", CORRUPTED: f"localisation:{corruption}"}
        found |= {f"{s}{k}": (spec, number) for k, spec in kinds.items() for s, number in SCORES.items()}
    return found


def rows(of: Mapping[str, Sequence[Run]], corruption: str) -> list[Row]:
    """The rows of the study, set by set, see `quantities`; sets are called as their keys are. Scores of maps
    that are not above those of a bell are flagged: they are no evidence that anything was looked at.
    """
    found: list[Row] = []
    for title, runs in of.items():
        boxes = boxed(runs[0])
        own = comparison.rows(runs, quantities(corruption, boxes))
        bells = _bells(runs) if boxes else {}
        for row in own:
            bell = bells.get((row["arm"], row["quantity"].removesuffix(CORRUPTED)))
            if bell is not None and not _above(row, bell):
                row["flags"] = ["its maps are not above a bell that knows no picture"]
            found.append({**row, "data": title})
    return found


def beside_bells(of: Mapping[str, Sequence[Run]]) -> list[Row]:
    """Rows of the scores of plain networks' maps on clean images, and of a bell's, as ``pointing, bell``."""
    found: list[Row] = []
    for title, runs in of.items():
        if boxed(runs[0]):
            plain = comparison.arms(runs)[PLAIN]
            own = comparison.rows(plain, {s: ("localisation", number) for s, number in SCORES.items()})
            for row in own:
                found.append({**row, "data": title})
            for (_, score), row in _bells(plain).items():
                found.append({**row, "data": title, "quantity": f"{score}{BELL}"})
    return found


def _bells(runs: Sequence[Run]) -> dict[tuple[str, str], Row]:
    """By arm and score, what a bell about the middle of the images has."""
    measure = f"localisation:{BLIND['bell about the middle']}"
    found = comparison.rows(runs, {score: (measure, number) for score, number in SCORES.items()})
    return {(row["arm"], row["quantity"]): row for row in found}


def _above(row: Row, bell: Row) -> bool:
    """Whether an arm's score is above a bell's, by the 95 % interval of the difference."""
    step = apart(row, bell)
    return step is not None and step["low"] is not None and step["low"] > 0


def chances(of: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """What maps score that do not know the picture, on the sets with boxes: lines of a table.

    Random maps, a bell about the middle, and the maps of the first network with all layers drawn anew; each
    with Student's 95 % interval over the images.
    """
    lines = []
    for title, runs in of.items():
        if not boxed(runs[0]):
            continue
        for kind, options in BLIND.items():
            measure = f"localisation:{options}"
            line: dict[str, Any] = {"data": title, "maps": kind}
            for score, number in SCORES.items():
                each = runs[0].each(measure, number)
                assert each is not None
                mean, low, _ = interval(each.tolist())
                line[score] = [mean, mean - low if low is not None else 0.0]
            lines.append(line)
    return lines


def chance_table(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The lines of `chances` in words."""
    return [
        {
            "data": line["data"],
            "maps": line["maps"],
            **{score: f"{line[score][0]:.1f} ± {line[score][1]:.1f}" for score in SCORES},
        }
        for line in lines
    ]


def _views(corruption: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Clean images, and those behind the first corruption at the first severity of some options."""
    options = dict(part.split("=") for part in corruption.split(","))
    name = options["corruptions"].split("+")[0]
    severity = int(options.get("severities", "3").split("+")[0])
    return {"clean": lambda x: x, name.replace("_", " "): lambda x: corrupt(x, name, severity)}


def pictures(runs: Sequence[Run], corruption: str, count: int) -> dict[str, Any]:
    """Some test images with a box, and maps of each arm: what `figures.overlays` takes."""
    found = with_boxes(runs[0].image_set("test"))
    chosen = found.picked(torch.arange(min(count, len(found))))
    assert chosen.boxes is not None
    images, maps = {}, {}
    for arm, group in comparison.arms(runs).items():
        model = comparison.ready(group).classifier()
        for kind, view in _views(corruption).items():
            name = f"{label(arm)}\n{kind}"
            images[name] = view(chosen.images.float() / 255)
            maps[name] = gradcam.maps(model, chosen.images, chosen.labels, view=view)
    return {"images": images, "maps": maps, "boxes": chosen.boxes.tolist()}


def around(maps: Tensor, boxes: Tensor, reach: float = REACH, points: int = GRID) -> Tensor:
    """The mean of maps in coordinates of their boxes: (points, points); NaN where no image reaches.

    A box lies from -1 to 1 in both directions, so boxes of all sizes and places are one; between pixels maps
    are interpolated linearly.

    Args:
        maps: (N, H, W).
        boxes: int64 (N, 4), as in `ImageSet`.
        reach, points: the square from -reach to reach, and how many points it has in a direction.
    """
    height, width = maps.shape[-2:]
    steps = torch.linspace(-reach, reach, points)
    left, top, right, bottom = boxes.float().unbind(1)
    # in coordinates of grid_sample the image lies from -1 to 1
    x = ((left + right) / 2)[:, None] + (right - left)[:, None] / 2 * steps
    y = ((top + bottom) / 2)[:, None] + (bottom - top)[:, None] / 2 * steps
    x, y = 2 * x / width - 1, 2 * y / height - 1
    grid = torch.stack([x[:, None, :].expand(-1, points, -1), y[:, :, None].expand(-1, -1, points)], -1)
    found = F.grid_sample(maps[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    there = (grid.abs() <= 1).all(-1)
    count = there.sum(0)
    mean = (found * there).sum(0) / count.clamp_min(1)
    return torch.where(count > 0, mean, torch.nan)


def about_boxes(runs: Sequence[Run], corruption: str) -> dict[str, dict[str, Any]]:
    """Arm -> clean or corrupted -> the mean map about the box, over images and seeds, as nested lists."""
    chosen = with_boxes(runs[0].image_set("test"))
    assert chosen.boxes is not None
    found: dict[str, dict[str, Any]] = {}
    for arm, group in comparison.arms(runs).items():
        of = {}
        for kind, view in _views(corruption).items():
            each = [
                around(
                    gradcam.scaled(gradcam.maps(run.classifier(), chosen.images, chosen.labels, view=view)),
                    chosen.boxes,
                )
                for run in group
            ]
            mean = torch.stack(each).mean(0)
            of[kind] = [[None if v != v else round(v, 4) for v in line] for line in mean.tolist()]
        found[label(arm)] = of
    return found


def sanity(runs: Sequence[Run], size: int) -> dict[str, dict[str, Any]]:
    """What figures call an arm -> the result of `cam-sanity` for its first network."""
    measure = f"cam-sanity:size={size}"
    found = comparison.results(runs, {"sanity": measure})
    return {label(arm): of["sanity"] for arm, of in found.items()}


def balance(of: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """How many images of each class networks were trained on and are tested on: lines of a table."""
    lines = []
    for name, runs in of.items():
        for split in ("train", "test"):
            images = runs[0].image_set(split)
            counts = images.labels.bincount(minlength=len(images.classes)).tolist()
            classes = ", ".join(f"{c} {n}" for c, n in zip(images.classes, counts, strict=True))
            data = label_of(name)
            lines.append({"data": data, "split": split, "images": len(images), "classes": classes})
    return lines


def sentence(found: Sequence[Row], chances: Sequence[Mapping[str, Any]]) -> str:
    """What was found, in words; that nothing is published yet, where there are no rows.

    Args:
        found: the rows of the study.
        chances: the lines of `chances`.
    """
    if not found:
        return "No record of this study has been published yet."
    plain = {(r["data"], r["quantity"]): r for r in found if r["arm"] == PLAIN}
    gained = comparison.differences(comparison.select(found, quantity="AUC"), PLAIN)
    differences = {(row["data"], row["arm"]): row for row in gained}
    parts = []
    for title in dict.fromkeys(row["data"] for row in found):
        auc, recall = (shown(plain[title, quantity]) for quantity in ("AUC", "recall"))
        parts.append(f"On {title} a plain network has an AUC of {auc} % and a mean recall of {recall} %.")
        helped = differences.get((title, "fsda"))
        if helped:
            words = f"Against plain training of as many network passes FSDA has {change(helped)}."
            parts.append(words)
        if (title, "energy in box") in plain:
            blind = {line["maps"]: line["energy in box"] for line in chances if line["data"] == title}
            beside = [f"{mean:.1f} ± {half:.1f} % ({of})" for of, (mean, half) in blind.items()]
            energy = shown(plain[title, "energy in box"])
            parts.append(
                f"The boxes hold {energy} % of the energy of a plain network's maps, and of maps that do "
                f"not know the picture {', '.join(beside)}."
            )
    return " ".join(parts)
