"""The book: only what changed is run, a failure is named and costs nothing else, the sources stay as they
are.
"""

import functools
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from filelock import FileLock
from PIL import Image

from specfreq.compendium import book
from specfreq.compendium.book import BookFailed
from specfreq.core.errors import UserError

CONFIG = "title: Small\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n"
PICTURE = """import matplotlib.pyplot as plt
from myst_nb import glue
glue("at", "46.1 ± 2.8", display=False)
_ = plt.plot([46.1], "o")"""
TOC = "format: jb-book\nroot: book/introduction\nchapters:\n  - file: notebooks/first\n"


@pytest.fixture
def root(tmp_path, add_study):
    return write_sources(tmp_path, add_study)


@pytest.fixture(scope="module")
def built(tmp_path_factory, add_study):
    """A book that has been built from sources under version control; not to be changed."""
    root = write_sources(tmp_path_factory.mktemp("built"), add_study)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "all")
    page, states = build(root)
    assert states == {"first": "done", "pages": "done"}
    assert page == root / "_build" / "html" / "index.html"
    return root


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "copy")


def write_sources(root, add_study):
    (root / "book").mkdir()
    (root / "book" / "introduction.md").write_text("# Introduction\n\nSee [](../notebooks/first.ipynb).\n")
    (root / "_config.yml").write_text(CONFIG)
    (root / "_toc.yml").write_text(TOC)
    (root / ".gitignore").write_text("_build/\nruns/\n")
    path = add_study(root, "first", "print('first of all', epochs)", PICTURE)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].metadata["mystnb"] = {"image": {"alt": "Dots at {glue:text}`at` %."}}
    nbformat.write(notebook, path)
    return root


def build(root, profile="quick"):
    """The page to open and the state of each study and of the pages, as they were reported."""
    lines = []
    page = book.build(profile, root=root, say=lines.append)
    return page, {
        what: state.split(" in ")[0] for what, state in (line.split(maxsplit=1) for line in lines[1:])
    }


def git(root, *args):
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *args]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def test_the_pages_show_the_executed_studies_and_the_sources_stay_clean(built):
    assert "first of all 2" in (built / "_build" / "html" / "notebooks" / "first.html").read_text()
    assert git(built, "status", "--porcelain") == ""
    assert "first of all 2" not in (built / "notebooks" / "first.ipynb").read_text()
    page = (built / "_build" / "html" / "notebooks" / "first.html").read_text()
    assert 'alt="Dots at 46.1 ± 2.8 %."' in page


def test_nothing_is_built_twice(built):
    assert build(built)[1] == {"first": "unchanged", "pages": "unchanged"}


def test_a_page_that_was_lost_is_built_again_without_running_the_study(copy):
    (copy / "_build" / "html" / "notebooks" / "first.html").unlink()
    assert build(copy)[1] == {"first": "unchanged", "pages": "done"}
    assert (copy / "_build" / "html" / "notebooks" / "first.html").exists()


def test_a_study_is_run_again_when_and_only_when_what_it_depends_on_has_changed(root, add_study, monkeypatch):
    add_study(root, "second", "1", parameters="data: str = 'digits'")
    (root / "notebooks" / "profiles.yaml").write_text("laptop: {first: {epochs: 7}}")
    (root / "book" / "claims.yaml").write_text("{}")

    def changed(before, profile="quick"):
        after = book.cached(profile, root)
        return [name for name in after if after[name] != before[name]]

    start = book.cached("quick", root)
    (root / "book" / "introduction.md").write_text("# Another introduction\n")
    assert changed(start) == []
    assert changed(start, "laptop") == ["first"]  # only its parameters differ
    add_study(root, "second", "2", parameters="data: str = 'digits'")
    assert changed(start) == ["second"]
    start = book.cached("quick", root)
    monkeypatch.setattr(book.data, "load", lambda name, split: SimpleNamespace(digest="other"))
    book._data_digest.cache_clear()
    assert changed(start) == ["second"]  # its data set holds other images
    monkeypatch.undo()
    book._data_digest.cache_clear()
    assert changed(start) == []
    (root / "book" / "claims.yaml").write_text("{a: 1}")  # what the tables of any study may read
    assert changed(start) == ["first", "second"]
    start = book.cached("quick", root)
    monkeypatch.setattr(
        book.importlib.metadata, "distributions", lambda: [SimpleNamespace(name="torch", version="0")]
    )
    assert changed(start) == ["first", "second"]


def test_a_study_is_run_again_when_one_that_it_runs_has_changed(root, add_study):
    add_study(root, "second", 'print("first")')
    add_study(root, "third", "print(1)")
    start = book.cached("quick", root)
    add_study(root, "first", "print(2)")
    after = book.cached("quick", root)
    assert {name for name in after if after[name] != start[name]} == {"first", "second"}


@pytest.mark.parametrize("value", ["other=cifar100+digits,size=10", "reduced:of=digits", ["none", "digits"]])
def test_data_sets_within_descriptions_are_known(value):
    found = book._data_digests({"others": value, "epochs": 3, "kind": "apr-sp:p=0.5"}, Path())
    assert found["digits test"] == book.data.load("digits", "test").digest


