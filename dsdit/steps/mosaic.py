"""mosaic: blends the tiles of 3 x 3 jobs on shard + halo, restores LR truth, and writes one shard.

Afterwards A(sr) is the LR picture again wherever nothing was clipped; what restoring had to correct is kept beside it.
A job whose own tile failed leaves its shard as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.imaging.radiometry import decode, encode
from dsdit.imaging.sensor import decimate, restore, restored_lr
from dsdit.lattice.blend import blend, feather
from dsdit.mosaic.lease import Check, unasked
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt
from dsdit.status import JobState, LrState, PixelStatus, TileState
from dsdit.steps.inputs import Inputs
from dsdit.steps.sample import check_tiles
from dsdit.steps.scratch import mosaic_origin, read_staged, read_tiles
from dsdit.steps.shard import Blended, block_mean, count_pixels, shard_arrays
from dsdit.store.arrays import read_window, write_shard
from dsdit.store.objects import join
from dsdit.window import Index, Window

Array = NDArray[np.float32]


def mosaic(
    plan: Plan,
    job: Index,
    scratch: str,
    output: str,
    inputs: Inputs,
    check: Check = unasked,
    take_back: Check = unasked,
) -> Receipt:
    """Blends, restores and writes the shard of `job` into the mosaic at `output`; returns its receipt.

    `inputs` has the receipts of what it reads. Everything is read before `check` is asked, and written after it.
    `take_back` is called before a shard that is there is written over.
    """
    started = time.monotonic()
    samples = [receipt for (step, _), receipt in inputs.items() if step == "sample"]
    states = {tile: state for receipt in samples for tile, state in check_tiles(receipt).items()}
    errors = [error for receipt in samples for error in receipt.errors]
    own_failed = any(
        states.get(t, TileState.FAILED) is TileState.FAILED
        for t in plan.layout.tiles_of_mosaic(job)
        if t in plan.lattice.tiles_of(job)
    )
    stages = [receipt for (step, _), receipt in inputs.items() if step == "stage"]
    degraded = bool(errors) or any(receipt.state is not JobState.DONE for receipt in stages)
    errors += [error for receipt in stages for error in receipt.errors]
    sources = sorted({source for receipt in stages for source in receipt.sources})
    window, shard = plan.lattice.mosaic_window(job), plan.lattice.shard_window(job)
    inside = plan.region.mask(shard)
    if own_failed:
        check()
        mark_failed(plan, job, output)
        pixels = {"failed": int(inside.sum())}
        state, measures = JobState.FAILED, {}
    else:
        blended = blend_tiles(plan, job, scratch, states)
        lr = read_staged(plan, scratch, "lr", window)
        lr_state = read_staged(plan, scratch, "lr_state", window)
        valid = lr_state == LrState.VALID
        scale, mtf = plan.lattice.scale, plan.mtf_nyquist
        before = np.where(valid, lr - decimate(blended.sr, scale, mtf), np.float32(np.nan))
        sr = restore(blended.sr, lr, scale, mtf, valid=valid)
        arrays = shard_arrays(plan, job, scratch, blended, sr, lr, lr_state, before)
        status = arrays[-1][-1]
        check()
        if read_status(plan, job, output).any():
            take_back()
        for group, name, values in arrays:
            write_shard(join(output, group), name, mosaic_origin(plan), job, values)
        pixels = count_pixels(status, inside)
        measures = _measures(plan, window, shard, sr, lr, before, status)
        state = JobState.DEGRADED if degraded else JobState.DONE
    return Receipt(
        step="mosaic",
        job=job,
        state=state,
        digest=plan.job_digest(job),
        seconds=time.monotonic() - started,
        tiles={f"{t.row},{t.col}": int(states.get(t, TileState.FAILED)) for t in plan.layout.tiles_of_mosaic(job)},
        pixels=pixels,
        sources=tuple(sources),
        errors=tuple(dict.fromkeys(errors)),
        measures=measures,
    )


def blend_tiles(plan: Plan, job: Index, scratch: str, states: dict[Index, TileState]) -> Blended:
    """Blends the sampled tiles that reach the job's shard + halo."""
    lattice = plan.lattice
    window = lattice.mosaic_window(job)
    weight = feather(lattice.tile_px, lattice.overlap_px)
    tiles = plan.layout.tiles_of_mosaic(job)
    mean, total = blend(window, _tiles(plan, scratch, job, tiles, states), weight, 4)
    worst = np.zeros(window.shape, np.uint8)
    for tile in tiles:
        part = lattice.tile_window(tile).intersect(window).within(window)
        np.maximum(worst[part], np.uint8(states.get(tile, TileState.FAILED)), out=worst[part])
    sampled = total > 0
    context = lattice.mosaic_context(job)
    if sampled.all():
        sr = mean[:3]
    else:
        lr = read_staged(plan, scratch, "lr", context)
        smooth = restored_lr(np.nan_to_num(lr, nan=0.0), lattice.scale, plan.mtf_nyquist)
        sr = np.where(sampled, mean[:3], smooth[(..., *window.within(context))])
    return Blended(sr, mean[3], sampled, worst)


