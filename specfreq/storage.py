"""Files that are whole or absent: atomic writes, JSON, and tensors with a checksum. Nothing here unpickles."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from specfreq.naming import UserError


def write(path: Path, content: bytes | str) -> Path:
    """Write a file in one step: readers see the old content or the new one, never a part.

    Raises:
        UserError: the place cannot be written (missing rights, full disk, a file where a folder should be).
    """
    data = content.encode() if isinstance(content, str) else content
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as f:
            part = Path(f.name)
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose a place that can be written") from error
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write readable JSON; NaN and infinities are refused, as JSON has no word for them."""
    return write(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run again") from error


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
        UserError: the file is missing, damaged, or not ours; it is named.
    """
    try:
        with safe_open(path, framework="pt") as f:
            checksum, meta = json.loads((f.metadata() or {}).get("specfreq", "[null, null]"))
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run again") from error
    if meta is None or _checksum(tensors, meta) != checksum:
        raise UserError(f"{path} is damaged (its checksum does not match); delete it and run again")
    return tensors, json.loads(meta)
