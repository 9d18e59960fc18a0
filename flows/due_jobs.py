"""The recipe of a run: stages, samples and mosaics every due job, in a version of the mosaic that nobody reads yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from logging import Logger, LoggerAdapter
from typing import Any

from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.lease import Lease
from dsdit.mosaic.versions import MosaicStore
from dsdit.plan.files import write_due
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, join_receipts
from dsdit.steps.publish.report import Tally, due_jobs, finish_report
from dsdit.store.objects import join, remove, write_json
from flows.plan.prepared import Prepared
from flows.publish.cleanup import drop_scratch, finish_publish, make_scratch, remove_partials
from flows.publish.new_version import begin_version, has_shards_outside
from flows.publish.outcome import RunOutcome
from flows.report import report_record
from flows.run.commits import Commits
from flows.run.executor import open_executor
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.progress import Progress
from flows.run.run_step import Places, read_plan

Log = Logger | LoggerAdapter[Any]


def run_due_jobs(
    prepared: Prepared, plan_url: str, lease: Lease, log: Log, on_progress: Callable[[Progress], None]
) -> RunOutcome:
    """Runs every due job of the plan on the request's cluster. What killed runs left is removed first."""
    request, store = prepared.request, prepared.store
    plan, receipts = read_plan(plan_url), join(request.output, "receipts")
    clean_up_killed_runs(store, receipts, request.output, lease, log)
    due = due_jobs(plan, receipts)
    log.info("run: %d of %d shards are due", len(due), len(plan.layout.mosaic_jobs))
    outcome = RunOutcome(len(due))
    if due or has_shards_outside(store, plan, receipts):
        lease.check()
        version = store.forked(begin_version(store, plan, receipts, lease, log.info))
    if due:
        write_due(plan_url, due.indices())
        locations = plan_url, request.scratch_url, request.output, version.mosaic, version.fork
        places = Places.of(*locations, lease, request.storage_options)
        make_scratch(plan, places, request.scratch_url, lease.check)
        account = RunAccount(Tally(plan), outcome)
        commits = Commits(store, version, receipts, request.commit_every_s, lease.check)
        hooks = RunHooks(on_progress, log.error, account.add, lease.check, commits, log.warning)
        run_steps(prepared, plan, places, due, hooks, commits)
        join_shard_receipts(receipts, lease, log)
        write_json(join(request.output, "report.json"), report_record(finish_report(account.steps, receipts)))
        outcome = account.outcome
    if not request.keep_scratch:
        drop_scratch(request.scratch_url, lease.check)
    return outcome


def clean_up_killed_runs(store: MosaicStore, receipts: str, output: str, lease: Lease, log: Log) -> None:
    """Brings the output into the state that a run which ended by itself would have left."""
    if not store.holds():  # receipts without a mosaic prove nothing
        remove(receipts)
    join_shard_receipts(receipts, lease, log)
    finish_publish(store, receipts)
    remove_partials(output)


def join_shard_receipts(receipts: str, lease: Lease, log: Log) -> None:
    """Reads every receipt that is an object once and joins them: what follows reads them from a table."""
    lease.check()
    for name in join_receipts(receipts, "mosaic"):
        log.warning("run: receipt %s is damaged: its job is done again", name)


@dataclass
class RunAccount:
    """Adds up the receipts of a run as they come, so that none of them is kept in memory."""

    steps: Tally
    """Stages and samples. Receipts of mosaics are read again from where a later run will find them."""
    outcome: RunOutcome = field(default_factory=RunOutcome)

    def add(self, receipt: Receipt) -> None:
        """Takes one receipt of any step."""
        self.outcome = self.outcome.add(receipt)
        if receipt.step != "mosaic":
            self.steps.add(receipt)


def run_steps(prepared: Prepared, plan: Plan, places: Places, due: Jobs, hooks: RunHooks, commits: Commits) -> None:
    """Runs the steps on the request's cluster, once a worker has shown that the batch fits its memory."""
    compute, front = prepared.request.compute, Wavefront(plan, places, due, prepared.request.keep_scratch)
    limits = RunLimits.of(compute)
    with open_executor(prepared.cluster, compute) as executor, commits.running():
        executor.try_batch(places, limits)
        executor.run_wavefront(front, limits, hooks)
