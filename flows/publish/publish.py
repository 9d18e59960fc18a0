"""Publishing a night: what is coarser than its shards is made on Dask where it is much, then all that readers see.

On Dask the parts go out stage by stage, a bounded number of futures at a time. In folders a worker writes in place. In
a repository it writes to a fork and gives back what it changed, which is committed while the stage runs; the next stage
begins from forks of what was committed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from distributed import Client

from dsdit.lattice.job_mask import Jobs
from dsdit.malloc import keep_freed_memory
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
from dsdit.store.arrays import arrays_of
from dsdit.store.objects import join, read_json
from dsdit.store.options import use_storage
from flows.request.cluster_file import LoadedCluster
from flows.request.request import Request
from flows.request.settings import Compute
from flows.run.cluster import open_cluster
from flows.run.commits import MOST_WAITING
from flows.run.futures import run_bounded
from flows.run.run_step import Places, check_of, read_plan

FEW_PARTS = 64
"""So many are made in the flow's own process sooner than a cluster starts."""
Say = Callable[[str], None]


def publish_night(
    request: Request,
    plan_url: str,
    store: MosaicStore,
    version: Version,
    report: Report,
    now: datetime,
    lease: Lease,
    say: Say,
    cluster: LoadedCluster | None = None,
) -> None:
    """Makes all that readers see of the version, which nobody reads yet; what changed decides how much that is."""
    plan, receipts = read_plan(plan_url), join(request.output, "receipts")
    with store.writing(version) as mosaic:
        changed = due = changed_jobs(plan, mosaic, receipts)
    count = sum(batch.size for batch in due_batches(plan, changed))
    say(f"publish: {len(changed)} shards were written, {count} parts of levels and overview are due")
    if count > FEW_PARTS:
        places = Places.of(
            plan_url,
            request.scratch_url,
            request.output,
            version.mosaic,
            lease=lease,
            storage=request.storage_options,
        )
        with open_cluster(request.compute, cluster) as client:
            build_on(client, plan, places, store, version, changed, request.compute, lease.check)
        due = Jobs.of([])
    lease.check()
    with store.writing(version) as mosaic:
        stands = _carry_cog(request, plan, store, version, mosaic, changed, now)
        publish(plan, version.folder, report, now, mosaic, store.name, due, request.cog, stands)
    if (sentence := no_cog(request, plan)) is not None:
        say(f"publish: {sentence}")


def build_on(
    client: Client,
    plan: Plan,
    places: Places,
    store: MosaicStore,
    version: Version,
    changed: Jobs,
    compute: Compute,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Makes all parts that are due on the workers of `client`. A part that cannot be made ends the publish."""
    with store.writing(version) as mosaic:
        create_parts(plan, mosaic)
    for batch in due_batches(plan, changed):
        here = places._replace(fork=store.forked(version).fork)
        waiting: list[bytes] = []
        many, wait_s = compute.futures_per_worker, compute.worker_wait_s
        for _, change in run_bounded(client, run_part, batch.parts, many, wait_s, places=here):
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
    keep_freed_memory()
    use_storage(places.storage or {})
    with arrays_of(places.holder):
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


def _carry_cog(
    request: Request, plan: Plan, store: MosaicStore, version: Version, mosaic: str, changed: Jobs, now: datetime
) -> bool:
    """Takes the COG of the published version over where it is what this one would be; whether it did."""
    published = read_json(join(request.output, PUBLISHED["item"]))
    if published is None or not store.versions() or not wants_cog(plan, request.cog):
        return False
    own = stac_item(plan, now, store.name).to_dict()
    told = ("proj:code", "proj:shape", "proj:transform", "attribution")
    same = all(published["properties"].get(key) == own["properties"][key] for key in told)
    if not same or "sr" not in published["assets"]:
        return False
    with store.reading() as before:
        if not same_shards(plan, mosaic, before, changed):
            return False
    return carry_over(request.output, version.folder, PUBLISHED["cog"])
