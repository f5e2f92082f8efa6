"""A network of one's own: made by one's own function, its weights read from safetensors, none executed."""

import contextlib
import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specfreq.core.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from specfreq.data.sets import ImageSet
    from specfreq.data.streams import Stream

PICKLED = (b"PK\x03\x04", b"\x80")  # how the files of torch.save begin: a zip of pickles, or one pickle
MOST = 5  # names in a message


def place(model: str) -> tuple[str, str]:
    """``module:function`` as its two parts.

    Raises:
        UserError: it is written otherwise.
    """
    module, colon, function = model.partition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        hint = (
            f"{module[:-3].replace('/', '.')}:build"
            if module.endswith(".py")
            else "nets:build for build() in nets.py"
        )
        raise UserError(f"cannot read --model {model!r}; write module:function, such as {hint}")
    return module, function


def weights(path: Path) -> Path:
    """The path, if it can be a safetensors file.

    Raises:
        UserError: it is missing, or what torch.save wrote (says how to convert it).
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    # a safetensors file begins with the length of its header, in 8 bytes that may be any, and its brace
    if start.startswith(PICKLED) and start[8:] != b"{":
        raise UserError(
            f"{path} is a pickle, which could execute anything; write its tensors as safetensors, once:\n"
            f"  import torch; from safetensors.torch import save_file\n"
            f"  save_file(torch.load({path.name!r}, weights_only=True), "
            f"{path.with_suffix('.safetensors').name!r})"
        )
    return path


def measure(
    model: str,
    path: Path | None,
    name: str,
    measures: Sequence[str],
    *,
    filter: str = "none",
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Judge a network of one's own on the test images of a set: what ``specfreq measure --model`` does.

    Args:
        model, path: see `network`.
        name: of the set, as `data.load` takes it.
        measures: names or descriptions.
        filter: what the images go through before the network sees them.
        device: a GPU if there is one, by default.
        say: told what begins, once all names are known to be right.

    Returns:
        network, weights (file and sha256; null without a file), data (name and digest), filter, results by
        measure, provenance.

    Raises:
        UserError: as `network`; an unknown name, before anything is loaded; what a measure refuses.
    """
    from specfreq import data, filters
    from specfreq import measures as known

    place(model)
    name, filter = data.normal_form(name), filters.normal_form(filter)
    for spec in measures:
        known.check(spec)
    digest = hashlib.sha256(weights(path).read_bytes()).hexdigest() if path is not None else None
    say(f"specfreq: measuring {', '.join(measures)} of {model} on {name}")
    from torch import nn

    from specfreq.core.devices import checked_device
    from specfreq.core.provenance import provenance
    from specfreq.experiment import inputs

    where = checked_device(device)
    images = data.load(name, "test")
    for spec in measures:
        known.check(spec, images)
    net = network(model, images, path)
    if filter != "none":
        net = nn.Sequential(inputs.fitted(filter, lambda: data.load(name, "train")), net)
    net = net.to(where).eval()
    return {
        "network": model,
        "weights": path and {"file": path.name, "sha256": digest},
        "data": {"name": name, "digest": images.digest},
        "filter": filter,
        "results": {spec: known.compute(spec, net, images) for spec in measures},
        "provenance": {"measures": {spec: known.version(spec) for spec in measures}, **provenance(where)},
    }


def network(model: str, images: "ImageSet | Stream", path: Path | None = None) -> "nn.Module":
    """Make a network by ``module:function`` and give it the weights of a file; it must answer `images` as a
    classifier does.

    The module is looked for in the working directory first. The function is called with ``classes=`` and
    ``channels=`` of the images if it has parameters of these names, else without. It returns a module from
    images (N, C, H, W) in [0, 1] to logits (N, classes): what normalises the images is part of it. It is put
    into evaluation mode.

    Args:
        path: a safetensors file with exactly the tensors of ``state_dict()``; None keeps the weights that the
            function gives.

    Raises:
        UserError: no such module or function, or it fails, or returns something else; weights that are
            missing, superfluous or of another shape (each named), or a pickle; answers that are not logits of
            the set's classes.
    """
    net = _made(model, classes=len(images.classes), channels=images.shape[0])
    if path is not None:
        _load(net, weights(path))
    _ask(net.eval(), model, images)
    return net


def _made(model: str, **known: int) -> "nn.Module":
    from torch import nn

    name, attribute = place(model)
    with _here():
        module = _guarded(f"{name} cannot be imported from {Path.cwd()}", importlib.import_module, name)
        function = getattr(module, attribute, None)
        if not callable(function):
            callables = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
            raise unknown("function", attribute, callables, where=module.__name__)
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # of what is written in C
            parameters = ()
        given = {p.name: known[p.name] for p in parameters if p.name in known}
        for p in parameters:
            if (
                p.default is p.empty
                and p.name not in given
                and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            ):
                raise UserError(
                    f"{model} needs {p.name}, and is called with classes and channels alone; give it a "
                    "default"
                )
        net = _guarded(f"{model} fails", function, **given)
    if not isinstance(net, nn.Module):
        raise UserError(
            f"{model} returns {type(net).__name__}; it must return a torch.nn.Module, ready to be called "
            "with images"
        )
    return net


@contextlib.contextmanager
def _here() -> Iterator[None]:
    """The working directory is where modules are looked for first, as with ``python -m``."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(Path.cwd()))


def _guarded(what: str, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call what is the user's own; where it fails is said in one line."""
    try:
        return work(*args, **options)
    except UserError:
        raise
    except Exception as error:
        foreign = (str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<")
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(foreign)]
        own = [f for f in frames if "site-packages" not in f.filename]
        where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{what}: {type(error).__name__}: {reason}{where}") from error


def _load(net: "nn.Module", path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        given = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged, or no safetensors file ({error})") from None
    wanted = net.state_dict()
    shared = {t.data_ptr() for name, t in wanted.items() if name in given and t.numel()}
    missing = [name for name, t in wanted.items() if name not in given and t.data_ptr() not in shared]
    superfluous = [name for name in given if name not in wanted]
    reshaped = [
        f"{name} is {_shape(given[name])}, wanted {_shape(t)}"
        for name, t in wanted.items()
        if name in given and given[name].shape != t.shape
    ]
    faults = {"missing": missing, "not of this network": superfluous, "of another shape": reshaped}
    found = [f"{what}: {_first(names)}" for what, names in faults.items() if names]
    if found:
        raise UserError(f"{path} does not fit the network; {'; '.join(found)}{_prefix(given, wanted)}")
    net.load_state_dict(given, strict=False)  # compared above; tensors that are shared stand in the file once


def _shape(tensor: "Tensor") -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _first(names: list[str]) -> str:
    more = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")


def _prefix(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What to do where all names differ by what stands before them, as after DataParallel or inside a
    trainer's module.
    """
    for longer, shorter, cure in ((given, wanted, "take it off"), (wanted, given, "put it before them")):
        for name in longer:
            start = name.partition(".")[0] + "."
            if {f"{start}{n}" for n in shorter} == set(longer):
                return f" (the names differ by {start!r} alone; {cure} before saving)"
    return ""


def _ask(net: "nn.Module", model: str, images: "ImageSet | Stream") -> None:
    """Refuse what does not answer two of the images with one row of logits each, one for each class."""
    from specfreq.measures import answers

    if not len(images):
        raise UserError(f"{images.name} has no images; nothing can be measured")
    shape = "x".join(map(str, images.shape))
    what = f"{model} cannot be asked about {shape} images of {images.name}"
    _guarded(what, answers.ask, net, images, model)
