"""The next version of a mosaic: whether a run has one to publish, and the order in which it is completed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from dsdit.errors import DsditError
from dsdit.mosaic.history import write_history
from dsdit.mosaic.lease import Lease
from dsdit.mosaic.version import Version
from dsdit.mosaic.versions import MosaicStore
from dsdit.receipts.receipts import compact_receipts, new_receipts
from dsdit.steps.publish.report import STALE, Report
from dsdit.store.objects import join
from flows.plan.prepared import Prepared
from flows.publish.cleanup import forget_plans
from flows.publish.outcome import RunOutcome, put_back_failed, report_of, written
from flows.publish.publish import publish_run
from flows.request.request import Request
from flows.run.run_step import read_plan


def publish_outcome(
    prepared: Prepared, plan_url: str, lease: Lease, outcome: RunOutcome, log: Callable[[str], None]
) -> Report:
    """Checks the receipts against the plan, makes all that readers see and swaps it in; returns the report.

    Where no version waits to be published, or nothing was written in the one that does, nothing is published. Raises
    DsditError where a first run has written nothing.
    """
    request, store = prepared.request, prepared.store
    receipts = join(request.output, "receipts")
    version = store.unpublished()
    report = report_of(read_plan(plan_url), request.output, receipts, outcome, version is not None)
    check_something_written(request, store, report)
    if version is not None and any(written(receipt) for receipt in new_receipts(receipts, "mosaic")):
        publish_version(prepared, plan_url, version, report, lease, log)
    forget_plans(request.output, request.keep_versions)
    return report


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
