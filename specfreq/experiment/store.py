"""The store of runs of any kind: a folder for each, named by its key, finished once its model is there."""

import contextlib
import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from specfreq.core import places, storage
from specfreq.core.errors import UserError, unknown
from specfreq.core.places import runs_dir
from specfreq.core.spec import Refusing

if TYPE_CHECKING:
    from specfreq.train.checkpoints import Checkpoints
    from specfreq.train.team import Team

VERSIONS = range(1, 100)  # those of trainers that a run can have been trained by
Described = TypeVar("Described", bound=Refusing)
KEY = re.compile("[0-9a-f]{16}")
OUTLINE = "network.json"  # in place of the weights, of a run that was restored without them
AGAIN = "again"  # where a finished run is trained once more, inside its folder
READY = "ready"  # and where it waits then to take the place of what was
ASIDE = "before"  # what an unfinished run was measured to be


def trained(path: Path) -> bool:
    """Whether a directory holds a run and its weights: they are written last of all."""
    return (path / "model.safetensors").exists()


def finished(path: Path) -> bool:
    """Whether a directory holds a finished run, with its weights, or restored without them."""
    return trained(path) or (path / OUTLINE).exists()


class _Origin(BaseModel):
    """What every run says, beside more, of where it was trained."""

    specfreq: str
    commit: str | None
    torch: str
    device: str
    date: str
    seconds: float
    data: dict[str, str]  # digest of the images, by split


def described_in(file: Path, kind: Callable[..., Described]) -> tuple[Described, dict[str, Any]]:
    """The experiment or recipe that a run's file describes, and the fields as they are written.

    Raises:
        UserError: the file is missing or damaged, or this version knows no such experiment.
    """
    fields = storage.read_object(file)
    try:
        return kind(**fields), fields
    except UserError as error:
        raise UserError(
            f"{file} describes what this version does not know ({error}); delete the folder and train again"
        ) from None


def origin(path: Path, splits: Iterable[str]) -> dict[str, Any]:
    """Where the run in a folder was trained, and on which images.

    Raises:
        UserError: `provenance.json` is missing, damaged or was edited.
    """
    file = path / "provenance.json"
    found = storage.read_sealed(file, path.name)
    try:
        _Origin.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise storage.Damaged(
            f"{file} is damaged ({where}: {first['msg']}); delete the folder and train again"
        ) from None
    if missing := [split for split in splits if split not in found["data"]]:
        raise storage.Damaged(
            f"{file} is damaged (data has no {missing[0]}); delete the folder and train again"
        )
    return found


def refuse_changed(path: Path, settings: dict[str, Any], digests: str | list[str]) -> None:
    """Refuse a run whose folder is not named by what is in it: by the key of its settings and of the digests
    of its images.

    Raises:
        Damaged: its settings or digests were edited, or the folder was renamed.
    """
    texts = (json.dumps([version, settings, digests], sort_keys=True) for version in VERSIONS)
    if path.name not in (hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts):
        raise storage.Damaged(
            f"{path} holds another run than {path.name}: it was renamed or edited; delete it and train again"
        )


def history(path: Path, origin: dict[str, Any]) -> list[dict[str, float]]:
    """The epochs of the run in a folder.

    Raises:
        UserError: `history.csv` is missing or damaged, or was edited since `origin` was written.
    """
    file = path / "history.csv"
    text = storage.read_text(file)
    try:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(text))]
    except (TypeError, ValueError) as error:
        raise storage.Damaged(f"{file} is damaged ({error}); delete the folder and train again") from None
    if origin.get("history", storage.digest(text)) != storage.digest(text):
        raise storage.Damaged(f"{file} is not as it was written; delete the folder and train again")
    return rows


def write_history(path: Path, rows: Iterable[dict[str, float]], columns: Sequence[str]) -> str:
    """Write the epochs of the run in a folder, and return the digest by which `history` knows them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    storage.write(path / "history.csv", text.getvalue())
    return storage.digest(text.getvalue())


def ensure(
    path: Path,
    team: "Team",
    checkpoints: "Checkpoints",
    train: Callable[[], None],
    needed: Callable[[], bool] | None = None,
) -> None:
    """Train the run of a folder unless it is finished; a program that wants the same run meanwhile waits.

    Args:
        needed: whether it is to be trained, although it is finished.
    """
    if needed is None and team.told(finished(path) and not checkpoints.path.exists()):
        return
    # the first process holds it for all that train together
    with contextlib.nullcontext() if team.rank else storage.alone(path, f"works on run {path.name}"):
        # another may have finished it meanwhile
        if team.told(not finished(path) if needed is None else needed()):
            checkpoints.begin()
            train()
        if team.rank == 0:
            checkpoints.clear()


def folders() -> list[Path]:
    """The folders of finished runs, oldest first, whatever else lies among them."""
    found = [(_ended(path), path) for path in places.visible(runs_dir().glob("*"))]
    return [path for _, path in sorted((ended, path) for ended, path in found if ended is not None)]


def _ended(path: Path) -> float | None:
    """When the run in a folder was finished; None if it is not."""
    for name in ("model.safetensors", OUTLINE):
        with contextlib.suppress(OSError):
            return (path / name).stat().st_mtime
    return None


def find(key: str) -> Path:
    """The folder of the finished run whose key begins so; a copy of it, ``KEY 2``, is none.

    Raises:
        UserError: none does (the nearest is suggested), or several do.
    """
    known = [path.name for path in folders() if KEY.fullmatch(path.name)]
    matching = [name for name in known if key and name.startswith(key)]
    if len(matching) > 1:
        several = ", ".join(sorted(matching))
        raise UserError(f"several runs begin with {key!r}: {several}; write more of the key")
    if not matching:
        raise unknown("run", key, known, hint="`specfreq list runs` shows all")
    return runs_dir() / matching[0]
