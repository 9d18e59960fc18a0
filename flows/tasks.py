"""The coarse steps of the flow as Prefect tasks: each takes and returns locations, and can be repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from prefect import task
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from catalogs.measure.records import join_records
from catalogs.sample_region import make_sample_region
from dsdit.errors import DsditError, RequestError
from dsdit.mosaic.history import write_history
from dsdit.mosaic.lease import Lease, held
from dsdit.mosaic.template import create_mosaic
from dsdit.plan.files import write_due
from dsdit.receipts.receipts import Receipt, compact_receipts, join_receipts, new_receipts
from dsdit.steps.publish.mosaic_picture import thumbnail_uri
from dsdit.steps.publish.publish import PUBLISHED
from dsdit.steps.publish.report import STALE, Tally, due_jobs, finish_report
from dsdit.store.arrays import forget_arrays
from dsdit.store.objects import is_remote, join, read_bytes, remove, write_json
from flows.plan.make_plan import keep_plan, make_plan, utc_now
from flows.plan.on_cluster import measuring_on_cluster
from flows.plan.prepared import Prepared
from flows.publish.cleanup import drop_scratch, finish_publish, forget_plans, make_scratch, remove_partials
from flows.publish.outcome import Night, put_back_failed, report_of, written
from flows.publish.publish import no_cog, publish_night
from flows.report import report_markdown, report_record
from flows.request.request import Request
from flows.request.settings import SampleRegion
from flows.run.cluster import open_cluster, quiet
from flows.run.commits import Commits
from flows.run.loop import Progress, Wavefront, run_wavefront
from flows.run.run_step import Places, read_plan
from flows.run.workers import try_batch_on

PROGRESS_EVERY_S = 3.0


def check_nightly(request: Request) -> None:
    """Raises RequestError where readers would see what a nightly run has only half written."""
    if is_remote(request.output) and request.store == "zarr":
        raise RequestError(
            f"output {request.output!r}: on an object store a plain Zarr is written in place, and readers of a nightly "
            "mosaic would see half of a night: give a folder, set store: icechunk, or run it once with "
            "sr-region/sr-region"
        )


@contextmanager
def hold_output(request: Request, now: datetime) -> Iterator[Lease]:
    """The lease of the request's output, for as long as this process writes there. Raises LeaseError."""
    words = f"the run of region {request.name!r} that began at {now.isoformat(timespec='seconds')}"
    words += f" (flow run {flow_run.id})" if flow_run.id else ""
    wait = request.on_conflict == "wait"
    with held(request.output, words, request.lease_expire_s, wait, get_run_logger().info) as lease:
        yield lease


@task(name="sample-region")
def make_sample(settings: SampleRegion) -> str:
    """Makes the sample region if it is not there; returns its folder."""
    folder = Path(settings.folder)
    if not (folder / "items.json").exists():
        get_run_logger().info("sample region: making it at %s", folder)
        make_sample_region(folder, seed=settings.seed, size_m=settings.size_m)
    return str(folder)


@task(name="plan", cache_policy=NO_CACHE)
def plan_region(prepared: Prepared, now: datetime, lease: Lease) -> str:
    """Searches, measures and chooses; returns the location of the plan. Many measures are brought into a table."""
    logger, output = get_run_logger(), prepared.request.output
    with measuring_on_cluster(prepared, logger.info) as spread:
        plan = make_plan(prepared, now, logger.info, spread)
    url = keep_plan(plan, output)
    join_records(join(output, "measures"), lease.check)
    logger.info(
        "plan: %d shards, %d tiles from %d items",
        len(plan.layout.mosaic_jobs),
        plan.layout.tile_count,
        len(plan.items),
    )
    return url


