"""Processes: a signal ends a command and all that it started; what it started ends with it even when it is
killed.

Run as a script, ``python processes.py PARENT MODULE[:FUNCTION] ARGUMENTS``, it is the other side: it runs a
module, or calls a function of it, in a process that kills itself and its group as soon as the process PARENT
is no longer its parent.
"""

import contextlib
import importlib
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

GRACE = 5.0  # seconds in which a command may end by itself before what is left of it is killed
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PREFIX = "specfreq-"
# bytes of a temporary folder's path; a kernel's sockets lie in it, and a socket's path has at most 103
LONGEST = 70

_groups: set[int] = set()  # leaders of the groups of processes that this one has started and not yet seen end
_folders: set[Path] = set()  # temporary folders that this process holds
_received: int | None = None  # the signal that ends this process


# -- signals -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make the signals INT, TERM and HUP all raise KeyboardInterrupt, once, and kill what has not ended after
    `GRACE` seconds.

    A signal that is ignored when this begins (``nohup``, a job in the background of a script) stays ignored.
    A thread keeps the time, so that neither a library's kernel nor a lock can hold the process up.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    mine = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    heard, told = os.pipe()
    os.set_blocking(told, False)
    awake = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=[heard, mine], daemon=True).start()
    for number in mine:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for (
            number
        ) in mine:  # a process that is ending has only its code to give, and the thread has the last word
            signal.signal(number, before[number] if _received is None else signal.SIG_IGN)
        if _received is None:
            signal.set_wakeup_fd(awake)
            os.close(told)


def _interrupt(number: int, frame: object) -> None:
    global _received
    if _received is None:  # a second signal must not interrupt the tidying up after the first
        _received = number
        raise KeyboardInterrupt


def _watch(heard: int, numbers: Sequence[int]) -> None:
    """Wait for one of the signals: Python's own handler runs in the main thread alone, and only between two
    of its steps.
    """
    number = 0
    while number not in numbers:
        if not (byte := os.read(heard, 1)):
            os.close(heard)
            return
        number = byte[0]
    time.sleep(GRACE)
    leave(number, "interrupted; what had not ended was killed")


def leave(number: int, message: str) -> NoReturn:
    """Kill what is left, and end at once by a signal's number: the interpreter and its libraries take seconds
    to end.
    """
    end_started()
    for child in multiprocessing.active_children():
        child.kill()
    for folder in tuple(_folders):
        _remove(folder)
    tidy()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, f"specfreq: {message}\n".encode())
    os._exit(128 + number)


def _forget() -> None:
    """In a fork: its signals are its own, and must not be taken for this process's."""
    if any(signal.getsignal(number) is _interrupt for number in SIGNALS):
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) is _interrupt:
                signal.signal(
                    number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                )
    _groups.clear()
    _folders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def received() -> int:
    """The number of the signal that ends this process: that of Ctrl-C unless another came."""
    return _received or signal.SIGINT


def ending() -> bool:
    """Whether a signal has come that ends this process."""
    return _received is not None


# -- what this process starts --------------------------------------------------------------------------------


def follower(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` or ``module:function`` in a process which ends when this one does.

    It must be started in a session of its own, as its leader: it kills its group.
    """
    return [sys.executable, os.path.abspath(__file__), str(os.getpid()), module, *arguments]


def started(leader: int) -> None:
    """Count a group of processes, by its leader's id, among what ends with this process."""
    _groups.add(leader)


def ended(leader: int) -> None:
    """Kill what the leader of a group has left behind, and forget it."""
    if leader in _groups:
        _kill(leader)
        _groups.discard(leader)


def end_started() -> None:
    """Kill every group of processes that was started here."""
    for leader in tuple(_groups):
        _kill(leader)


def _kill(leader: int) -> None:
    with contextlib.suppress(OSError):
        if os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(leader)], capture_output=True)
        else:
            os.killpg(leader, signal.SIGKILL)


def run(module: str, *arguments: str, cwd: Path) -> tuple[int, str]:
    """Run ``module`` or ``module:function`` in a process of its own until it ends: its exit code, and all
    that it printed.
    """
    command = follower(module, *arguments)
    with subprocess.Popen(
        command,
        cwd=cwd,
        text=True,
        errors="replace",
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        started(process.pid)
        try:
            printed, _ = process.communicate()
        finally:
            ended(process.pid)
    return process.returncode, printed


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)


# -- temporary folders ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder with a short path, removed at the end. What killed processes have left of theirs is
    removed first.

    Raises:
        UserError: there is no place for temporary files.
    """
    from filelock import FileLock

    from specfreq.core.errors import UserError

    tidy()
    try:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
            lock = FileLock(folder / "lock")
            # another process may take it for one that was left, before it is held: then once more
            with contextlib.suppress(FileNotFoundError):
                lock.acquire()
                if (folder / "lock").exists():
                    break
                lock.release()
    except OSError as error:
        hint = "set TMPDIR to a folder that can be written"
        raise UserError(f"no place for temporary files ({error.strerror or error}); {hint}") from error
    _folders.add(folder)
    try:
        yield folder
    finally:
        _folders.discard(folder)
        _remove(folder)
        lock.release()
        _remove(folder)  # where an open file cannot be removed


def tidy() -> None:
    """Remove temporary folders of processes that were killed: those that nobody holds, of this user."""
    from filelock import FileLock, Timeout

    with contextlib.suppress(OSError):
        for lock in Path(_place()).glob(f"{PREFIX}*/lock"):
            with contextlib.suppress(OSError, Timeout):
                if hasattr(os, "getuid") and lock.stat().st_uid != os.getuid():
                    continue
                with FileLock(lock, timeout=0):
                    gone = folder = lock.parent
                    # one that was made a moment ago, and is not held yet, must not get a lock anew on the way
                    with contextlib.suppress(OSError):  # Windows renames no folder with an open file
                        gone = folder.rename(folder.with_name(f"{folder.name}-{os.getpid()}"))
                    _remove(gone)


def _remove(folder: Path) -> None:
    for _ in range(5):  # a process that was killed a moment ago may still write
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def _place() -> str:
    """The folder of temporary files; where its path is too long for sockets, a shorter one."""
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) > LONGEST and os.access("/tmp", os.W_OK | os.X_OK):
        return "/tmp"
    return usual


if __name__ == "__main__":
    sys.path[0] = ""  # as for `python -m`; else this package's modules would hide others of the same name
    parent = int(sys.argv.pop(1))
    if os.name != "nt":  # kernels have their own watch there
        os.environ.pop(
            "JPY_PARENT_PID", None
        )  # and here too, but it ends the kernel alone, and what that started lives on
        threading.Thread(target=_follow, args=[parent], daemon=True).start()
    module, _, function = sys.argv.pop(1).partition(":")
    if function:
        getattr(importlib.import_module(module), function)()
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
