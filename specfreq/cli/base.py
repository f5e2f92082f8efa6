"""What the commands share: how paths and pairs are read, how tables and progress are printed."""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from specfreq.core import places
from specfreq.core.errors import UserError


class Command(click.Command):
    """A command that reads ``-p NAME VALUE`` like ``-p NAME=VALUE``, and ``-o=FILE`` like ``-o FILE``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._plain(list(args)))
        except click.UsageError as error:
            error.ctx = (
                error.ctx or ctx
            )  # whose help tells more: of an option without its value, click has none
            raise

    def _plain(self, args: list[str]) -> list[str]:
        pairs = any("-p" in option.opts for option in self.params)
        plain: list[str] = []
        while args:
            word = args.pop(0)
            if re.match("-[a-z]=", word):  # click would take the sign for the first letter of the value
                args.insert(0, word[3:])
                word = word[:2]
            plain.append(word)
            if pairs and word == "-p" and args:
                name = args.pop(0)
                plain.append(f"{name}={args.pop(0)}" if args and "=" not in name else name)
        return plain


class Group(click.Group):
    """Commands, which its help lists in the order in which they were added. Alone, it shows that help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class Place(click.ParamType):
    """A path as a user writes it, ``~`` being the home: the shell expands that of ``-o ~/x`` alone."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return places.expanded(value)


profile = click.option(
    "--profile",
    default="quick",
    help="named parameters for every study, see `specfreq list profiles` [default: quick]",
)
timeout = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.IntRange(min=1),
    help="how long one cell of a notebook may take [default: no limit]",
)
device = click.option("--device", help="cpu, cuda, cuda:1, ... [default: a GPU if there is one]")


def split(item: str, usage: str = "") -> tuple[str, str]:
    """``NAME=VALUE`` as a pair.

    Raises:
        UserError: it has no value.
    """
    name, equals, value = item.partition("=")
    if not equals:
        raise UserError(f"parameter {name!r} has no value; write {usage or f'-p {name} VALUE'}")
    return name, value


def pairs(items: Iterable[str], usage: str = "") -> dict[str, str]:
    """``NAME=VALUE``, ... by name.

    Raises:
        UserError: one has no value, or a name is given twice.
    """
    found: dict[str, str] = {}
    for name, value in (split(item, usage) for item in items):
        if name in found:
            raise UserError(f"{name!r} is given twice: {found[name]} and {value}; leave one out")
        found[name] = value
    return found


def say(line: str) -> None:
    """Print a line of progress: results alone go to the standard output."""
    print(line, file=sys.stderr, flush=True)


def table(rows: Iterable[Sequence[object]]) -> str:
    """Rows as aligned columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(f"  {line.rstrip()}" for line in lines)
