"""The pyramid: each level half of the one below, one shard of the coarser level at a time.

A coarser shard covers 2 x 2 finer ones and is written by one call, so that no object has two writers. A shard that
would not change is not written again: versions of a mosaic share it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsdit.imaging.radiometry import SR_FILL
from dsdit.mosaic.mosaic_arrays import LEVEL_ARRAYS, SR, STATUS, on_level
from dsdit.mosaic.template import level_count, level_url, mosaic_window, write_coordinates
from dsdit.plan.plan import Plan
from dsdit.status import PixelStatus
from dsdit.store.arrays import create_spec, open_group, read_window, write_shard
from dsdit.window import Index, Window


def level_window(plan: Plan, level: int) -> Window:
    """Pixels of a level, counted in its own pixels; whole shards of that level."""
    window = mosaic_window(plan)
    side = plan.lattice.shard_px
    # The first pixel need not be that of a shard of the level: shards of coarser levels count from the mosaic's corner.
    rows, cols = (-(-n // (side << level)) * side for n in window.shape)
    row0, col0 = window.row0 >> level, window.col0 >> level
    return Window(row0, col0, row0 + rows, col0 + cols)


def create_levels(plan: Plan, output: str) -> int:
    """Creates the empty levels above 0, or checks the existing ones; returns the number of levels."""
    levels, side = level_count(plan), plan.lattice.shard_px
    root = open_group(output, "r+")
    for level in range(1, levels):
        window = level_window(plan, level)
        group = root.require_group(str(level))
        shards = window.shape[0] // side, window.shape[1] // side
        for spec in LEVEL_ARRAYS:
            create_spec(group, on_level(spec, level), plan.lattice, len(plan.bands), shards)
        write_coordinates(group, plan, window, plan.region.grid.gsd_m * 2**level)
    return levels


def parents(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(row, col) of shards -> (row, col) of the shards a level above: True where any of 2 x 2 is."""
    rows, cols = (-(-n // 2) for n in mask.shape)
    even = np.zeros((2 * rows, 2 * cols), bool)
    even[: mask.shape[0], : mask.shape[1]] = mask
    found: NDArray[np.bool_] = np.any(even.reshape(rows, 2, cols, 2), axis=(1, 3))
    return found


def build_parent(plan: Plan, output: str, level: int, at: Index) -> None:
    """Writes one shard of a level from the 2 x 2 below it, read one at a time; `at` counts from the level's first."""
    side, half = plan.lattice.shard_px, plan.lattice.shard_px // 2
    finer, window = level_window(plan, level - 1), level_window(plan, level)
    fine_url, url = level_url(output, level - 1), level_url(output, level)
    sr, status = (
        np.full(spec.shard_shape(plan.lattice, len(plan.bands)), spec.fill, spec.dtype) for spec in (SR, STATUS)
    )
    first = Window(0, 0, *finer.shape)
    for row in (0, 1):
        for col in (0, 1):
            child = Index(2 * at.row + row, 2 * at.col + col)
            place = Window(child.row * side, child.col * side, (child.row + 1) * side, (child.col + 1) * side)
            below = read_window(fine_url, STATUS.name, first, place)
            if below.any():
                quarter = slice(row * half, (row + 1) * half), slice(col * half, (col + 1) * half)
                status[quarter] = halve_status(below)
                sr[(..., *quarter)] = halve(read_window(fine_url, SR.name, first, place))
    here = Window(at.row * side, at.col * side, (at.row + 1) * side, (at.col + 1) * side)
    for spec, values in ((SR, sr), (STATUS, status)):
        if not np.array_equal(read_window(url, spec.name, Window(0, 0, *window.shape), here), values):
            write_shard(url, spec.name, Index(0, 0), at, values)


def halve(sr: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(band, 2y, 2x) -> (band, y, x): the rounded mean of the 2 x 2 values that are not fill."""
    corners = [sr[..., r::2, c::2] for r in (0, 1) for c in (0, 1)]
    # Integers, so that the result is the same on every machine; + count // 2 rounds halves up.
    total = sum(np.where(k == SR_FILL, np.uint32(0), k.astype(np.uint32)) for k in corners)
    count = sum((k != SR_FILL).astype(np.uint32) for k in corners)
    safe = np.maximum(count, 1)
    return np.where(count > 0, (total + safe // 2) // safe, SR_FILL).astype(np.uint16)


def halve_status(status: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(2y, 2x) -> (y, x): DONE if any of 2 x 2 is, else NO_REFERENCE if any is, else the highest value."""
    corners = np.stack([status[r::2, c::2] for r in (0, 1) for c in (0, 1)])
    out: NDArray[np.uint8] = corners.max(0)
    out[(corners == PixelStatus.NO_REFERENCE).any(0)] = PixelStatus.NO_REFERENCE
    out[(corners == PixelStatus.DONE).any(0)] = PixelStatus.DONE
    return out
