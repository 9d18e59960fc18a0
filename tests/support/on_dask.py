"""A run on a real local Dask cluster, without Prefect."""

from __future__ import annotations

from typing import Any

from dsdit.steps.publish.report import due_jobs, make_report
from flows.run.cluster import open_cluster
from flows.run.loop import Wavefront, run_wavefront
from tests.support.running import Ran, prepare


def run_on_dask(record: dict[str, Any], workers: int) -> Ran:
    """Runs every due step on a LocalCluster of `workers` processes."""
    request, plan, places = prepare({**record, "compute": {"workers": workers}})
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)
    failures: list[str] = []
    with open_cluster(request.compute) as client:
        assert len(client.scheduler_info()["workers"]) == workers
        receipts = run_wavefront(
            client, front, request.compute.futures_per_worker, lambda progress: None, failures.append
        )
    assert not failures
    return Ran(request, plan, places, receipts, make_report(plan, places.receipts, tuple(receipts)))
