"""A request on a Dask cluster, without Prefect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client

from dsdit.steps.publish.report import due_jobs, make_report
from dsdit.store.arrays import forget_arrays
from flows.request.cluster_file import ClusterFile, load_cluster
from flows.request.settings import Compute
from flows.run.dask_executor import DaskExecutor
from flows.run.executor import open_executor
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.progress import Progress
from tests.support.digests import mosaic_digest
from tests.support.running import Ran, prepare

Watch = Callable[[Client, Progress], None]


@contextmanager
def open_client(compute: Compute, cluster: ClusterFile | None = None) -> Iterator[Client]:
    """The client of the Dask cluster that `compute` names."""
    with open_executor(cluster or load_cluster(compute.cluster), compute) as executor:
        assert isinstance(executor, DaskExecutor)
        yield executor.client


def run_on(record: dict[str, Any], watch: Watch | None = None, client: Client | None = None) -> Ran:
    """Runs every due step on `client`, or on the cluster that the request names; `watch` gets each finished step."""
    if client is None:
        request, _, _ = prepare(record)
        with open_client(request.compute) as opened:
            return run_on(record, watch, opened)
    request, plan, places = prepare(record)
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)

    def report(progress: Progress) -> None:
        if watch is not None:
            watch(client, progress)

    executor = DaskExecutor(client, getattr(load_cluster(request.compute.cluster), "needs", None))
    receipts = executor.run_wavefront(front, RunLimits.of(request.compute), RunHooks(on_progress=report))
    return Ran(request, plan, places, receipts, make_report(plan, places.receipts, tuple(receipts)))


def digest_of(ran: Ran) -> str:
    """sha256 of the region's pixels."""
    forget_arrays()
    return mosaic_digest(ran.plan, ran.places.mosaic)
