"""How things are named by users: `name:key=value,...` strings, and errors that suggest the right name."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError


class UserError(ValueError):
    """The caller's mistake. The message says what is wrong, where, and what to do; the command line exits with 2."""


def unknown(kind: str, name: object, known: Iterable[str], where: str = "", hint: str = "") -> UserError:
    """An error for an unknown name, with the nearest known one: ``unknown model 'resnt20'; did you mean 'resnet20'?``"""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return UserError(f"unknown {kind} {str(name)!r}{f' for {where}' if where else ''}; {advice}{f' ({hint})' if hint else ''}")


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """Split ``name:key=value,key=value`` into the name and its parameters, values still text.

    Raises:
        UserError: a parameter has no ``=``, no name, or is given twice.
    """
    name, _, rest = spec.strip().partition(":")
    parameters: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = (s.strip() for s in part.partition("="))
        if not (key and equals):
            raise UserError(f"cannot read {part!r} in {spec!r}; write name:key=value,key=value")
        if key in parameters:
            raise UserError(f"{key!r} is given twice in {spec!r}")
        parameters[key] = value
    return name.strip(), parameters


def resolve(kind: str, registry: Mapping[str, type], spec: str) -> tuple[str, dict[str, Any]]:
    """Look ``name:key=value,...`` up in a registry of classes and type its values by the constructor's annotations.

    Returns:
        The name, and every parameter of the constructor with its value, defaults filled in.

    Raises:
        UserError: unknown name or parameter, a missing one, or a value of the wrong type.
    """
    name, given = parse(spec)
    if name not in registry:
        raise unknown(kind, name, registry)
    signature = inspect.signature(registry[name], eval_str=True).parameters
    for key in given:
        if key not in signature:
            raise unknown("parameter", key, signature, where=f"{kind} {name}")
    values = {}
    for key, parameter in signature.items():
        if key in given:
            try:
                values[key] = TypeAdapter(parameter.annotation).validate_python(given[key])
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise UserError(f"{kind} {name}: {key}={given[key]} is refused: {reason[0].lower()}{reason[1:]}") from None
        elif parameter.default is inspect.Parameter.empty:
            raise UserError(f"{kind} {name} needs {key}; write {name}:{key}=...")
        else:
            values[key] = parameter.default
    return name, values


def shortest(name: str, values: Mapping[str, Any], made_by: Callable[..., Any]) -> str:
    """The one spelling of ``name:key=value,...`` that leaves out what equals the default of a constructor or function."""
    defaults = inspect.signature(made_by).parameters
    return canonical(name, {k: v for k, v in values.items() if v != defaults[k].default})


def canonical(name: str, values: Mapping[str, Any]) -> str:
    """The one spelling of ``name:key=value,...``: every parameter but those that are None, in order of the name."""
    shown = (f"{k}={repr(v).removesuffix('.0') if isinstance(v, float) else v}" for k, v in sorted(values.items()) if v is not None)
    return f"{name}:{','.join(shown)}".rstrip(":")
