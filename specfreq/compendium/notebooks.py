"""The notebooks of the compendium, read without Jupyter: their names, parameters and profiles."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from specfreq.compendium.parameters import Parameter, declared_in
from specfreq.core import places
from specfreq.core.errors import UserError, unknown
from specfreq.core.spec import file_name
from specfreq.evidence.markup import Markdown, Table
from specfreq.experiment import profiles
from specfreq.experiment.profiles import QUICK


class Unreadable(UserError):
    """A file in the place of a notebook is not one. The message names it."""


def studies(root: Path | None = None) -> dict[str, Path]:
    """The notebooks of the compendium, by name."""
    return {p.stem: p for p in places.visible(((root or places.root()) / "notebooks").glob("*.ipynb"))}


def find(study: str, root: Path | None) -> Path:
    """A study by name, or any notebook by its path."""
    if study.endswith(".ipynb") and Path(study).is_file():
        return Path(study)
    known = studies(root)
    if study not in known:
        raise unknown("study", study, known, hint="`specfreq list studies` shows all")
    return known[study]


def _cells(path: Path) -> list[tuple[str, list[str]]]:
    """The source and the tags of each cell of a notebook, of this format or of the one before."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        sheets = [notebook] if "cells" in notebook else notebook["worksheets"]
        cells = [cell for sheet in sheets for cell in sheet["cells"]]
        sources = ["".join(cell.get("source", cell.get("input", ""))) for cell in cells]
        tags = [list(cell.get("metadata", {}).get("tags", [])) for cell in cells]
        return list(zip(sources, tags, strict=True))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise Unreadable(f"{path} cannot be read as a notebook: {reason}") from None


def parameters(study: str, root: Path | None = None) -> dict[str, Parameter]:
    """The parameters of a study, by name: those of its cell tagged ``parameters``."""
    path = find(study, root)
    cells = [source for source, tags in _cells(path) if "parameters" in tags]
    if len(cells) > 1:
        raise UserError(f"{path.name} has {len(cells)} cells tagged 'parameters'; keep one of them")
    return declared_in(cells[0], path.name) if cells else {}


def parameters_table(study: str, root: Path | None = None) -> Table:
    """The parameters of a study as a table of its page: what each means, its type and its default."""
    rows = [
        {
            "parameter": Markdown(f"`{p.name}`"),
            "meaning": p.help,
            "type": Markdown(f"`{p.annotation}`"),
            "default": Markdown(f"`{p.default!r}`"),
        }
        for p in parameters(study, root).values()
    ]
    caption = (
        f"Parameters of this notebook; `specfreq run {study} -p NAME VALUE` sets one, `--profile NAME` all "
        "that this profile has for it in `notebooks/profiles.yaml`; the settings of the published record "
        "stand above."
    )
    return Table(rows, caption, f"tbl-{study}-parameters", wide=True)


def known_profiles(root: Path | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """The profiles, by name: what each sets in each study. Everything in the file is checked.

    Raises:
        UserError: the file has another shape, or names what no study has.
    """
    sets = profiles.read(root)
    known = studies(root)
    # each notebook is read once, however many profiles name it
    declared: dict[str, dict[str, Parameter]] = {}
    for profile, of in sets.items():
        for study in of.keys() - {profiles.TRAIN}:
            if study not in known:
                raise unknown("study", study, known, where=f"profile {profile}", hint="profiles.yaml")
            declared[study] = declared.get(study) or parameters(study, root)
            for name, value in of[study].items():
                where = f"profiles.yaml, {profile}"
                _declared(declared[study], name, study, where).check(value, f"{study} ({where})")
    return sets


def _declared(declared: Mapping[str, Parameter], name: str, study: str, hint: str = "") -> Parameter:
    if name not in declared:
        hint = hint or f"specfreq run {study} --help lists all"
        raise unknown("parameter", name, declared, where=study, hint=hint)
    return declared[name]


def resolve(
    study: str, profile: str = QUICK, overrides: Mapping[str, Any] | None = None, root: Path | None = None
) -> dict[str, Any]:
    """Every parameter of a study with its value: the override, else that of the profile, else the default.

    Args:
        overrides: text is read as on the command line, other values must be of the parameter's type.

    Raises:
        UserError: unknown study, profile or parameter (the nearest is suggested), or a value of the wrong
            type.
    """
    declared = parameters(study, root)
    sets = known_profiles(root)
    if profile not in sets:
        raise unknown("profile", profile, sets)
    name = Path(study).stem
    values = {p.name: p.default for p in declared.values()}
    if "profile" in declared:
        values["profile"] = profile
    if profile != QUICK and name not in sets[profile]:
        having = ", ".join(other for other, of in sets.items() if name in of) or "none"
        raise UserError(
            f"profile {profile} has nothing for {name}; in profiles.yaml it is named by: {having}. "
            f"Write `{name}: {{}}` there, or use -p"
        )
    for key, value in sets[profile].get(name, {}).items():
        values[key] = _declared(declared, key, name, f"profiles.yaml, {profile}").check(value, name)
    for key, value in (overrides or {}).items():
        values[key] = _declared(declared, key, name).read(value, name)
    if "profile" in declared:  # it names the record, in the end
        file_name(str(values["profile"]), "profile")
    return values


def check(study: str, profile: str, grid: Mapping[str, Iterable[Any]], root: Path | None = None) -> None:
    """Refuse, before anything heavy is loaded, what `resolve` would refuse for a point of a grid."""
    declared = parameters(study, root)
    name = Path(study).stem
    resolve(study, profile, {}, root)
    for key, given in grid.items():
        for value in given:
            _declared(declared, key, name).read(value, name)
