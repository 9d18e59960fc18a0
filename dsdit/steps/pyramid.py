"""The pyramid: each level half of the one below, one shard of the finer level at a time.

A coarser shard covers 2 x 2 finer ones and is written by one call, so that no object has two writers. One that would
stay the same is not written again: versions of a mosaic share it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsdit.mosaic_group import create_level, level_count, level_url, mosaic_window, write_coordinates
from dsdit.plan import Plan
from dsdit.radiometry import SR_FILL
from dsdit.status import PixelStatus
from dsdit.store import forget_arrays, open_group, read_window, write_shard
from dsdit.window import Index, Window


def level_window(plan: Plan, level: int) -> Window:
    """Pixels of a level, counted in its own pixels; whole shards of that level."""
    window = mosaic_window(plan)
    side = plan.lattice.shard_px
    rows, cols = (-(-n // (side << level)) * side for n in window.shape)
    row0, col0 = window.row0 >> level, window.col0 >> level
    return Window(row0, col0, row0 + rows, col0 + cols)


def build_pyramid(plan: Plan, output: str) -> int:
    """Builds all levels above 0; returns the number of levels."""
    levels = level_count(plan)
    forget_arrays()
    root = open_group(output, "r+")
    for level in range(1, levels):
        window = level_window(plan, level)
        group = root.require_group(str(level))
        create_level(group, window.shape, plan.lattice.chunk_px, plan.lattice.shard_px)
        write_coordinates(group, plan, window, plan.region.grid.gsd_m * 2**level)
        _build_level(plan, output, level)
    return levels


def _build_level(plan: Plan, output: str, level: int) -> None:
    side = plan.lattice.shard_px
    finer, window = level_window(plan, level - 1), level_window(plan, level)
    fine_url, url = level_url(output, level - 1), level_url(output, level)
    first = Window(0, 0, *finer.shape)
    for row in range(window.shape[0] // side):
        for col in range(window.shape[1] // side):
            place = Window(2 * row * side, 2 * col * side, 2 * (row + 1) * side, 2 * (col + 1) * side)
            sr = read_window(fine_url, "sr", first, place)
            status = read_window(fine_url, "status", first, place)
            if not status.any():
                continue
            here = Window(row * side, col * side, (row + 1) * side, (col + 1) * side)
            for name, values in (("sr", halve(sr)), ("status", halve_status(status))):
                if not np.array_equal(read_window(url, name, Window(0, 0, *window.shape), here), values):
                    write_shard(url, name, Index(0, 0), Index(row, col), values)


def halve(sr: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(band, 2y, 2x) -> (band, y, x): the rounded mean of those of 2 x 2 values that are not fill."""
    corners = [sr[..., r::2, c::2] for r in (0, 1) for c in (0, 1)]
    total = sum(np.where(k == SR_FILL, np.uint32(0), k.astype(np.uint32)) for k in corners)
    count = sum((k != SR_FILL).astype(np.uint32) for k in corners)
    safe = np.maximum(count, 1)
    return np.where(count > 0, (total + safe // 2) // safe, SR_FILL).astype(np.uint16)


def halve_status(status: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(2y, 2x) -> (y, x): DONE if any of 2 x 2 is seen (NO_REFERENCE only if none is DONE), else the highest value."""
    corners = np.stack([status[r::2, c::2] for r in (0, 1) for c in (0, 1)])
    out = corners.max(0)
    out[(corners == PixelStatus.NO_REFERENCE).any(0)] = PixelStatus.NO_REFERENCE
    out[(corners == PixelStatus.DONE).any(0)] = PixelStatus.DONE
    return out
