"""The mosaic step: blends the tiles of 3 x 3 jobs on shard + halo, restores LR truth, and writes one shard.

Afterwards A(sr) is the LR picture again wherever nothing was clipped; what restoring had to correct is written as
`residual`. A job whose own tile failed leaves its shard as it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.imaging.bounds import reflectance_bounds, restore_within
from dsdit.imaging.radiometry import decode, encode
from dsdit.imaging.sensor import decimate, restored_lr
from dsdit.lattice.blend import blend, feather
from dsdit.mosaic.lease import Check, unchecked
from dsdit.mosaic.mosaic_arrays import LR_ITEM, STATUS
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt
from dsdit.status import JobState, LrState, PixelStatus, TileState
from dsdit.steps.inputs import Inputs
from dsdit.steps.sample import check_tiles
from dsdit.steps.scratch import mosaic_origin, read_staged, read_tiles
from dsdit.steps.shard import Blended, Restored, Shard, block_mean, count_pixels, cut_shard
from dsdit.store.arrays import read_window, write_shard
from dsdit.store.objects import join
from dsdit.window import Index, Window

Array = NDArray[np.float32]
States = dict[Index, TileState]


def mosaic(
    plan: Plan,
    job: Index,
    scratch: str,
    output: str,
    inputs: Inputs,
    check: Check = unchecked,
    on_overwrite: Check = unchecked,
) -> Receipt:
    """Blends, restores and writes the shard of `job` into the mosaic at `output`; returns its receipt.

    `inputs` are the receipts of what it reads. Everything is read before `check` is called, and written after it.
    `on_overwrite` is called before an existing shard is overwritten.
    """
    started = time.monotonic()
    around = _Around.of(inputs)
    tiles = {tile: around.state(tile) for tile in plan.layout.tiles_of_mosaic(job)}
    own = plan.lattice.tiles_of(job)
    inside = plan.region.mask(plan.lattice.shard_window(job))
    if any(state is TileState.FAILED and tile in own for tile, state in tiles.items()):
        check()
        mark_failed(plan, job, output)
        pixels, measures = {"failed": int(inside.sum())}, {}
        state = JobState.FAILED
    else:
        restored = _restore(plan, job, scratch, blend_tiles(plan, job, scratch, around.states))
        shard = cut_shard(plan, job, scratch, restored)
        check()
        if read_status(plan, job, output).any():
            on_overwrite()
        for spec, values in shard.arrays:
            write_shard(join(output, spec.group), spec.name, mosaic_origin(plan), job, values)
        pixels, measures = count_pixels(shard.status, inside), _measures(plan, job, restored, shard)
        state = JobState.DEGRADED if around.degraded else JobState.DONE
    return Receipt(
        step="mosaic",
        job=job,
        state=state,
        digest=plan.job_digest(job),
        seconds=time.monotonic() - started,
        tiles={f"{tile.row},{tile.col}": int(state) for tile, state in tiles.items()},
        pixels=pixels,
        sources=around.sources,
        errors=around.errors,
        measures=measures,
    )


@dataclass(frozen=True)
class _Around:
    """What the receipts of the stages and samples around a job report."""

    states: States
    errors: tuple[str, ...]
    sources: tuple[str, ...]
    """Ids of items, sorted."""
    degraded: bool
    """Whether a stage used a fallback, or a sample has an error."""

    @classmethod
    def of(cls, inputs: Inputs) -> _Around:
        """From the receipts of 3 x 3 jobs."""
        samples = [receipt for (step, _), receipt in inputs.items() if step == "sample"]
        stages = [receipt for (step, _), receipt in inputs.items() if step == "stage"]
        errors = [error for receipt in samples for error in receipt.errors]
        degraded = bool(errors) or any(receipt.state is not JobState.DONE for receipt in stages)
        errors += [error for receipt in stages for error in receipt.errors]
        return cls(
            {tile: state for receipt in samples for tile, state in check_tiles(receipt).items()},
            tuple(dict.fromkeys(errors)),
            tuple(sorted({source for receipt in stages for source in receipt.sources})),
            degraded,
        )

    def state(self, tile: Index) -> TileState:
        """State of a tile; FAILED where no receipt has it."""
        return self.states.get(tile, TileState.FAILED)


def blend_tiles(plan: Plan, job: Index, scratch: str, states: States) -> Blended:
    """Blends the sampled tiles that reach the job's shard + halo, and reads LR there."""
    lattice, bands = plan.lattice, len(plan.bands)
    scale, window = lattice.scale, lattice.mosaic_window(job)
    weight = feather(lattice.tile_px, lattice.overlap_px)
    tiles = plan.layout.tiles_of_mosaic(job)
    mean, total = blend(window, _tiles(plan, scratch, job, tiles, states), weight, bands + 1)
    worst = np.zeros(window.shape, np.uint8)
    for tile in tiles:
        part = lattice.tile_window(tile).intersect(window).within(window)
        np.maximum(worst[part], np.uint8(states.get(tile, TileState.FAILED)), out=worst[part])
    sampled = total > 0
    # Where tiles are missing LR is upsampled, which looks further than shard + halo.
    context = window if sampled.all() else lattice.mosaic_context(job)
    lr, sr = read_staged(plan, scratch, "lr", context), mean[:bands]
    if not sampled.all():
        smooth = restored_lr(np.nan_to_num(lr, nan=0.0), scale, plan.mtf_nyquist)
        sr = np.where(sampled, sr, smooth[(..., *window.within(context))])
        lr = lr[(..., *window.coarsen(scale).within(context.coarsen(scale)))]
    return Blended(sr, mean[bands], sampled, worst, lr)


