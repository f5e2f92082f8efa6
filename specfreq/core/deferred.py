"""Classes and functions by their place: their parameters are read from the source, and they are imported when
first called.

So names and types can be listed, explained and refused at once, without the seconds that torch takes to load.
"""

import ast
import copy
import functools
import importlib
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLAIN = {"pydantic", "pydantic_core", *sys.stdlib_module_names}  # what a type of an option may import
OURS = {
    "specfreq.core.errors",
    "specfreq.core.spec",
    "specfreq.data",
    "specfreq.filters",
}  # of ours, what it may import: none loads torch
POSITIONAL, KEYWORD_ONLY = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY


class Unreadable(Exception):
    """The source alone does not say what a name means; the module has to be imported."""


class Deferred:
    """A class or function that stands in a registry before its module is imported.

    ``inspect.signature`` gives the parameters that a description can name, with types and defaults; a call
    imports and calls.

    Args:
        place: ``specfreq.augment.apr:APRPair``.
        given: arguments that come first in every call.
        positional: how many more the caller passes by position; no description names those.
        options: whether descriptions name the keyword-only parameters alone, without ``precision`` and
            ``batch``, as of measures.
    """

    def __init__(self, place: str, *given: Any, positional: int = 0, options: bool = False):
        self.place, self.given, self.positional, self.options = place, given, positional, options
        self.module, _, self.name = place.partition(":")

    def __repr__(self) -> str:
        return f"<{self.place}>"

    def load(self) -> Any:
        """The class or function itself."""
        return getattr(importlib.import_module(self.module), self.name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.load()(*self.given, *args, **options)

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        try:
            return inspect.Signature(
                [p.read() for p in self._named(_source(self.module).parameters(self.name))]
            )
        except Unreadable:
            return inspect.Signature(
                self._named(inspect.signature(self.load(), eval_str=True).parameters.values())
            )

    def _named(self, parameters: Iterable[Any]) -> list[Any]:
        """Those that a description can name."""
        if not self.options:
            return list(parameters)[len(self.given) + self.positional :]
        return [p for p in parameters if p.kind is KEYWORD_ONLY and p.name not in ("precision", "batch")]

    def constant(self, name: str) -> Any:
        """What a class or one of its bases sets in its body: ``pairs = True``."""
        try:
            return _source(self.module).constant(self.name, name)
        except Unreadable:
            return getattr(self.load(), name)


@functools.cache
def _source(module: str) -> "_Source":
    return _Source(module)


class _Source:
    """What the text of one module of this package says, without running it as a whole.

    Assignments, imports and functions are evaluated one by one, when something asks for them by name.
    """

    def __init__(self, module: str):
        self._values: dict[str, Any] = {}
        self._nodes = _by_name(ast.parse(_text(module)).body)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name not in self._nodes:
            raise Unreadable(f"{self._module}.{name}")
        if name not in self._values:
            self._values[name] = self._value(name, self._nodes[name])
        return self._values[name]

    def _value(self, name: str, node: ast.stmt) -> Any:
        match node:
            case ast.ImportFrom(module=str(module)):
                return _imported(module, next(a.name for a in node.names if (a.asname or a.name) == name))
            case ast.Import() if name in PLAIN:
                return importlib.import_module(name)
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
                return self.evaluated(value)
            case ast.FunctionDef(decorator_list=[]):
                return self._function(node)
        raise Unreadable(f"{self._module}.{name}")

    def evaluated(self, node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), self._module, "eval"), self._names(node))

    def _function(self, node: ast.FunctionDef) -> Any:
        bare = copy.deepcopy(node)
        bare.returns = None
        for argument in (a for a in ast.walk(bare) if isinstance(a, ast.arg)):
            argument.annotation = None
        names: dict[str, Any] = {}
        exec(compile(ast.Module([bare], []), self._module, "exec"), names)
        before = dict(self._values)
        self._values[node.name] = names[node.name]  # now, as it may call itself
        try:
            names |= self._names(bare)
        except Unreadable:
            self._values = before  # nor does anything stay that calls it
            raise
        return names[node.name]

    def _names(self, node: ast.AST) -> dict[str, Any]:
        """What the names in a piece of source mean, those that are the module's."""
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        return {name: getattr(self, name) for name in sorted(used & self._nodes.keys())}

    def parameters(self, name: str) -> list["_Parameter"]:
        """The parameters of a function, or of a class's constructor without its first."""
        node, owner = self._nodes.get(name), self
        if isinstance(node, ast.ClassDef):
            node, owner = self._member(name, "__init__")
        if (
            not isinstance(node, ast.FunctionDef)
            or node.args.posonlyargs
            or node.args.vararg
            or node.args.kwarg
        ):
            raise Unreadable(f"{self._module}.{name}")
        given = node.args
        defaults = [*[None] * (len(given.args) - len(given.defaults)), *given.defaults, *given.kw_defaults]
        found = [
            _Parameter(owner, argument, default, KEYWORD_ONLY if argument in given.kwonlyargs else POSITIONAL)
            for argument, default in zip([*given.args, *given.kwonlyargs], defaults, strict=True)
        ]
        return found[node.name == "__init__" :]

    def constant(self, cls: str, name: str) -> Any:
        """The value of an assignment in the body of a class or of one of its bases."""
        node, owner = self._member(cls, name)
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            raise Unreadable(f"{cls}.{name}")
        return owner.evaluated(node.value)

    def _member(self, cls: str, name: str) -> tuple[ast.stmt, "_Source"]:
        """A statement in the body of a class, or of the nearest base that has it, and the source that it
        stands in.
        """
        node = self._nodes.get(cls)
        if isinstance(node, ast.ImportFrom) and node.module and _file(node.module):
            return _source(node.module)._member(cls, name)
        if isinstance(node, ast.ClassDef):
            if found := _by_name(node.body).get(name):
                return found, self
            for base in node.bases:
                if isinstance(base, ast.Name):
                    return self._member(base.id, name)
        raise Unreadable(f"{self._module}.{cls}.{name}")


