"""What runs on a worker: one step of one job, given as coordinates and locations.

The plan and the network are loaded once a process. Data first, then the receipt.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import dsdit.plan.files
from catalogs.staging.stage import stage
from dsdit.digest import Digest
from dsdit.mosaic.lease import Check, Lease, check_holder, unchecked
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, write_receipt
from dsdit.status import JobState, TileState
from dsdit.steps.inputs import Inputs, check_inputs, read_inputs
from dsdit.steps.mosaic import mosaic, write_failed
from dsdit.steps.sample import sample
from dsdit.store.objects import join
from dsdit.window import Index
from flows.run.worker_process import set_up_worker

RETRIES = 2
"""Times that a step that raised is tried again."""


class Places(NamedTuple):
    """Where a run reads and writes."""

    plan: str
    """Plan file; its name changes with its content."""
    scratch: str
    """Zarr group of staged pixels and tiles."""
    mosaic: str
    """Zarr group of the output."""
    scratch_receipts: str
    """Receipts of stage and sample; they go with scratch."""
    receipts: str
    """Receipts of mosaic."""
    fork: bytes = b""
    """Of the mosaic's session; empty where a worker writes in place."""
    lease: str = ""
    """The output's lease."""
    holder: str = ""
    """Run id. Steps refuse to write when the lease names another run; an empty id disables the check (tests)."""
    storage: dict[str, Any] | None = None
    """What object stores get with each request; see `dsdit.store.options`."""

    @classmethod
    def of(
        cls,
        plan: str,
        scratch: str,
        output: str,
        mosaic: str | None = None,
        fork: bytes = b"",
        lease: Lease | None = None,
        storage: dict[str, Any] | None = None,
    ) -> Places:
        """The places of a run; by default the mosaic is a plain Zarr group in the output."""
        return cls(
            plan,
            join(scratch, "data.zarr"),
            mosaic or join(output, "mosaic.zarr"),
            join(scratch, "receipts"),
            join(output, "receipts"),
            fork,
            lease.url if lease else "",
            lease.holder if lease else "",
            storage,
        )


class Uncommitted(NamedTuple):
    """A shard that was written in a fork: it counts, and gets its receipt, with the commit of its changes."""

    receipt: Receipt
    changes: bytes


Step = Callable[[str, Index, Places], Receipt | Uncommitted]
"""Runs one step, by its name, of one job."""


@lru_cache(maxsize=4)
def read_plan(url: str) -> Plan:
    """The plan at `url`, read once a process. Raises PlanError where there is none."""
    return dsdit.plan.files.read_plan(url)


def run_step(step: str, job: Index, places: Places) -> Receipt | Uncommitted:
    """Runs one step of one job, writes its receipt and returns it; see `Uncommitted` for the shard of a fork."""
    with set_up_worker(places.storage, places.holder):
        return _run(step, Index(*job), places)


def _run(step: str, job: Index, places: Places) -> Receipt | Uncommitted:
    plan = read_plan(places.plan)
    inputs = read_inputs(places.scratch_receipts, plan.layout.inputs_of(step, job))
    check = partial(_check, places, inputs)
    if step == "stage":
        receipt = stage(plan, job, places.scratch, check)
    elif step == "sample":
        from dsdit.sampling.sampler import open_sampler

        receipt = sample(plan, job, places.scratch, open_sampler(plan.model, plan.sampler), check)
    elif places.fork:
        from dsdit.mosaic.icechunk_versions import forked

        with forked(places.mosaic, places.fork) as (place, changes):
            return Uncommitted(_run_mosaic(plan, job, places._replace(mosaic=place), inputs, check), changes())
    else:
        receipt = _run_mosaic(plan, job, places, inputs, check)
    write_receipt(receipts_of(step, places), receipt)
    return receipt


def _run_mosaic(plan: Plan, job: Index, places: Places, inputs: Inputs, check: Check) -> Receipt:
    take_back = partial(_take_back, plan, job, places)
    return mosaic(plan, job, places.scratch, places.mosaic, inputs, check, take_back)


def _check(places: Places, inputs: Inputs) -> None:
    """Raises where a step must not write: its inputs have changed, or the output belongs to another run by now."""
    check_inputs(places.scratch_receipts, inputs)
    check_of(places)()


def check_of(places: Places) -> Check:
    """Raises LeaseError, when called, where the output belongs to another run by now."""
    return partial(check_holder, places.lease, places.holder) if places.holder else unchecked


def try_batch(places: Places) -> None:
    """One network pass of the run's batch, on this worker. Raises RequestError where its memory does not hold it."""
    from dsdit.sampling.fitting import check_batch_fits
    from dsdit.sampling.sampler import open_sampler

    with set_up_worker(places.storage, places.holder):
        plan = read_plan(places.plan)
        check_batch_fits(open_sampler(plan.model, plan.sampler), plan.lattice.tile_px, plan.lattice.scale)


def _take_back(plan: Plan, job: Index, places: Places) -> None:
    """Replaces an earlier receipt by a failed one, before the shard that it proved is written over.

    Killed while it writes, a run leaves a shard that is due whatever the next plan is, also that of the old receipt.
    Where it is written in place, its status is failed too; nobody sees a fork before the commit.
    """
    reason = f"the run ended while it wrote the shard of job {tuple(job)}"
    write_receipt(places.receipts, failed_receipt(plan, "mosaic", job, plan.job_digest(job), reason))
    if not places.fork:
        write_failed(plan, job, places.mosaic)


def receipts_of(step: str, places: Places) -> str:
    """Where a step's receipts are stored."""
    return places.receipts if step == "mosaic" else places.scratch_receipts


def failed_receipt(plan: Plan, step: str, job: Index, digest: Digest, reason: str) -> Receipt:
    """Receipt of a step that raised: the reason, and all that it was to do as failed, so that the report adds up."""
    tiles = plan.layout.sample_tiles(job) if step == "sample" else ()
    inside = plan.region.mask(plan.lattice.shard_window(job)) if step == "mosaic" else None
    return Receipt(
        step=step,
        job=job,
        state=JobState.FAILED,
        digest=digest,
        seconds=0.0,
        tiles={f"{tile.row},{tile.col}": int(TileState.FAILED) for tile in tiles},
        pixels={} if inside is None else {"failed": int(inside.sum())},
        errors=(reason,),
    )
