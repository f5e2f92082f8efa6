"""Independent jobs on a Dask cluster, of this machine or a scheduler. Jobs of lost workers are restarted."""

import collections
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tqdm import tqdm

from specfreq.core import processes
from specfreq.core.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

Job = TypeVar("Job")
# the signals that a terminal sends to all of its processes
SENT = tuple(getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name))
PATIENCE = 10  # seconds for a scheduler to answer, and for its first worker to be there


class ClusterLost(RuntimeError):
    """The scheduler went away while jobs were running."""


class WorkerLost(RuntimeError):
    """A job's worker was killed, as often as it was begun."""


@contextlib.contextmanager
def connect(address: str | None, workers: int) -> Iterator["Client"]:
    """A client of the scheduler at an address or, without one, of a cluster that is private to this machine.

    Args:
        workers: processes of the cluster on this machine, one job each at a time.

    Raises:
        UserError: Dask is not installed, no scheduler answers, it has no workers.
    """
    try:
        from distributed.utils import silence_logging_cmgr
    except ImportError:
        raise UserError("sweeps need Dask; pip install 'specfreq[scale]'") from None
    with silence_logging_cmgr(logging.CRITICAL):  # what goes wrong is said by us
        connection = _local(workers) if address is None else _remote(address)
        with connection as client:
            yield client


def _remote(address: str) -> "Client":
    from distributed import Client

    try:
        client = Client(address, timeout=PATIENCE)
    except Exception as error:  # of any kind: another program may answer there
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
    import dask.config
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
    """Kill the workers of a cluster on this machine, not waiting for them. Their kernels end with them."""
    for nanny in list(cluster.workers.values()):
        nanny.auto_restart = False
        with contextlib.suppress(OSError):
            if nanny.pid:
                os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Start threads and processes that a terminal's Ctrl-C or end does not reach: the client ends them.

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
    # its own lock is between processes too, and a worker that is killed leaks it
    tqdm.set_lock(threading.RLock())


def refuse_others(client: "Client", identity: Callable[..., Mapping[str, str]], *args: Any) -> None:
    """Compare what a function says here and on every worker.

    Raises:
        UserError: it says something else there; worker, item and both values are named.
    """
    here = identity(*args)
    others = []
    for worker, there in cast(dict[str, Any], client.run(identity, *args, on_error="return")).items():
        if isinstance(there, BaseException):
            others.append(f"{worker} cannot run specfreq ({type(there).__name__}: {there})")
            continue
        for item, value in here.items():
            if there.get(item) != value:
                others.append(f"{worker} has {item} {there.get(item)}, here it is {value}")
    if others:
        first = "workers must match this process, or results would depend on where they are computed:"
        raise UserError("\n  ".join([first, *others]))


def run(
    client: "Client",
    function: Callable[..., Any],
    jobs: Mapping[Job, tuple],
    retries: int,
    tick: Callable[[int], None],
    begin: Callable[[Job], None],
) -> Generator[tuple[Job, Any], None, None]:
    """Call a function with the arguments of each job; yield jobs with results or errors, as they finish.

    Args:
        retries: how often a job is begun again when the scheduler has given it up because workers were lost.
        tick: called several times a second with the number of jobs at work.
        begin: called with each job when it is begun, or begun again.

    Raises:
        ClusterLost: the scheduler went away.
    """
    from distributed import KilledWorker

    waiting = list(jobs)[::-1]
    owners: dict[Any, Job] = {}  # by future
    begun = collections.Counter()
    try:
        while waiting or owners:
            threads = sum(cast(dict[str, int], client.nthreads()).values())
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
                job = owners.pop(future)
                error = future.exception()
                if isinstance(error, KilledWorker):
                    lost = error.allowed_failures + begun[job]
                    error = WorkerLost(f"{lost} workers were lost, perhaps for lack of memory")
                    if begun[job] <= retries:
                        waiting.append(job)
                        continue
                yield job, error or future.result()
    except OSError:
        kept = "finished cells are kept, the same command runs the others"
        raise ClusterLost(f"the scheduler was lost; {kept}") from None
    finally:
        if owners and client.status == "running":
            client.cancel(list(owners), force=True)
