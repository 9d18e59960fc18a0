"""The arrays of scratch: staged pixels and sampled tiles, created for a run and read by their place on the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.bands import BANDS
from dsdit.errors import StoreError
from dsdit.lattice.tiling import Lattice
from dsdit.plan.plan import Plan
from dsdit.status import LrState
from dsdit.store.array_spec import BAND_PIXELS, PIXELS, TILES, ArraySpec
from dsdit.store.arrays import create_spec, open_group, read_block, read_window
from dsdit.window import Index, Window

LR = ArraySpec("lr", "", "lr", BAND_PIXELS, "float32", np.nan)
"""LR reflectance, continued into invalid pixels."""
LR_STATE = ArraySpec("lr_state", "", "lr", PIXELS, "uint8", int(LrState.NO_DATA))
LR_ITEM = ArraySpec("lr_item", "", "lr", PIXELS, "int32", -1)
REF = ArraySpec("ref", "", "hr", BAND_PIXELS, "float32", np.nan)
"""Reference in the radiometry of LR."""
REF_ITEM = ArraySpec("ref_item", "", "hr", PIXELS, "int32", -1)
TILE_PIXELS = ArraySpec("tiles", "", "tile", (*TILES, *BAND_PIXELS), "float32", np.nan)
"""Reflectance of sampled tiles."""
TILE_WEIGHTS = ArraySpec("weighting", "", "tile", (*TILES, "token_row", "token_col"), "float32", 0.0)
"""Share of the reference in each token of sampled tiles."""

SCRATCH: dict[str, tuple[ArraySpec, ...]] = {
    "stage": (LR, LR_STATE, LR_ITEM, REF, REF_ITEM),
    "sample": (TILE_PIXELS, TILE_WEIGHTS),
}
"""Arrays of scratch by the step that writes them, one object each a job."""
_STAGED = {spec.name: spec for spec in SCRATCH["stage"]}


def create_scratch(url: str, lattice: Lattice, jobs: Window, bands: tuple[str, ...] = BANDS) -> None:
    """Creates the scratch group over a window of the job lattice, one shard of each array a job.

    Raises StoreError where scratch begins at another job: its pixels would be read as those of another place.
    """
    group = open_group(url, "a")
    first = [jobs.row0, jobs.col0]
    if LR.name in group and group.attrs.get("first_job") != first:
        raise StoreError(f"{url} is scratch of other jobs than this run has: remove it, or choose another scratch")
    group.attrs["first_job"] = first
    for specs in SCRATCH.values():
        for spec in specs:
            create_spec(group, spec, lattice, len(bands), jobs.shape)


def origin(plan: Plan) -> Index:
    """The first job of the scratch arrays."""
    jobs = plan.layout.jobs_window
    return Index(jobs.row0, jobs.col0)


def mosaic_origin(plan: Plan) -> Index:
    """The first job of the mosaic's arrays."""
    jobs = plan.layout.mosaic_jobs_window
    return Index(jobs.row0, jobs.col0)


def read_staged(plan: Plan, scratch: str, name: str, window: Window) -> NDArray[Any]:
    """A staged array on a window of HR pixels (of an array on the LR lattice: the LR pixels of that window)."""
    first = plan.layout.jobs_window.refine(plan.lattice.shard_px)
    if _STAGED[name].lattice == "lr":
        scale = plan.lattice.scale
        return read_window(scratch, name, first.coarsen(scale), window.coarsen(scale))
    return read_window(scratch, name, first, window)


def read_tiles(plan: Plan, scratch: str, name: str, job: Index, tiles: Window) -> NDArray[np.float32]:
    """`tiles` or `weighting` of a window of the tile lattice within one job."""
    first = plan.layout.jobs_window.refine(plan.lattice.shard_strides)
    return read_block(scratch, name, first, tiles.intersect(plan.lattice.tiles_of(job)))
