"""Sweeps: a study at every point of a grid of parameters, on this machine or on a Dask cluster."""

import ast
import contextlib
import itertools
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import torch
from filelock import FileLock, Timeout

from specfreq import data
from specfreq.compendium import book, cluster, execution, sweep_tables
from specfreq.compendium.execution import QUICK, StudyFailed
from specfreq.compendium.parameters import values
from specfreq.compendium.sweep_tables import Row, table
from specfreq.core import places, storage
from specfreq.core.errors import UserError
from specfreq.core.progress import progress_bar
from specfreq.core.provenance import provenance

__all__ = ["Cell", "sweep", "table", "values"]

RECORDS = "SPECFREQ_RECORDS"
MOST = 10_000  # cells


@dataclass(frozen=True, eq=False)
class Cell:
    """One point of a grid: its values as given and as the study takes them, and the notebook to write."""

    given: dict[str, Any]
    parameters: dict[str, Any]
    path: Path

    def __str__(self) -> str:
        return ", ".join(f"{k}={sweep_tables.written(v)}" for k, v in self.parameters.items())


def sweep(
    study: str,
    grid: Mapping[str, Sequence[Any]],
    *,
    profile: str = QUICK,
    overrides: Mapping[str, Any] | None = None,
    dask: str | None = None,
    workers: int | None = None,
    retries: int = 2,
    output: Path | None = None,
    root: Path | None = None,
    say: Callable[[str], None] = print,
    progress: bool | None = None,
    timeout: int | None = None,
) -> list[Row]:
    """Run a study at every point of a grid, but those that an earlier sweep finished.

    These are kept if code and data are still the same. Each study computes with one thread unless
    $OMP_NUM_THREADS says otherwise: the same bits for any number of workers.

    Args:
        study: its name, or the path of a notebook.
        grid: values by parameter; text is read as on the command line. The last parameter varies fastest;
            repetitions count once.
        profile, overrides: of all points, see `compendium.resolve`.
        dask: address of a scheduler whose workers see these very folders; by default a cluster on this
            machine.
        workers: how many at a time on this machine; one per core by default.
        retries: how often a cell is begun again if its worker is lost, on this machine; a scheduler has a
            setting of its own.
        output: folder of the executed notebooks and `results.csv`; `_build/sweeps/STUDY.PROFILE` by default.
        root: the compendium; by default the one this package lies in.
        say: takes the lines of progress.
        progress: a bar instead of lines as cells start and end; None shows it on terminals only.
        timeout: seconds that one cell of the notebook may take; None for no limit.

    Returns:
        A row per cell, in the order of the grid: ``parameters``; ``state``: done, kept or failed;
        ``seconds``, None if unknown; ``values``, the numbers and words that the study glued; ``notebook``,
        the executed one, or of a failed cell the part that ran; ``error``, None or what failed.

    Raises:
        UserError: before anything runs: an unknown name, a value of the wrong type, an empty grid; a folder
            that cannot be written or is in use; a scheduler that does not answer, or workers unlike this
            process; a script that workers on this machine would begin again.
        ClusterLost: the scheduler went away; what was finished is kept.
    """
    if dask is None:
        _refuse_unguarded()
    root = (root or places.root()).resolve()
    source = execution.find(study, root).resolve()
    threads = os.environ.get("OMP_NUM_THREADS") or "1"
    folder = Path(output or root / "_build" / "sweeps" / f"{source.stem}.{profile}").absolute()
    cells = _cells(source, grid, profile, overrides or {}, folder, root, book.keys(root, threads))
    with _alone(folder):
        seconds = sweep_tables.seconds(folder / "results.csv")
        rows = {
            c: sweep_tables.row(c.parameters, c.path, "kept", seconds.get(c.path.name))
            for c in cells
            if c.path.exists()
        }
        todo = [cell for cell in cells if cell not in rows]
        workers = min(workers or joblib.cpu_count(), max(1, len(todo)))
        how = f"on {dask}" if dask else f"{workers} at a time"
        to_run = f"{len(todo)} of {len(cells)} cells to run{f', {how}' if todo else ''}"
        say(f"{source.stem}: {to_run}; results in {folder}")
        try:
            if todo:
                told = _environment(threads)
                identity = _identity(source, folder)
                same = (root, Path.cwd(), told, identity, timeout)
                jobs = {cell: (str(source), profile, cell.given, cell.path, *same) for cell in todo}
                with cluster.connect(dask, workers) as client:
                    cluster.refuse_others(client, _identity, source, folder)
                    try:
                        _run(client, jobs, rows, 0 if dask else retries, len(cells), say, progress)
                    except KeyboardInterrupt:
                        finished = sum(row["state"] != "failed" for row in rows.values())
                        kept = f"{finished} of {len(cells)} cells are kept"
                        say(f"stopping; {kept}, the same command runs the others")
                        if dask:  # workers on this machine are killed, and their kernels end with them
                            client.run(_end_kernels, folder, on_error="ignore")
                        raise
        except BaseException:
            with contextlib.suppress(UserError):  # what is to be told is why the sweep ended
                _write(folder, [rows[cell] for cell in cells if cell in rows])
            raise
        done = [rows[cell] for cell in cells]
        _write(folder, done)
    return done


