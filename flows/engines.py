"""What windows are computed by: threads of this process, processes of their own, or a Dask cluster."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from prefect.concurrency.services import ConcurrencySlotAcquisitionWithLeaseService
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from clearyear.budget import Budget
from clearyear.errors import InputError
from clearyear.reading import gdal
from clearyear.settings import Settings

_LOOPBACK = ("127.", "localhost", "[::1]")
_DRAIN_SECONDS = 5
_SERVERS: list[str] = []
"""In a Dask worker: the server of the run it was last used by."""
_ENDED: list[Any] = []
"""Clients of gateways, closed. When one is forgotten dask-gateway closes it once more, which with today's distributed
ends in a traceback on stderr; at the end of the process it does not try."""


@contextmanager
def engine(runner: str, budget: Budget) -> Iterator["TaskRunner[Any]"]:
    """A started task runner that computes as many windows at once as the budget says.

    Args:
        runner: ``threads``, ``processes`` or ``dask``.
        budget: of all processes together; a Dask cluster that is somewhere already does as many at once as it has
            threads, and the budget is that of one of them.

    Raises:
        InputError: Dask is not installed, or its cluster cannot be used from here.
    """
    if runner == "dask":
        with _dask(budget) as started:
            yield started
        return
    pool: TaskRunner[Any]
    if runner == "processes":
        open_files = budget.open_files // budget.workers
        pool = ProcessPoolTaskRunner(budget.workers, initializer=gdal.keep_open, initargs=(open_files,))
    else:
        budget.apply()
        pool = ThreadPoolTaskRunner(max_workers=budget.workers)
    with pool as started:
        yield started


@contextmanager
def _dask(budget: Budget) -> Iterator["TaskRunner[Any]"]:
    settings = Settings()
    try:
        from distributed import LocalCluster
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise InputError(
            f"The runner dask cannot be used: {error}",
            "prefect-dask",
            "pip install '.[dask]' in clearyear's checkout; the environment of scripts/dev.py has it",
        ) from error
    # Dask tells of each connection it makes; with --debug it may.
    logging.getLogger("distributed").setLevel(logging.getLogger().getEffectiveLevel())
    with ExitStack() as stack:
        if settings.dask_cluster:
            cluster = stack.enter_context(_gateway_cluster(settings.dask_cluster))
            _check_api(cluster.scheduler_address)
            pool = DaskTaskRunner(cluster=cluster)
        elif settings.dask_address:
            _check_api(settings.dask_address)
            pool = DaskTaskRunner(address=settings.dask_address)
        else:
            # Whoever reaches a scheduler may run code by it, and on a shared machine others hear its port. The memory
            # is kept to by the budget; Dask would kill a worker at a limit of its own.
            local = {"n_workers": budget.workers, "threads_per_worker": 1, "security": True, "memory_limit": 0}
            pool = DaskTaskRunner(cluster_class=LocalCluster, cluster_kwargs={**local, "dashboard_address": None})
        try:
            started = stack.enter_context(pool)
            started.client.run(gdal.keep_open, budget.open_files // budget.workers)
            started.client.run(_turn_to, PREFECT_API_URL.value() or "")
        except OSError as error:
            raise _no_cluster(settings.dask_cluster or settings.dask_address or "of this machine", error) from error
        yield started


@contextmanager
def _gateway_cluster(name: str) -> Iterator[Any]:
    """An existing cluster of the Dask Gateway that Dask's own configuration (DASK_GATEWAY__ADDRESS) names."""
    try:
        from dask_gateway import Gateway
    except ImportError as error:
        raise InputError(
            f"The Dask Gateway cluster {name!r} cannot be reached: {error}", "dask-gateway", "pip install dask-gateway"
        ) from error
    try:
        gateway = Gateway()
        cluster = gateway.connect(name)
    except Exception as error:
        raise _no_cluster(name, error) from error
    try:
        yield cluster
    finally:
        cluster.close()  # our side of it; who started the cluster ends it
        gateway.close()
        _ENDED.extend((cluster, gateway))


async def _turn_to(server: str) -> None:
    """Have a worker that has served another run ask this run's Prefect server, and not the one it knows.

    Prefect keeps what asks for a tag's slots for as long as the process lives, connected to the server of its first
    task; a command's own server is gone with the command.
    """
    if _SERVERS[-1:] != [server]:
        stopping: Any = ConcurrencySlotAcquisitionWithLeaseService.drain_all(timeout=_DRAIN_SECONDS)
        await stopping
        _SERVERS[:] = [server]


def _check_api(scheduler: str) -> None:
    """Workers elsewhere must reach Prefect: each reports its task's states itself.

    Raises:
        InputError: Prefect's server is at a loopback address and the scheduler is not.
    """
    api = PREFECT_API_URL.value() or ""
    if urlsplit(api).netloc.startswith(_LOOPBACK) and not _is_here(urlsplit(scheduler).hostname):
        raise InputError(
            f"Dask's workers at {scheduler} cannot reach Prefect at {api}, which is this machine's own",
            "a Prefect server they reach",
            "set PREFECT_API_URL to a server that both sides reach",
        )


def _is_here(host: str | None) -> bool:
    """Whether a host is this machine: only then can we listen at its address."""
    try:
        with socket.create_server((host or "", 0)):
            return True
    except OSError:
        return False


def _no_cluster(name: str, error: Exception) -> InputError:
    return InputError(
        f"The Dask cluster {name!r} cannot be used ({type(error).__name__}: {error})",
        "a scheduler that answers, with workers that have clearyear in the same version",
        "see docs/how-to/dask.md; without CLEARYEAR_DASK_ADDRESS and CLEARYEAR_DASK_CLUSTER one is started here",
    )
