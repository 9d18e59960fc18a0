"""The state of every shard of a run, running or dead, from its receipts alone: as an array and as a picture."""

from __future__ import annotations

import io
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsdit.plan import Plan
from dsdit.receipts import list_receipts
from dsdit.status import JobState
from dsdit.steps.report import due_jobs


class ShardState(IntEnum):
    """What a map shows of a shard. Where several share a cell of the map, the highest is shown."""

    OUTSIDE = 0
    DONE = 1
    STALE = 2
    """Written, of other inputs than the plan's."""
    WAITING = 3
    STAGED = 4
    SAMPLED = 5
    DEGRADED = 6
    FAILED = 7


COLOURS = {
    ShardState.OUTSIDE: (255, 255, 255),
    ShardState.DONE: (46, 125, 50),
    ShardState.STALE: (141, 160, 203),
    ShardState.WAITING: (189, 189, 189),
    ShardState.STAGED: (144, 202, 249),
    ShardState.SAMPLED: (25, 118, 210),
    ShardState.DEGRADED: (251, 192, 45),
    ShardState.FAILED: (198, 40, 40),
}
_SIDE_PX = 800


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
    for job, said in list_receipts(receipts, "mosaic").items():
        if job not in jobs:
            continue
        place = job.row - window.row0, job.col - window.col0
        if job not in due:
            states[place] = ShardState.DONE
        elif said in written:
            states[place] = written[said]
        elif states[place] == ShardState.WAITING:
            states[place] = ShardState.STALE
    return states


def coarsen_states(states: NDArray[np.uint8], rows: int, cols: int) -> NDArray[np.uint8]:
    """At most `rows` x `cols` cells of equal size, each the highest state of its shards."""
    factor = max(1, -(-states.shape[0] // rows), -(-states.shape[1] // cols))
    size = [-(-n // factor) * factor for n in states.shape]
    padded = np.zeros(size, np.uint8)
    padded[: states.shape[0], : states.shape[1]] = states
    return padded.reshape(size[0] // factor, factor, size[1] // factor, factor).max((1, 3))


def states_picture(states: NDArray[np.uint8]) -> bytes:
    """PNG in the colours of `COLOURS`, north at the top."""
    cells = coarsen_states(states, _SIDE_PX, _SIDE_PX)
    table = np.array([COLOURS[state] for state in ShardState], np.uint8)
    image = Image.fromarray(table[cells])
    factor = max(1, _SIDE_PX // max(image.size))
    content = io.BytesIO()
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(content, "PNG")
    return content.getvalue()
