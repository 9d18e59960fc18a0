"""The outcome of a run: how many of its due shards failed, its report, and whether it ends as completed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dsdit.errors import FailedJobsError
from dsdit.mosaic.version import Version
from dsdit.mosaic.versions import MosaicStore
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, new_receipts
from dsdit.status import JobState
from dsdit.steps.clearing import mask_shard
from dsdit.steps.mosaic import mark_failed, unfinished
from dsdit.steps.publish.report import Report, make_report
from dsdit.steps.shard import shard_objects
from dsdit.store.objects import join, write_json
from flows.report import read_report, report_record
from flows.request.request import Request


@dataclass(frozen=True)
class RunOutcome:
    """The due shards of one run; a run with nothing due has none."""

    due: int = 0
    failed: int = 0
    reason: str = ""
    """Of the first that failed."""

    def add(self, receipt: Receipt) -> RunOutcome:
        """With one more receipt, of any step. A shard without pixels because no scene is clear has not failed."""
        if receipt.step != "mosaic" or written(receipt):
            return self
        return replace(self, failed=self.failed + 1, reason=self.reason or (receipt.errors or ("none given",))[0])


def written(receipt: Receipt) -> bool:
    """Whether the step of this receipt wrote something."""
    return receipt.state is not JobState.FAILED


def put_back_failed(plan: Plan, store: MosaicStore, version: Version, receipts: str) -> None:
    """Restores the shards of failed jobs as they were; one that never existed is marked as failed.

    Pixels of an old shard that are outside the region by now are removed.
    """
    failed = [receipt.job for receipt in new_receipts(receipts, "mosaic") if not written(receipt)]
    if not failed:
        return
    with store.writing(version) as mosaic:
        for job in failed:
            if unfinished(plan, job, mosaic):
                store.put_back(version, shard_objects(plan, job))
                mark_failed(plan, job, mosaic)
            mask_shard(plan, job, mosaic)


def report_of(plan: Plan, output: str, receipts: str, outcome: RunOutcome, publishes: bool) -> Report:
    """The report of the run; made again from the receipts where the stored one describes another state.

    A run with nothing due makes no report: the stored one is right if it is of this very plan and found nothing due.
    """
    stored = read_report(output)
    if stored is not None and stored.plan == plan.digest.hex() and (outcome.due or stored.complete):
        return stored
    report = make_report(plan, receipts)
    if publishes or stored is None or stored.plan == plan.digest.hex():
        write_json(join(output, "report.json"), report_record(report))
    return report


def check_all_done(request: Request, outcome: RunOutcome) -> None:
    """Raises FailedJobsError where due shards failed, after all that could be written is published."""
    if outcome.failed:
        raise FailedJobsError(
            f"{outcome.failed} of {outcome.due} due shards of region {request.name!r} failed, the first one for: "
            f"{outcome.reason}; look at `dsdit status {request.output}`, the next run tries them again"
        )
