"""Records: what is kept and published of runs and studies; tables and verdicts are computed from them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from specfreq import augment
from specfreq.core import places, storage
from specfreq.core.errors import UserError, unknown
from specfreq.core.places import runs_dir
from specfreq.core.spec import LONGEST, file_name
from specfreq.data.sets import ImageSet
from specfreq.evidence import rows
from specfreq.experiment.runs import Run, settle

RUN = "run"  # the profile of a record that holds one run


def of_study(
    study: str,
    notebook: Mapping[str, Any],
    runs: Sequence[Run] = (),
    *,
    sets: Iterable[ImageSet] = (),
    **content: Any,
) -> dict[str, Any]:
    """The record of a study: all parameters of its notebook, its content, and where it was computed.

    Args:
        study: its name.
        notebook: the ``globals()`` of the notebook that runs, see `parameters_of`.
        runs: whose numbers it has, and which say where; without runs, that is here.
        sets: images that it was computed from besides.
        content: its results.

    Raises:
        UserError: the notebook has no parameters, or no profile among them.
    """
    parameters = parameters_of(notebook)
    return _record(study, parameters["profile"], parameters, runs, sets, content)


def parameters_of(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a notebook, by name, with the values that they have.

    They are the names that it annotates, which the cell of parameters alone does. Python keeps annotations
    from one cell to the next; from 3.14 on it does so after ``from __future__ import annotations``.

    Raises:
        UserError: there are none, or no profile among them.
    """
    names = notebook.get("__annotations__", {})
    if "profile" not in names:
        raise UserError(
            "the notebook that runs has no parameters with a profile; begin its first cell with `from "
            '__future__ import annotations` and declare `profile: str = "quick"` in its cell of parameters'
        )
    return {name: notebook[name] for name in names}


def of_run(name: str, run: Run) -> dict[str, Any]:
    """The record of one run: its experiment, measurements and history, and where it was computed."""
    settle(run.path)
    run = Run(run.path)
    content = {"key": run.key, "results": run.results, "history": run.history}
    return _record(name, RUN, run.experiment.model_dump(mode="json"), [run], [], content)


def _record(
    name: str,
    profile: str,
    parameters: Mapping[str, Any],
    runs: Sequence[Run],
    sets: Iterable[ImageSet],
    content: Mapping[str, Any],
) -> dict[str, Any]:
    runs = list({run.key: run for run in runs}.values())  # one can be of two parts
    origins = [r.provenance for r in runs] or [_here()]
    images = {i.name: {i.digest} for i in sets}
    for run in runs:
        # runs can have subsets of one set, of several sizes
        for split, digest in run.provenance["data"].items():
            images.setdefault(f"{run.experiment.data} ({split})", set()).add(digest)
    computed = {
        key: sorted({origin[key] or "unrecorded" for origin in origins})
        for key in ("specfreq", "commit", "torch", "device", "date")
    }
    if runs:  # what was chosen, where an experiment leaves it to the device
        chosen = {r.provenance.get("precision", r.experiment.precision) for r in runs}
        computed["precision"] = sorted(chosen)
    return {
        "study": name,
        "profile": profile,
        "parameters": dict(parameters),
        **content,
        "provenance": {
            **computed,
            "seconds": round(math.fsum(origin["seconds"] for origin in origins), 3),
            "runs": len(runs),
            "data": {name: ", ".join(sorted(digests)) for name, digests in images.items()},
        },
    }


def _here() -> dict[str, Any]:
    """Where a study without runs was computed: here."""
    import torch

    from specfreq.core.provenance import provenance

    return {**provenance(torch.device("cpu")), "seconds": 0}


def file_of(name: str, profile: str) -> str:
    """The file of a record, without its folder. A name can be the path of a data set: it becomes one word.

    Raises:
        UserError: nothing is left of the name; the profile cannot be part of a file's name.
    """
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    if len(slug.encode()) > LONGEST:
        slug = f"{slug.encode()[: LONGEST - 9].decode(errors='ignore')}-{storage.digest(slug)[:8]}"
    return f"{file_name(slug, 'record')}.{file_name(profile, 'profile')}.json"


def records_dir() -> Path:
    """The folder of records: $SPECFREQ_RECORDS (each cell of a sweep has its own), or beside the runs."""
    return places.place_of("SPECFREQ_RECORDS") or runs_dir() / "records"


def save(name: str, record: Mapping[str, Any]) -> None:
    """Keep a record as ``NAME.PROFILE.json`` in `records_dir`; `specfreq publish` copies it into the book."""
    storage.write_json(records_dir() / file_of(name, record["profile"]), record)