def _tiles(
    plan: Plan, scratch: str, job: Index, tiles: tuple[Index, ...], states: States
) -> Iterator[tuple[Window, Array]]:
    """(place, (band + 1, y, x)) of sampled tiles in the order of their index: bands, then the reference's share."""
    token = plan.lattice.token_px
    reach = plan.lattice.tiles_touching(plan.lattice.mosaic_window(job))
    blocks: dict[Index, tuple[Window, Array, Array]] = {}
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
        share = np.repeat(np.repeat(shares[at], token, 0), token, 1)  # one value a token -> one a pixel
        yield plan.lattice.tile_window(tile), np.concatenate([pictures[at], share[None]])


def _restore(plan: Plan, job: Index, scratch: str, blended: Blended) -> Restored:
    """Corrects the blended picture by what its LR picture lacks, within the bounds that LR and reference allow."""
    scale, mtf, window = plan.lattice.scale, plan.mtf_nyquist, plan.lattice.mosaic_window(job)
    lr_state = read_staged(plan, scratch, "lr_state", window)
    ref_item = read_staged(plan, scratch, "ref_item", window)
    valid = lr_state == LrState.VALID
    residual = np.where(valid, blended.lr - decimate(blended.sr, scale, mtf), np.float32(np.nan))
    lower, upper = reflectance_bounds(blended.lr, scale, ref_item >= 0)
    sr = restore_within(blended.sr, blended.lr, scale, mtf, (lower, upper), valid)
    at_bound = ((sr == lower) | (sr == upper)).any(0)
    return Restored(blended, lr_state, ref_item, residual, encode(sr, np.ones(sr.shape, bool)), at_bound)


def read_status(plan: Plan, job: Index, output: str) -> NDArray[np.uint8]:
    """(y, x) `PixelStatus` of the shard of `job` as it is stored."""
    first = plan.layout.mosaic_jobs_window.refine(plan.lattice.shard_px)
    return read_window(join(output, STATUS.group), STATUS.name, first, plan.lattice.shard_window(job))


def mark_failed(plan: Plan, job: Index, output: str) -> None:
    """Leaves a shard that was written before as it is; marks a new one as failed."""
    if not read_status(plan, job, output).any():
        write_failed(plan, job, output)


def unfinished(plan: Plan, job: Index, output: str) -> bool:
    """Whether the status of a failed job's shard shows that writing it never began, or did not end."""
    status = read_status(plan, job, output)[plan.region.mask(plan.lattice.shard_window(job))]
    return bool(np.isin(status, (PixelStatus.OUTSIDE, PixelStatus.FAILED)).all())


def write_failed(plan: Plan, job: Index, output: str) -> None:
    """Marks the whole shard as failed, until another one is written."""
    inside = plan.region.mask(plan.lattice.shard_window(job))
    status = np.where(inside, np.uint8(PixelStatus.FAILED), np.uint8(PixelStatus.OUTSIDE))
    write_shard(join(output, STATUS.group), STATUS.name, mosaic_origin(plan), job, status)


def _measures(plan: Plan, job: Index, restored: Restored, shard: Shard) -> dict[str, Any]:
    """Mean |A(sr) - lr| in reflectance before and after restoring, over LR pixels all of whose HR pixels have a value.

    After restoring it is that of the encoded values, on shard + halo, so that A sees the shard's neighbours too.
    """
    scale, window = plan.lattice.scale, plan.lattice.mosaic_window(job)
    crop = plan.lattice.shard_window(job).coarsen(scale).within(window.coarsen(scale))
    after = np.abs(restored.blended.lr - decimate(decode(restored.stored), scale, plan.mtf_nyquist))[(..., *crop)]
    before = restored.residual[(..., *crop)]
    usable = (shard.status == PixelStatus.DONE) | (shard.status == PixelStatus.NO_REFERENCE)
    whole = block_mean(usable.astype(np.float32), scale) == 1.0
    whole &= np.isfinite(before).all(0)
    clipped = int((restored.at_bound[plan.lattice.shard_window(job).within(window)] & usable).sum())
    found = {"clipped_pixels": clipped, **_scene_times(plan, shard, block_mean(usable.astype(np.float32), scale) > 0)}
    if not whole.any():
        return {"lr_pixels": 0, **found}
    return {
        "lr_pixels": int(whole.sum()),
        **found,
        "lr_error_before": float(np.abs(before)[:, whole].mean(dtype=np.float64)),
        "lr_error_after": float(after[:, whole].mean(dtype=np.float64)),
    }


def _scene_times(plan: Plan, shard: Shard, usable: NDArray[np.bool_]) -> dict[str, float]:
    """Number of the scenes that `usable` LR pixels of a shard are from; seconds since 1970 of first and last."""
    lr_item = next(values for spec, values in shard.arrays if spec is LR_ITEM)
    numbers = np.unique(lr_item[usable & (lr_item >= 0)]).tolist()
    times = [datetime.fromisoformat(json.loads(plan.item_names[n])["when"]).timestamp() for n in numbers]
    return {"scenes": len(times), **({"first_scene_s": min(times), "last_scene_s": max(times)} if times else {})}
