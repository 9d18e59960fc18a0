"""A run in this very process over a repository: shards are written in forks, as on Dask workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dsdit.mosaic.template import create_mosaic
from dsdit.mosaic.versions import mosaic_store
from dsdit.receipts.receipts import Receipt
from dsdit.steps.publish.report import due_jobs, make_report
from dsdit.steps.scratch import create_scratch
from dsdit.store.arrays import forget_arrays
from flows.plan.make_plan import keep_plan, make_plan
from flows.request.request import make_request
from flows.run.commits import Commits
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks
from flows.run.run_step import Places
from flows.run.serial import run_serially
from tests.support.running import NOW, Ran


@contextmanager
def run_forked(record: dict[str, Any]) -> Iterator[Ran]:
    """Runs every due step in the run's branch, and publishes nothing; the mosaic can be read within the block."""
    request = make_request({**record, "store": "icechunk"})
    plan = make_plan(request, NOW, lambda _: None)
    store = mosaic_store(request.output, request.store)
    version = store.begin()
    with store.writing(version) as mosaic:
        create_mosaic(plan, mosaic)
    version = store.forked(version)
    places = Places.of(keep_plan(plan, request.output), request.scratch_url, request.output)
    places = places._replace(mosaic=version.mosaic, fork=version.fork)
    forget_arrays()
    create_scratch(places.scratch, plan.lattice, plan.layout.jobs_window, plan.bands)
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)
    commits = Commits(store, version, places.receipts, 3600, lambda: None)

    receipts: list[Receipt] = []
    run_serially(front, RunHooks(on_receipt=receipts.append, commits=commits))
    with store.writing(version) as mosaic:
        read = places._replace(mosaic=mosaic, fork=b"")
        yield Ran(request, plan, read, receipts, make_report(plan, places.receipts, tuple(receipts)))
