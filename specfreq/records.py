"""Records: what is published of runs and studies. Every table and verdict of the book is computed from them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specfreq import experiment, filters, storage
from specfreq.data import ImageSet
from specfreq.experiment import Run, runs_dir
from specfreq.naming import LONGEST, file_name, unknown

RUN = "run"  # the profile of a record that holds one run
BREAK = re.compile(r"([,:+])(?=[a-z])")  # where a table may break a name such as apr-s:channels=True,overflow=wrap

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float | None, float | None]:
    r"""Mean and Student-t interval over seeds, :math:`\bar v \pm t_{n-1} s / \sqrt n`; without bounds for a single value."""
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return mean, None, None
    from scipy import stats

    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return mean, mean - half, mean + half


def _row(data: str, filter: str, values: Mapping[int, float], classes: int, **more: Any) -> dict[str, Any]:
    mean, low, high = interval(list(values.values()))
    label, program = filters.label(filter)
    return {
        "data": data,
        "filter": filter,
        "arm": label,
        "series": "as published" if program else "corrected",
        "chance": 100 / classes,
        "seeds": list(values),
        "values": list(values.values()),
        "mean": mean,
        "low": low,
        "high": high,
        **more,
    }


def arms(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Test accuracy (%) of trained arms: runs that differ in their seed alone become one row, with a 95 % interval over seeds."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.experiment.data, run.experiment.filter), []).append(run)
    return [
        _row(
            data,
            filter,
            {r.experiment.seed: r.results["accuracy"]["accuracy"] for r in group},
            len(group[0].results["accuracy"]["per_class"]),
            answers=[sum(map(any, zip(*r.results["accuracy"]["confusion"], strict=True))) for r in group],  # classes ever answered
            keys=[r.key for r in group],
        )
        for (data, filter), group in groups.items()
    ]


def transfer(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Test accuracy (%) of the networks trained on unfiltered images, shown the test images of every variant in ``runs``.

    A data set on which no network was trained without a filter has no rows.
    """
    variants: dict[str, list[str]] = {}
    for run in runs:
        seen = variants.setdefault(run.experiment.data, [])
        if run.experiment.filter not in seen:
            seen.append(run.experiment.filter)
    rows = []
    for data, shown in variants.items():
        plain = [r for r in runs if r.experiment.data == data and r.experiment.filter == "none"]
        for filter in shown if plain else []:
            results = {r.experiment.seed: r.measure("accuracy", filter) for r in plain}
            classes = len(results[plain[0].experiment.seed]["per_class"])
            rows.append(_row(data, filter, {s: r["accuracy"] for s, r in results.items()}, classes))
    return rows


def foot(of: ImageSet | Sequence[Run], profile: str) -> str:
    """Data, profile, keys and device, for the foot of a figure. No times or dates: an executed study stays byte-identical."""
    if isinstance(of, ImageSet):
        return f"{of.name}, {len(of)} images · profile {profile} · data {of.digest[:8]}"
    runs = list(of)
    data = ", ".join(dict.fromkeys(r.experiment.data for r in runs))
    devices = ", ".join(dict.fromkeys(r.provenance["device"] for r in runs))
    return f"{data} · profile {profile} · {len(runs)} runs, {runs[0].key} to {runs[-1].key} · {devices}"


def of_images(
    data: str, arm: str, quantity: str, values: Iterable[float], *, stands_for: str | None = None, series: str = "corrected"
) -> dict[str, Any]:
    """A row of one arm and quantity whose samples are images, by their number in the set, instead of trained networks."""
    values = [float(v) for v in values]
    mean, low, high = interval(values)
    return {
        "data": data,
        "arm": arm,
        "stands_for": stands_for or arm,
        "series": series,
        "quantity": quantity,
        "seeds": list(range(len(values))),
        "values": [float(f"{v:.6g}") for v in values],
        "mean": mean,
        "low": low,
        "high": high,
    }


def of_study(
    study: str, profile: str, parameters: Mapping[str, Any], runs: Sequence[Run], *, sets: Iterable[ImageSet] = (), **content: Any
) -> dict[str, Any]:
    """The record of a study: its parameters, its content, and where its runs were computed; without runs, where it was itself."""
    origins = [r.provenance for r in runs] or [_here()]
    images = {i.name: {i.digest} for i in sets}
    for run in runs:  # of one set, subsets of several sizes
        for split, digest in run.provenance["data"].items():
            images.setdefault(f"{run.experiment.data} ({split})", set()).add(digest)
    return {
        "study": study,
        "profile": profile,
        "parameters": dict(parameters),
        **content,
        "provenance": {
            **{k: sorted({o[k] or "unrecorded" for o in origins}) for k in ("specfreq", "commit", "torch", "device", "date")},
            "seconds": round(math.fsum(o["seconds"] for o in origins), 3),
            "runs": len(runs),
            "data": {name: ", ".join(sorted(digests)) for name, digests in images.items()},
        },
    }


def _here() -> dict[str, Any]:
    """Where a study without runs was computed: here."""
    import torch

    from specfreq.provenance import provenance

    return {**provenance(torch.device("cpu")), "seconds": 0}


