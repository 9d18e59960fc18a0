"""Removal of what is outside the region by now: whole shards, and pixels of shards that could not be written again.

The mosaic's attribute `outline` is of the region and land mask within which its shards are. Where a plan has others,
the mosaic's objects are listed once, and shards that are none of the plan's are removed, with their receipts.
"""

from __future__ import annotations

import numpy as np

from dsdit.digest import NO_DIGEST, json_digest
from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.lease import Check, unchecked
from dsdit.mosaic.mosaic_arrays import shard_specs
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, append_receipts, list_receipts
from dsdit.status import JobState
from dsdit.steps.scratch import mosaic_origin
from dsdit.steps.shard import block_mean
from dsdit.store.arrays import open_group, read_window, stored_shards, write_shard
from dsdit.store.objects import join
from dsdit.window import Index

OUTLINE = "outline"
"""Attribute of the mosaic's root."""


def outline_digest(plan: Plan) -> str:
    """Hex digest of the region's footprint and the land mask."""
    return json_digest({"footprint": plan.region.footprint_wkt, "land": plan.land_wkt}).hex()


def shards_outside(plan: Plan, mosaic: str, receipts: str) -> Jobs:
    """Jobs that have objects in the mosaic, or a receipt, and are outside the plan's region or off its land."""
    root = open_group(mosaic, "r")
    if root.attrs.get(OUTLINE) == outline_digest(plan):
        return Jobs.of([])
    found = {job for job, state in list_receipts(receipts, "mosaic").items() if state is not JobState.CLEARED}
    first = mosaic_origin(plan)
    for spec in shard_specs(plan):
        if spec.path in root:
            shards = stored_shards(join(mosaic, spec.group), spec.name)
            found |= {Index(first.row + row, first.col + col) for row, col in shards}
    return Jobs.of([job for job in found if job not in plan.layout.mosaic_jobs])


def clear_outside(plan: Plan, mosaic: str, receipts: str, check: Check = unchecked) -> int:
    """Removes all `shards_outside`; returns their number. `check` is called before each is removed.

    Their receipts are replaced first by those of cleared shards, so that no receipt proves a shard that is gone; the
    attribute is written last, so that a run that is killed here begins again.
    """
    jobs = shards_outside(plan, mosaic, receipts)
    if jobs:
        check()
        append_receipts(receipts, "mosaic", (Receipt("mosaic", job, JobState.CLEARED, NO_DIGEST, 0.0) for job in jobs))
    for job in jobs:
        if job in plan.layout.mosaic_jobs_window:
            check()
            mask_shard(plan, job, mosaic)
    open_group(mosaic).attrs[OUTLINE] = outline_digest(plan)
    return len(jobs)


def mask_shard(plan: Plan, job: Index, mosaic: str) -> None:
    """Sets what is outside the region, or in a shard off land, to fill in every layer of a shard."""
    shard, first = plan.lattice.shard_window(job), plan.layout.mosaic_jobs_window.refine(plan.lattice.shard_px)
    inside = plan.region.mask(shard) & (job in plan.layout.mosaic_jobs)
    if inside.all():
        return
    scale = plan.lattice.scale
    lr_inside = block_mean(inside.astype(np.float32), scale) >= 0.5
    for spec in shard_specs(plan):
        url = join(mosaic, spec.group)
        hr = spec.lattice == "hr"
        places = (first, shard) if hr else (first.coarsen(scale), shard.coarsen(scale))
        before = read_window(url, spec.name, *places)
        after = np.where(inside if hr else lr_inside, before, np.array(spec.fill, spec.dtype))
        if after.tobytes() != before.tobytes():  # bytes, not values: NaN equals NaN
            write_shard(url, spec.name, mosaic_origin(plan), job, after)
