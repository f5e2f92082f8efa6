"""The package as it is built: one version, and every file of the tree in the wheel."""

import importlib
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import specfreq

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FILES = [p for p in (ROOT / "specfreq").rglob("*") if p.is_file() and "__pycache__" not in p.parts]


def test_the_version_is_written_once_and_others_follow():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "specfreq.__version__"}
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == specfreq.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == specfreq.__version__


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_in_the_wheel(file):
    """Its folder is a package, which `find` sees; and it is a module or named as data."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    folder = file.parent
    assert folder.name == "specfreq" or (folder / "__init__.py").is_file()
    assert file.suffix == ".py" or any(fnmatch(file.name, pattern) for pattern in patterns)


def test_types_are_announced_and_every_lazy_face_has_its_stub():
    assert (ROOT / "specfreq" / "py.typed").is_file()
    faces = [
        file for file in FILES if file.name == "__init__.py" and "attach_stub" in file.read_text("utf-8")
    ]
    assert faces and all(file.with_suffix(".pyi").is_file() for file in faces)


FACES = [
    "fourier",
    "tv",
    "data",
    "augment",
    "models",
    "measures",
    "filters",
    "corruptions",
    "attacks",
    "train",
    "experiment",
    "figures",
]


@pytest.mark.parametrize("name", FACES)
def test_a_face_shows_what_it_offers_and_nothing_of_others(name):
    """What is imported when first asked for as well: completion finds it, and `import *` brings it."""
    face = importlib.import_module(f"specfreq.{name}")
    offered = {}
    exec(f"from specfreq.{name} import *", offered)
    assert offered.keys() - {"__builtins__"} == set(face.__all__) <= set(dir(face))
    for attribute in face.__all__:
        value = getattr(face, attribute)
        assert not isinstance(value, ModuleType), attribute
        assert getattr(value, "__module__", "specfreq").startswith(("specfreq", "typing")), attribute
