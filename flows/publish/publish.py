"""Publishes a run: first what is coarser than the shards, on the cluster where it is much, then all that readers see.

On a cluster the parts are made batch by batch, a bounded number of calls at a time. In folders workers write in place.
In a repository a worker writes to a fork and returns what it changed, which is committed while the batch runs; the
next batch begins with forks of what was committed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from dsdit.errors import StoreError
from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.folder_versions import carry_over
from dsdit.mosaic.lease import Lease
from dsdit.mosaic.version import Version
from dsdit.mosaic.versions import MosaicStore
from dsdit.plan.plan import Plan
from dsdit.steps.publish.cog import COG_MAX_PX, wants_cog
from dsdit.steps.publish.metadata import stac_item
from dsdit.steps.publish.parts import Part, build_part, changed_jobs, create_parts, due_batches
from dsdit.steps.publish.publish import PUBLISHED, publish, same_shards
from dsdit.steps.publish.report import Report
from dsdit.store.objects import join, read_json
from flows.request.cluster_file import ClusterFile
from flows.request.request import Request
from flows.run.commits import MOST_WAITING
from flows.run.executor import Executor, open_executor
from flows.run.limits_and_hooks import RunLimits, unchecked
from flows.run.run_step import Places, check_of, read_plan
from flows.run.worker_process import set_up_worker

FEW_PARTS = 64
"""Up to so many parts are made in the flow's own process, sooner than a cluster starts."""


def publish_run(
    request: Request,
    plan_url: str,
    store: MosaicStore,
    version: Version,
    report: Report,
    now: datetime,
    lease: Lease,
    log: Callable[[str], None],
    cluster: ClusterFile,
) -> None:
    """Makes all that readers see of the version, which nobody reads yet. The work grows with what the run changed."""
    plan, receipts = read_plan(plan_url), join(request.output, "receipts")
    with store.writing(version) as mosaic:
        changed = due = changed_jobs(plan, mosaic, receipts)
    count = sum(batch.size for batch in due_batches(plan, changed))
    log(f"publish: {len(changed)} shards were written, {count} parts of levels and overview are due")
    if count > FEW_PARTS:
        storage = request.storage_options
        mosaic = version.mosaic
        places = Places.of(plan_url, request.scratch_url, request.output, mosaic, lease=lease, storage=storage)
        with open_executor(cluster, request.compute) as executor:
            build_on(executor, plan, places, store, version, changed, RunLimits.of(request.compute), lease.check)
        due = Jobs.of([])
    lease.check()
    with store.writing(version) as mosaic:
        carried = _carry_cog(request, plan, store, version, mosaic, changed, now)
        publish(plan, version.folder, report, now, mosaic, store.name, due, request.cog, carried)
    if (sentence := no_cog(request, plan)) is not None:
        log(f"publish: {sentence}")


def build_on(
    executor: Executor,
    plan: Plan,
    places: Places,
    store: MosaicStore,
    version: Version,
    changed: Jobs,
    limits: RunLimits,
    check: Callable[[], None] = unchecked,
) -> None:
    """Makes all parts that are due with the executor. A part that cannot be made ends the publish."""
    with store.writing(version) as mosaic:
        create_parts(plan, mosaic)
    for batch in due_batches(plan, changed):
        here = places._replace(fork=store.forked(version).fork)
        waiting: list[bytes] = []
        for _, change in executor.map(run_part, batch.parts, limits, places=here):
            check()
            waiting += [change] if change else []
            if len(waiting) >= MOST_WAITING:
                store.commit(version, waiting)
                waiting = []
        if waiting:
            check()
            store.commit(version, waiting)


def run_part(part: Part, places: Places) -> bytes:
    """On a worker: makes one part; returns what it changed in its fork, nothing where it wrote in place."""
    with set_up_worker(places.storage, places.holder):
        return _run_part(part, places)


def _run_part(part: Part, places: Places) -> bytes:
    plan = read_plan(places.plan)
    check_of(places)()
    if not places.fork:
        build_part(plan, places.mosaic, part)
        return b""
    from dsdit.mosaic.icechunk_versions import forked

    with forked(places.mosaic, places.fork) as (mosaic, changes):
        build_part(plan, mosaic, part)
        return changes()


def no_cog(request: Request, plan: Plan) -> str | None:
    """Why there is no sr.tif, and what to do instead; None where there is one."""
    if wants_cog(plan, request.cog):
        return None
    rows, cols = plan.region.window.shape
    why = "cog: never" if request.cog == "never" else f"{rows * cols:,} px are over {COG_MAX_PX:,}, see `cog`"
    return f"no sr.tif is written ({why}): dsdit export {request.output} FILE --bounds X0 Y0 X1 Y1 cuts a window"


def published_item(output: str) -> dict[str, Any] | None:
    """The item that readers see; None where there is none, empty where it is damaged."""
    try:
        found = read_json(join(output, PUBLISHED["item"]))
    except StoreError:  # the next publish writes it again
        return {}
    return found if isinstance(found, dict) or found is None else {}


def _carry_cog(
    request: Request, plan: Plan, store: MosaicStore, version: Version, mosaic: str, changed: Jobs, now: datetime
) -> bool:
    """Carries the COG of the published version over where this version's would be the same; returns whether it did."""
    published = published_item(request.output)
    if not published or not store.versions() or not wants_cog(plan, request.cog):
        return False
    before, own = (item.get("properties", {}) for item in (published, stac_item(plan, now, store.name).to_dict()))
    compared = ("proj:code", "proj:wkt2", "proj:shape", "proj:transform", "attribution")
    if any(before.get(key) != own.get(key) for key in compared) or "sr" not in published.get("assets", {}):
        return False
    with store.reading() as older:
        if not same_shards(plan, mosaic, older, changed):
            return False
    return carry_over(request.output, version.folder, PUBLISHED["cog"])
