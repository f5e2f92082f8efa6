"""Independent jobs on a Dask cluster: one on this machine, or the workers of a scheduler. Lost workers' jobs
are begun again.
"""

import collections
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from specfreq.core import processes
from specfreq.core.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

Job = TypeVar("Job")
SENT = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)
)  # by a terminal, to all
PATIENCE = 10  # seconds for a scheduler to answer, and for its first worker to be there


class ClusterLost(RuntimeError):
    """The scheduler went away while jobs were running."""


class WorkerLost(RuntimeError):
    """A job's worker was killed, as often as it was begun."""


@contextlib.contextmanager
def connect(address: str | None, workers: int) -> Iterator["Client"]:
    """A client of the scheduler at an address or, without one, of a cluster on this machine that only this
    machine can reach.

    Args:
        workers: processes of the cluster on this machine, one job each at a time.

    Raises:
        UserError: Dask is not installed, no scheduler answers, it has no workers.
    """
    try:
        from distributed.utils import silence_logging_cmgr
    except ImportError:
        raise UserError("sweeps need Dask; pip install 'specfreq[scale]'") from None
    # what goes wrong is said by us
    with (
        silence_logging_cmgr(logging.CRITICAL),
        _local(workers) if address is None else _remote(address) as client,
    ):
        yield client


def _remote(address: str) -> "Client":
    from distributed import Client

    try:
        client = Client(address, timeout=PATIENCE)
    except (
        Exception
    ) as error:  # another program that answers there is taken for a scheduler that wants exabytes, for one
        hint = "start one with `dask scheduler`, or leave the address out for a cluster on this machine"
        raise UserError(f"no Dask scheduler answers at {address!r} ({error}); {hint}") from None
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        client.close()
        raise UserError(
            f"the scheduler at {address} has no workers; start some with `dask worker {address}`"
        ) from None
    return client


@contextlib.contextmanager
def _local(workers: int) -> Iterator["Client"]:
    import dask
    from distributed import Client, LocalCluster

    settings = {
        # `run` begins again: Dask blames the jobs that waited for a lost worker, too
        "distributed.scheduler.allowed-failures": 0,
        # or Dask sets OMP_NUM_THREADS and others, in this process too
        "distributed.nanny.pre-spawn-environ": {},
    }
    options = {
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": 0,
        "preload": __name__,
    }
    options |= {
        "n_workers": workers,
        "threads_per_worker": 1,
        "processes": True,
        "silence_logs": logging.CRITICAL,
    }
    with contextlib.ExitStack() as stack:
        stack.callback(processes.tidy)  # a worker that had to be killed leaves its folder
        own = stack.enter_context(processes.scratch())
        stack.enter_context(dask.config.set({**settings, "temporary-directory": str(own)}))
        with _deaf():
            cluster = stack.enter_context(LocalCluster(**options))
        client = stack.enter_context(Client(cluster))
        try:
            yield client
        except BaseException:
            _kill(cluster)
            raise


def _kill(cluster: Any) -> None:
    """Kill the workers of a cluster on this machine, so that none has to be asked and waited for. Their
    kernels follow.
    """
    for nanny in list(cluster.workers.values()):
        nanny.auto_restart = False
        with contextlib.suppress(OSError):
            if nanny.pid:
                os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Start threads, and by them processes, that a terminal's Ctrl-C or end does not reach: the client is to
    end them.

    Both inherit which signals are blocked. This process hears them by its other threads.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its own start would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def dask_setup(worker: Any) -> None:
    """Called by Dask in each worker on this machine, those that replace lost ones too."""
    for number in SENT:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SENT)  # or kernels would never be interrupted
    tqdm.set_lock(
        threading.RLock()
    )  # its own lock is between processes too, and a worker that is killed leaks it


def refuse_others(client: "Client", identity: Callable[..., Mapping[str, str]], *args: Any) -> None:
    """Compare what a function says here and on every worker.

    Raises:
        UserError: it says something else there; worker, item and both values are named.
    """
    here, others = identity(*args), []
    for worker, there in client.run(identity, *args, on_error="return").items():
        if isinstance(there, BaseException):
            others.append(f"{worker} cannot run specfreq ({type(there).__name__}: {there})")
        else:
            others += [
                f"{worker} has {k} {there.get(k)}, here it is {v}"
                for k, v in here.items()
                if there.get(k) != v
            ]
    if others:
        raise UserError(
            "\n  ".join(
                ["workers must be like this process, or results would depend on who computes them:", *others]
            )
        )


def run(
    client: "Client",
    function: Callable[..., Any],
    jobs: Mapping[Job, tuple],
    retries: int,
    tick: Callable[[int], None],
    begin: Callable[[Job], None],
) -> Iterator[tuple[Job, Any]]:
    """Call a function with the arguments of each job; yield jobs with their results as they finish, errors as
    results.

    Args:
        retries: how often a job is begun again when the scheduler has given it up because workers were lost.
        tick: called several times a second with the number of jobs at work.
        begin: called with each job when it is begun, or begun again.

    Raises:
        ClusterLost: the scheduler went away.
    """
    from distributed import KilledWorker

    waiting, owners, begun = list(jobs)[::-1], {}, collections.Counter()
    try:
        while waiting or owners:
            threads = sum(client.nthreads().values())
            for _ in range(min(len(waiting), threads - len(owners))):  # no more than can start at once
                job = waiting.pop()
                begun[job] += 1
                begin(job)
                owners[client.submit(function, *jobs[job], pure=False)] = job
            tick(min(len(owners), threads))
            time.sleep(0.2)
            for future in [f for f in owners if f.status != "pending"]:
                if future.cancelled():
                    raise OSError("its scheduler has gone")
                job, error = owners.pop(future), future.exception()
                if isinstance(error, KilledWorker):
                    error = WorkerLost(
                        f"{error.allowed_failures + begun[job]} workers were lost, perhaps for want of memory"
                    )
                    if begun[job] <= retries:
                        waiting.append(job)
                        continue
                yield job, error or future.result()
    except OSError:
        raise ClusterLost(
            "the scheduler was lost; finished cells are kept, the same command runs the others"
        ) from None
    finally:
        if owners and client.status == "running":
            client.cancel(list(owners), force=True)
