"""The coarse steps of the flow as Prefect tasks: each takes and returns locations, and can be repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

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
from dsdit.errors import RequestError
from dsdit.mosaic.lease import Lease, held
from dsdit.mosaic.versions import MosaicStore
from dsdit.plan.plan import Plan
from dsdit.steps.publish.mosaic_picture import thumbnail_uri
from dsdit.steps.publish.publish import PUBLISHED
from dsdit.steps.publish.report import Report
from dsdit.store.objects import is_remote, join, read_bytes
from flows.due_jobs import run_due_jobs
from flows.plan.make_plan import keep_plan, make_plan
from flows.plan.on_cluster import measuring_on_cluster
from flows.plan.prepared import Prepared
from flows.publish.new_version import publish_outcome
from flows.publish.outcome import RunOutcome
from flows.publish.publish import no_cog
from flows.report import report_markdown
from flows.request.request import Request
from flows.request.settings import SampleRegion
from flows.run.progress import Progress
from flows.run.run_step import read_plan

PROGRESS_EVERY_S = 3.0
"""Least seconds between two lines of progress."""


def check_nightly(request: Request) -> None:
    """Raises RequestError where readers would see what a nightly run has only half written."""
    if is_remote(request.output) and request.store == "zarr":
        raise RequestError(
            f"output {request.output!r}: on an object store a plain Zarr is written in place, and readers of a nightly "
            "mosaic would see a run that is half done: give a folder, set store: icechunk, or run it once with "
            "sr-region/sr-region"
        )


@contextmanager
def hold_output(request: Request, now: datetime) -> Iterator[Lease]:
    """The lease of the request's output, for as long as this process writes there. Raises LeaseError."""
    holder = f"the run of region {request.name!r} that began at {now.isoformat(timespec='seconds')}"
    holder += f" (flow run {flow_run.id})" if flow_run.id else ""
    wait = request.on_conflict == "wait"
    with held(request.output, holder, request.lease_expire_s, wait, get_run_logger().info) as lease:
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
    """Searches, measures and chooses; returns the location of the plan. Many measures are joined into a table."""
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


class ProgressArtifact:
    """Shows the progress of a run in its log, and as an artifact in Prefect's UI."""

    def __init__(self, request: Request) -> None:
        self._logger, self._key = get_run_logger(), f"{_key(request)}-tiles"
        self._artifact: UUID | None = None
        self._shown = float("-inf")

    def show(self, progress: Progress) -> None:
        """At most every few seconds, and at the end."""
        now = time.monotonic()
        if now - self._shown < PROGRESS_EVERY_S and progress.jobs < progress.jobs_total:
            return
        self._shown = now
        self._logger.info("run: %s", progress)
        if self._artifact is None:
            created = create_progress_artifact(0.0, key=self._key, description="tiles sampled")
            self._artifact = created  # type: ignore[assignment]
        share = progress.jobs / progress.jobs_total
        if progress.tiles_total:
            share = 0.9 * progress.tiles / progress.tiles_total + 0.1 * share
        update_progress_artifact(self._artifact, min(100.0, 100.0 * share))  # type: ignore[arg-type]


@task(name="run-jobs", cache_policy=NO_CACHE)
def run_jobs(prepared: Prepared, plan_url: str, lease: Lease) -> RunOutcome:
    """Stages, samples and mosaics every due job, in a version that nobody reads yet; returns the outcome."""
    progress = ProgressArtifact(prepared.request)
    return run_due_jobs(prepared, plan_url, lease, get_run_logger(), progress.show)


@task(name="publish", cache_policy=NO_CACHE)
def publish_region(prepared: Prepared, plan_url: str, lease: Lease, outcome: RunOutcome) -> dict[str, str]:
    """Publishes what was written, if anything was; returns locations. See `flows.publish.new_version`."""
    request, log = prepared.request, get_run_logger().info
    report = publish_outcome(prepared, plan_url, lease, outcome, log)
    plan = read_plan(plan_url)
    places = published_places(request, plan, prepared.store)
    show_results(request, plan, report, places["picture"])
    return places


def published_places(request: Request, plan: Plan, store: MosaicStore) -> dict[str, str]:
    """Locations of what readers open, by kind."""
    places = {kind: join(request.output, name) for kind, name in {**PUBLISHED, "mosaic": store.name}.items()}
    if no_cog(request, plan) is not None:
        del places["cog"]
    return places


def show_results(request: Request, plan: Plan, report: Report, picture_url: str) -> None:
    """Report and picture as artifacts in Prefect's UI."""
    text = report_markdown(report, no_cog(request, plan))
    create_markdown_artifact(text, key=f"{_key(request)}-report", description="report of the run")
    picture = read_bytes(picture_url)
    if picture is None:
        get_run_logger().warning("publish: there is no picture at %s: the next version has one", picture_url)
        return
    create_image_artifact(
        thumbnail_uri(picture),
        key=f"{_key(request)}-picture",
        description=f"low resolution, reference, super-resolved, residual; {picture_url}",
    )


def _key(request: Request) -> str:
    return request.name.lower().replace("_", "-")
