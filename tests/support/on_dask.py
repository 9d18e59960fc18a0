"""A run on a real local Dask cluster, without Prefect."""

from __future__ import annotations

from typing import Any

from dsdit.steps.publish.report import due_jobs, make_report
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.loop import WavefrontRun
from tests.support.clustered import open_client
from tests.support.running import Ran, prepare


def run_on_dask(record: dict[str, Any], workers: int) -> Ran:
    """Runs every due step on a LocalCluster of `workers` processes."""
    request, plan, places = prepare({**record, "compute": {"workers": workers}})
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)
    failures: list[str] = []
    with open_client(request.compute) as client:
        assert len(client.scheduler_info()["workers"]) == workers
        hooks = RunHooks(on_failure=failures.append)
        receipts = WavefrontRun(client, front, RunLimits.of(request.compute), hooks).run()
    assert not failures
    return Ran(request, plan, places, receipts, make_report(plan, places.receipts, tuple(receipts)))
