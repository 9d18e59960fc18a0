"""Reading staged pixels and sampled tiles by their place on the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.plan import Plan
from dsdit.store import read_block, read_window
from dsdit.window import Index, Window


def origin(plan: Plan) -> Index:
    """The first job of the scratch arrays."""
    jobs = plan.layout.jobs_window
    return Index(jobs.row0, jobs.col0)


def mosaic_origin(plan: Plan) -> Index:
    """The first job of the mosaic's arrays."""
    jobs = plan.layout.mosaic_jobs_window
    return Index(jobs.row0, jobs.col0)


def read_staged(plan: Plan, scratch: str, name: str, window: Window) -> NDArray[Any]:
    """A staged array on a window of HR pixels (LR arrays: the LR pixels of that window)."""
    first = plan.layout.jobs_window.refine(plan.lattice.shard_px)
    if name.startswith("lr"):
        scale = plan.lattice.scale
        return read_window(scratch, name, first.coarsen(scale), window.coarsen(scale))
    return read_window(scratch, name, first, window)


def read_tiles(plan: Plan, scratch: str, name: str, job: Index, tiles: Window) -> NDArray[np.float32]:
    """`tiles` or `weighting` of a window of the tile lattice within one job."""
    first = plan.layout.jobs_window.refine(plan.lattice.shard_strides)
    return read_block(scratch, name, first, tiles.intersect(plan.lattice.tiles_of(job)))
