"""Studies: notebooks with strict parameters and profiles, executed as a whole or not at all."""

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG
from traitlets import default

from specfreq.compendium.notebooks import Unreadable, find, known_profiles, parameters, resolve, studies
from specfreq.compendium.parameters import Parameter
from specfreq.core import places, processes, storage
from specfreq.core.errors import UserError
from specfreq.core.progress import lines
from specfreq.experiment.profiles import QUICK

__all__ = [
    "QUICK",
    "StudyFailed",
    "Unreadable",
    "execute",
    "find",
    "known_profiles",
    "parameters",
    "resolve",
    "studies",
]

ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}>")
# what studies side by side say that share runs
WAITED = re.compile(r"specfreq: another process works on run \w+; waiting for it\n")
PATIENCE = 300  # seconds for a kernel to start; one that died is noticed at once


class StudyFailed(RuntimeError):
    """A study raised an error or its kernel died. The message names study and cell, and where to look."""


def _read(path: Path) -> NotebookNode:
    """A notebook in the current format, with cell ids that are the same at every reading."""
    try:
        notebook = nbformat.read(path, as_version=4)
        named = [("id" in cell) for cell in notebook.cells]
        notebook = nbformat.v4.upgrade(notebook)
    except (ValueError, AttributeError, OSError, nbformat.ValidationError) as error:
        raise Unreadable(f"{path} cannot be read as a notebook: {error}") from None
    for number, cell in enumerate(notebook.cells):
        if not named[number]:
            cell["id"] = f"cell-{number}"
    return notebook


def _tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


class _Kernel(AsyncKernelManager):
    """The interpreter that runs this program, with files and sockets in a folder of its own.

    The kernels that are installed on this machine do not matter. It ends with this process, whatever ends
    that.
    """

    folder: Path
    environment: Mapping[str, str]
    leader: int | None = None  # the id of the kernel's process and of its group

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = processes.follower("ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL")
        return KernelSpec(argv=argv, env=dict(self.environment), language="python", display_name="Python 3")

    @default("connection_file")
    def _own_connection_file(self) -> str:
        return str(self.folder / "kernel.json")

    @default("transport")
    def _sockets(self) -> str:  # two kernels that start at once can be given the same TCP port
        longest = len(os.fsencode(self.folder / "kernel-ipc-5"))
        return "tcp" if os.name == "nt" or longest > 103 else "ipc"

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        with open(self.folder / "stderr", "wb") as stderr:  # what a kernel says that does not start
            await super()._async_launch_kernel(kernel_cmd, **{**options, "stderr": stderr})
        leader: int = cast(Any, self.provisioner).pid  # of a local kernel, which has a process
        type(self).leader = leader
        processes.started(leader)

    async def _async_shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        await super()._async_shutdown_kernel(now or processes.ending(), restart)

    shutdown_kernel = _async_shutdown_kernel


