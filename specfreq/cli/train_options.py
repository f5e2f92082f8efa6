"""The options of `specfreq train`: one for every field of Experiment, with its description, its choices and
its default.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from specfreq.experiment import Experiment, profiles


def command(run: Callable[..., None]) -> "typer.core.TyperCommand":
    """A command that calls `run` with measure, device, checkpoint_every and the fields that were given, as
    text.
    """

    def called(
        profile: str | None, measure: list[str], device: str | None, checkpoint_every: float, **fields: Any
    ) -> None:
        given = {k: v for k, v in fields.items() if v is not None}
        run(measure, device, checkpoint_every, **((profiles.training(profile) if profile else {}) | given))

    options = [
        _option(
            "profile",
            str | None,
            None,
            "values of the options below, which go before it; those that a paper had, say",
        ),
        _option(
            "measure",
            list[str] | None,
            None,
            "see `specfreq list measures`; may be repeated [default: accuracy]",
        ),
        _option("device", str | None, None, "cpu, cuda, cuda:1, ... [default: a GPU if there is one]"),
        _option(
            "checkpoint_every",
            float,
            60.0,
            "seconds of training that a killed process loses at most [default: 60]",
        ),
    ]
    for name, field in sorted(
        Experiment.model_fields.items(), key=lambda f: f[0] not in Experiment.__annotations__
    ):
        kind = bool if field.annotation is bool else str  # Experiment itself reads and checks the text
        shown = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        help = f"{field.description}" + ("" if field.default in (None, ()) else f" [default: {shown}]")
        options.append(_option(name, kind | None, None, help, metavar=_written(field.annotation)))
    called.__signature__ = inspect.Signature(options)
    called.__doc__ = "Train one experiment, or find it trained already, and measure it. Prints its key, folder and results."
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(called)
    return typer.main.get_command(app)


def _option(name: str, kind: Any, default: Any, help: str, metavar: str | None = None) -> inspect.Parameter:
    declared = Annotated[kind, typer.Option(help=help, metavar=metavar, show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=declared)


def _written(annotation: Any) -> str | None:
    """How an option's values are written: a type's name, the choices, or values with commas between."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return "|".join(parts)
    if annotation is bool:
        return None
    return (parts or (annotation,))[0].__name__.upper() + (",..." if get_origin(annotation) is tuple else "")
