"""What a shard of the mosaic consists of: every array and its values, and the status of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.imaging.radiometry import SR_FILL, encode
from dsdit.mosaic.mosaic_arrays import (
    LR,
    LR_ITEM,
    REF,
    REF_ITEM,
    REFERENCE_AGE,
    REFERENCE_WEIGHT,
    RESIDUAL,
    SR,
    STATUS,
    shard_specs,
)
from dsdit.plan.plan import Plan
from dsdit.status import LrState, PixelStatus, TileState
from dsdit.steps.scratch import mosaic_origin, read_staged
from dsdit.store.array_spec import ArraySpec
from dsdit.window import Index

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Blended:
    """Tiles on shard + halo, and LR there."""

    sr: Array
    """(band, y, x) reflectance; the restored LR where no tile was sampled."""
    reference_weight: Array
    """(y, x) share of the reference in the network's patch-level weighting."""
    sampled: NDArray[np.bool_]
    worst: NDArray[np.uint8]
    """(y, x) worst `TileState` of the pixel's tiles."""
    lr: Array
    """(band, y / scale, x / scale) staged LR reflectance."""


@dataclass(frozen=True)
class Restored:
    """Shard + halo once LR truth is restored: what the shard's arrays are cut from."""

    blended: Blended
    lr_state: NDArray[np.uint8]
    """(y / scale, x / scale) `LrState`."""
    ref_item: NDArray[np.int32]
    """(y, x) number of the reference; -1 for none."""
    residual: Array
    """(band, y / scale, x / scale) lr - A(blended.sr), what restoring had to correct; NaN where LR is not valid."""
    stored: NDArray[np.uint16]
    """(band, y, x) the restored picture as it is encoded in `sr`."""
    at_bound: NDArray[np.bool_]
    """(y, x) where some band was clipped to its bounds while restoring."""


@dataclass(frozen=True)
class Shard:
    """A shard, ready to be written."""

    arrays: tuple[tuple[ArraySpec, NDArray[Any]], ...]
    """Every array and its values in the order of writing, `STATUS` last: until then readers see its old values."""
    status: NDArray[np.uint8]
    """(y, x) `PixelStatus`."""


def cut_shard(plan: Plan, job: Index, scratch: str, restored: Restored) -> Shard:
    """The shard of `job` out of shard + halo. Reads the numbers of items, and the reference if it is kept."""
    scale = plan.lattice.scale
    window, shard = plan.lattice.mosaic_window(job), plan.lattice.shard_window(job)
    inside = plan.region.mask(shard)
    crop = shard.within(window)
    crop_lr = shard.coarsen(scale).within(window.coarsen(scale))
    ref_item = restored.ref_item
    status = pixel_status(restored.blended, restored.lr_state, ref_item, scale)[crop]
    status[~inside] = PixelStatus.OUTSIDE
    usable = (status == PixelStatus.DONE) | (status == PixelStatus.NO_REFERENCE)
    lr_inside = block_mean(inside.astype(np.float32), scale) >= 0.5
    valid = (restored.lr_state[crop_lr] == LrState.VALID) & lr_inside
    lr_item = np.where(lr_inside, read_staged(plan, scratch, "lr_item", shard), -1).astype(np.int32)
    # The reference of an LR pixel is that of the HR pixel next to its centre.
    centre = ref_item[crop][scale // 2 :: scale, scale // 2 :: scale]
    nearest = np.where(lr_inside, centre, -1).astype(np.int32)
    weight = block_mean(restored.blended.reference_weight[crop], scale)
    nan = np.float32(np.nan)
    values: dict[str, NDArray[Any]] = {
        SR.path: np.where(usable, restored.stored[(..., *crop)], SR_FILL),
        LR.path: encode(restored.blended.lr[(..., *crop_lr)], valid[None]),
        RESIDUAL.path: np.where(valid, restored.residual[(..., *crop_lr)], nan).astype(np.float32),
        REFERENCE_WEIGHT.path: np.where(valid, weight, nan).astype(np.float32),
        REFERENCE_AGE.path: _age(plan, lr_item, nearest),
        LR_ITEM.path: lr_item,
        REF_ITEM.path: nearest,
        STATUS.path: status,
    }
    if plan.keep_reference:
        ref = read_staged(plan, scratch, "ref", shard)
        values[REF.path] = encode(ref, ((ref_item[crop] >= 0) & inside)[None])
    specs = sorted(shard_specs(plan), key=lambda spec: spec is STATUS)
    return Shard(tuple((spec, values[spec.path]) for spec in specs), status)


def pixel_status(
    blended: Blended, lr_state: NDArray[np.uint8], ref_item: NDArray[np.int32], scale: int
) -> NDArray[np.uint8]:
    """(y, x) `PixelStatus` from the pixel's own validity and the worst state of its tiles."""
    own = np.repeat(np.repeat(lr_state, scale, 0), scale, 1)
    # Later lines win: the pixel's own LR state counts more than the states of its tiles.
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
    # One more entry, NaN: number -1, no item, indexes it.
    when = np.full(len(plan.item_names) + 1, np.nan)
    when[plan.item_numbers[:-1]] = plan.items.days
    days = (when[lr_item] - when[ref_item]).astype(np.float32)
    return np.where((lr_item >= 0) & (ref_item >= 0), days, np.float32(np.nan))


def count_pixels(status: NDArray[np.uint8], inside: NDArray[np.bool_]) -> dict[str, int]:
    """Pixels within the region by `PixelStatus` name."""
    counts = np.bincount(status[inside], minlength=len(PixelStatus))
    return {PixelStatus(k).name.lower(): int(n) for k, n in enumerate(counts) if n and k != PixelStatus.OUTSIDE}


def shard_objects(plan: Plan, job: Index) -> list[str]:
    """Names below the mosaic of the objects of a shard, of every array that `cut_shard` has."""
    return [spec.shard_object(mosaic_origin(plan), job) for spec in shard_specs(plan)]
