"""Files that are whole or absent: atomic writes, JSON and tensors with a checksum, YAML read strictly.
Nothing unpickles.
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout
from yaml.composer import Composer

from specfreq.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# torch and safetensors are imported by the functions that need them: names and places are found without

log = logging.getLogger(__name__)
PART = ".specfreq-part"  # how the name of a file ends that is being written: nobody else's does
LARGEST = 100_000  # values in a YAML file, each alias counted as what it stands for


class Damaged(UserError):
    """A file is not what was written. The message names it."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the system refuses meanwhile (missing rights, full disk, a file where a folder should be)
    names the place.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose a place that can be written"
        ) from error


def write(path: Path, content: bytes | str) -> Path:
    """Write a file in one step: readers see the old content or the new one, never a part.

    A process that is killed meanwhile leaves a hidden file, which `tidy` removes.

    Raises:
        UserError: the place cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
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


def check(folder: Path) -> None:
    """Refuse a folder into which nothing could be written, before the work whose result is to lie there.

    Raises:
        UserError: it cannot be made, or holds no new file.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def tidy(folder: Path, age: float = 0) -> None:
    """Remove what killed processes have left of their writing in a folder, and nothing else.

    Args:
        folder: not what lies below it.
        age: seconds since it was last written to, at least; 0 where nobody else writes at the same time.
    """
    for part in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError):
            if time.time() - part.lstat().st_mtime >= age:
                part.unlink()


@contextlib.contextmanager
def alone(folder: Path, busy: str) -> Iterator[None]:
    """Hold a folder, which is made if need be, against other programs; wait while one has it, and say that it
    is `busy`.
    """
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


def taken(folder: Path) -> bool:
    """Whether another program has a folder for itself just now, see `alone`."""
    lock = FileLock(folder / "lock")
    try:
        if folder.exists():
            lock.acquire(timeout=0)
            lock.release()
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written to is nobody's
        pass
    return False


def write_json(path: Path, value: Any) -> Path:
    """Write readable JSON; NaN and infinities are refused, as JSON has no word for them."""
    return write(path, _text(value))


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        Damaged: it is not JSON.
        UserError: it is missing, cannot be read or is no regular file.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged ({error}); delete it and run again") from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        Damaged: it is not UTF-8.
        UserError: it is missing, cannot be read or is no regular file.
    """
    _refuse_irregular(path)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise Damaged(f"{path} is damaged ({error}); delete it and run again") from None


def _refuse_irregular(path: Path) -> None:
    """A pipe in place of a file would be waited for, and for ever."""
    if path.exists() and not path.is_file():
        raise UserError(f"cannot read {path}: it is no regular file")


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        Damaged: it is not JSON, or something else than an object.
        UserError: as `read_json`.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise Damaged(f"{path} is damaged (it holds no object); delete it and run again")
    return value


def write_sealed(path: Path, value: Mapping[str, Any], about: str) -> Path:
    """Write a JSON object with, as ``sha256``, the SHA-256 of its content and of what it is about."""
    return write(path, sealed(value, about))


def sealed(value: Mapping[str, Any], about: str) -> str:
    """The text that `write_sealed` writes."""
    value = json.loads(json.dumps(value, allow_nan=False))  # as it will be read: keys are text, tuples lists
    return _text({**value, "sha256": _seal(value, about)})


def read_sealed(path: Path, about: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without its checksum; or an object of older versions, which has none.

    Raises:
        Damaged: not JSON, no object, changed since it was written, or about something else.
        UserError: as `read_json`.
    """
    value = read_object(path)
    seal = value.pop("sha256", None)
    if seal is not None and seal != _seal(value, about):
        raise Damaged(
            f"{path} is not as it was written (its checksum does not match); delete it and run again"
        )
    return value


def _seal(value: Mapping[str, Any], about: str) -> str:
    return digest(json.dumps([about, value], sort_keys=True))


def digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


if yaml.__with_libyaml__:

    class _Loader(Composer, yaml.CSafeLoader):
        """Parsed in C, ten times faster; composed in Python, which ends at a depth where C would crash."""

        def __init__(self, text: str):
            yaml.CSafeLoader.__init__(self, text)
            Composer.__init__(self)

else:
    _Loader = yaml.SafeLoader  # pyright: ignore[reportAssignmentType]


class _Strict(_Loader):
    """YAML in which a key is given once, and no alias stands for more than a file could hold."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            self._size(node, {}, set())
        return node

    def _size(self, node: yaml.Node, known: dict[yaml.Node, int], above: set[yaml.Node]) -> int:
        """How many values there are, by counting those of an alias without following it again."""
        if node in above:
            raise yaml.constructor.ConstructorError(
                None, None, "an alias stands for what it lies in", node.start_mark
            )
        if node not in known:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            self._refuse_twice(pairs)
            inside = (
                node.value
                if isinstance(node, yaml.SequenceNode)
                else [part for pair in pairs for part in pair]
            )
            known[node] = 1 + sum(self._size(part, known, above | {node}) for part in inside)
        if known[node] > LARGEST:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {LARGEST} values", node.start_mark
            )
        return known[node]

    def _refuse_twice(self, pairs: list[tuple[yaml.Node, yaml.Node]]) -> None:
        seen = set()
        for node, _ in pairs:
            merge = node.tag == "tag:yaml.org,2002:merge"
            key = node.value if merge else self.construct_object(node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key that is a list", node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice", node.start_mark
                )
            seen.add(key)


def read_yaml(path: Path) -> Any:
    """The value in a YAML file: plain values alone, each key once.

    Raises:
        UserError: not YAML; a key is given twice; aliases stand for more than 100,000 values; too deeply
            nested; it cannot be read.
    """
    return parsed_yaml(read_text(path), path.name)


def parsed_yaml(text: str, where: str) -> Any:
    """The value of a YAML text, as `read_yaml` reads a file; messages call it `where`."""
    try:
        return yaml.load(text, _Strict)
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{where}{place}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where} is no YAML ({' '.join(str(error).split())})") from None


def _checksum(tensors: "Mapping[str, Tensor]", meta: str) -> str:
    import torch

    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", meta: Any = None) -> Path:
    """Write named tensors and a JSON value as safetensors, with the SHA-256 of both inside."""
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        if memory in seen:  # safetensors refuses tensors that share theirs
            tensors[name] = tensor.clone()
        seen.add(memory)
    text = json.dumps(meta, sort_keys=True)
    # one entry: safetensors writes several in an order of its own, and equal content would not be equal bytes
    return write(path, save(tensors, {"specfreq": json.dumps([_checksum(tensors, text), text])}))


def read_tensors(path: Path) -> "tuple[dict[str, Tensor], Any]":
    """Read what `write_tensors` wrote.

    Raises:
        Damaged: the file is damaged or not ours.
        UserError: it is missing or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    _refuse_irregular(path)
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


def held(
    path: Path, compute: "Callable[[], tuple[Mapping[str, Tensor], Any]]"
) -> "tuple[Mapping[str, Tensor], Any]":
    """The tensors and the JSON value of a file; computed and written if it is not there, and again, with a
    warning, if it is damaged.
    """
    if path.exists():
        try:
            return read_tensors(path)
        except Damaged as error:
            log.warning("specfreq: %s; it is computed again", str(error).partition(";")[0])
    made = compute()
    write_tensors(path, *made)
    return made