def of_run(name: str, run: Run) -> dict[str, Any]:
    """The record of one run: its experiment, what has been measured, its history, and where it was computed."""
    return of_study(name, RUN, run.experiment.model_dump(mode="json"), [run], key=run.key, results=run.results, history=run.history)


def _file(name: str, profile: str) -> str:
    """The file of a record, without its folder. Names are brought to what files can have: data sets can be called by a path.

    Raises:
        UserError: nothing is left of the name; the profile cannot be part of a file's name.
    """
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    if len(slug.encode()) > LONGEST:
        slug = f"{slug.encode()[: LONGEST - 9].decode(errors='ignore')}-{storage.digest(slug)[:8]}"
    return f"{file_name(slug, 'record')}.{file_name(profile, 'profile')}.json"


def records_dir() -> Path:
    """Where studies keep their records: $SPECFREQ_RECORDS (each cell of a sweep has its own), else beside the runs."""
    return storage.place_of("SPECFREQ_RECORDS") or runs_dir() / "records"


def save(name: str, record: Mapping[str, Any]) -> None:
    """Keep a record as ``NAME.PROFILE.json`` in `records_dir`; `specfreq publish NAME` moves it into the book."""
    storage.write_json(records_dir() / _file(name, record["profile"]), record)


def publish(name: str, profile: str) -> str:
    """Copy a kept record into the book's results, where tables and verdicts find it. Returns the file's name.

    Raises:
        UserError: no such record has been kept, and the nearest is suggested; it is damaged; no file can be called so.
    """
    file = _file(name, profile)
    kept = {path.name: path for path in storage.visible(records_dir().glob("*.json"))}
    if file not in kept:
        hint = f"specfreq run {name} --profile {profile} makes it"
        raise unknown("record", Path(file).stem, [path.stem for path in kept.values()], hint=hint)
    storage.write_json(experiment.root() / "book" / "results" / file, storage.read_object(kept[file]))
    return file


def published(name: str, profile: str = "laptop") -> dict[str, Any] | None:
    """A record of the book's results; None if it has not been published."""
    path = experiment.root() / "book" / "results" / _file(name, profile)
    return storage.read_object(path) if path.exists() else None


def origin(name: str, profile: str = "laptop") -> str:
    """Where the numbers of a published record come from, for the foot of a figure."""
    record = published(name, profile)
    if record is None:
        return f"no published record {name}.{profile}"
    origin = record["provenance"]
    device, version = ", ".join(origin["device"]), ", ".join(origin["torch"])
    runs = f" · {origin['runs']} run{'s' * (origin['runs'] > 1)}" if origin["runs"] else ""
    return f"record {name}.{profile}{runs} · {device} · torch {version}"


def content(name: str, key: str, profile: str = "laptop") -> Any:
    """A part of a published record; an empty one if it has not been published."""
    return (published(name, profile) or {}).get(key, {})


def published_rows(name: str, key: str, profile: str = "laptop") -> dict[str, Any]:
    """Rows of a published record, as arguments for `figures.accuracies`; no rows if it has not been published."""
    return {"rows": content(name, key, profile) or [], "note": origin(name, profile)}


def measured(row: Mapping[str, Any] | None) -> str:
    """A row in words: its mean, ± half its interval where it has one, in %."""
    if row is None:
        return "–"
    return f"{row['mean']:.2f}" if row["low"] is None else f"{row['mean']:.2f} ± {row['high'] - row['mean']:.2f}"


def span(values: Iterable[float]) -> str:
    """Several numbers in a sentence: ``61.25``, or ``51.43 to 61.25``; ``–`` for none."""
    values = sorted(values)
    ends = [f"{v:.2f}" for v in values]
    return " to ".join(dict.fromkeys([ends[0], ends[-1]])) if ends else "–"


def accuracy(name: str, data: str, filter: str, content: str = "arms", profile: str = "laptop") -> str:
    """One accuracy of a published record, for a sentence: ``65.41 ± 0.52``."""
    rows = published_rows(name, content, profile)["rows"]
    sought = data, filters.normal_form(filter)
    return measured(next((r for r in rows if (r["data"], r["filter"]) == sought), None))


def settings(name: str, profile: str = "laptop") -> "Styler":
    """The parameters and the cost of a published record, as a table."""
    record = published(name, profile)
    rows = []
    if record is not None:
        origin = record["provenance"]
        for setting, value in {**record["parameters"], "profile": profile}.items():
            rows.append({"setting": setting, "value": ", ".join(map(str, value)) if isinstance(value, list) else str(value)})
        cost = f"{origin['runs']} trainings, {origin['seconds'] / 3600:.1f} hours on " if origin["runs"] else ""
        cost += ", ".join(origin["device"])
        rows.append({"setting": "computed", "value": f"{cost}; {', '.join(origin['date'])}"})
    return table(rows)


def table(rows: Sequence[Mapping[str, Any]]) -> "Styler":
    """Rows as a table for a page: no index column, and the same bytes each time."""
    import pandas as pd

    cells = [{k: BREAK.sub(r"\1<wbr>", v) if isinstance(v, str) else v for k, v in row.items()} for row in rows]
    style = pd.DataFrame(cells).style.hide(axis="index").format(precision=2)
    return style.set_uuid("table").set_table_attributes('class="dataframe"')
