"""Networks trained on sets with other frequencies, asked about the test images of one set or several."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from specfreq import data, fourier
from specfreq.augment import cdes
from specfreq.augment.derived import DensityEnhanced
from specfreq.core.errors import UserError
from specfreq.core.progress import progress_bar
from specfreq.core.spec import quoted
from specfreq.core.storage import taken
from specfreq.data import derived
from specfreq.evidence import claims, comparison, tables
from specfreq.evidence.comparison import number, select
from specfreq.evidence.markup import Table
from specfreq.evidence.rows import CORRECTED, Row, row_of
from specfreq.experiment.description import Experiment
from specfreq.experiment.grids import free_first, grid
from specfreq.experiment.runs import Run
from specfreq.measures.shortcut import dominant

PRUNED = "low frequencies pruned"
# no claim rests on networks of these sets
CONTROLS = ("SCR as published", "WCR as published", "HARS as published", "HARS, donors of any class")
# of the table of published numbers: what it calls our rows, by the arm of the original
BESIDE = {
    "none": {"corrected, its own test set": "none"},
    "SCR": {
        "as published, here": "SCR as published",
        "as published, random kernels": "SCR as published, random kernels",
        "corrected, its own test set": "SCR, own kernels",
        "kernels of a random class": "SCR, random kernels",
        "of a wrong class": "SCR, wrong kernels",
        "unchanged test images": "SCR, unchanged images",
    },
    "WCR": {
        "as published, here": "WCR as published",
        "corrected, its own test set": "WCR",
        "unchanged test images": "WCR, unchanged images",
    },
}


class Shown(NamedTuple):
    """Networks of one training, a seed each, and the test images that they are asked about."""

    arm: str  # what records call the two together
    runs: Sequence[Run]
    test: str | None = None  # another set instead of their own
    stands_for: str | None = None  # what claims call it, where that is something else
    series: str = CORRECTED


def derived_sets(of: str, options: str, published: str) -> dict[str, str]:
    """The sets of the study of spectral density, by name: as it is, SCR and WCR, and these as published.

    Args:
        of: an image set.
        options: of the kernels, ``number=16,epochs=5``; those of the published ones in `published`.
    """
    found = {"none": of}
    for name, kernels in {"SCR": "class", "WCR": "all"}.items():
        start = f"cdes:of={quoted(of)},kernels={kernels}"
        found[name] = data.normal_form(",".join(filter(None, (start, options))))
        found[f"{name} as published"] = derived.as_published(",".join(filter(None, (start, published))))
    return found


def mixed_sets(of: str, radius: float, pruned: str) -> dict[str, str]:
    """The sets of the study of class consistency, by name: as it is, HARS, its mirror image, with donors of
    any class and as published, and without low frequencies.

    Args:
        of: an image set.
        radius: of HARS, cycles per image.
        pruned: the filter that takes away low frequencies.
    """
    start = f"hars:of={quoted(of)},radius={radius:g}"
    return {
        "none": of,
        "HARS": data.normal_form(start),
        "HARS, mirror": with_option(start, "mirror=True"),
        "HARS, donors of any class": with_option(start, "drawing=any"),
        "HARS as published": derived.as_published(start),
        PRUNED: pruned_set(of, pruned),
    }


def pruned_set(of: str, pruned: str) -> str:
    """A set without its low frequencies, in training and test images, its values stretched to the whole range
    as a set: what is left of pictures are textures.
    """
    return data.normal_form(f"filtered:of={quoted(of)},filter={quoted(pruned)},values=stretch")


def trainings(
    sets: Mapping[str, str], seeds: Sequence[int], few: Sequence[int], **fields: Any
) -> list[Experiment]:
    """A training on each set for each of the seeds; on a set of `CONTROLS` for each of ``few``."""
    parts = {spec: few if name in CONTROLS else seeds for name, spec in sets.items()}
    return [one for spec, own in parts.items() for one in grid(data=spec, seed=list(own), **fields)]


def by_set(runs: Sequence[Run], sets: Mapping[str, str]) -> dict[str, list[Run]]:
    """The runs on each set, by its name."""
    return {name: [run for run in runs if run.experiment.data == spec] for name, spec in sets.items()}


def with_option(name: str, option: str) -> str:
    """A derived set with one more option, ``at_test=random``."""
    return data.normal_form(f"{name},{option}")


def rows(
    shown: Sequence[Shown],
    data: str,
    measure: str,
    quantities: Mapping[str, str],
    *,
    progress: bool | None = None,
) -> list[Row]:
    """A row for each arm and quantity, with a 95 % interval over seeds and, where all arms share these, over
    the test images, of which those of one place are paired; so are those of two quantities of an arm.

    Args:
        shown: the arms.
        data: what rows call the set, although arms may be shown others made of it.
        measure: of the networks.
        quantities: name -> number of the measure's result, see `comparison.number`.
        progress: a bar over networks; None shows it on terminals only.
    """
    asked = [(arm, run) for arm in shown for run in arm.runs]
    with progress_bar("measures", len(asked), "network", progress) as bar:
        results = {}
        for arm, run in free_first(asked, lambda pair: taken(pair[1].path)):
            results[arm.arm, run.experiment.seed] = run.measure(measure, data=arm.test)
            bar.update()
    found: list[Row] = []
    for quantity, key in quantities.items():
        for arm in shown:
            seeds = [run.experiment.seed for run in arm.runs]
            first = results[arm.arm, seeds[0]]
            values = {seed: _known(results[arm.arm, seed], key) for seed in seeds}
            row = row_of(
                data,
                arm.arm,
                quantity,
                values,
                spec=arm.runs[0].experiment.data,
                stands_for=arm.stands_for,
                series=arm.series,
                chance=first.get("chance"),
                keys=[run.key for run in arm.runs],
            )
            row["passes"] = arm.runs[0].experiment.passes
            found.append(row)
    of = {arm.arm: arm for arm in shown}
    known: dict[int, np.ndarray] = {}
    for quantity, key in quantities.items():
        known |= comparison.cross(found, quantity, lambda row, key=key: _each(of[row["arm"]], measure, key))
    comparison.cross_within(found, known)
    return found


def _each(arm: Shown, measure: str, key: str) -> list["np.ndarray | None"]:
    return [run.each(measure, key, data=arm.test) for run in arm.runs]


def _known(result: Mapping[str, Any], key: str) -> float:
    value = number(result, key)
    if value is None:
        raise UserError(f"the measure has no {key} for a network; ask for another number")
    return value


def at_radii(radii: Sequence[int], measured: Sequence[int]) -> dict[str, str]:
    """The accuracies of `band-accuracy` at some radii, as `rows` takes them: ``high-pass 12`` and so on.

    Raises:
        UserError: one of the radii is not measured.
    """
    found = {}
    for radius in radii:
        if radius not in measured:
            raise UserError(f"radius {radius} is not measured; those are {', '.join(map(str, measured))}")
        place = list(measured).index(radius)
        found[f"low-pass {radius}"] = f"low.{place}"
        found[f"high-pass {radius}"] = f"high.{place}"
    return found


def curves(shown: Sequence[Shown], measure: str) -> dict[str, dict[str, Any]]:
    """Arm -> `band-accuracy`, its curves the means over seeds."""
    out = {}
    for arm in shown:
        each = [run.measure(measure, data=arm.test) for run in arm.runs]
        means = {key: np.mean([r[key] for r in each], axis=0).tolist() for key in ("low", "high", "accuracy")}
        out[arm.arm] = {"radii": each[0]["radii"], "chance": each[0]["chance"], **means}
    return out


def known_by(share: float, shares: Sequence[float]) -> dict[str, str]:
    """The numbers of `frequency-shortcuts` for one of its shares (%), as `rows` takes them: how many images
    are recognised by the dominant frequencies of their class, how often other classes are seen by theirs, and
    how far these lie from the frequency 0.

    Raises:
        UserError: the share is not measured.
    """
    if share not in shares:
        raise UserError(f"{share:g} % is not measured; those are {', '.join(f'{s:g}' for s in shares)}")
    place = list(shares).index(share)
    return {
        "by its frequencies": f"kept_accuracy.{place}",
        "false alarms": f"kept_alarm.{place}",
        "their radius": f"kept_radius.{place}",
    }


def dominant_frequencies(shown: Sequence[Shown], measure: str, share: float) -> dict[str, list[Any]]:
    """Arm -> for how many of its seeds a frequency is among the dominant share (%) of a class, by
    `frequency-shortcuts`: (K, H, W), frequency 0 in the middle.
    """
    found = {}
    for arm in shown:
        each = [_dominant(run.measure(measure, data=arm.test), share) for run in arm.runs]
        found[arm.arm] = np.sum(each, axis=0).tolist()
    return found


def _dominant(result: Mapping[str, Any], share: float) -> np.ndarray:
    groups = torch.tensor(result["groups"])
    none = [0.0] * (int(groups.max()) + 1)  # of a class without images
    increase = torch.tensor([row or none for row in result["increase"]], dtype=torch.float64)
    return dominant(increase, groups, share).int().numpy()


def densities(sets: Mapping[str, str], size: int | None = None) -> dict[str, list[float]]:
    """Mean spectral density of the training images of each set, on rings of 1, 2, ... cycles per image."""
    found = {}
    for name, spec in sets.items():
        whole = derived.in_memory(spec, "train", "a density")
        images = (whole if size is None else whole.subset(min(size, len(whole)))).images
        parts = [cdes.density(part.double() / 255) for part in images.split(1000)]
        found[name] = torch.cat(parts).mean(0).tolist()
    return found


def kernels(name: str, classes: Sequence[str]) -> dict[str, cdes.KernelNetwork]:
    """The networks of an SCR or WCR set by class, or the one for ``all``; found where they were trained."""
    made = cast(DensityEnhanced, derived.fitted(name))
    names = classes if made.by_class else ("all",)
    return {names[k]: network for k, network in made.networks.networks.items()}


def responses(networks: Mapping[str, cdes.KernelNetwork], side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What networks make of a white dot, (K, C, side, side), and its power spectra, mean over channels,
    (K, side, side).
    """
    dots = torch.stack([network.response(side) for network in networks.values()])
    return dots, fourier.power_spectrum(dots.double()).mean(1)


def published_table(study: str, found: Sequence[Row]) -> Table:
    """Published accuracies (%) beside ours, with the label told at test time and without."""
    out = []
    columns = dict.fromkeys(column for of in BESIDE.values() for column in of)
    for number_ in claims.load(study).numbers:
        of = BESIDE[number_.arm]
        cells = {}
        for column in columns:
            ours = select(found, arm=of.get(column, ""), quantity=number_.quantity)
            cells[column] = tables.measured(ours[0] if ours else None)
        name = "Plain" if number_.arm == "none" else number_.arm
        out.append(
            {"trained on": name, "shown": number_.quantity, "published": f"{number_.published:.1f}"} | cells
        )
    caption = (
        "Accuracy (%) on high-pass test images, by the radius in cycles per image; ± half a 95 % interval."
    )
    return Table(out, caption, f"tbl-{study}-published", wide=True)
