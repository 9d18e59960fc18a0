"""The state of every shard of a run, from its receipts alone: as an array and as a picture."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import list_receipts
from dsdit.status import JobState
from dsdit.steps.publish.report import due_jobs
from dsdit.steps.publish.shard_map import draw_shards


class ShardState(IntEnum):
    """State of a shard on a map. Where several shards share a cell of the map, the highest is shown."""

    OUTSIDE = 0
    DONE = 1
    STALE = 2
    """Written with other inputs than the plan's."""
    WAITING = 3
    STAGED = 4
    SAMPLED = 5
    DEGRADED = 6
    FAILED = 7


def shard_states(plan: Plan, receipts: str, scratch_receipts: str) -> NDArray[np.uint8]:
    """(row, col) `ShardState` on the window of the plan's mosaic jobs, from listings and digests."""
    jobs = plan.layout.mosaic_jobs
    window = jobs.window
    states = np.where(jobs.mask, np.uint8(ShardState.WAITING), np.uint8(ShardState.OUTSIDE))
    due = due_jobs(plan, receipts)
    for state, step in ((ShardState.STAGED, "stage"), (ShardState.SAMPLED, "sample")):
        for job in list_receipts(scratch_receipts, step):
            if job in due:
                states[job.row - window.row0, job.col - window.col0] = state
    written = {JobState.FAILED: ShardState.FAILED, JobState.DEGRADED: ShardState.DEGRADED}
    for job, receipt_state in list_receipts(receipts, "mosaic").items():
        if job not in jobs or receipt_state is JobState.CLEARED:
            continue
        place = job.row - window.row0, job.col - window.col0
        if job not in due:
            states[place] = ShardState.DONE
        elif receipt_state in written:
            states[place] = written[receipt_state]
        elif states[place] == ShardState.WAITING:
            states[place] = ShardState.STALE
    return states


def states_picture(plan: Plan, states: NDArray[np.uint8]) -> bytes:
    """PNG of the result of `shard_states`, as a map."""
    shown = [(state.name.lower(), states == state) for state in ShardState if state is not ShardState.OUTSIDE]
    return draw_shards(plan, f"shards of {plan.region.name}", shown)