def _tiles(
    plan: Plan, scratch: str, job: Index, tiles: tuple[Index, ...], states: dict[Index, TileState]
) -> Iterator[tuple[Window, Array]]:
    """(place, (4, y, x)) of sampled tiles in the order of their index: three bands and the reference's share."""
    token = plan.lattice.token_px
    reach = plan.lattice.tiles_touching(plan.lattice.mosaic_window(job))
    blocks: dict[Index, tuple[Window, NDArray, NDArray]] = {}
    for owner in sorted({plan.lattice.owner(tile) for tile in tiles}):
        part = reach.intersect(plan.lattice.tiles_of(owner))
        blocks[owner] = (
            part,
            read_tiles(plan, scratch, "tiles", owner, part),
            read_tiles(plan, scratch, "weighting", owner, part),
        )
    for tile in tiles:
        if not states.get(tile, TileState.FAILED).sampled:
            continue
        part, pictures, shares = blocks[plan.lattice.owner(tile)]
        at = (tile.row - part.row0, tile.col - part.col0)
        share = np.repeat(np.repeat(shares[at], token, 0), token, 1)
        yield plan.lattice.tile_window(tile), np.concatenate([pictures[at], share[None]])


def read_status(plan: Plan, job: Index, output: str) -> NDArray[np.uint8]:
    """(y, x) `PixelStatus` of the shard of `job` as it stands."""
    first = plan.layout.mosaic_jobs_window.refine(plan.lattice.shard_px)
    return read_window(join(output, "0"), "status", first, plan.lattice.shard_window(job))


def mark_failed(plan: Plan, job: Index, output: str) -> None:
    """Leaves a shard that was written before as it is; marks a new one as failed."""
    if not read_status(plan, job, output).any():
        write_failed(plan, job, output)


def unfinished(plan: Plan, job: Index, output: str) -> bool:
    """Whether the status of the shard of a failed job says that its writing did not end, or never began."""
    status = read_status(plan, job, output)[plan.region.mask(plan.lattice.shard_window(job))]
    return bool(np.isin(status, (PixelStatus.OUTSIDE, PixelStatus.FAILED)).all())


def write_failed(plan: Plan, job: Index, output: str) -> None:
    """Has the status of the whole shard say that it failed, until another one is written."""
    inside = plan.region.mask(plan.lattice.shard_window(job))
    status = np.where(inside, np.uint8(PixelStatus.FAILED), np.uint8(PixelStatus.OUTSIDE))
    write_shard(join(output, "0"), "status", mosaic_origin(plan), job, status)


def _measures(
    plan: Plan, window: Window, shard: Window, sr: Array, lr: Array, before: Array, status: NDArray[np.uint8]
) -> dict[str, Any]:
    """Mean |A(sr) - lr| in reflectance before and after restoring, where the whole LR pixel is seen."""
    scale = plan.lattice.scale
    crop = shard.coarsen(scale).within(window.coarsen(scale))
    stored = decode(encode(sr, np.ones(sr.shape, bool)))
    after = np.abs(lr - decimate(stored, scale, plan.mtf_nyquist))[(..., *crop)]
    seen = (status == PixelStatus.DONE) | (status == PixelStatus.NO_REFERENCE)
    whole = block_mean(seen.astype(np.float32), scale) == 1.0
    whole &= np.isfinite(before[(..., *crop)]).all(0)
    if not whole.any():
        return {"lr_pixels": 0}
    return {
        "lr_pixels": int(whole.sum()),
        "lr_error_before": float(np.abs(before[(..., *crop)])[:, whole].mean(dtype=np.float64)),
        "lr_error_after": float(after[:, whole].mean(dtype=np.float64)),
    }
