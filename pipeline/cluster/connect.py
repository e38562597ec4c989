"""A cluster by one flag: `--cluster local:4` starts four processes here, `--cluster
tcp://HOST:PORT` joins a Dask scheduler that runs.

Dask pickles what it sends, so whoever reaches a scheduler can run any code on it, on its workers
and on those who join it: `tcp://` is for a network of one's own and a scheduler that one trusts.
`tls://` takes the certificates of Dask's own configuration (`distributed.comm.tls`). Nothing here
reads a pickle from a file. Worker processes see galleries, models and photos under the paths that
the command does: on one machine they do, on several a shared folder does it.
"""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.base.errors import UsageError
from pipeline.base.install import add_extra

CONNECT_SECONDS = 10  # for a scheduler to answer
EMPTY_SECONDS = 60.0  # without a single worker: they may be starting


class SchedulerLost(UsageError):
    """The scheduler went away amid the job."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """Workers that can be asked. Use `clustered(...)`, which begins and ends them."""

    address: str  # as the caller gave it
    client: Any  # distributed.Client
    threads: int  # for one task

    def workers(self) -> dict[str, int]:
        """How many tasks each runs at once now, by address. Raises SchedulerLost."""
        try:
            if self.client.status == "running":
                return dict(self.client.nthreads())
        except (OSError, RuntimeError):  # whatever it lost its connection in
            pass
        raise self.lost()

    def size(self) -> int:
        """How many tasks run at once now. Raises SchedulerLost."""
        return sum(self.workers().values())

    def lost(self) -> SchedulerLost:
        return SchedulerLost(
            f"cluster {self.address}: expected a scheduler that stays, got none any more; start it"
            " anew and run the same command again"
        )

    def without_workers(self) -> UsageError:
        return UsageError(
            f"cluster {self.address}: expected a worker, got none in {EMPTY_SECONDS:.0f} s; run"
            " `dask worker ADDRESS --nthreads 1` beside it"
        )


@contextmanager
def clustered(address: str) -> Iterator[Cluster]:
    """What `--cluster` names, ready to be asked. Raises UsageError where it cannot be had."""
    try:
        import distributed
    except ImportError:
        raise UsageError(
            f"--cluster {address}: expected the package distributed, got none; run"
            f" {add_extra('cluster')}"
        ) from None
    # Dask gives each a level
    for name in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a loss is said once, by us
    kind, _, rest = address.partition(":")
    if kind == "local":
        with _local(int(rest)) as local, distributed.Client(local, set_as_default=False) as client:
            yield Cluster(address, client, max(1, (os.cpu_count() or 1) // int(rest)))
        return
    try:
        security = distributed.Security(require_encryption=True) if kind == "tls" else None
        client = distributed.Client(
            address, set_as_default=False, security=security, timeout=CONNECT_SECONDS
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"cluster {address}: expected a Dask scheduler, got {reason}; run `dask scheduler`"
            " there, or `--cluster local:2` here"
        ) from None
    try:
        yield _manned(Cluster(address, client, 1))
    finally:
        client.close(timeout=2)


def _manned(cluster: Cluster) -> Cluster:
    try:
        cluster.client.wait_for_workers(1, timeout=EMPTY_SECONDS)
    except OSError:  # a TimeoutError among them
        raise (
            cluster.without_workers() if cluster.client.status == "running" else cluster.lost()
        ) from None
    return cluster


@contextmanager
def _local(processes: int) -> Iterator[Any]:
    """So many processes of one thread each, started anew when they die; they end with us, however
    we end.
    """
    import dask
    import distributed

    settings = {
        # Dask's own would have every freed array go back to the system at once, and faulted in
        # again
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
        ),
        # looks at every thread a hundred times a second, for a page that nobody has open
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "500ms",
        # a thief would open a part that another worker owns
        "distributed.scheduler.work-stealing": False,
        # Dask listens for a browser even without a page to show: with nothing to say
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    scheduler = {
        # a death is reported at once, not when three more have died of it: tasks.py knows what then
        "allowed_failures": 0,
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            # mapped features count as a worker's memory, which it could not give back: no limit
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            scheduler_kwargs=scheduler,
            preload=[__name__],  # which has each worker call dask_setup
        ) as local,
    ):
        yield local


def dask_setup(worker: object) -> None:
    """In a local worker as it starts: Ctrl-C is for the command, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