@task(name="process", cache_policy=NO_CACHE)
def process(prepared: Prepared, plan_url: str, lease: Lease) -> Night:
    """Stages, samples and mosaics every due job on Dask, in a version that nobody reads yet; returns what came of it.

    What killed runs left is removed.
    """
    quiet()
    logger = get_run_logger()
    request, store = prepared.request, prepared.store
    plan, receipts = read_plan(plan_url), join(request.output, "receipts")
    if not store.holds():
        remove(receipts)
    _join(receipts, lease)
    finish_publish(store, receipts)
    remove_partials(request.output)
    due = due_jobs(plan, receipts)
    logger.info("process: %d of %d shards are due", len(due), len(plan.layout.mosaic_jobs))
    if not due:
        if not request.keep_scratch:
            drop_scratch(request.scratch_url, lease.check)
        return Night()
    lease.check()
    write_due(plan_url, due.indices())
    version = store.begin()
    with store.writing(version) as mosaic:
        create_mosaic(plan, mosaic)
    version = store.forked(version)
    places = Places.of(
        plan_url,
        request.scratch_url,
        request.output,
        version.mosaic,
        version.fork,
        lease,
        request.storage_options,
    )
    forget_arrays()
    make_scratch(plan, places, request.scratch_url, lease.check)
    front = Wavefront(plan, places, due, request.keep_scratch)
    artifact = create_progress_artifact(0.0, key=f"{_key(request)}-tiles", description="tiles sampled")
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY_S or progress.jobs == progress.jobs_total:
            last = now
            logger.info("process: %s", progress)
            share = progress.jobs / progress.jobs_total
            if progress.tiles_total:
                share = 0.9 * progress.tiles / progress.tiles_total + 0.1 * share
            update_progress_artifact(artifact, min(100.0, 100.0 * share))  # type: ignore[arg-type]

    steps, night = Tally(plan), Night(len(due))

    def tally(receipt: Receipt) -> None:
        nonlocal night
        night = night.add(receipt)
        if receipt.step != "mosaic":  # those are read again from where a later run will find them
            steps.add(receipt)

    commits = Commits(store, version, receipts, request.commit_every_s, lease.check)
    with open_cluster(request.compute, prepared.cluster) as client, commits.running():
        asked = request.compute
        needs = prepared.cluster[0].needs
        try_batch_on(client, places, asked.worker_wait_s, needs)
        many, wait_s, late_s = asked.futures_per_worker, asked.worker_wait_s, asked.straggler_s
        run_wavefront(
            client,
            front,
            many,
            show,
            logger.error,
            tally,
            check=lease.check,
            commits=commits,
            wait_s=wait_s,
            straggler_s=late_s,
            needs=needs,
        )
    _join(receipts, lease)
    report = finish_report(steps, receipts)
    write_json(join(request.output, "report.json"), report_record(report))
    if not request.keep_scratch:
        drop_scratch(request.scratch_url, lease.check)
    return night


def _join(receipts: str, lease: Lease) -> None:
    """Reads every receipt that is an object once: all that follows reads them from a table."""
    lease.check()
    for name in join_receipts(receipts, "mosaic"):
        get_run_logger().warning("process: receipt %s is damaged: what it told of is done again", name)


@task(name="publish", cache_policy=NO_CACHE)
def publish_region(prepared: Prepared, plan_url: str, lease: Lease, night: Night) -> dict[str, str]:
    """Checks the receipts against the plan, makes all that readers see and swaps it in; returns locations.

    Where no version waits to be published, or nothing was written in the one that does, nothing is published.
    """
    request, store = prepared.request, prepared.store
    plan, receipts = read_plan(plan_url), join(request.output, "receipts")
    version = store.unpublished()
    report = report_of(plan, request.output, receipts, night, version is not None)
    if not store.versions() and not sum(report.jobs.get(state, 0) for state in ("done", "degraded", STALE)):
        raise DsditError(
            f"no shard of {request.name!r} could be written; the first reason: {(report.errors or ('none given',))[0]}"
        )
    if version is not None and any(written(receipt) for receipt in new_receipts(receipts, "mosaic")):
        now = utc_now()
        put_back_failed(plan, store, version, receipts)
        publish_night(request, plan_url, store, version, report, now, lease, get_run_logger().info, prepared.cluster)
        lease.check()
        before = sum(spent for step, spent in report.seconds.items() if step != "mosaic")
        write_history(request.output, now, version.name, plan, new_receipts(receipts, "mosaic"), before)
        store.publish(version, request.keep_versions)
        compact_receipts(receipts, "mosaic")
    places = {kind: join(request.output, name) for kind, name in {**PUBLISHED, "mosaic": store.name}.items()}
    missing = no_cog(request, plan)
    if missing is not None:
        del places["cog"]
    text = report_markdown(report, missing)
    create_markdown_artifact(text, key=f"{_key(request)}-report", description="report of the run")
    forget_plans(request.output, request.keep_versions)
    picture = read_bytes(places["picture"])
    if picture is None:
        get_run_logger().warning("publish: there is no picture at %s: the next version has one", places["picture"])
    else:
        create_image_artifact(
            thumbnail_uri(picture),
            key=f"{_key(request)}-picture",
            description=f"low resolution, reference, super-resolved, residual; {places['picture']}",
        )
    return places


def _key(request: Request) -> str:
    return request.name.lower().replace("_", "-")