@contextlib.contextmanager
def _relayed(place: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Say what the bars of a kernel write to a file, a second later at most."""
    place.touch()
    done = threading.Event()

    def relay() -> None:
        with place.open(encoding="utf-8", newline="") as file:
            last = False
            while not last:
                last = done.wait(1)
                for line in lines(file.read()):
                    say(f"    {line}")

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _environment(
    folder: Path, root: Path, threads: int | None, progress: bool | None, relayed: Path | None
) -> dict[str, str]:
    """What a study's kernel is told, so that machine, user and working directory do not matter; and where it
    says how far it is.
    """
    told = {
        "SPECFREQ_RUNS": str((places.place_of("SPECFREQ_RUNS") or root / "runs").absolute()),
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "TQDM_DISABLE": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if progress is not False and sys.stderr is not None and sys.stderr.isatty() and os.name != "nt":
        told["SPECFREQ_PROGRESS"] = os.ttyname(sys.stderr.fileno())  # the kernel's own stderr is the notebook
    elif relayed:
        told["SPECFREQ_PROGRESS"] = str(relayed)
    try:
        Path.home()
    except RuntimeError:  # no HOME, and a user that the system does not know, as in some containers
        told["HOME"] = str(folder)
    if threads and "OMP_NUM_THREADS" not in os.environ:
        told["OMP_NUM_THREADS"] = str(threads)
    return told


def _prepared(path: Path, values: Mapping[str, Any], declared: Mapping[str, Parameter]) -> NotebookNode:
    """The notebook to run, with a cell that sets what differs from its defaults, as papermill adds it."""
    notebook = _read(path)
    changed = {k: v for k, v in values.items() if v != declared[k].default}
    notebook.cells = [cell for cell in notebook.cells if not _tagged(cell, "injected-parameters")]
    if changed:  # our own cell: papermill's has a random id and turns tuples into text
        source = "\n".join(["# Parameters", *(f"{k} = {v!r}" for k, v in changed.items())])
        tags = {"tags": ["injected-parameters"]}
        cell = nbformat.v4.new_code_cell(source, id="injected-parameters", metadata=tags)
        at = next(i for i, c in enumerate(notebook.cells) if _tagged(c, "parameters"))
        notebook.cells.insert(at + 1, cell)
    return notebook


def _scrubbed(notebook: NotebookNode) -> NotebookNode:
    """Without what differs from run to run: paths, times, who waited, ``<Styler at 0x7ff9deabc910>``."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill adds empty ones
        for output in cell.get("outputs", []):
            for place, key in ((output, "text"), (output.get("data", {}), "text/plain")):
                if key in place:
                    place[key] = ADDRESS.sub(">", WAITED.sub("", place[key]))
        if "outputs" in cell:
            cell["outputs"] = [o for o in cell["outputs"] if o.get("text") != ""]
    return notebook


def _checked_output(output: Path, root: Path | None) -> Path:
    """Refuse an output that cannot be written, while nothing has been computed yet."""
    output = output.absolute()
    if output.suffix != ".ipynb":
        raise UserError(f"cannot write {output}: the name of a notebook ends in .ipynb")
    if output.resolve() in {p.resolve() for p in studies(root).values()}:
        raise UserError(f"cannot write {output}: it is the source of a study; choose another place")
    if output.is_dir() or not output.parent.is_dir():
        what = "it is a folder" if output.is_dir() else f"{output.parent} is not a folder"
        raise UserError(f"cannot write {output}: {what}; choose a place that can be written")
    try:
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        reason = error.strerror
        raise UserError(f"cannot write {output}: {reason}; choose a place that can be written") from None
    return output


def execute(
    study: str,
    output: Path | None = None,
    profile: str = QUICK,
    overrides: Mapping[str, Any] | None = None,
    *,
    root: Path | None = None,
    threads: int | None = None,
    progress: bool | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    report: Path | None = None,
    timeout: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Run a study and write the executed notebook: the same bytes from the same parameters, sources and data.

    Args:
        study: its name, or the path of a notebook.
        output: the .ipynb to write, in one step and only if every cell ran; in `_build/studies` by default.
        profile, overrides: see `resolve`.
        root: the compendium; by default the one this package lies in.
        threads: of the kernel's arithmetic, unless $OMP_NUM_THREADS says otherwise; None for all cores.
        progress: bars over the cells and over long work in them; None shows them on terminals only.
        environment: variables for the kernel, before all others.
        folder: where the kernel works; by default where this process does.
        report: where the notebook is kept if it fails, up to there; in `_build/reports` by default.
        timeout: seconds that a cell may take; None for no limit.
        say: takes the lines of progress: one when the kernel starts and, where no bar is shown, one as each
            cell starts and one a minute of what takes longer.

    Raises:
        UserError: before anything runs: unknown or ill-typed parameters, an output that cannot be written.
        StudyFailed: a cell raised or took too long, or the kernel died or did not start; the message says
            where the notebook up to there is.
    """
    root = root or places.root()
    path = find(study, root)
    values = resolve(study, profile, overrides, root)
    if output is None:
        output = root / "_build" / "studies" / f"{path.stem}.{profile}.ipynb"
        with storage.writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
    output = _checked_output(Path(output), root)
    if output.resolve() == path.resolve():
        raise UserError(f"cannot write {output}: it is the notebook to be run; choose another place")
    source = _prepared(path, values, parameters(study, root))
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what goes wrong is said by StudyFailed
    bar = sys.stderr is not None and sys.stderr.isatty() if progress is None else progress
    numbers = _numbers(source)
    if say:
        say(f"specfreq: running {path.stem} (profile {profile}), {len(numbers)} cells")

    def tell(cell: NotebookNode, cell_index: int) -> None:
        if say and not bar and cell_index in numbers:
            say(f"  cell {numbers[cell_index]} of {len(numbers)}: {_first_line(cell)}")

    with processes.scratch() as own, contextlib.ExitStack() as meanwhile:
        nbformat.write(source, own / "source.ipynb")
        relayed = own / "progress" if say and not bar else None
        told = {**_environment(own, root, threads, progress, relayed), **(environment or {})}
        if say and relayed:
            meanwhile.enter_context(_relayed(relayed, say))
        kernel = type("Kernel", (_Kernel,), {"folder": own, "environment": told})
        ready = threading.Event()
        hidden = None if progress is None else not progress
        cells_bar = {"desc": path.stem, "disable": hidden, "leave": False}
        try:
            executed = papermill.execute_notebook(
                own / "source.ipynb",
                own / "executed.ipynb",
                kernel_name="python3",
                language="python",
                progress_bar=cells_bar,  # pyright: ignore[reportArgumentType]
                kernel_manager_class=kernel,
                record_timing=False,
                coalesce_streams=True,  # how output is cut into pieces depends on the machine's speed
                resources={"metadata": {"path": str(folder) if folder else None}},
                start_timeout=PATIENCE,
                execution_timeout=timeout,
                on_notebook_start=lambda notebook: ready.set(),
                on_cell_execute=tell,
            )
        except Exception as error:
            if processes.ending():  # it was killed: that is no failure of the study
                raise
            if not ready.is_set():
                said = _said(own)
                raise StudyFailed(f"{path.stem}: its kernel did not start: {error}{said}") from error
            if not isinstance(error, PapermillExecutionError | DeadKernelError | CellTimeoutError):
                raise
            failure = _what_failed(error, _read(own / "executed.ipynb"), timeout)
            if isinstance(error, DeadKernelError):  # others end it, and what it says then is no cause
                failure += _said(own)
            kept = _kept(own / "executed.ipynb", report or root / "_build" / "reports" / path.name)
            raise StudyFailed(f"{path.stem} failed in {failure}; the notebook up to there{kept}") from None
        finally:
            if kernel.leader is not None:
                processes.ended(kernel.leader)
    return storage.write(output, nbformat.writes(_scrubbed(executed)) + "\n")


def _numbers(notebook: NotebookNode) -> dict[int, int]:
    """Cell numbers as counted in the study itself, by place in the notebook that is to run or that ran."""
    added = {"injected-parameters", ERROR_MARKER_TAG}
    tags = [set(cell.metadata.get("tags", [])) for cell in notebook.cells]
    own = [place for place, tagged in enumerate(tags) if not added & tagged]
    return {place: number for number, place in enumerate(own, 1)}


def _first_line(cell: NotebookNode) -> str:
    return cell.source.strip().partition("\n")[0][:80]


def _what_failed(error: Exception, partial: NotebookNode, timeout: int | None) -> str:
    """The cell that ended it, as counted in the study itself, and why."""
    numbers = _numbers(partial)
    place = [i for i in numbers if partial.cells[i].metadata.papermill.get("start_time")][-1]
    where = f"cell {numbers[place]}"
    if isinstance(error, PapermillExecutionError):
        message = error.evalue.strip().partition("\n")[0]
        return f"{where} (In [{error.exec_count}]): {error.ename}: {message}"
    if isinstance(error, CellTimeoutError):
        return f"{where} ({_first_line(partial.cells[place])}): it took longer than {timeout} seconds"
    return f"{where}: its kernel died, perhaps for lack of memory"


def _said(folder: Path) -> str:
    """The last line that a kernel wrote, past its notebook, in brackets."""
    stderr = folder / "stderr"
    lines = stderr.read_text(errors="replace").split("\n") if stderr.exists() else []
    return next((f" ({line.strip()})" for line in reversed(lines) if line.strip()), "")


def _kept(notebook: Path, place: Path) -> str:
    """Keep a notebook that failed, if that can be: what is to be told is the failure."""
    try:
        return f": {storage.write(place, notebook.read_bytes())}"
    except UserError as error:
        return f" is not kept: {error}"
