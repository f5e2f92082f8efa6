"""The house: wings on floors, each of which imports lower ones alone; short files; nothing loose."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "specfreq"
FLOORS = [
    {"core", "fourier", "tv"},
    {"data", "filters", "augment", "corruptions", "attacks", "models"},
    {"measures", "train"},
    {"experiment"},
    {"evidence"},
    {"compendium"},
    {"studies", "cli"},
]
APART = {"figures": {"core", "fourier"}}  # arrays in, a matplotlib Figure out
LOOSE = {"__init__", "__main__", "fourier"}  # files that are in no wing


def imported(file):
    """The wings that a file of the package imports, anywhere in it; what only type checkers see counts as
    well.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module="specfreq", names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module)) if module.startswith("specfreq."):
                yield module.split(".")[1]
            case ast.Import(names=names):
                yield from (alias.name.split(".")[1] for alias in names if alias.name.startswith("specfreq."))


def wing(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name):
    return next((number for number, wings in enumerate(FLOORS) if name in wings), None)


FILES = sorted(PACKAGE.rglob("*.py"))
SHOWS = {"compendium"}  # draws pages of the book, and so may import figures
DOORS = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}  # they hand on the names of all wings


def test_every_room_is_in_a_wing_that_has_a_floor():
    assert {wing(file) for file in FILES} == set.union(*FLOORS, LOOSE, APART)
    assert {file.stem for file in PACKAGE.glob("*.py")} == LOOSE


@pytest.mark.parametrize("file", sorted({*FILES} - DOORS), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_wing_imports_lower_floors_alone(file):
    own = wing(file)
    others = {name for name in imported(file) if name not in (own, "__version__")}
    allowed = APART.get(own) or set().union(*FLOORS[: floor(own)])
    if own in SHOWS:
        allowed |= {"figures"}
    assert others <= allowed


def test_studies_are_imported_by_no_other_wing():
    users = {wing(file) for file in FILES if "studies" in set(imported(file))}
    assert users <= {"studies"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_room_says_its_purpose_first(file):
    purpose = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert purpose.partition("\n\n")[0].endswith((".", ":", "?"))
