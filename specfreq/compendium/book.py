"""The book: run what has changed, stage sources and executed notebooks, build the pages and check them."""

import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import json
import platform
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import joblib
import nbformat
from filelock import FileLock, Timeout
from papermill.exceptions import strip_color
from sphinx_external_toc.parsing import MalformedError, parse_toc_data

from specfreq import data
from specfreq.compendium import execution, glued, pages
from specfreq.compendium.execution import QUICK, StudyFailed
from specfreq.core import places, processes, storage
from specfreq.core.errors import UserError
from specfreq.experiment import kept

# what the pages are made of, besides the studies
SOURCES = ("_config.yml", "_toc.yml", "book", "notebooks/profiles.yaml")
KEY = 16  # letters of the key of an executed notebook
RECORDS = ("book/results/", "book/claims")  # what the studies' tables read


class BookFailed(RuntimeError):
    """A study or a page of the book failed. The message names it."""


def build(
    profile: str = QUICK,
    *,
    root: Path | None = None,
    timeout: int | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Build the book in `_build/html`, running only the studies that changed.

    A study has changed if its code, parameters, data or environment did. Nothing outside `_build` and the
    folder of runs is written. A failing study does not stop the others.

    Args:
        profile: the parameters of every study.
        root: the compendium; by default the one this package lies in.
        timeout: seconds that a cell of a study may take; None for no limit.
        say: takes the lines of progress.

    Returns:
        The page to open.

    Raises:
        UserError: before anything runs: no compendium, an unknown profile, an impossible parameter, a place
            that cannot be written, a claim that names what does not exist.
        BookFailed: at the end: studies that failed, warnings of the book's builder, missing pages.
    """
    root = (root or places.root()).resolve()
    if not (root / "_toc.yml").exists():
        raise UserError(f"{root} holds no book (it has no _toc.yml); go to a checkout of the compendium")
    with _alone(root / "_build", say):
        _check_contents(root)
        pages.check(_pages(root), _sources(root))
        executed = _run_studies(profile, root, timeout, say)
        files = _sources(root) | {f"notebooks/{name}.ipynb": path for name, path in executed.items()}
        key = digest(environment(), {name: _hash(path) for name, path in files.items()})
        html = root / "_build" / "html"
        built_of = root / "_build" / "html.key"
        started = time.perf_counter()
        if built_of.exists() and built_of.read_text() == key and not _missing(root, html):
            say(_line("pages", "unchanged"))
        else:
            say(_line("pages", "started"))
            with storage.writing(root / "_build"):
                built_of.unlink(missing_ok=True)
                _build_pages(root, files, html)
                built_of.write_text(key)
            say(_line("pages", f"done in {time.perf_counter() - started:.0f} s"))
    return html / "index.html"


@contextlib.contextmanager
def _alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder of builds, so that no other build works in it at the same time."""
    with storage.writing(folder):
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another build is at work in {folder}; waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def cached(profile: str, root: Path, say: Callable[[str], None] = print) -> dict[str, Path]:
    """Where each study's executed notebook is kept: a name made of all that its content depends on.

    A notebook that is no study is told of and left out, unless the table of contents names it.
    """
    outputs = {}
    key = keys(root)
    pages = set(_pages(root))
    for name, path in execution.studies(root).items():
        try:
            values = execution.resolve(name, profile, root=root)
        except UserError as error:
            if f"notebooks/{name}" in pages:
                raise
            say(_line(name, f"skipped, as it is not in _toc.yml and {error}"))
            continue
        outputs[name] = root / "_build" / "executed" / f"{name}-{key(path, values)}.ipynb"
    return outputs


def keys(root: Path, *more: Any) -> Callable[[Path, Mapping[str, Any]], str]:
    """A function of a notebook and its parameters: a key made of all that the executed notebook depends on.

    Besides those two: packages and code as they are now, the published records, the data that parameters
    name, the other notebooks that its cells name, as those do that run one, and ``more``.
    """
    _data_digest.cache_clear()  # pictures can have changed since the last time
    return _keys(root, *more)


def _keys(root: Path, *more: Any) -> Callable[[Path, Mapping[str, Any]], str]:
    records = {name: _hash(path) for name, path in _sources(root).items() if name.startswith(RECORDS)}
    around = [environment(), records, *more]
    others = {name: path.resolve() for name, path in execution.studies(root).items()}

    def key(path: Path, values: Mapping[str, Any]) -> str:
        raw = path.read_text(encoding="utf-8", errors="replace")  # JSON: quotes of the code are escaped
        named = [name for name in others if f'\\"{name}\\"' in raw or f"'{name}'" in raw]
        run = {name: _hash(others[name]) for name in named}
        return digest(around, _hash(path), run, values, _data_digests(values, root))[:KEY]

    return key


def _line(what: str, state: str) -> str:
    return f"  {what:<28} {state}"


def _run_studies(
    profile: str, root: Path, timeout: int | None, say: Callable[[str], None]
) -> dict[str, Path]:
    """Executed notebooks by study, from earlier builds where nothing changed; the others run side by side."""
    outputs = cached(profile, root, say)
    stale = [name for name, path in outputs.items() if not path.exists()]
    workers = max(1, min(len(outputs), joblib.cpu_count()))
    say(f"profile {profile}: {len(stale)} of {len(outputs)} studies to run, {workers} at a time")
    for name in sorted(outputs.keys() - stale):
        say(_line(name, "unchanged"))
    # the share of cores does not depend on what is stale, so that a study gives the same bits in every build
    threads = max(1, joblib.cpu_count() // workers)
    failures = []
    lock = threading.Lock()

    def tell(name: str, state: str) -> None:
        with lock:
            say(_line(name, state))

    def run(name: str) -> float:
        tell(name, "started")
        return _run_study(name, outputs[name], profile, root, threads, timeout)

    # each thread waits for a kernel, which is a process of its own
    with ThreadPoolExecutor(workers) as pool:
        jobs = {pool.submit(run, name): name for name in stale}
        try:
            for job in as_completed(jobs):
                failures += _report(job, jobs[job], tell)
        except BaseException:
            for job in jobs:
                job.cancel()
            # again and again: a kernel may have been about to start
            while not all(job.done() for job in jobs):
                processes.end_started()
                time.sleep(0.1)
            raise
    if failures:
        first = f"{len(failures)} of {len(outputs)} studies failed; the others are kept"
        raise BookFailed("\n".join([first, *failures]))
    return outputs


def _run_study(name: str, output: Path, profile: str, root: Path, threads: int, timeout: int | None) -> float:
    """Run a study in the folder of the compendium: where the command was called must not matter."""
    started = time.perf_counter()
    with storage.writing(output):
        output.parent.mkdir(exist_ok=True)
    told = {}
    for place in ("SPECFREQ_DATA", "SPECFREQ_RUNS"):
        if given := places.place_of(place):
            told[place] = str(given.absolute())
    execution.execute(
        name,
        output,
        profile,
        root=root,
        threads=threads,
        progress=False,
        environment=told,
        folder=root,
        timeout=timeout,
    )
    values = execution.resolve(name, profile, root=root)
    if _keys(root)(execution.studies(root)[name], values) != output.stem[-KEY:]:
        output.unlink(missing_ok=True)
        raise StudyFailed(f"{name} was run while its notebook, code, data or records changed; build again")
    # of this study alone: names of others can begin like its own
    known = output.parent.glob(f"{name}-{'[0-9a-f]' * KEY}.ipynb")
    for old in sorted(known, key=lambda p: p.stat().st_mtime)[:-5]:
        old.unlink(missing_ok=True)
    return time.perf_counter() - started


def _report(job: Future, name: str, tell: Callable[[str, str], None]) -> list[str]:
    try:
        tell(name, f"done in {job.result():.0f} s")
    except (StudyFailed, UserError) as failure:
        tell(name, "failed")
        return [str(failure)]
    return []


def _sources(root: Path) -> dict[str, Path]:
    """The book's own files, by their place below the root."""
    listed = [path for name in SOURCES for path in [root / name, *sorted((root / name).rglob("*"))]]
    ours = {path.relative_to(root): path for path in listed if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in ours.items()
        if not any(places.hidden(Path(part)) for part in name.parts) and name.parent.as_posix() != kept.PLACE
    }


def _build_pages(root: Path, files: Mapping[str, Path], html: Path) -> None:
    """Stage and build from nothing: a warning in a page that an earlier build had kept would stay unseen."""
    staged = root / "_build" / "book"
    work = root / "_build" / "work"
    log = root / "_build" / "reports" / "jupyter-book.log"
    for folder in (staged, work):
        shutil.rmtree(folder, ignore_errors=True)
    for name, path in files.items():
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, staged / name)
        if name.endswith(".ipynb"):
            executed = nbformat.read(path, as_version=4)
            storage.write(staged / name, nbformat.writes(glued.describe(executed, name)) + "\n")
    made = pages.made(_pages(root), files)
    for name, content in made.staged.items():
        storage.write(staged / name, content)
    log.parent.mkdir(exist_ok=True)
    builder = ["jupyter_book.cli.main:main", "build", "-n", "-W", "--keep-going"]
    code, printed = processes.run(*builder, "--path-output", str(work), str(staged), cwd=staged)
    log.write_text(strip_color(printed))
    if code:
        raise BookFailed(f"the pages were not built:\n{_warnings(log.read_text())}\nall of it: {log}")
    if missing := _missing(root, work / "_build" / "html"):
        raise BookFailed(f"_toc.yml names pages that were not built: {', '.join(missing)}; see {log}")
    for name, content in made.beside.items():
        storage.write(work / "_build" / "html" / name, content)
    shutil.rmtree(html, ignore_errors=True)
    (work / "_build" / "html").replace(html)
    shutil.rmtree(work)


def _warnings(log: str) -> str:
    lines = [line for line in log.splitlines() if "WARNING" in line or "ERROR" in line or "CRITICAL" in line]
    return "\n".join(dict.fromkeys(lines)) or "\n".join(log.splitlines()[-10:])


def _missing(root: Path, html: Path) -> list[str]:
    """The pages of the table of contents that do not exist."""
    return [page for page in _pages(root) if not (html / f"{page}.html").exists()]


def _pages(root: Path) -> list[str]:
    """The pages that the table of contents names."""
    try:
        return list(parse_toc_data(storage.read_yaml(root / "_toc.yml")))
    except MalformedError as error:
        raise UserError(f"_toc.yml: {error}") from None


def _check_contents(root: Path) -> None:
    """Refuse a table of contents with pages that nothing makes, before anything runs."""
    if (config := root / "_config.yml").exists():
        storage.read_yaml(config)  # strictly: the book's builder takes the last of two values
    for page in _pages(root):
        sources = [root / f"{page}{suffix}" for suffix in (".md", ".ipynb")]
        if page not in pages.MADE and not any(path.exists() for path in sources):
            raise UserError(f"_toc.yml names {page}, and there is no {page}.md or {page}.ipynb")
        if page.startswith("notebooks/") and not sources[1].exists():
            raise UserError(f"_toc.yml names {page}, which is no notebook; put pages of text into book/")


def environment() -> dict[str, Any]:
    """All that is installed, and the package's own code."""
    package = Path(__file__).parents[1]
    return {
        "python": [platform.python_version(), platform.machine()],
        "packages": sorted({f"{d.name}=={d.version}" for d in importlib.metadata.distributions()}),
        "code": {str(path.relative_to(package)): _hash(path) for path in sorted(package.rglob("*.py"))},
    }


def _data_digests(values: Mapping[str, Any], root: Path) -> dict[str, str]:
    """The content of every data set that a parameter names, by itself or within a description; paths are
    looked up as the studies look them up, from the folder of the compendium.
    """
    given = itertools.chain.from_iterable(v if isinstance(v, list | tuple) else [v] for v in values.values())
    words = [word for text in given if isinstance(text, str) for word in _words(text)]
    known = [name.replace("_", "-") for name in data.names()]
    named = [w for w in dict.fromkeys(words) if w.partition(":")[0].replace("_", "-") in known]
    whole = {name: _from(root, name) for name in named}
    splits = itertools.product(whole.items(), ("train", "test"))
    return {f"{name} {split}": _data_digest(place, split) for (name, place), split in splits}


def _words(text: str) -> Iterator[str]:
    """What may be the name of a set in a text: all of it, quoted parts, and words with and without what
    follows a comma.
    """
    yield text
    for quoted in re.findall(r'"((?:\\.|[^"\\])*)"', text):
        yield from _words(quoted)
    for separators in (r"[\s=+,\"]", r"[\s+\"]"):
        for word in re.split(separators, text):
            yield word
            yield word.partition("=")[2]


def _from(root: Path, name: str) -> str:
    kind, _, path = name.partition(":")
    there = kind in data.PATHS and path and (root / path.partition("?")[0]).exists()
    return f"{kind}:{root / path}" if there else name


@functools.cache
def _data_digest(name: str, split: str) -> str:
    try:
        return data.load(name, split).digest
    except UserError as error:  # a study that needs it will say so
        return str(error)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
