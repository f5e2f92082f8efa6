"""How users write things: names, descriptions `name:key=value,...`, and the types and refusals of typed
options.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from specfreq.core.errors import UserError, unknown

LONGEST = 120  # bytes of a name that becomes part of a file's; file systems take 255


def matching(kind: str, name: str, names: Iterable[str], where: str = "") -> str:
    """The one of the names that is meant: ``gaussian_noise`` and ``gaussian-noise`` are one, whichever is
    listed.

    Raises:
        UserError: none is; the nearest is suggested.
    """
    names = list(names)
    alike = (n for n in names if n.replace("_", "-") == name.replace("_", "-"))
    if name not in names and (name := next(alike, name)) not in names:
        raise unknown(kind, name, names, where)
    return name


def file_name(name: str, what: str) -> str:
    """The name, if it can be part of a file's: it leaves no folder, is not hidden, and is the same on every
    system.

    Raises:
        UserError: it has other characters than letters, digits, ``.``, ``_`` and ``-``, begins with one of
            the last three, ends with a point, or has more than 120 bytes.
    """
    if not re.fullmatch(r"[^\W_][\w.-]*(?<!\.)", name) or len(name.encode()) > LONGEST:
        raise UserError(
            f"{name!r} cannot be the name of a {what}; write letters, digits, . _ and -, "
            f"a letter or digit first, {LONGEST} bytes at most"
        )
    return name


def parse(spec: str) -> tuple[str, dict[str, str]]:
    r"""Split ``name:key=value,key=value`` into the name and its parameters, values still text.

    A value is text without a comma, or several texts joined by ``+`` where the parameter takes a list. A text
    that has one of ``, + ; "`` itself is written in double quotes, as JSON has it: with ``\"`` for a quote
    and ``\\`` for a backslash inside. Quotes count at the beginning of a text alone: elsewhere ``"`` is a
    character like any other. See `parts`::

        out-of-distribution:other="folder:/data/c++/x"+svhn,size=100

    Raises:
        UserError: a parameter has no ``=``, no name, or is given twice; quotes that do not end.
    """
    name, _, rest = spec.strip().partition(":")
    parameters: dict[str, str] = {}
    for part in filter(None, _split(rest, ",", "=+")):
        key, equals, value = (s.strip() for s in part.partition("="))
        if not (key and equals):
            raise UserError(f"cannot read {part!r} in {spec!r}; write name:key=value,key=value")
        if key in parameters:
            raise UserError(f"{key!r} is given twice in {spec!r}")
        parameters[key] = value
    return name.strip(), parameters


def parts(value: str) -> list[str]:
    """The texts of a value, ``a+"b+c"`` -> ``a`` and ``b+c``.

    Raises:
        UserError: quotes that do not end, or something between the end of quotes and the next ``+``.
    """
    return [unquoted(text) for text in written_parts(value)]


def written_parts(value: str) -> list[str]:
    """The texts of a value as they are written, ``a+"b+c"`` -> ``a`` and ``"b+c"``."""
    return _split(value, "+", "+")


def sequence(spec: str, names: Iterable[str]) -> list[str]:
    """The descriptions that one text puts in a row, ``apr-s+"tv:bands=1+2"`` -> ``apr-s`` and
    ``tv:bands=1+2``; of most texts, the text itself.

    A ``+`` is part of a value, as in ``tv:bands=1+2``, if it comes after parameters and no description that
    is in quotes or begins with one of the names comes after it.

    Raises:
        UserError: quotes that cannot be read.
    """
    alike = {name.replace("_", "-") for name in names}

    def begins(text: str) -> bool:
        return text.startswith('"') or text.partition(":")[0].strip().replace("_", "-") in alike

    texts = written_parts(spec.strip())
    first, *others = texts
    if ":" in first and not first.startswith('"') and not any(map(begins, others)):
        return [spec]
    found = []
    for text in texts:
        found += sequence(unquoted(text), alike) if text.startswith('"') else [text]
    return found


def in_sequence(specs: Iterable[str]) -> str:
    """One text that `sequence` reads as these descriptions; of one alone, that."""
    first, *others = specs
    return "+".join(map(quoted, (first, *others))) if others else first


def quoted(text: str) -> str:
    """A text as `parts` reads it: in quotes if it has to be."""
    plain = text == text.strip() and not re.search(r'[,+;]|^"', text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def unquoted(text: str) -> str:
    """What `quoted` was given."""
    try:
        return json.loads(text) if text.startswith('"') else text
    except ValueError:
        raise UserError(
            f'cannot read {text}; write it as "...", with \\" for a quote and \\\\ for a backslash'
        ) from None


def _split(text: str, at: str, opening: str) -> list[str]:
    """The parts of a text between the characters `at`, but for those in quotes, which open after one of
    `opening`.
    """
    found = [""]
    for token in re.findall(rf'(?:^|(?<=[{opening}]))\s*"(?:\\.|[^"\\])*"|.', text, re.DOTALL):
        if token == at:
            found.append("")
        else:
            found[-1] += token
    return [part.strip() for part in found]


def resolve(kind: str, registry: Mapping[str, Callable[..., Any]], spec: str) -> tuple[str, dict[str, Any]]:
    """Look ``name:key=value,...`` up in a registry of classes and type its values by the constructor's
    annotations.

    Returns:
        The name, and every parameter of the constructor with its value, defaults filled in.

    Raises:
        UserError: unknown name or parameter, a missing one, or a value of the wrong type.
    """
    name, written = parse(spec)
    name = matching(kind, name, registry)
    signature = inspect.signature(registry[name], eval_str=True).parameters
    given: dict[str, str] = {}
    for key, value in written.items():
        key = matching("parameter", key, signature, where=f"{kind} {name}")
        if key in given:
            raise UserError(f"{key!r} is given twice in {spec!r}")
        given[key] = value
    values = {}
    for key, parameter in signature.items():
        if key in given:
            try:
                values[key] = TypeAdapter(parameter.annotation).validate_python(given[key])
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise UserError(
                    f"{kind} {name}: {key}={given[key]} is refused: {reason[0].lower()}{reason[1:]}"
                ) from None
        elif parameter.default is inspect.Parameter.empty:
            raise UserError(f"{kind} {name} needs {key}; write {name}:{key}=...")
        else:
            values[key] = parameter.default
    return name, values


def shortest(name: str, values: Mapping[str, Any], made_by: Callable[..., Any]) -> str:
    """The one spelling of ``name:key=value,...`` that leaves out what equals the default of a constructor or
    function.
    """
    defaults = inspect.signature(made_by).parameters
    return canonical(name, {k: v for k, v in values.items() if v != defaults[k].default})


def canonical(name: str, values: Mapping[str, Any]) -> str:
    """The one spelling of ``name:key=value,...``: every parameter but those that are None, in order of the
    name.
    """
    shown = (
        f"{k}={repr(v).removesuffix('.0') if isinstance(v, float) else v}"
        for k, v in sorted(values.items())
        if v is not None
    )
    return f"{name}:{','.join(shown)}".rstrip(":")


class Refusing(BaseModel):
    """What says of a field that is unknown or impossible what is wrong with it, in one line."""

    def __init__(self, **values: Any):
        known = type(self).model_fields
        named = {
            matching("field", name, known, where=type(self).__name__): value for name, value in values.items()
        }
        if len(named) < len(values):
            raise UserError(
                f"a field of {type(self).__name__} is given twice, with _ and with -: {', '.join(values)}"
            )
        try:
            super().__init__(**named)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            if not where:  # of several fields, or of one that reads well by itself: the message names them
                raise UserError(reason) from None
            raise UserError(
                f"{where}={first['input']!r} is refused: {reason[0].lower()}{reason[1:]}"
            ) from None


def _levels(value: float) -> float:
    if 0 < value < 0.5:
        raise ValueError(f"it is counted in 255ths; for {value} of [0, 1] write {255 * value:g}")
    return value


# the type of a list is Annotated[tuple[...], Listed]: it is written 4+8+12, for a comma would end the option
Listed = BeforeValidator(lambda value: parts(value) if isinstance(value, str) else value)
Positive = Annotated[float, Field(ge=1e-30, le=1e30)]  # so that float32 has it
# the largest change of a value, counted in 255ths as in 8/255: 0 or at least half a level, so that 0.03 is
# not misread
Levels = Annotated[float, Field(ge=0, le=255), AfterValidator(_levels)]