def _write(folder: Path, rows: list[Row]) -> None:
    if rows:
        storage.write(folder / "results.csv", sweep_tables.as_csv(rows))


def _refuse_unguarded() -> None:
    """Refuse a script that calls without a main guard: each worker begins by running it, up to that call.

    Raises:
        UserError: it names the line, and says what to write there.
    """
    frame = sys._getframe()
    main = ("<module>", "__main__")
    while frame and (frame.f_code.co_name, frame.f_globals.get("__name__")) != main:
        frame = frame.f_back
    # nothing that a worker could run again
    if frame is None or not Path(frame.f_globals.get("__file__") or "").is_file():
        return
    script = Path(frame.f_globals["__file__"])
    line = frame.f_lineno
    try:
        statements = ast.parse(script.read_bytes()).body
    except (SyntaxError, ValueError, OSError):  # not a text of Python
        return
    for statement in statements:
        last = statement.end_lineno or statement.lineno
        if statement.lineno <= line <= last and not _guards(statement):
            cure = "write `if __name__ == '__main__':` before it, and indent it"
            raise UserError(f"{script}, line {line}: workers would run this script again up to here; {cure}")


def _guards(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If):
        return False
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test))


def _cells(
    source: Path,
    grid: Mapping[str, Sequence[Any]],
    profile: str,
    overrides: Mapping[str, Any],
    folder: Path,
    root: Path,
    key: Callable[[Path, Mapping[str, Any]], str],
) -> list[Cell]:
    """The points of the grid, each once, with the places of their notebooks. All values are checked."""
    count = math.prod(map(len, grid.values()))
    if count > MOST:
        hint = "leave values out, or split it into several"
        raise UserError(f"that is {count:,} cells; a sweep has at most {MOST:,}: {hint}")
    study = str(source)
    fixed = execution.resolve(study, profile, overrides, root)
    declared = execution.parameters(study, root)
    read: dict[str, list[tuple[Any, Any]]] = {}
    for name, given in grid.items():
        if name in overrides:
            raise UserError(f"parameter {name!r} is both fixed and in the grid; leave one out")
        if not given:
            raise UserError(f"parameter {name!r} has no values; write -p {name}=VALUE,VALUE")
        # reads every study: once, not for each value
        execution.resolve(study, profile, {name: given[0]}, root)
        read[name] = [(v, declared[name].read(v, source.stem)) for v in given]
    if not read:
        hint = f"name a parameter of {source.stem} with its values, such as -p seed=0,1,2"
        raise UserError(f"there is nothing to sweep; {hint}")
    varying = [name for name, each in read.items() if len(each) > 1]
    # another grid may have called a cell by another name
    kept = {path.stem[-16:]: path for path in places.visible(folder.glob("*.ipynb"))}
    cells: dict[str, Cell] = {}
    for point in itertools.product(*read.values()):
        given = {name: typed for name, (typed, _) in zip(read, point, strict=True)}
        parameters = {name: value for name, (_, value) in zip(read, point, strict=True)}
        made_of = key(source, fixed | parameters)
        name = ",".join(f"{k}={sweep_tables.written(parameters[k])}" for k in varying or parameters)
        name = re.sub(r"[^\w.,=+-]+", "-", name, flags=re.ASCII)
        path = kept.get(made_of, folder / f"{name[:80].strip('-.,')}-{made_of}.ipynb")
        cells.setdefault(made_of, Cell({**overrides, **given}, parameters, path))
    return list(cells.values())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, so that no other sweep runs the same cells at the same time."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        hint = "wait for it, or choose another folder"
        raise UserError(f"another sweep is at work in {folder}; {hint}") from None
    except OSError as error:
        reason = error.strerror
        raise UserError(f"cannot write {folder}: {reason}; choose a place that can be written") from None
    try:
        yield
    finally:
        lock.release()


