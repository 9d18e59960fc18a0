"""The Dask cluster behind a run. Jobs know nothing of which one it is. The owner of distributed and dask-cuda."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster

from dsdit.errors import RequestError
from flows.settings import Compute

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""One thread a process: OpenMP barriers of several would spin against each other."""

CONNECT_S = 20.0
"""How long a scheduler at an address may take to answer."""


@contextmanager
def open_cluster(compute: Compute) -> Iterator[Client]:
    """A client of the cluster that `compute` asks for; a local one is closed with it.

    Raises RequestError where the cluster cannot be had.
    """
    quiet()
    if compute.cluster == "address":
        assert compute.address is not None
        try:
            client = Client(compute.address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise RequestError(f"no Dask scheduler answers at {compute.address!r}: {error}") from error
        with client:
            yield client
        return
    os.environ.update(_ENVIRONMENT)
    with (
        _cuda() if compute.cluster == "cuda" else _local(compute) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _local(compute: Compute) -> LocalCluster:
    return LocalCluster(
        n_workers=compute.workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit=compute.memory_limit_bytes or "auto",
        silence_logs=logging.ERROR,
        env=_ENVIRONMENT,
    )


def _cuda() -> LocalCluster:
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise RequestError(
            "cluster: cuda needs dask-cuda: install the extra with `pip install '.[cuda]'`, or take cluster: local"
        ) from error
    try:
        return LocalCUDACluster(threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    except Exception as error:
        raise RequestError(
            f"cluster: cuda found no GPU that it can use ({type(error).__name__}): take cluster: local on this machine"
        ) from error


def quiet() -> None:
    """Sets distributed's loggers back to errors; importing Prefect raises them to INFO."""
    for name in (
        "distributed",
        "distributed.worker",
        "distributed.scheduler",
        "distributed.nanny",
        "distributed.core",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