def publish(name: str, profile: str) -> str:
    """Copy a kept record into the book's results, where tables and verdicts find it. Returns the file's name.

    Raises:
        UserError: no such record has been kept, and the nearest is suggested; it is damaged; its name cannot
            be that of a file.
    """
    file = file_of(name, profile)
    kept = {path.name: path for path in places.visible(records_dir().glob("*.json"))}
    if file not in kept:
        hint = f"specfreq run {name} --profile {profile} makes it"
        raise unknown("record", Path(file).stem, [path.stem for path in kept.values()], hint=hint)
    storage.write_json(places.root() / "book" / "results" / file, storage.read_object(kept[file]))
    return file


def published(name: str, profile: str = "laptop") -> dict[str, Any] | None:
    """A record of the book's results, its rows as `rows.Row` has them; None if it has not been published."""
    path = places.root() / "book" / "results" / file_of(name, profile)
    if not path.exists():
        return None
    kept = storage.read_object(path)
    _check_shape(kept, path)
    found = {key: [rows.read(r) for r in part] if rows.are_rows(part) else part for key, part in kept.items()}
    _tell_passes(found)
    return {"parameters": {}, **found, "provenance": _provenance(kept.get("provenance", {}))}


def _check_shape(record: Mapping[str, Any], path: Path) -> None:
    """Refuse a record without what every page reads of one.

    Raises:
        Damaged: names what is missing.
    """
    origin, needed = record.get("provenance"), ("device", "torch", "date")
    lost = [f"provenance has no {key!r}" for key in needed if origin and key not in origin]
    for name, part in record.items():
        # other lists can name arms too
        if isinstance(part, list) and any(isinstance(r, dict) and {"arm", "seeds"} <= r.keys() for r in part):
            for place, row in enumerate(part):
                absent = sorted(rows.NEEDED - row.keys()) if isinstance(row, dict) else sorted(rows.NEEDED)
                lost += [f"row {place} of {name} has no {key!r}" for key in absent]
    if lost:
        raise storage.Damaged(f"{path} is damaged ({lost[0]}); publish the record again")


def passes_of_an_image(row: Mapping[str, Any], epochs: int) -> int:
    """How often a training shows each image to the network: of a row, whose arm names other epochs than the
    study's, and whose augmentation can have several views.
    """
    longer = re.search(r", epochs=(\d+)$", row["arm"])
    views = augment.build(row["spec"]).shown if augment.known(row["spec"]) else 1
    return (int(longer[1]) if longer else epochs) * views


def _tell_passes(record: dict[str, Any]) -> None:
    """Give rows of version 0.1, which kept no network passes, those that the study's parameters tell."""
    told = record.get("parameters", {})
    trained = told.get("train_size"), told.get("epochs")
    hardened = dict(field.split("=", 1) for field in told.get("hardened_recipe", []))
    attacked = told.get("hardened_size"), 2 * int(hardened.get("epochs", 0))  # each attack is a pass
    for part in ("arms", "by_type", "scores", "transfer", "hardened"):
        images, epochs = attacked if part == "hardened" else trained
        if not isinstance(images, int) or not isinstance(epochs, int):
            continue
        for row in record.get(part, []):
            row.setdefault("passes", images * passes_of_an_image(row, epochs))


def _provenance(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Where a record was computed, as `_record` writes it: version 0.1 had texts in the place of lists."""
    listed = {k: [v] if k != "data" and isinstance(v, str) else v for k, v in kept.items()}
    return {"seconds": 0.0, "runs": 0, **listed}


def origin(name: str, profile: str = "laptop") -> str:
    """Where the numbers of a published record come from, for the foot of a figure."""
    record = published(name, profile)
    if record is None:
        return f"no published record {name}.{profile}"
    origin = record["provenance"]
    device = ", ".join(origin["device"])
    version = ", ".join(origin["torch"])
    runs = f" · {origin['runs']} run{'s' * (origin['runs'] > 1)}" if origin["runs"] else ""
    return f"record {name}.{profile}{runs} · {device} · torch {version}"


def content(name: str, key: str, profile: str = "laptop") -> Any:
    """A part of a published record; an empty one if it has not been published."""
    return (published(name, profile) or {}).get(key, {})


def required(name: str, key: str, profile: str = "laptop") -> Any:
    """A part of a published record.

    Raises:
        UserError: there is no such record, or no such part of it.
    """
    found = content(name, key, profile)
    if not found:
        raise UserError(f"book/results/{file_of(name, profile)} is not there, or has no {key}")
    return found


def published_rows(name: str, key: str, profile: str = "laptop") -> dict[str, Any]:
    """Rows of a published record, as arguments for `figures.accuracies`; no rows if there is none."""
    return {"rows": content(name, key, profile) or [], "note": origin(name, profile)}
