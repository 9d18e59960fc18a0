"""The next version of a mosaic: how it begins, whether a run has one to publish, and in which order it is completed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from dsdit.errors import DsditError, StoreError
from dsdit.mosaic.history import write_history
from dsdit.mosaic.lease import Lease
from dsdit.mosaic.template import create_mosaic
from dsdit.mosaic.version import Version
from dsdit.mosaic.versions import MosaicStore
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import compact_receipts, new_receipts
from dsdit.steps.clearing import clear_outside, shards_outside
from dsdit.steps.publish.cog import wants_cog
from dsdit.steps.publish.metadata import metadata_changed, stac_item
from dsdit.steps.publish.report import STALE, Report
from dsdit.store.arrays import forget_arrays, open_group
from dsdit.store.objects import join
from flows.plan.prepared import Prepared
from flows.publish.cleanup import forget_plans
from flows.publish.outcome import RunOutcome, put_back_failed, report_of, written
from flows.publish.publish import publish_run, published_item
from flows.request.request import Request
from flows.run.run_step import read_plan


def has_shards_outside(store: MosaicStore, plan: Plan, receipts: str) -> bool:
    """Whether the mosaic has shards that are outside the plan's region by now."""
    version = store.unpublished()
    if version is None and not store.holds():
        return False
    forget_arrays()
    try:
        with store.reading() if version is None else store.writing(version) as mosaic:
            return len(shards_outside(plan, mosaic, receipts)) > 0
    except StoreError:  # a repository without any version
        return False


def begin_version(store: MosaicStore, plan: Plan, receipts: str, lease: Lease, log: Callable[[str], None]) -> Version:
    """A version of the mosaic that nobody reads yet, with its arrays created; for workers to write to.

    Shards that are outside the region by now are removed from it.
    """
    version = store.begin()
    with store.writing(version) as mosaic:
        create_mosaic(plan, mosaic)
        if cleared := clear_outside(plan, mosaic, receipts, lease.check):
            log(f"run: {cleared} shards are outside the region by now: removed")
    forget_arrays()
    return version


def publish_outcome(
    prepared: Prepared, plan_url: str, lease: Lease, outcome: RunOutcome, log: Callable[[str], None]
) -> Report:
    """Checks the receipts against the plan, makes all that readers see and swaps it in; returns the report.

    Nothing is published where no shard was written and the metadata of what is published is that of this plan. Raises
    DsditError where a first run has written nothing.
    """
    request, store, plan = prepared.request, prepared.store, read_plan(plan_url)
    receipts = join(request.output, "receipts")
    version = store.unpublished()
    report = report_of(plan, request.output, receipts, outcome, version is not None)
    check_something_written(request, store, report)
    publishes = version is not None and any(written(receipt) for receipt in new_receipts(receipts, "mosaic"))
    if not publishes and report.complete and has_old_metadata(request, plan, store, report):
        log("publish: no shard is due; licence, attribution or other metadata have changed")
        lease.check()
        version, publishes = begin_version(store, plan, receipts, lease, log), True
        report = report_of(plan, request.output, receipts, outcome, publishes)
    if version is not None and publishes:
        publish_version(prepared, plan_url, version, report, lease, log)
    forget_plans(request.output, request.keep_versions)
    return report


def has_old_metadata(request: Request, plan: Plan, store: MosaicStore, report: Report) -> bool:
    """Whether the published version describes itself otherwise than a publish of this plan would."""
    published = published_item(request.output)
    if published is None:
        return False
    item = stac_item(plan, datetime.now(UTC), store.name, wants_cog(plan, request.cog), report.scenes)
    with store.reading() as mosaic:
        return metadata_changed(plan, open_group(mosaic, "r").attrs, published, item)


def check_something_written(request: Request, store: MosaicStore, report: Report) -> None:
    """Raises DsditError where a first run has written no shard: there is nothing to publish."""
    if not store.versions() and not sum(report.jobs.get(state, 0) for state in ("done", "degraded", STALE)):
        raise DsditError(
            f"no shard of {request.name!r} could be written; the first reason: {(report.errors or ('none given',))[0]}"
        )


def publish_version(
    prepared: Prepared, plan_url: str, version: Version, report: Report, lease: Lease, log: Callable[[str], None]
) -> None:
    """Completes a version and swaps it in. History first, then the swap, then the receipts are joined."""
    request, store, plan = prepared.request, prepared.store, read_plan(plan_url)
    now, receipts = datetime.now(UTC), join(request.output, "receipts")
    put_back_failed(plan, store, version, receipts)
    publish_run(request, plan_url, store, version, report, now, lease, log, prepared.cluster)
    lease.check()
    before = sum(spent for step, spent in report.seconds.items() if step != "mosaic")
    write_history(request.output, now, version.name, plan, new_receipts(receipts, "mosaic"), before)
    store.publish(version, request.keep_versions)
    compact_receipts(receipts, "mosaic")