@pytest.mark.parametrize(
    "written", ["folder:some pets", '"folder:some pets"', 'other="folder:some pets"+digits']
)
def test_pictures_that_change_are_seen_wherever_the_command_is_called(root, written):
    pets = root / "some pets"
    for name in ("cat", "dog"):
        (pets / name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (8, 8)).save(pets / name / f"{index}.png")
    path = next(iter(book.execution.studies(root).values()))
    before = book.keys(root)(path, {"data": written})
    Image.new("RGB", (8, 8), (9, 9, 9)).save(pets / "cat" / "0.png")
    assert book.keys(root)(path, {"data": written}) != before


def test_old_outputs_are_removed_of_the_study_itself_alone(root, add_study, monkeypatch):
    monkeypatch.setattr(book.execution, "execute", lambda name, output, *_, **__: output.write_text("{}"))
    (root / "_build").mkdir()
    add_study(root, "first-more", "print(1)")
    for number in range(7):
        add_study(root, "first", f"print({number})")
        outputs = book._run_studies("quick", root, None, lambda line: None)
        assert all(path.exists() for path in outputs.values())
    assert len(list((root / "_build" / "executed").glob("first-????????????????.ipynb"))) == 5


def test_a_study_that_is_edited_while_the_book_is_built_is_not_kept_as_what_it_was(
    root, add_study, monkeypatch
):
    def edited(name, output, *_, **__):
        add_study(root, "first", "print(2)")
        output.write_text("{}")

    (root / "_build").mkdir()
    monkeypatch.setattr(book.execution, "execute", edited)
    with pytest.raises(BookFailed, match="first was run while its notebook, code, data or records changed"):
        book._run_studies("quick", root, None, lambda line: None)
    assert not list((root / "_build" / "executed").iterdir())


def test_a_failing_study_is_named_and_the_others_are_kept(root, add_study):
    add_study(root, "second", "1 / 0")
    with pytest.raises(
        BookFailed, match=r"1 of 2 studies failed.*\n.*second failed in cell 3 .*ZeroDivisionError"
    ):
        build(root)
    assert [path.name.split("-")[0] for path in (root / "_build" / "executed").iterdir()] == ["first"]
    assert not (root / "_build" / "html").exists()


def test_a_warning_of_a_page_is_an_error_each_time_and_leaves_the_older_book(copy):
    older = (copy / "_build" / "html" / "book" / "introduction.html").read_bytes()
    (copy / "book" / "introduction.md").write_text("# Introduction\n\n{ref}`nowhere`\n")
    for _ in range(2):  # a builder that remembers pages would be silent the second time
        with pytest.raises(BookFailed, match=r"introduction\.md:3: WARNING: .*nowhere"):
            build(copy)
    assert (copy / "_build" / "html" / "book" / "introduction.html").read_bytes() == older


def test_a_page_of_the_contents_that_nothing_makes_is_refused_before_any_study_runs(root):
    (root / "_toc.yml").write_text(TOC + "  - file: book/missing\n")
    with pytest.raises(UserError, match=r"names book/missing, and there is no book/missing\.md"):
        build(root)
    assert not (root / "_build" / "executed").exists()


def test_impossible_parameters_are_refused_before_any_study_runs(root):
    (root / "notebooks" / "profiles.yaml").write_text("laptop: {first: {epohcs: 7}}")
    with pytest.raises(UserError, match="'epohcs' for first"):
        build(root, "laptop")
    assert not (root / "_build" / "executed").exists()


def test_hidden_and_foreign_notebooks_do_not_stop_the_book_and_those_of_its_contents_do(root):
    (root / "notebooks" / "._first.ipynb").write_bytes(b"\0\5\x16\7")
    (root / "notebooks" / "Untitled.ipynb").write_text("")
    said = []
    assert list(book.cached("quick", root, said.append)) == ["first"]
    (line,) = said
    assert line.split()[:2] == ["Untitled", "skipped,"] and "cannot be read" in line
    (root / "notebooks" / "first.ipynb").write_text("")
    with pytest.raises(UserError, match=r"first\.ipynb cannot be read"):
        book.cached("quick", root, said.append)


def test_a_build_says_that_it_waits_for_another(copy):
    said = []
    lock = FileLock(copy / "_build" / "lock")
    lock.acquire()

    def say(line):
        said.append(line)
        lock.release()  # what it waits for

    with book._alone(copy / "_build", say):
        assert said == [f"another build is at work in {copy / '_build'}; waiting for it"]


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(root):
    (root / "_build").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*_build: .*; choose a place that can be written"):
        book.build(root=root)


def test_an_interrupted_build_ends_its_kernels_and_starts_no_others(root, add_study, tmp_path):
    place = tmp_path / "pids"
    place.mkdir()
    code = f"import os\nopen(os.path.join({str(place)!r}, str(os.getpid())), 'w')\nwhile True:\n    pass"
    for name in ("first", "second", "third", "fourth"):
        add_study(root, name, code)
    build = f"with processes.interruptible():\n    book.build(root=Path({str(root)!r}))"
    script = f"from pathlib import Path\nfrom specfreq.compendium import book\nfrom specfreq.core import processes\n{build}"
    # also under `nohup make test &`
    heard = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-c", script]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    kernels = min(4, book.joblib.cpu_count())
    until = time.monotonic() + 300
    while len(list(place.iterdir())) < kernels and running.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    for _ in range(2):
        running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    pids = [int(path.name) for path in place.iterdir()]
    assert len(pids) == kernels, err
    until = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, pids))


def test_a_folder_without_contents_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no _toc\.yml"):
        book.build(root=tmp_path)
