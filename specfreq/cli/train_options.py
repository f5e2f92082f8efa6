"""The options of `specfreq train`: one for every field of Experiment, with its description and choices."""

import functools
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from specfreq.experiment import Experiment


@functools.cache
def options() -> list[click.Option]:
    """An option for each field; those of the experiment itself before those of its training."""
    own = Experiment.__annotations__
    fields = sorted(Experiment.model_fields.items(), key=lambda item: item[0] not in own)
    return [_option(name, field) for name, field in fields]


def _option(name: str, field: FieldInfo) -> click.Option:
    """The option of a field, as text: Experiment itself reads and checks it. None stands for its default."""
    flag = name.replace("_", "-")
    help = f"{field.description}"
    if field.default not in (None, ()):
        several = isinstance(field.default, tuple)
        shown = ",".join(map(str, field.default)) if several else field.default
        help += f" [default: {shown}]"
    if field.annotation is bool:
        return click.Option([f"--{flag}/--no-{flag}"], default=None, help=help)
    return click.Option([f"--{flag}"], metavar=_written(field.annotation), help=help)


def _written(annotation: Any) -> str:
    """How an option's values are written: a type's name, the choices, or values with commas between."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return "|".join(parts)
    kind = (parts or (annotation,))[0]
    kind = (get_args(kind) or (kind,))[0]  # of an annotated type, the type
    return kind.__name__.upper() + (",..." if get_origin(annotation) is tuple else "")
