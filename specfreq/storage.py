"""Files that are whole or absent: atomic writes, JSON, and tensors with a checksum. Nothing here unpickles."""

import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from specfreq.naming import UserError

log = logging.getLogger(__name__)
FOREIGN = ("__macosx", "thumbs.db", "desktop.ini")  # what systems leave in folders, in lower case


def root() -> Path:
    """The compendium: the folder with `_toc.yml` that this package lies in, else the working directory."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "_toc.yml").exists() else Path.cwd()


def runs_dir() -> Path:
    """Where runs are kept: $SPECFREQ_RUNS, else `runs` in the compendium."""
    return Path(os.environ.get("SPECFREQ_RUNS") or root() / "runs")


def expanded(place: str | Path) -> Path:
    """A place as a user writes it, ``~`` and ``~name`` being homes.

    Raises:
        UserError: nobody of that name has a home here; or it is no path at all.
    """
    try:
        path = Path(place).expanduser()
    except RuntimeError as error:
        raise UserError(f"cannot find {place}: {error}; write the path in full") from None
    if "\0" in str(path):
        raise UserError(f"{str(path)!r} is not a path: it holds a null character")
    return path


def place_of(variable: str) -> Path | None:
    """The place that an environment variable names; None if it is unset or empty."""
    given = os.environ.get(variable)
    return expanded(given) if given else None


def hidden(path: Path) -> bool:
    """Whether a file or folder is none of ours by its name: hidden, or left by an operating system or an editor."""
    return path.name.startswith(".") or path.name.endswith("~") or path.name.lower() in FOREIGN


def visible(paths: Iterable[Path]) -> list[Path]:
    """Those that are not `hidden`, in the order of their names."""
    return sorted(path for path in paths if not hidden(path))


class Damaged(UserError):
    """A file is not what was written. The message names it."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the system refuses meanwhile (missing rights, full disk, a file where a folder should be) names the place."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose a place that can be written") from error


def write(path: Path, content: bytes | str) -> Path:
    """Write a file in one step: readers see the old content or the new one, never a part.

    A process that is killed meanwhile leaves a hidden file, which `tidy` removes.

    Raises:
        UserError: the place cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "xb") as f:
                f.write(content.encode() if isinstance(content, str) else content)
                f.flush()
                os.fsync(f.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return path


def tidy(folder: Path) -> None:
    """Remove what killed processes have left of their writing in a folder, at a time when nobody else writes there.

    Not below it: a run's results are written without its lock.
    """
    for part in folder.glob(".*.*"):
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(folder: Path, busy: str) -> Iterator[None]:
    """Hold a folder, which is made if need be, against other programs; wait while one has it, and say that it is `busy`."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("specfreq: another process %s; waiting for it", busy)
            lock.acquire()
        tidy(folder)
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, value: Any) -> Path:
    """Write readable JSON; NaN and infinities are refused, as JSON has no word for them."""
    return write(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise Damaged(f"{path} is damaged ({error}); delete it and run again") from error


def _checksum(tensors: Mapping[str, Tensor], meta: str) -> str:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Any = None) -> Path:
    """Write named tensors and a JSON value as safetensors, with the SHA-256 of both inside."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    text = json.dumps(meta, sort_keys=True)
    # one entry: safetensors writes several in an order of its own, and equal content would not be equal bytes
    return write(path, save(tensors, {"specfreq": json.dumps([_checksum(tensors, text), text])}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_tensors` wrote.

    Raises:
        Damaged: the file is damaged or not ours.
        UserError: it is missing or cannot be read.
    """
    try:
        with open(path, "rb"):  # what the system refuses is no damage
            pass
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        with safe_open(path, framework="pt") as f:
            checksum, meta = json.loads((f.metadata() or {}).get("specfreq", "[null, null]"))
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(f"{path} is damaged ({error}); delete it and run again") from error
    if meta is None or _checksum(tensors, meta) != checksum:
        raise Damaged(f"{path} is damaged (its checksum does not match); delete it and run again")
    return tensors, json.loads(meta)
