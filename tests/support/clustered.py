"""A request on a Dask cluster, without Prefect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed import Client

from dsdit.steps.publish.report import due_jobs, make_report
from dsdit.store.arrays import forget_arrays
from flows.request.cluster_file import load_cluster
from flows.run.cluster import open_cluster
from flows.run.loop import Progress, Wavefront, run_wavefront
from tests.support.digests import mosaic_digest
from tests.support.running import Ran, prepare

Watch = Callable[[Client, Progress], None]


def run_on(record: dict[str, Any], watch: Watch | None = None, client: Client | None = None) -> Ran:
    """Runs every due step on `client`, or on the cluster that the request asks for; `watch` sees each finished step."""
    if client is None:
        request, _, _ = prepare(record)
        with open_cluster(request.compute) as opened:
            return run_on(record, watch, opened)
    request, plan, places = prepare(record)
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)

    def seen(progress: Progress) -> None:
        if watch is not None:
            watch(client, progress)

    needs = load_cluster(request.compute.cluster)[0].needs
    receipts = run_wavefront(client, front, request.compute.futures_per_worker, seen, lambda _: None, needs=needs)
    return Ran(request, plan, places, receipts, make_report(plan, places.receipts, tuple(receipts)))


def digest_of(ran: Ran) -> str:
    """sha256 of the region's pixels."""
    forget_arrays()
    return mosaic_digest(ran.plan, ran.places.mosaic)
