"""What a shard of the mosaic consists of: every array and its values, and the status of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.imaging.radiometry import encode
from dsdit.mosaic.template import LR_ARRAYS
from dsdit.plan.plan import Plan
from dsdit.status import LrState, PixelStatus, TileState
from dsdit.steps.scratch import mosaic_origin, read_staged
from dsdit.store.arrays import shard_object
from dsdit.store.objects import join
from dsdit.window import Index

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


def shard_arrays(
    plan: Plan,
    job: Index,
    scratch: str,
    blended: Blended,
    sr: Array,
    lr: Array,
    lr_state: NDArray[np.uint8],
    before: Array,
) -> list[tuple[str, str, NDArray[Any]]]:
    """(group, array, values) of all that a shard consists of, `status` last: until then it says what it said before.

    All is given on shard + halo: `blended` and `sr` in HR pixels, the rest in LR pixels; `before` is what restoring had
    to correct. Reads what else it needs from scratch.
    """
    scale = plan.lattice.scale
    window, shard = plan.lattice.mosaic_window(job), plan.lattice.shard_window(job)
    inside = plan.region.mask(shard)
    crop = shard.within(window)
    crop_lr = shard.coarsen(scale).within(window.coarsen(scale))
    ref_item = read_staged(plan, scratch, "ref_item", window)
    status = pixel_status(blended, lr_state, ref_item, scale)[crop]
    status[~inside] = PixelStatus.OUTSIDE
    seen = (status == PixelStatus.DONE) | (status == PixelStatus.NO_REFERENCE)
    lr_inside = block_mean(inside.astype(np.float32), scale) >= 0.5
    valid = (lr_state[crop_lr] == LrState.VALID) & lr_inside
    lr_item = np.where(lr_inside, read_staged(plan, scratch, "lr_item", shard), -1).astype(np.int32)
    centre = ref_item[crop][scale // 2 :: scale, scale // 2 :: scale]
    nearest = np.where(lr_inside, centre, -1).astype(np.int32)
    weight = block_mean(blended.reference_weight[crop], scale)
    nan = np.float32(np.nan)
    arrays = [("0", "sr", encode(sr[(..., *crop)], seen[None]))]
    if plan.keep_reference:
        ref = read_staged(plan, scratch, "ref", shard)
        arrays.append(("ref", "ref", encode(ref, ((ref_item[crop] >= 0) & inside)[None])))
    return [
        *arrays,
        ("lr", "lr", encode(lr[(..., *crop_lr)], valid[None])),
        ("lr", "residual", np.where(valid, before[(..., *crop_lr)], nan).astype(np.float32)),
        ("lr", "reference_weight", np.where(valid, weight, nan).astype(np.float32)),
        ("lr", "reference_age", _age(plan, lr_item, nearest)),
        ("lr", "lr_item", lr_item),
        ("lr", "ref_item", nearest),
        ("0", "status", status),
    ]


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


def count_pixels(status: NDArray[np.uint8], inside: NDArray[np.bool_]) -> dict[str, int]:
    """Pixels within the region by `PixelStatus` name."""
    counts = np.bincount(status[inside], minlength=len(PixelStatus))
    return {PixelStatus(k).name.lower(): int(n) for k, n in enumerate(counts) if n and k != PixelStatus.OUTSIDE}


def shard_objects(plan: Plan, mosaic: str, job: Index) -> list[str]:
    """Names below the mosaic of the objects of a shard, of every array that `shard_arrays` has."""
    arrays = [("0", "sr"), ("0", "status"), *(("lr", name) for name in LR_ARRAYS)]
    arrays += [("ref", "ref")] if plan.keep_reference else []
    at = mosaic_origin(plan)
    return [join(group, shard_object(join(mosaic, group), name, at, job)) for group, name in arrays]
