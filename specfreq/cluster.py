"""Independent jobs on a Dask cluster: one on this machine, or the workers of a scheduler. Lost workers' jobs are begun again."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from specfreq.naming import UserError

if TYPE_CHECKING:
    from distributed import Client

Job = TypeVar("Job")
PATIENCE = 10  # seconds for a scheduler to answer, and for its first worker to be there


class ClusterLost(RuntimeError):
    """The scheduler went away while jobs were running."""


@contextlib.contextmanager
def connect(address: str | None, workers: int, retries: int) -> Iterator["Client"]:
    """A client of the scheduler at an address or, without one, of a cluster on this machine that only this machine can reach.

    Args:
        workers: processes of the cluster on this machine, one job each at a time.
        retries: how often a job is begun again there when its worker was lost.

    Raises:
        UserError: Dask is not installed, no scheduler answers, it has no workers.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise UserError("sweeps need Dask; pip install 'specfreq[scale]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is said by us
    if address is not None:
        try:
            client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            hint = "start one with `dask scheduler`, or leave the address out for a cluster on this machine"
            raise UserError(f"no Dask scheduler answers at {address!r} ({error}); {hint}") from None
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError:
                raise UserError(f"the scheduler at {address} has no workers; start some with `dask worker {address}`") from None
            yield client
        return
    settings = {
        "distributed.scheduler.allowed-failures": retries,
        "distributed.scheduler.worker-saturation": 1.0,  # a lost worker takes down one job, not those that wait beside it
        "distributed.nanny.pre-spawn-environ": {},  # or Dask sets OMP_NUM_THREADS and others, in this process too
    }
    own = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "memory_limit": 0, "silence_logs": logging.CRITICAL}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **own) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


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
            others += [f"{worker} has {k} {there.get(k)}, here it is {v}" for k, v in here.items() if there.get(k) != v]
    if others:
        raise UserError("\n  ".join(["workers must be like this process, or results would depend on who computes them:", *others]))


def run(
    client: "Client", function: Callable[..., Any], jobs: Mapping[Job, tuple], tick: Callable[[int], None]
) -> Iterator[tuple[Job, Any]]:
    """Call a function with the arguments of each job, and yield jobs with their results as they finish; errors as results.

    Args:
        tick: called about every second with the number of jobs that are being worked on.

    Raises:
        ClusterLost: the scheduler went away.
    """
    from distributed import wait

    owners = {client.submit(function, *args, pure=False): job for job, args in jobs.items()}
    pending = set(owners)
    try:
        while pending:
            with contextlib.suppress(TimeoutError):
                wait(pending, timeout=1, return_when="FIRST_COMPLETED")
            done = {future for future in pending if future.status != "pending"}
            pending -= done
            tick(_running(client, {future.key for future in pending}))
            for future in done:
                yield owners.pop(future), future.exception() or future.result()
    finally:
        client.cancel(list(pending), force=True)


def _running(client: "Client", keys: set[str]) -> int:
    threads = client.nthreads()
    return sum(min(len(keys.intersection(there)), threads.get(worker, 0)) for worker, there in client.processing().items())
