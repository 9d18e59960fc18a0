"""The overview: `sr`, `lr` and `residual` of a large region, coarse enough to show all of it in one picture.

Group `lr` has no pyramid, and that of `sr` ends where a shard cannot be halved any more. Here each shard has a square
of one or a few pixels that depends on the shard alone, so that a run updates the squares of the shards that it wrote.
An object holds the squares of many shards and has one writer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsdit.imaging.radiometry import decode, encode
from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.mosaic_arrays import LR, RESIDUAL, SR
from dsdit.mosaic.template import level_count, level_url, write_coordinates
from dsdit.plan.plan import Plan
from dsdit.steps.publish.pyramid import level_window
from dsdit.store.arrays import array_shape, create_array, open_group, read_window, write_shard
from dsdit.store.objects import join
from dsdit.window import Index, Window

GROUP = "overview"
MOST_PX = 1600
"""Pixels on the longer side, unless a shard would have less than one; a region of no more LR pixels has no overview."""
_CHUNK_PX = 256
_ARRAYS = (SR, LR, RESIDUAL)
"""Arrays of which it has the mean: of the same type, fill and dimensions."""


def overview_factor(plan: Plan) -> int | None:
    """LR pixels along a side of an overview pixel, a divisor of a shard's; None for a region without overview."""
    side = max(plan.region.window.coarsen(plan.lattice.scale).shape)
    if side <= MOST_PX:
        return None
    shard = plan.lattice.shard_px // plan.lattice.scale
    return next(k for k in range(1, shard + 1) if shard % k == 0 and (side <= k * MOST_PX or k == shard))


