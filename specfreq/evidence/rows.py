"""Rows: one arm and quantity of a data set, a number for each sample, their mean and its interval."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, TypeGuard, cast

from specfreq import filters
from specfreq.evidence.crossed import Squares, difference, products
from specfreq.evidence.intervals import interval
from specfreq.evidence.names import label

if TYPE_CHECKING:
    import numpy as np

NEEDED = {"data", "arm", "series", "seeds", "values", "mean", "low", "high"}  # of a row, whatever its age
CORRECTED, PUBLISHED = "corrected", "as published"  # the series that verdicts are about


class Summary(TypedDict):
    """The samples of a row, and what follows from them."""

    seeds: list[int]  # of the trainings; or the numbers of the images
    values: list[float]  # one for each of the seeds
    mean: float
    low: float | None  # of the 95 % interval, over seeds and images where `products` are there
    high: float | None  # else Student's over the values; None for a single value


class Row(Summary):
    """What records, tables, figures and rules have in common. Differences of rows are rows."""

    data: str
    arm: str  # augmentation or filter, and what else differs from the first arm
    label: str  # what tables and figures call it
    spec: str  # description of its filter or augmentation; empty where it has neither
    stands_for: str  # what claims call it: the arm, or the filter, without the original's defects
    series: str  # CORRECTED, PUBLISHED, or which of the defects it has
    quantity: str
    chance: float | None  # accuracy of guessing, %; None where nobody classifies
    keys: list[str]  # of the runs
    passes: NotRequired[int]  # of images through each network in training, see `Experiment.passes`
    flags: NotRequired[list[str]]  # why the numbers are no evidence, by the measure's own check
    images: NotRequired[int]  # that each value is a mean over
    tested: NotRequired[int]  # those of them that are test images, where images of other sets count too
    # mean products with rows of the same quantity, by `named`, itself among them: of seeds, images, the rest
    products: NotRequired[dict[str, list[float]]]
    beside: NotRequired[dict[str, list[float]]]  # and with the arm's other quantities of the same images
    answers: NotRequired[list[int]]  # how many classes each network ever answered


def row_of(
    data: str,
    arm: str,
    quantity: str,
    values: Mapping[int, float],
    *,
    spec: str = "",
    stands_for: str | None = None,
    series: str = CORRECTED,
    chance: float | None = None,
    keys: Sequence[str] = (),
) -> Row:
    """The row of some values by seed."""
    return {
        "data": data,
        "arm": arm,
        "label": label(arm),
        "spec": spec,
        "stands_for": stands_for or arm,
        "series": series,
        "quantity": quantity,
        **summary(values),
        "chance": chance,
        "keys": list(keys),
    }


def summary(values: Mapping[int, float], confidence: float = 0.95) -> Summary:
    """The fields of a row that follow from its values by seed."""
    mean, low, high = interval(list(values.values()), confidence)
    return {"seeds": list(values), "values": list(values.values()), "mean": mean, "low": low, "high": high}


def named(row: Row) -> str:
    """The arm of a row, and its series where it is not the corrected one: filters of both have one arm."""
    return row["arm"] if row["series"] == CORRECTED else f"{row['arm']}, {row['series']}"


def crossed_with(rows: Sequence[Row], each: "Sequence[np.ndarray]", by: str = "arm") -> list[Row]:
    """Rows with intervals over seeds and images, and with the products of each two of them.

    Args:
        each: for each row what its values are means of, (S, N): the same seeds and images for all.
        by: in what the rows differ: of one quantity the ``arm``, of one arm the ``quantity``.

    Raises:
        ValueError: two rows have one name.
    """
    found = products(each)
    kept = {"arm": "products", "quantity": "beside"}[by]
    names = [named(row) if by == "arm" else row["quantity"] for row in rows]
    if len(set(names)) < len(names):
        raise ValueError(f"rows of one name would take each other's products: {', '.join(names)}")
    out = []
    for i, row in enumerate(rows):
        of_row = {
            name: [float(part[i, j]) for part in (found.seed, found.image, found.rest)]
            for j, name in enumerate(names)
        }
        squares = Squares(found.seeds, found.images, *of_row[names[i]])
        low, high = squares.interval(row["mean"])
        out.append({**row, "low": low, "high": high, "images": found.images, kept: of_row})
    return out


def _product(one: Row, other: Row) -> list[float] | None:
    """The mean products of two rows of a quantity; records of before 2026-12 have them by arm alone."""
    known = one.get("products", {})
    return known.get(named(other), known.get(other["arm"]))


def tested(row: Row) -> int | None:
    """How many test images a row rests on; None where that is not known."""
    images = row.get("images")
    return None if images is None else row.get("tested", images)


def bounds(row: Row, confidence: float) -> tuple[float, float] | None:
    """The interval of a row, over seeds and images or over seeds; None for a single value."""
    own = _product(row, row)
    if own and (images := row.get("images")):
        return Squares(len(row["seeds"]), images, *own).interval(row["mean"], confidence)
    _, low, high = interval(row["values"], confidence)
    return None if low is None or high is None else (low, high)


def apart(one: Row, other: Row, confidence: float = 0.95) -> Summary | None:
    """The summary of one row minus another, paired by seed, and by image where both know of their images.

    None if they share no seed. A single pair has no interval.
    """
    pairs = paired(one, other)
    if not pairs:
        return None
    found = summary(pairs, confidence)
    if squares := _squares(one, other):
        found["low"], found["high"] = squares.interval(found["mean"], confidence)
    return found


def over_images(one: Row, other: Row) -> bool:
    """Whether the interval of their difference is over seeds and images, not over seeds alone."""
    return _squares(one, other) is not None


def _squares(one: Row, other: Row) -> Squares | None:
    """The mean squares of one row minus another; None if the products of both are not known."""
    same = one["quantity"] == other["quantity"]
    if named(one) != named(other):
        shared = _product(one, other) if same else None
    else:  # of one name in all there are two measures, which know nothing of each other
        shared = None if same else one.get("beside", {}).get(other["quantity"])
    mine, theirs = (_product(row, row) for row in (one, other))
    alike = all(one.get(field) == other.get(field) for field in ("seeds", "images"))
    if not (alike and shared and mine and theirs and (images := one.get("images"))):
        return None
    return difference(len(one["seeds"]), images, mine, shared, theirs)


def of_images(
    data: str,
    arm: str,
    quantity: str,
    values: Iterable[float],
    *,
    stands_for: str | None = None,
    series: str = CORRECTED,
) -> Row:
    """A row whose samples are images, by their number in the set."""
    numbered = dict(enumerate(map(float, values)))
    return row_of(data, arm, quantity, numbered, stands_for=stands_for, series=series)


def paired(one: Row, other: Row) -> dict[int, float]:
    """One row's values minus the other's, by seed, for the seeds of both."""
    theirs = dict(zip(other["seeds"], other["values"], strict=True))
    mine = zip(one["seeds"], one["values"], strict=True)
    return {seed: value - theirs[seed] for seed, value in mine if seed in theirs}


def are_rows(content: Any) -> TypeGuard[list[Mapping[str, Any]]]:
    """Whether a part of a record is a list of rows, of whatever age."""
    return isinstance(content, list) and all(isinstance(r, Mapping) and r.keys() >= NEEDED for r in content)


def read(kept: Mapping[str, Any]) -> Row:
    """A row of a record of any version.

    Version 0.1 had two shapes: rows with ``augment`` and a quantity, and rows with ``filter``, whose quantity
    is the accuracy.
    """
    row = {"spec": "", "chance": None, "keys": [], **kept}
    if "augment" in row:
        row["spec"] = row.pop("augment")
    if "filter" in row:
        row["spec"] = row.pop("filter")
        row |= {"stands_for": filters.corrected(row["spec"]), "quantity": "accuracy"}
    row["label"] = label(row["arm"])
    return cast(Row, row)