@dataclass
class _Parameter:
    """A parameter in the source: its type and default are evaluated when it is read."""

    source: _Source
    argument: ast.arg
    default: ast.expr | None
    kind: Any

    @property
    def name(self) -> str:
        return self.argument.arg

    def read(self) -> inspect.Parameter:
        empty, annotation = inspect.Parameter.empty, self.argument.annotation
        return inspect.Parameter(
            self.name,
            self.kind,
            default=empty if self.default is None else self.source.evaluated(self.default),
            annotation=empty if annotation is None else self.source.evaluated(annotation),
        )


def _by_name(body: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
    """The statements of a module or class that give something a name."""
    named: dict[str, ast.stmt] = {}
    for node in body:
        match node:
            case ast.ImportFrom() | ast.Import():
                named |= {a.asname or a.name.partition(".")[0]: node for a in node.names}
            case ast.Assign(targets=targets):
                named |= {target.id: node for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(name)):
                named[name] = node
            case ast.FunctionDef(name) | ast.ClassDef(name):
                named[name] = node
    return named


def _imported(module: str, name: str) -> Any:
    """What ``from module import name`` gives."""
    if module in OURS or module.partition(".")[0] in PLAIN:
        return getattr(importlib.import_module(module), name)
    whole = f"{module}.{name}"
    if whole in OURS:
        return importlib.import_module(whole)
    return _source(whole) if _file(whole) else getattr(_source(module), name)


def _file(module: str) -> Path | None:
    """Where a module of this package lies. (Asking importlib would import the packages it lies in.)"""
    package, *inside = module.split(".")
    if package != "specfreq":
        return None
    place = Path(__file__).parents[1].joinpath(*inside)
    return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)


def _text(module: str) -> str:
    if (file := _file(module)) is None:
        raise Unreadable(module)
    return file.read_text(encoding="utf-8")
