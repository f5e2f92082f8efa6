"""`specfreq run`, `sweep`, `book` and `new`: studies run at one point or at many, as pages, and begun."""

import shutil
import sys
from pathlib import Path

import click

from specfreq.cli import base
from specfreq.core.errors import UserError, unknown


@click.command("run", cls=base.Command, add_help_option=False)
@click.argument("notebook", metavar="[NOTEBOOK]", required=False)
@base.profile
@click.option(
    "-p",
    metavar="NAME VALUE",
    multiple=True,
    help="set a parameter; lists as 2,4,12 or '[2, 4, 12]'; may be repeated",
)
@click.option(
    "-o",
    "output",
    metavar="FILE.ipynb",
    type=base.Place(),
    help="executed notebook to write; one in _build/studies if not given",
)
@base.timeout
@click.option("--help", is_flag=True, help="show this, and the parameters of NOTEBOOK if one is named")
@click.pass_context
def run_study(
    context: click.Context,
    notebook: str | None,
    profile: str,
    p: tuple[str, ...],
    output: Path | None,
    timeout: int | None,
    help: bool,
) -> None:
    """Run a study with its own parameters. Unknown or ill-typed ones are refused before anything runs.

    NOTEBOOK is a study, see `specfreq list studies`, or the path of a notebook.
    """
    given = [name for name in ("profile", "p", "output", "timeout") if _is_given(context, name)]
    if notebook is None and given and not help:
        raise UserError("the study is missing: specfreq run NOTEBOOK ...; `specfreq list studies` shows all")
    if help or notebook is None:
        print(context.get_help().rstrip())
        if notebook is not None:
            print(_parameters_of(notebook))
        return
    from specfreq.compendium import notebooks

    overrides = base.pairs(p)
    notebooks.resolve(notebook, profile, overrides)  # refuses before all that runs notebooks is loaded
    from specfreq.compendium import execution

    print(execution.execute(notebook, output, profile, overrides, timeout=timeout, say=base.say))


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _parameters_of(notebook: str) -> str:
    from specfreq.compendium import notebooks

    lines = [f"\nParameters of {notebook}:"]
    for parameter in notebooks.parameters(notebook).values():
        lines.append(f"  {parameter.name}: {parameter.annotation} = {parameter.default!r}")
        lines.append(f"      {parameter.help}")
    return "\n".join(lines)


@click.command("sweep", cls=base.Command)
@click.argument("notebook", metavar="NOTEBOOK")
@click.option(
    "-p",
    metavar="NAME=VALUE,...",
    multiple=True,
    help="values of a parameter; lists as '[2,4],[12]'; text with commas as '\"a,b\",\"c\"'; may be repeated",
)
@base.profile
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="a Dask scheduler, such as tcp://node1:8786; its workers must run this version of specfreq and see "
    "this checkout, the data and FOLDER under the same paths [default: a cluster on this machine]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="cells at a time on this machine [default: one per core]",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=2,
    help="how often a cell is restarted if its worker is lost, on this machine [default: 2]",
)
@click.option(
    "-o",
    "output",
    metavar="FOLDER",
    type=base.Place(),
    help="executed notebooks and results.csv; _build/sweeps/... if not given",
)
@base.timeout
def sweep_study(
    notebook: str,
    p: tuple[str, ...],
    profile: str,
    dask: str | None,
    workers: int | None,
    retries: int,
    output: Path | None,
    timeout: int | None,
) -> None:
    """Run a study at every point of a grid of parameters, and print a table.

    Finished cells are kept, failed ones reported. NOTEBOOK is a study, see `specfreq list studies`, or the
    path of a notebook.
    """
    from specfreq.compendium import notebooks, parameters

    if dask and workers:
        hint = "a scheduler's workers are started with `dask worker ADDRESS`"
        raise UserError(f"--workers is for this machine; {hint}")
    grid: dict[str, list[str]] = {}
    for name, values in map(base.split, p):
        grid.setdefault(name, []).extend(parameters.values(values))
    notebooks.check(notebook, profile, grid)  # as in `run`
    from specfreq.compendium import execution, sweep, sweep_tables

    rows = sweep.sweep(
        notebook,
        grid,
        profile=profile,
        dask=dask,
        workers=workers,
        retries=retries,
        output=output,
        say=base.say,
        timeout=timeout,
    )
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(sweep_tables.as_text(rows, width))
    if failed := sum(row["state"] == "failed" for row in rows):
        raise execution.StudyFailed(f"{failed} of {len(rows)} cells failed; the same command runs them again")


@click.command("book", cls=base.Command)
@base.profile
@base.timeout
def build_book(profile: str, timeout: int | None) -> None:
    """Run all studies that changed, build the book in _build/html, and print the page to open."""
    from specfreq.compendium import notebooks

    if profile not in (known := notebooks.known_profiles()):
        raise unknown("profile", profile, known)
    from specfreq.compendium import book

    page = book.build(profile, timeout=timeout, say=lambda line: print(line, flush=True))
    print(f"open {page.as_uri()}")


@click.group("new", cls=base.Group)
def new() -> None:
    """Begin something new in this compendium: a study."""


@new.command("study", cls=base.Command)
@click.argument("name", metavar="NAME")
def new_study(name: str) -> None:
    """Write the skeleton of a study, which runs at once, and print what to do next.

    NAME is made of lower-case words with hyphens between. Its notebook, and an entry in profiles.yaml,
    claims.yaml, _toc.yml and book/introduction.md are written, or nothing.
    """
    from specfreq.compendium import skeleton

    print("\n".join(skeleton.create(name)))


COMMANDS = (run_study, sweep_study, build_book, new)
