"""Runs without their weights: settings, history, series and results, small enough to travel with the book.

A study that finds them trains only what is missing.
"""

import io
import json
import logging
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from specfreq.core import places, processes, storage
from specfreq.core.errors import UserError
from specfreq.experiment.runs import Run, settle
from specfreq.experiment.store import KEY, OUTLINE, finished

log = logging.getLogger(__name__)
PLACE = "book/results/runs"  # below the compendium; no page reads it
PARTS = ("experiment.json", "precision.json", "history.csv", "provenance.json", "series.safetensors")
INSIDE = re.compile(
    rf"({'|'.join(map(re.escape, (*PARTS, OUTLINE)))}|results/([0-9a-f]{{16}}/)?[^/\\]+\.(json|safetensors))"
)
LARGEST = 2**28  # bytes that an archive may hold when unpacked
NEVER = (1980, 1, 1, 0, 0, 0)  # the time of every file inside: the same run gives the same bytes


def folder() -> Path:
    """Where the book keeps them."""
    return places.root() / PLACE


def keep(run: Run, into: Path | None = None) -> Path:
    """Write a run as ``KEY.zip``, all but its weights. Damaged results are left out, with a warning.

    What an archive that is there holds beside is kept if it is of the same network.

    Args:
        into: a folder; by default that of the book.

    Raises:
        UserError: the run is damaged; the place cannot be written; an archive there holds more, of another
            network.
    """
    settle(run.path)
    run = Run(run.path)
    files = {name: run.path / name for name in PARTS if (run.path / name).exists()}
    for stem in _results(run):
        for suffix in (".json", ".safetensors"):
            found = run.path / "results" / f"{stem}{suffix}"
            if found.exists():
                files[f"results/{stem}{suffix}"] = found
    contents = {name: path.read_bytes() for name, path in files.items()}
    _ = run.history, run.series  # both are refused if they are damaged
    contents[OUTLINE] = storage.sealed(run.outline, run.key).encode()
    target = (into or folder()) / f"{run.key}.zip"
    contents = _more(target, contents) | contents
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(contents):
            archive.writestr(zipfile.ZipInfo(name, NEVER), contents[name], zipfile.ZIP_DEFLATED)
    return storage.write(target, packed.getvalue())


def _more(archive: Path, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """What an archive of the same network holds beside these files; nothing if it is not there, or damaged.

    Raises:
        UserError: it is of another network, and holds more.
    """
    if not archive.exists():
        return {}
    with processes.scratch() as place:
        try:
            run = _unpacked(archive, place)
        except storage.Damaged as error:
            log.warning("specfreq: %s; it is replaced", error)
            return {}
        files = {
            path.relative_to(run.path).as_posix(): path for path in run.path.rglob("*") if path.is_file()
        }
        there = {name: path.read_bytes() for name, path in files.items()}
    more = {name: content for name, content in there.items() if name not in contents}
    weights = [json.loads(of[OUTLINE]).get("weights") for of in (there, contents)]
    same = weights[0] == weights[1] if all(weights) else there["history.csv"] == contents["history.csv"]
    if more and not same:
        raise UserError(
            f"{archive} is of another training of this run, and holds what this one has not: "
            f"{', '.join(sorted(more)[:3])}{', ...' if len(more) > 3 else ''}; delete it to replace it"
        )
    return more


def _results(run: Run) -> list[str]:
    """The results that are intact, those of other images with the folder that they lie in."""
    others = [path for path in places.visible((run.path / "results").glob("*")) if path.is_dir()]
    nested = [f"{of.name}/{path.stem}" for of in others for path in places.visible(of.glob("*.json"))]
    return [*run.results, *(stem for stem in nested if run.intact(stem))]


def archives(of: Path | None = None) -> list[Path]:
    """The kept runs of a folder, by default that of the book."""
    return [path for path in places.visible((of or folder()).glob("*.zip")) if KEY.fullmatch(path.stem)]


def restore(archive: Path) -> Run | None:
    """Bring a kept run back into the folder of runs; None if a run of that key is there, or in training.

    Raises:
        Damaged: the archive is damaged, or holds what no kept run has, or another run than it is named by.
        UserError: it cannot be read; the folder of runs cannot be written.
    """
    key = archive.stem
    target = places.runs_dir() / key
    if _busy(target) or storage.taken(target):
        return None
    with processes.scratch() as place:
        trial = _unpacked(archive, place).path
        with storage.alone(target, f"restores run {key}"):
            if _busy(target):  # since a moment ago
                return None
            # what lies there is of a training that never ended, or of an interrupted `restore`
            shutil.rmtree(target / "results", ignore_errors=True)
            for name in PARTS:
                (target / name).unlink(missing_ok=True)
            # the outline last: with it the run is finished
            for path in sorted(trial.rglob("*"), key=lambda path: path.name == OUTLINE):
                if path.is_file():
                    storage.write(target / path.relative_to(trial), path.read_bytes())
    return Run(target)


def _unpacked(archive: Path, place: Path) -> Run:
    """The run of an archive, in a folder below `place`.

    Raises:
        Damaged: anything of it is not as it was written.
    """
    trial = place / archive.stem
    for name, content in _members(archive):
        storage.write(trial / name, content)
    try:
        run = Run(trial)
        _ = run.history, run.series, run.outline  # each refuses what was edited
        if len(_results(run)) < len(list((trial / "results").rglob("*.json"))):
            raise storage.Damaged("a result is not as it was written")
    except UserError as error:
        raise storage.Damaged(f"{archive} holds no intact run ({error})") from None
    return run


def _busy(target: Path) -> bool:
    """Whether a folder holds a run, or a training that goes on when it is asked for."""
    return finished(target) or (target / "checkpoint.safetensors").exists()


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files of an archive, by names that a kept run can have."""
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = packed.infolist()
            strange = [e.filename for e in entries if not INSIDE.fullmatch(e.filename)]
            if strange or sum(entry.file_size for entry in entries) > LARGEST:
                what = f"holds {strange[0]!r}" if strange else f"is larger than {LARGEST >> 20} MiB"
                raise storage.Damaged(f"{archive} {what}, and is no run that `specfreq keep` wrote")
            for entry in entries:
                yield entry.filename, packed.read(entry)
    # the last of what is packed in a way that zipfile does not know, or behind a password
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise storage.Damaged(f"{archive} is damaged ({error}); take it from the book again") from None
    except OSError as error:
        raise UserError(f"cannot read {archive}: {error.strerror or error}") from None
