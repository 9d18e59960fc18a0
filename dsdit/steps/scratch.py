"""The scratch group: its arrays, and reading staged pixels and sampled tiles by their place on the grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.errors import StoreError
from dsdit.lattice.tiling import Lattice
from dsdit.plan.plan import Plan
from dsdit.store.arrays import create_array, open_group, read_block, read_window
from dsdit.window import Index, Window

SCRATCH = {
    "lr": (3, "lr", "float32", np.nan),
    "lr_state": (0, "lr", "uint8", 1),
    "lr_item": (0, "lr", "int32", -1),
    "ref": (3, "hr", "float32", np.nan),
    "ref_item": (0, "hr", "int32", -1),
}
"""Staged arrays: bands (0 for none), lattice, dtype, fill."""


def create_scratch(url: str, lattice: Lattice, jobs: Window, codec_token_px: int) -> None:
    """Scratch group over a window of the job lattice: staged pixels, and tiles by their index; a shard is a job.

    Raises StoreError where one lies there that begins at another job: what stands in it would be read as another place.
    """
    group = open_group(url, "a")
    first = [jobs.row0, jobs.col0]
    if "lr" in group and group.attrs.get("first_job") != first:
        raise StoreError(f"{url} is scratch of other jobs than this run has: remove it, or choose another scratch")
    group.attrs["first_job"] = first
    rows, cols = jobs.shape
    for name, (bands, side, dtype, fill) in SCRATCH.items():
        px = lattice.shard_px if side == "hr" else lattice.shard_px // lattice.scale
        chunk = lattice.chunk_px if side == "hr" else lattice.chunk_px // lattice.scale
        lead = (bands,) if bands else ()
        create_array(
            group,
            name,
            (*lead, rows * px, cols * px),
            (*lead, chunk, chunk),
            (*lead, px, px),
            dtype,
            fill,
            ("band", "y", "x") if bands else ("y", "x"),
        )
    n, tile = lattice.shard_strides, lattice.tile_px
    create_array(
        group,
        "tiles",
        (rows * n, cols * n, 3, tile, tile),
        (1, 1, 3, tile, tile),
        (n, n, 3, tile, tile),
        "float32",
        np.nan,
        ("tile_row", "tile_col", "band", "y", "x"),
    )
    tokens = tile // codec_token_px
    create_array(
        group,
        "weighting",
        (rows * n, cols * n, tokens, tokens),
        (1, 1, tokens, tokens),
        (n, n, tokens, tokens),
        "float32",
        0.0,
        ("tile_row", "tile_col", "token_row", "token_col"),
    )


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
