"""mosaic: blends the tiles of 3 x 3 jobs on shard + halo, restores LR truth, and writes one shard.

Afterwards A(sr) is the LR picture again wherever nothing was clipped; what restoring had to correct is kept beside it.
A job whose own tile failed leaves its shard as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.blend import blend, feather
from dsdit.lease import Check, unasked
from dsdit.plan import Plan
from dsdit.radiometry import decode, encode
from dsdit.receipts import Receipt, read_receipt
from dsdit.sensor import decimate, restore, restored_lr
from dsdit.status import JobState, LrState, PixelStatus, TileState
from dsdit.steps.sample import check_tiles
from dsdit.steps.scratch import mosaic_origin, read_staged, read_tiles
from dsdit.store import join, read_window, write_shard
from dsdit.window import Index, Window

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Blended:
    """Tiles on shard + halo."""

    sr: Array
    """(3, y, x) reflectance; the restored LR where no tile was sampled."""
    reference_weight: Array
    """(y, x) share of the reference in the network's patch-level weighting."""
    sampled: NDArray[np.bool_]
    worst: NDArray[np.uint8]
    """(y, x) worst `TileState` of the pixel's tiles."""


def mosaic(plan: Plan, job: Index, scratch: str, output: str, receipts: str, check: Check = unasked) -> Receipt:
    """Blends, restores and writes the shard of `job` into the mosaic at `output`; returns its receipt."""
    started = time.monotonic()
    samples = {n: read_receipt(receipts, "sample", n) for n in plan.layout.samples_of_mosaic(job)}
    states = {t: s for receipt in samples.values() if receipt for t, s in check_tiles(receipt).items()}
    errors = [e for receipt in samples.values() if receipt for e in receipt.errors]
    errors += [f"sample of job {tuple(n)} has no receipt" for n, receipt in samples.items() if receipt is None]
    own_failed = any(
        states.get(t, TileState.FAILED) is TileState.FAILED
        for t in plan.layout.tiles_of_mosaic(job)
        if t in plan.lattice.tiles_of(job)
    )
    stages = [read_receipt(receipts, "stage", n) for n in plan.layout.stages_of_mosaic(job)]
    degraded = bool(errors) or any(receipt is None or receipt.state is not JobState.DONE for receipt in stages)
    errors += [e for receipt in stages if receipt for e in receipt.errors]
    sources = sorted({s for receipt in stages if receipt for s in receipt.sources})
    window, shard = plan.lattice.mosaic_window(job), plan.lattice.shard_window(job)
    inside = plan.region.mask(shard)
    if own_failed:
        check()
        pixels = _mark_failed(plan, job, output, inside)
        state, measures = JobState.FAILED, {}
    else:
        blended = blend_tiles(plan, job, scratch, states)
        lr = read_staged(plan, scratch, "lr", window)
        lr_state = read_staged(plan, scratch, "lr_state", window)
        valid = lr_state == LrState.VALID
        scale, mtf = plan.lattice.scale, plan.mtf_nyquist
        before = np.where(valid, lr - decimate(blended.sr, scale, mtf), np.float32(np.nan))
        sr = restore(blended.sr, lr, scale, mtf, valid=valid)
        check()
        pixels, status = _write(plan, job, output, scratch, blended, sr, lr, lr_state, before, inside)
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


def pixel_status(
    blended: Blended, lr_state: NDArray[np.uint8], ref_item: NDArray[np.int32], scale: int
) -> NDArray[np.uint8]:
    """(y, x) `PixelStatus` from the pixel's own validity and the worst state of its tiles."""
    own = np.repeat(np.repeat(lr_state, scale, 0), scale, 1)
    status = np.full(own.shape, PixelStatus.DONE, np.uint8)
    no_ref = (ref_item < 0) | (blended.worst == TileState.NO_REFERENCE)
    status[no_ref] = PixelStatus.NO_REFERENCE
    status[~blended.sampled & (blended.worst == TileState.CLOUDY)] = PixelStatus.CLOUDY
    status[~blended.sampled & (blended.worst == TileState.NO_DATA)] = PixelStatus.NO_DATA
    status[~blended.sampled & (blended.worst == TileState.FAILED)] = PixelStatus.FAILED
    status[own == LrState.CLOUDY] = PixelStatus.CLOUDY
    status[own == LrState.NO_DATA] = PixelStatus.NO_DATA
    status[own == LrState.UNREADABLE] = PixelStatus.FAILED
    return status


