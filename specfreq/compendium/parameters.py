"""Typed parameters: what a notebook's parameters cell declares, and whether a value is of its type."""

import ast
import functools
import io
import json
import operator
import re
import tokenize
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Union, get_args, get_origin

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from specfreq.core.errors import UserError
from specfreq.core.storage import parsed_yaml

TYPES = {t.__name__: t for t in (int, float, str, bool, list, tuple)} | {
    "Literal": Literal,
    "Optional": Optional,
    "Union": Union,
}


@dataclass(frozen=True)
class Parameter:
    """One line of a study's parameters cell: ``name: annotation = default  # help``."""

    name: str
    annotation: str
    type: TypeAdapter = field(repr=False)
    options: tuple[Any, ...] = field(repr=False)  # the type itself and, of a union, its members
    default: Any
    help: str

    def read(self, value: Any, where: str) -> Any:
        """A value as typed on the command line: ``3``, ``None``; lists as ``2,4,12`` or ``[2, 4, 12]``."""
        if not isinstance(value, str):
            return self.check(value, where)
        if value == "None" and type(None) in self.options:
            return None
        try:
            return self.type.validate_python(self._parts(value))
        except (ValidationError, UserError) as error:
            raise self._refusal(value, where, error) from None

    def _parts(self, text: str) -> Any:
        if not any((get_origin(o) or o) in (list, tuple) for o in self.options):
            return text
        if text.startswith("["):
            return parsed_yaml(text, "the list")
        return values(text)

    def check(self, value: Any, where: str) -> Any:
        """A value that has a type already, from YAML or Python: no text is read as a number."""
        try:
            return self.type.validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError as error:
            raise self._refusal(value, where, error) from None

    def _refusal(self, value: Any, where: str, error: Exception) -> UserError:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        reason = f"{reason[0].lower()}{reason[1:]}"
        return UserError(f"{self.name}={value!r} is refused for {where}: {reason}; it is {self.annotation}")


def values(text: str) -> list[str]:
    """Values as typed: ``0,1``, lists ``[2,4],[12]``, text with commas ``"radius:low=2,high=4","none"``."""
    parts = [""]
    depth = 0
    for token in re.findall(r'"(?:\\.|[^"\\])*"|.', text, re.DOTALL):
        depth += {"[": 1, "]": -1}.get(token, 0)
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    try:
        return [json.loads(p) if p.startswith('"') else p for p in map(str.strip, parts) if p]
    except ValueError as error:
        hint = 'write text with commas as JSON: "one","two"'
        raise UserError(f"cannot read {text!r} ({error}); {hint}") from None


def _annotation(node: ast.expr) -> Any:
    """The type an annotation means; nothing but the names in TYPES is looked up, and nothing is called."""
    match node:
        case ast.Name(name) if name in TYPES:
            return TYPES[name]
        case ast.Constant(value) if value in (None, ...):
            return value
        case ast.Subscript(ast.Name("Literal"), inside):
            return Literal[ast.literal_eval(inside)]
        case ast.Tuple(parts):
            return tuple(_annotation(p) for p in parts)
        case ast.BinOp(left, ast.BitOr(), right):
            return operator.or_(_annotation(left), _annotation(right))
        case ast.Subscript(head, inside):
            return _annotation(head)[_annotation(inside)]
    raise TypeError(f"{ast.unparse(node)} is not a type")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))


def declared_in(cell: str, where: str) -> dict[str, Parameter]:
    """The parameters that a cell declares, by name, in its order.

    Raises:
        UserError: a line is not ``name: type = literal``, a name is declared twice, a default is not of its
            type.
    """
    try:
        tree = ast.parse(cell)
        tokens = list(tokenize.generate_tokens(io.StringIO(cell).readline))
    except (SyntaxError, tokenize.TokenError) as error:
        raise UserError(f"the parameters cell of {where} is not valid Python: {error}") from None
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found: dict[str, Parameter] = {}

    def has(node: ast.stmt) -> str:
        return f"the parameters cell of {where} has {ast.get_source_segment(cell, node)!r}"

    for node in tree.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
            raise UserError(f"{has(node)}; write name: type = value  # what it is")
        if node.target.id in found:
            raise UserError(f"the parameters cell of {where} declares {node.target.id!r} twice")
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            raise UserError(f"{has(node)}; a default must be a plain value") from None
        try:
            kind = _annotation(node.annotation)
            adapter = _adapter(kind)
        except (TypeError, ValueError, PydanticUserError):
            raise UserError(f"{has(node)}; write a type made of {', '.join(TYPES)} and |") from None
        help = comments.get(node.end_lineno or node.lineno) or comments.get(node.lineno, "")
        annotation = ast.unparse(node.annotation)
        options = (kind, *get_args(kind))
        parameter = Parameter(node.target.id, annotation, adapter, options, value, help)
        parameter.check(value, f"{where} by default")
        found[parameter.name] = parameter
    return found
