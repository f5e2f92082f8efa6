"""The skeleton of a study: runs at once, is as the guards want it, and is written whole or not at all."""

import difflib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from specfreq.compendium import notebooks, skeleton
from specfreq.core import storage
from specfreq.core.errors import UserError

ROOT = Path(__file__).parents[2]
KNOWING = ("_toc.yml", "book/claims.yaml", "notebooks/profiles.yaml")  # files that know of all studies
LANDING = "book/introduction.md"  # and the page that shows them
CHECKED = """
from specfreq.compendium import book, pages
from specfreq.core import places

root = places.root()
named = book._pages(root)
pages.check(named, book._sources(root))
texts = pages._texts(named, book._sources(root)).staged
claims, landing = (texts[name].decode() for name in ("book/claims.md", "book/introduction.md"))
print(claims.count('id="claim-colour-and-shape"'), "claim,", landing.count("**Colour and shape**"), "card")
"""


@pytest.fixture
def root(tmp_path):
    """The files of this compendium that know of studies, and one study."""
    for name in (*KNOWING, LANDING, "notebooks/engine.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def contents(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_skeleton_is_a_notebook_and_an_entry_in_each_file_that_knows_of_studies(root):
    before = {name: storage.read_yaml(root / name) for name in KNOWING}
    said = skeleton.create("colour-and-shape", root)
    written = [line.removeprefix("wrote ") for line in said if line.startswith("wrote ")]
    assert sorted(written) == sorted([*KNOWING, LANDING, "notebooks/colour-and-shape.ipynb"])
    contents, claims, profiles = (storage.read_yaml(root / name) for name in KNOWING)
    (studies,) = [part for part in contents["parts"] if part["caption"] == "Studies"]
    assert studies["chapters"].pop() == {"file": "notebooks/colour-and-shape"}
    assert contents == before["_toc.yml"]
    assert claims["works"].pop("colour-and-shape")["studies"] == ["colour-and-shape"]
    assert claims["studies"].pop("colour-and-shape")["claims"] and claims == before["book/claims.yaml"]
    for profile in skeleton.PROFILES:
        assert profiles[profile].pop("colour-and-shape") == {}
    assert profiles == before["notebooks/profiles.yaml"]


def test_what_the_files_say_otherwise_stays_to_the_letter(root):
    before = contents(root)
    skeleton.create("new", root)
    for path, text in before.items():
        changes = difflib.ndiff(text.decode().splitlines(), path.read_text(encoding="utf-8").splitlines())
        assert [line for line in changes if line.startswith(("- ", "? "))] == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("engine", "exists already"),
        ("Engine", "cannot be the name"),
        ("train", "cannot be the name"),  # where a profile has the options of `specfreq train`
        ("", "cannot be the name"),
        ("../x", "cannot be the name"),
        ("a--b", "cannot be the name"),
        ("a b", "cannot be the name"),
        ("1st", "cannot be the name"),
        ("a" * 61, "cannot be the name"),
        ("null", "YAML has a meaning for it"),
        ("yes", "YAML has a meaning for it"),
        ("spectral-tv", "cannot add an entry to"),  # its notebook is gone, its entries are there
    ],
)
def test_a_name_that_no_study_can_have_is_refused_and_nothing_written(root, name, complaint):
    before = contents(root)
    with pytest.raises(UserError, match=complaint):
        skeleton.create(name, root)
    assert contents(root) == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "notebooks/profiles.yaml",
            "laptop: {engine: {}}\npaper: {}\n",
        ),  # the line it looks for is not there
        ("notebooks/profiles.yaml", "laptop:\n  engine: {}\n"),
        ("book/claims.yaml", "{a: 1}\n"),  # an appended entry would not be YAML
        ("book/claims.yaml", "works:\nstudies:\n"),
        ("_toc.yml", "format: jb-book\nroot: book/introduction\n"),
        ("_toc.yml", "parts: [\n"),
        (LANDING, "# What we found\n"),
        (LANDING, "{{study new}}\n\n{{verdicts new}}\n:::\n"),
    ],
)
def test_a_file_without_a_place_for_the_entry_is_named_and_nothing_written(root, file, text):
    (root / file).write_text(text)
    before = contents(root)
    with pytest.raises(UserError, match=Path(file).name):
        skeleton.create("new", root)
    assert contents(root) == before


def test_without_a_compendium_nothing_is_begun(tmp_path):
    with pytest.raises(UserError, match="holds no book"):
        skeleton.create("new", tmp_path)
    assert not list(tmp_path.iterdir())


def test_when_a_file_cannot_be_written_the_others_are_as_before(root, monkeypatch):
    before, write = contents(root), storage.write

    def full(path, text):
        if path.suffix == ".ipynb":
            raise UserError("cannot write: no space left")
        return write(path, text)

    monkeypatch.setattr(storage, "write", full)
    with pytest.raises(UserError, match="no space"):
        skeleton.create("new", root)
    assert contents(root) == before


def test_the_longest_name_makes_a_valid_notebook(root):
    name = "-".join(["abcd"] * 12)
    skeleton.create(name, root)
    path = notebooks.studies(root)[name]
    nbformat.validate(nbformat.read(path, as_version=4))
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert max(len(line.rstrip()) for cell in cells for line in cell["source"]) <= 84  # what a page shows


def test_the_skeleton_runs_at_once_and_the_guards_find_but_what_is_to_be_written(tmp_path):
    """In a copy of the compendium, by the commands that CONTRIBUTING.md names."""
    for part in (
        "specfreq",
        "notebooks",
        "book",
        "tests/notebooks",
        "tests/conftest.py",
        "_toc.yml",
        "_config.yml",
    ):
        place = tmp_path / part
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile)(ROOT / part, place)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SPECFREQ_RUNS": str(tmp_path / "runs")}

    def called(*args, module=True):
        command = [sys.executable, *["-m"][:module], *args]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    begun = called("specfreq", "new", "study", "colour-and-shape")
    assert begun.returncode == 0, begun.stderr
    done = called("specfreq", "run", "colour-and-shape", "-o", "executed.ipynb")
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(tmp_path / "executed.ipynb", as_version=4)
    reference = nbformat.read(tmp_path / "notebooks" / "colour-and-shape.ipynb", as_version=4)
    (number,) = [
        n for n, c in enumerate(reference.cells) if "nbval-check-output" in c.metadata.get("tags", [])
    ]
    assert executed.cells[number].outputs == reference.cells[number].outputs
    assert "not testable here" in str(executed.cells[6].outputs)  # the verdict on its claim
    checked = called("-c", CHECKED, module=False)  # what `specfreq book` refuses before anything runs
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout == "1 claim, 1 card\n"
    checked = called("pytest", "-q", "tests/notebooks", "-k", "not launch")
    (failed,) = [line for line in checked.stdout.splitlines() if line.startswith("FAILED")]
    assert "owes_what_its_skeleton_left_open" in failed and "colour-and-shape.ipynb: " in checked.stdout