def _write(
    plan: Plan,
    job: Index,
    output: str,
    scratch: str,
    blended: Blended,
    sr: Array,
    lr: Array,
    lr_state: NDArray[np.uint8],
    before: Array,
    inside: NDArray[np.bool_],
) -> tuple[dict[str, int], NDArray[np.uint8]]:
    """Crops, encodes and writes every array of the shard; returns pixel counts by status, and the status."""
    scale = plan.lattice.scale
    window, shard = plan.lattice.mosaic_window(job), plan.lattice.shard_window(job)
    crop = shard.within(window)
    crop_lr = shard.coarsen(scale).within(window.coarsen(scale))
    ref_item = read_staged(plan, scratch, "ref_item", window)
    status = pixel_status(blended, lr_state, ref_item, scale)[crop]
    status[~inside] = PixelStatus.OUTSIDE
    seen = (status == PixelStatus.DONE) | (status == PixelStatus.NO_REFERENCE)
    at = mosaic_origin(plan)
    mosaic_url = join(output, "0")
    write_shard(mosaic_url, "sr", at, job, encode(sr[(..., *crop)], seen[None]))
    write_shard(mosaic_url, "status", at, job, status)
    if plan.keep_reference:
        ref = read_staged(plan, scratch, "ref", shard)
        write_shard(join(output, "ref"), "ref", at, job, encode(ref, ((ref_item[crop] >= 0) & inside)[None]))
    lr_url = join(output, "lr")
    lr_inside = block_mean(inside.astype(np.float32), scale) >= 0.5
    valid = (lr_state[crop_lr] == LrState.VALID) & lr_inside
    lr_item = np.where(lr_inside, read_staged(plan, scratch, "lr_item", shard), -1).astype(np.int32)
    centre = ref_item[crop][scale // 2 :: scale, scale // 2 :: scale]
    nearest = np.where(lr_inside, centre, -1).astype(np.int32)
    weight = block_mean(blended.reference_weight[crop], scale)
    nan = np.float32(np.nan)
    for name, values in (
        ("lr", encode(lr[(..., *crop_lr)], valid[None])),
        ("residual", np.where(valid, before[(..., *crop_lr)], nan).astype(np.float32)),
        ("reference_weight", np.where(valid, weight, nan).astype(np.float32)),
        ("reference_age", _age(plan, lr_item, nearest)),
        ("lr_item", lr_item),
        ("ref_item", nearest),
    ):
        write_shard(lr_url, name, at, job, values)
    return _counts(status, inside), status


def block_mean(values: Array, scale: int) -> Array:
    """(y, x) -> (y / scale, x / scale) means of scale x scale blocks, summed in a fixed order."""
    total = np.zeros((values.shape[0] // scale, values.shape[1] // scale), np.float32)
    for row in range(scale):
        for col in range(scale):
            total += values[row::scale, col::scale]
    return np.divide(total, np.float32(scale * scale), dtype=np.float32)


def _age(plan: Plan, lr_item: NDArray[np.int32], ref_item: NDArray[np.int32]) -> NDArray[np.float32]:
    """Days from the reference's date to LR's; NaN where either is missing."""
    when = np.full(len(plan.item_names) + 1, np.nan)
    when[plan.item_numbers[:-1]] = plan.items.days
    days = (when[lr_item] - when[ref_item]).astype(np.float32)
    return np.where((lr_item >= 0) & (ref_item >= 0), days, np.float32(np.nan))


def _counts(status: NDArray[np.uint8], inside: NDArray[np.bool_]) -> dict[str, int]:
    counts = np.bincount(status[inside], minlength=len(PixelStatus))
    return {PixelStatus(k).name.lower(): int(n) for k, n in enumerate(counts) if n and k != PixelStatus.OUTSIDE}


def _mark_failed(plan: Plan, job: Index, output: str, inside: NDArray[np.bool_]) -> dict[str, int]:
    """Leaves a shard that was written before as it is; marks a new one as failed."""
    shard = plan.lattice.shard_window(job)
    first = plan.layout.mosaic_jobs_window.refine(plan.lattice.shard_px)
    url = join(output, "0")
    status = read_window(url, "status", first, shard)
    if not status.any():
        status = np.where(inside, np.uint8(PixelStatus.FAILED), np.uint8(PixelStatus.OUTSIDE))
        write_shard(url, "status", mosaic_origin(plan), job, status)
    return {"failed": int(inside.sum())}


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