def _environment(threads: str) -> dict[str, str]:
    """What all kernels are told, on any machine: the number of threads, and the places as of this process."""
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    told = {name: os.environ.get(name) or threads for name in limits}
    return {**told, "SPECFREQ_RUNS": str(places.runs_dir().absolute()), "SPECFREQ_DATA": str(data.root())}


def _identity(source: Path, folder: Path) -> dict[str, str]:
    """What must be the same in all processes, for a cell to be what its name says."""
    origin = provenance(torch.device("cpu"))
    installed = book.environment()
    notebook = f"{source} ({book.digest(source.read_text())[:8]})" if source.exists() else f"no {source}"
    return {
        "Python": installed["python"][0],
        "torch": origin["torch"],
        "specfreq": f"{origin['specfreq']} ({origin['commit']})",
        "code of specfreq": book.digest(installed["code"])[:8],
        "notebook": notebook,
        "folder": str(folder) if folder.exists() else f"no {folder}",
    }


def _run(
    client: Any,
    jobs: Mapping[Cell, tuple],
    rows: dict[Cell, Row],
    retries: int,
    cells: int,
    say: Callable[[str], None],
    progress: bool | None,
) -> None:
    """Run the cells that are left and add their rows, showing how far it is."""
    failed = 0
    told: set[Cell] = set()
    with progress_bar("cells", cells, "cell", progress, initial=len(rows)) as bar:

        def tick(running: int) -> None:
            bar.set_postfix_str(f"{running} running, {failed} failed")

        def begun(cell: Cell) -> None:
            if bar.disable and cell not in told:
                say(f"{cell}: started")
                told.add(cell)

        with contextlib.closing(cluster.run(client, run_cell, jobs, retries, tick, begun)) as results:
            for cell, result in results:
                seconds, error = _outcome(result)
                notebook = _partial(cell.path) if error else cell.path
                state = "failed" if error else "done"
                rows[cell] = sweep_tables.row(cell.parameters, notebook, state, seconds, error)
                failed += bool(error)
                bar.update()
                if error or bar.disable:
                    with bar.external_write_mode(file=sys.stderr):
                        say(f"{cell}: failed: {error}" if error else f"{cell}: done in {seconds:.0f} s")


def _outcome(result: Any) -> tuple[float | None, str | None]:
    """Seconds, and None or what failed: of what `run_cell` returned, or of an error in its place."""
    if isinstance(result, cluster.WorkerLost):
        return None, str(result)
    if isinstance(result, BaseException):
        return None, f"{type(result).__name__}: {result}"
    return result


def _partial(path: Path) -> Path:
    return path.with_suffix(".failed.ipynb")


def run_cell(
    study: str,
    profile: str,
    given: Mapping[str, Any],
    output: Path,
    root: Path,
    folder: Path,
    told: Mapping[str, str],
    identity: Mapping[str, str],
    timeout: int | None = None,
) -> tuple[float, str | None]:
    """Run one cell in a worker: its seconds, and None or what failed."""
    started = time.perf_counter()
    error = None
    told = {**told, RECORDS: str(output.parent / "records" / output.stem)}
    try:
        if _identity(Path(study), output.parent) != identity:
            hint = "the same command begins again"
            raise UserError(f"specfreq or the notebook has changed since the sweep began; {hint}")
        execution.execute(
            study,
            output,
            profile,
            given,
            root=root,
            progress=False,
            environment=told,
            folder=folder,
            report=_partial(output),
            timeout=timeout,
        )
        _partial(output).unlink(missing_ok=True)
    except (StudyFailed, UserError) as failure:
        error = str(failure)
    return round(time.perf_counter() - started, 3), error


def _end_kernels(folder: Path) -> None:
    """End the kernels that this worker runs for the sweep in a folder, with all that they have started."""
    import psutil  # Dask needs it too

    for kernel in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if Path(kernel.environ().get(RECORDS, "")).is_relative_to(folder):
                for process in [kernel, *kernel.children(recursive=True)]:
                    process.kill()