def overview_window(plan: Plan, factor: int) -> Window:
    """Pixels of the overview, counted from the CRS's origin; whole objects."""
    square, chunk = _sizes(plan, factor)
    jobs = plan.layout.mosaic_jobs_window
    rows, cols = (-(-n * square // chunk) * chunk for n in jobs.shape)
    return Window(jobs.row0 * square, jobs.col0 * square, jobs.row0 * square + rows, jobs.col0 * square + cols)


def _sizes(plan: Plan, factor: int) -> tuple[int, int]:
    """Pixels along a side of a shard's square, and of an object."""
    square = plan.lattice.shard_px // (plan.lattice.scale * factor)
    return square, square * max(1, _CHUNK_PX // square)


def create_overview(plan: Plan, output: str) -> int | None:
    """Creates the empty group, or checks an existing one; returns `overview_factor`."""
    factor = overview_factor(plan)
    if factor is None:
        return None
    window, (_, chunk) = overview_window(plan, factor), _sizes(plan, factor)
    group = open_group(output, "r+").require_group(GROUP)
    bands = len(plan.bands)
    for spec in _ARRAYS:
        attributes = dict(spec.attributes)
        if spec is SR:
            attributes["long_name"] = "mean super-resolved reflectance"
        shape, chunks = (bands, *window.shape), (bands, chunk, chunk)
        create_array(group, spec.name, shape, chunks, None, spec.dtype, spec.fill, spec.dims, attributes)
    write_coordinates(group, plan, window, plan.region.grid.lr_gsd_m * factor)
    return factor


def overview_objects(plan: Plan, changed: Jobs) -> list[tuple[Index, Jobs]]:
    """Objects that hold squares of `changed`, each with those jobs; indices count from the first object."""
    factor, jobs = overview_factor(plan), plan.layout.mosaic_jobs_window
    if factor is None:
        return []
    square, chunk = _sizes(plan, factor)
    step, mask, found = chunk // square, changed.on(jobs), []  # an object holds step x step squares
    for at in Window(0, 0, *jobs.shape).coarsen(step).indices():
        part = mask[at.row * step : (at.row + 1) * step, at.col * step : (at.col + 1) * step]
        if part.any():
            row, col = jobs.row0 + at.row * step, jobs.col0 + at.col * step
            found.append((at, Jobs(Window(row, col, row + part.shape[0], col + part.shape[1]), part)))
    return found


def build_overview(plan: Plan, output: str, at: Index, changed: Jobs) -> None:
    """Updates the squares of `changed`, which are all in the object `at`; one shard is read at a time."""
    factor = overview_factor(plan)
    assert factor is not None
    square, chunk = _sizes(plan, factor)
    whole, jobs, url = overview_window(plan, factor), plan.layout.mosaic_jobs_window, join(output, GROUP)
    row, col = whole.row0 + at.row * chunk, whole.col0 + at.col * chunk
    here = Window(row, col, row + chunk, col + chunk)
    before = {spec.name: read_window(url, spec.name, whole, here) for spec in _ARRAYS}
    after = {name: values.copy() for name, values in before.items()}
    scale, side = plan.lattice.scale, plan.lattice.shard_px
    # `sr` is read from the coarsest level whose pixels still divide an overview pixel, of px x px HR pixels.
    px, level = factor * scale, 0
    while level + 1 < level_count(plan) and px % (2 << level) == 0:
        level += 1
    lr_first = jobs.refine(side // scale)
    for job in changed:
        place = Window(*job, job.row + 1, job.col + 1)  # counted in shards; refined to the pixels of each array
        to = (..., *place.refine(square).within(here))
        lr_place, sr_place = place.refine(side // scale), place.refine(side >> level)
        sr = read_window(level_url(output, level), "sr", level_window(plan, level), sr_place)
        after["sr"][to] = _mean_stored(sr, px >> level)
        after["lr"][to] = _mean_stored(read_window(join(output, "lr"), "lr", lr_first, lr_place), factor)
        after["residual"][to] = block_nanmean(read_window(join(output, "lr"), "residual", lr_first, lr_place), factor)
    for name, values in after.items():
        # Bytes, not values: NaN equals NaN.
        if values.tobytes() != before[name].tobytes():
            write_shard(url, name, Index(0, 0), at, values)


def read_whole(plan: Plan, output: str, name: str, factor: int) -> NDArray[np.float32]:
    """(band, y, x) reflectance of the region from the overview, with at most `MOST_PX` a side; see `read_coarse`."""
    window = plan.region.window.coarsen(plan.lattice.scale * factor)
    return read_coarse(join(output, GROUP), name, overview_window(plan, factor), window, MOST_PX)


def read_coarse(url: str, name: str, first: Window, window: Window, most_px: int) -> NDArray[np.float32]:
    """A window of an array as reflectance, averaged in blocks so that no side has more than `most_px` pixels.

    It is read a block at a time: memory does not grow with the window. NaN where there is no value.
    """
    factor = max(1, -(-max(window.shape) // most_px))
    rows, cols = (-(-n // factor) for n in window.shape)
    out = np.full((*array_shape(url, name)[:-2], rows, cols), np.nan, np.float32)
    # Blocks are whole numbers of output pixels, so that no average is cut.
    step = max(1, _BLOCK_PX // factor)
    for at in Window(0, 0, rows, cols).coarsen(step).indices():
        part = Window(at.row * step, at.col * step, (at.row + 1) * step, (at.col + 1) * step)
        part = part.intersect(Window(0, 0, rows, cols))
        fine = part.refine(factor)
        row, col = window.corner
        have = Window(fine.row0 + row, fine.col0 + col, fine.row1 + row, fine.col1 + col)
        values = read_window(url, name, first, have)
        shown = decode(values) if values.dtype == np.uint16 else values
        out[(..., *part.within(Window(0, 0, rows, cols)))] = shown if factor == 1 else block_nanmean(shown, factor)
    return out


_BLOCK_PX = 1024
"""Side of a block that is read at once."""


def block_nanmean(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """(..., y, x) -> (..., y / factor, x / factor): mean of each block's finite values, NaN where it has none."""
    rows, cols = values.shape[-2] // factor, values.shape[-1] // factor
    blocks = values.reshape(*values.shape[:-2], rows, factor, cols, factor)
    finite = np.isfinite(blocks)
    count = finite.sum((-3, -1))
    total = np.where(finite, blocks, np.float32(0)).sum((-3, -1), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _mean_stored(stored: NDArray[np.uint16], factor: int) -> NDArray[np.uint16]:
    mean = block_nanmean(decode(stored), factor)
    return encode(mean, np.isfinite(mean))
