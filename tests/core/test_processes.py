"""Processes: signals and kills end all that was started, temporary folders of the dead go and those of the
living stay.
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import filelock
import psutil
import pytest
from filelock import FileLock

from specfreq.core import processes
from specfreq.core.errors import UserError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")

# what a command does, told to stay: a group of its own with a child, a temporary folder, and a line when it
# is ready
WORK = """
import os, subprocess, sys, time
from pathlib import Path
from specfreq.core import processes
def work(wait="time.sleep(600)"):
    command = processes.follower("timeit", "-n1", "-r1", "import os; os.system('sleep 600 & wait')")
    group = subprocess.Popen(command, start_new_session=True)
    processes.started(group.pid)
    with processes.scratch() as folder:
        print(group.pid, flush=True)
        exec(wait)
def main(wait="time.sleep(600)"):
    try:
        with processes.interruptible():
            work(wait)
    except KeyboardInterrupt:
        sys.exit(128 + processes.received())
"""


@pytest.fixture
def short():
    """A temporary folder with a short path: those of pytest can be too long for the sockets of kernels, and
    are not used.
    """
    with tempfile.TemporaryDirectory(prefix="tests-", dir="/tmp") as folder:
        yield Path(folder)


def start(tmp_path, code, **options):
    """The first process of such a command, and those of the group that it has started."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen([sys.executable, "-c", WORK + code], env=environment, **pipes, **options)
    leader = psutil.Process(int(first.stdout.readline()))
    until = time.monotonic() + 60
    while not leader.children(recursive=True) and time.monotonic() < until:
        time.sleep(0.05)
    return first, [leader, *leader.children(recursive=True)]


def gone(group):
    return not psutil.wait_procs(group, 10)[1]


def folders(tmp_path):
    return list(tmp_path.glob("specfreq-*"))


def heard():
    """As in a terminal, however the tests were started: `nohup make test &` ignores two of them."""
    for number in processes.SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_process_and_its_groups_and_a_second_one_changes_nothing(short, name):
    number = getattr(signal, name)
    first, group = start(short, "main()", preexec_fn=heard)
    assert len(folders(short)) == 1
    first.send_signal(number)
    first.send_signal(number)
    _, err = first.communicate(timeout=30)
    assert (first.returncode, err) == (128 + number, "")
    assert gone(group) and folders(short) == []


def test_what_does_not_end_by_itself_is_killed(short):
    stuck = "while True:\n    try: time.sleep(600)\n    except KeyboardInterrupt: pass"
    first, group = start(short, f"processes.GRACE = 0.5\nmain({stuck!r})", preexec_fn=heard)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=30)
    assert (first.returncode, err) == (130, "specfreq: interrupted; what had not ended was killed\n")
    assert gone(group) and folders(short) == []


def test_a_killed_process_takes_its_groups_along_and_the_next_start_removes_its_folder(short, monkeypatch):
    first, group = start(short, "main()")
    first.kill()
    first.communicate(timeout=30)
    assert gone(group)
    assert len(folders(short)) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    with processes.scratch() as own:
        assert folders(short) == [own]


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_that_was_ignored_from_the_start_stays_ignored(short, name):
    number = getattr(signal, name)
    first, group = start(
        short, "main('time.sleep(1)')", preexec_fn=lambda: signal.signal(number, signal.SIG_IGN)
    )
    first.send_signal(number)
    assert first.wait(60) == 0
    first.communicate()
    assert gone(group)  # which end with their parent, however it ends


def test_a_fork_of_the_process_does_not_pass_its_signals_on(short):
    """A loader of data ends its workers by TERM."""
    forked = "child = os.fork()\nif not child: time.sleep(600)\ntime.sleep(.5); os.kill(child, 15); print(os.waitpid(child, 0)[1])"
    first, group = start(
        short, f"processes.GRACE = 0\nmain({forked + '; time.sleep(1)'!r})", preexec_fn=heard
    )
    out, _ = first.communicate(timeout=60)
    assert (first.returncode, out) == (0, f"{signal.SIGTERM}\n")
    assert gone(group)


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in processes.SIGNALS]
    with processes.interruptible():
        pass
    assert [signal.getsignal(number) for number in processes.SIGNALS] == before


def test_the_folders_of_the_living_and_of_others_are_left_alone(short, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    foreign = short / "specfreq-notes"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("not yours")
    with processes.scratch() as one, processes.scratch() as other:
        assert one.exists() and other.exists()
    assert list(short.iterdir()) == [foreign] and (foreign / "mine.txt").exists()


def test_what_was_left_is_out_of_the_way_before_it_is_removed(short, monkeypatch):
    """A process that has made its folder and not yet locked it would lock it anew between two removals."""
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    left, seen = short / "specfreq-left", []
    left.mkdir()
    (left / "lock").touch()
    remove = processes._remove
    monkeypatch.setattr(processes, "_remove", lambda folder: seen.append(left.exists()) or remove(folder))
    processes.tidy()
    assert seen == [False] and not list(short.iterdir())


def test_a_long_path_of_temporary_files_gives_way_to_one_that_sockets_can_have(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with processes.scratch() as folder:
        assert len(os.fsencode(folder / "kernel-ipc-5")) <= 103


@pytest.mark.parametrize("held", [False, True])
def test_a_folder_that_another_process_removes_before_it_is_held_is_made_again(short, monkeypatch, held):
    """Two commands that start at the same moment: one looks for what killed processes left."""
    monkeypatch.setattr(tempfile, "tempdir", str(short))  # no other command loses its folder
    taken = []

    class Raced(FileLock):
        def acquire(self, *args, **options):
            folder = Path(self.lock_file).parent
            if taken:
                return super().acquire(*args, **options)
            taken.append(folder)
            found = super().acquire(*args, **options) if held else None
            shutil.rmtree(folder)
            if found is None:  # as opening the file of the lock does
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.lock_file)
            return found

    monkeypatch.setattr(filelock, "FileLock", Raced)
    with processes.scratch() as folder:
        assert folder.is_dir()
        assert taken
        assert folder != taken[0]


def test_no_place_for_temporary_files_is_said(short, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(short / "missing"))
    with pytest.raises(UserError, match=r"no place for temporary files .*set TMPDIR"), processes.scratch():
        pass


def test_a_module_runs_as_by_python_m_and_what_it_prints_is_returned(tmp_path):
    (tmp_path / "shown.py").write_text("import sys\nprint(__name__, sys.argv[1:], sys.path[0])\nsys.exit(3)")
    with contextlib.chdir(tmp_path):
        expected = subprocess.run([sys.executable, "-m", "shown", "a"], capture_output=True, text=True).stdout
    code, printed = processes.run("shown", "a", cwd=Path(tmp_path))
    assert (code, printed.split()[:2]) == (3, expected.split()[:2])
