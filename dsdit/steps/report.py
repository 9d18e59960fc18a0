"""The report: receipts against the plan. Every tile and pixel of the plan is found again in it, or named as missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from dsdit.job_map import Jobs
from dsdit.plan import Plan
from dsdit.receipts import Receipt, done_jobs, list_receipts, read_receipts
from dsdit.status import PixelStatus, TileState

STALE = "stale"
"""State of a shard whose receipt is of other inputs than the plan's."""


@dataclass(frozen=True)
class Report:
    """State of an output."""

    region: str
    plan: str
    jobs: dict[str, int]
    """Shards by state, `stale` where they were made of other inputs; `due` are those that a next run would do."""
    tiles: dict[str, int]
    """Tiles by state, as they were last sampled or blended."""
    pixels: dict[str, int]
    """Pixels of the region by status."""
    seconds: dict[str, float]
    """Worker seconds by step."""
    calls: int
    """Network calls."""
    lr_error: dict[str, float]
    """Mean |A(sr) - lr| in reflectance, before and after restoring."""
    errors: tuple[str, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """True where nothing is due."""
        return not self.jobs.get("due")


def due_jobs(plan: Plan, receipts: str) -> Jobs:
    """Mosaic jobs without a receipt of these very inputs that says done, in row-major order."""
    jobs = plan.layout.mosaic_jobs
    places, digests = done_jobs(receipts, "mosaic")
    rows, cols = places[:, 0] - jobs.window.row0, places[:, 1] - jobs.window.col0
    inside = (rows >= 0) & (rows < jobs.mask.shape[0]) & (cols >= 0) & (cols < jobs.mask.shape[1])
    if not inside.any():
        return jobs
    number = np.full(jobs.mask.shape, -1, np.int64)
    number[jobs.mask] = np.arange(len(jobs))
    at = number[rows[inside], cols[inside]]
    same = (plan.job_digests()[at] == digests[inside]).all(1) & (at >= 0)
    due = jobs.mask.copy()
    due[rows[inside][same], cols[inside][same]] = False
    return Jobs(jobs.window, due)


def make_report(plan: Plan, receipts: str, done_receipts: tuple[Receipt, ...] = ()) -> Report:
    """Adds up the receipts below `receipts`; `done_receipts` are those of steps whose receipts went with scratch."""
    mosaic = read_receipts(receipts, "mosaic", plan.layout.mosaic_jobs)
    listed = {step: read_receipts(receipts, step, list_receipts(receipts, step)) for step in ("stage", "sample")}
    for receipt in done_receipts:
        if receipt.step in listed:
            listed[receipt.step][receipt.job] = receipt
    jobs = Counter(str(r.state) if r.digest == plan.job_digest(job) else STALE for job, r in mosaic.items())
    jobs["planned"] = len(plan.layout.mosaic_jobs)
    jobs["due"] = len(due_jobs(plan, receipts))
    seen = {tile: s for r in (*mosaic.values(), *listed["sample"].values()) for tile, s in r.tiles.items()}
    tiles = Counter(TileState(s).name.lower() for s in seen.values())
    pixels: Counter[str] = Counter({s.name.lower(): 0 for s in PixelStatus if s is not PixelStatus.OUTSIDE})
    before = after = weight = 0.0
    for receipt in mosaic.values():
        pixels.update(receipt.pixels)
        n = receipt.measures.get("lr_pixels", 0)
        if n:
            weight += n
            before += n * receipt.measures["lr_error_before"]
            after += n * receipt.measures["lr_error_after"]
    everything = [*listed["stage"].values(), *listed["sample"].values(), *mosaic.values()]
    seconds: Counter[str] = Counter()
    for receipt in everything:
        seconds[receipt.step] += receipt.seconds  # type: ignore[assignment]
    return Report(
        region=plan.region.name,
        plan=plan.digest,
        jobs=dict(jobs),
        tiles={"planned": plan.layout.tile_count, **tiles},
        pixels=dict(pixels),
        seconds={step: round(s, 2) for step, s in seconds.items()},
        calls=sum(r.calls for r in listed["sample"].values()),
        lr_error={"before": before / weight, "after": after / weight} if weight else {},
        errors=tuple(dict.fromkeys(e for r in everything for e in r.errors)),
    )
