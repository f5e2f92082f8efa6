"""Studies: notebooks with strict parameters and profiles, executed as a whole or not at all."""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG
from traitlets import default

from specfreq import experiment, storage
from specfreq.naming import UserError
from specfreq.notebooks import Unreadable, find, known_profiles, parameters, resolve, studies
from specfreq.parameters import Parameter
from specfreq.profiles import QUICK

__all__ = ["QUICK", "StudyFailed", "Unreadable", "execute", "find", "known_profiles", "parameters", "resolve", "studies"]

ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}>")
WAITED = re.compile(r"specfreq: another process trains run \w+; waiting for it\n")  # studies side by side that share runs


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
    """The interpreter that runs this program, whatever kernels this machine has; files and sockets in a folder of its own."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
        return KernelSpec(argv=argv, env=dict(self.environment), language="python", display_name="Python 3")

    @default("connection_file")
    def _own_connection_file(self) -> str:
        return str(self.folder / "kernel.json")

    @default("transport")
    def _sockets(self) -> str:  # two kernels that start at once can be given the same TCP port
        return "tcp" if os.name == "nt" else "ipc"


def _environment(folder: Path, root: Path, threads: int | None, progress: bool | None) -> dict[str, str]:
    """What a study's kernel is told, so that the machine, the user's habits and the working directory do not matter."""
    told = {
        "SPECFREQ_RUNS": str((storage.place_of("SPECFREQ_RUNS") or root / "runs").absolute()),
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "TQDM_DISABLE": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if progress is not False and sys.stderr is not None and sys.stderr.isatty() and os.name != "nt":
        told["SPECFREQ_PROGRESS"] = os.ttyname(sys.stderr.fileno())  # the kernel's own stderr is the notebook
    if threads and "OMP_NUM_THREADS" not in os.environ:
        told["OMP_NUM_THREADS"] = str(threads)
    return told


def _prepared(path: Path, values: Mapping[str, Any], declared: Mapping[str, Parameter]) -> NotebookNode:
    """The notebook to run, with a cell that sets what differs from its defaults, as papermill would add it."""
    notebook = _read(path)
    changed = {k: v for k, v in values.items() if v != declared[k].default}
    notebook.cells = [cell for cell in notebook.cells if not _tagged(cell, "injected-parameters")]
    if changed:  # our own cell: papermill's has a random id and turns tuples into text
        source = "\n".join(["# Parameters", *(f"{k} = {v!r}" for k, v in changed.items())])
        cell = nbformat.v4.new_code_cell(source, id="injected-parameters", metadata={"tags": ["injected-parameters"]})
        at = next(i for i, c in enumerate(notebook.cells) if _tagged(c, "parameters"))
        notebook.cells.insert(at + 1, cell)
    return notebook


def _scrubbed(notebook: NotebookNode) -> NotebookNode:
    """Without what differs from run to run: papermill's paths and times, who waited for whom, ``<Styler at 0x7ff9deabc910>``."""
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
        what = "it is a folder" if output.is_dir() else f"{output.parent} is no folder"
        raise UserError(f"cannot write {output}: {what}; choose a place that can be written")
    try:
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}; choose a place that can be written") from None
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

    Raises:
        UserError: before anything runs: unknown or ill-typed parameters, an output that cannot be written.
        StudyFailed: a cell raised, or the kernel died; the message says where the notebook up to there is.
    """
    root = root or experiment.root()
    path, values = find(study, root), resolve(study, profile, overrides, root)
    if output is None:
        output = root / "_build" / "studies" / f"{path.stem}.{profile}.ipynb"
        output.parent.mkdir(parents=True, exist_ok=True)
    output = _checked_output(Path(output), root)
    source = _prepared(path, values, parameters(study, root))
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what goes wrong is said by StudyFailed
    with tempfile.TemporaryDirectory(prefix="specfreq-") as scratch:
        own = Path(scratch)
        nbformat.write(source, own / "source.ipynb")
        told = {**_environment(own, root, threads, progress), **(environment or {})}
        kernel = type("Kernel", (_Kernel,), {"folder": own, "environment": told})
        try:
            executed = papermill.execute_notebook(
                own / "source.ipynb",
                own / "executed.ipynb",
                kernel_name="python3",
                language="python",
                progress_bar={"desc": path.stem, "disable": None if progress is None else not progress, "leave": False},
                kernel_manager_class=kernel,
                record_timing=False,
                coalesce_streams=True,  # how output is cut into pieces depends on the machine's speed
                resources={"metadata": {"path": str(folder) if folder else None}},
            )
        except (PapermillExecutionError, DeadKernelError) as error:
            report = storage.write(report or root / "_build" / "reports" / path.name, (own / "executed.ipynb").read_bytes())
            failure = _what_failed(error, _read(own / "executed.ipynb"))
            raise StudyFailed(f"{path.stem} failed in {failure}; the notebook up to there: {report}") from None
    return storage.write(output, nbformat.writes(_scrubbed(executed)) + "\n")


def _what_failed(error: Exception, partial: NotebookNode) -> str:
    """The cell that ended it, as counted in the study itself, and why."""
    own = [cell for cell in partial.cells if not {"injected-parameters", ERROR_MARKER_TAG} & set(cell.metadata.get("tags", []))]
    started = [number for number, cell in enumerate(own, 1) if cell.metadata.papermill.get("start_time")]
    if isinstance(error, PapermillExecutionError):
        message = error.evalue.strip().partition("\n")[0]
        return f"cell {started[-1]} (In [{error.exec_count}]): {error.ename}: {message}"
    return f"cell {started[-1]}: its kernel died, perhaps for want of memory"
