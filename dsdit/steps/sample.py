"""The sample step: runs the network on the tiles of one job, in batches of constant size, and writes each tile once.

The network's inputs are computed on the job's whole context and cut into tiles, with margins beyond the reach of every
operation: they do not depend on the job or batch in which a tile is computed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsdit.errors import DsditError
from dsdit.imaging.sensor import high_band, restored_lr
from dsdit.mosaic.lease import Check, unchecked
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt
from dsdit.sampling.tile_batch import TileBatch
from dsdit.status import JobState, LrState, TileState
from dsdit.steps.scratch import TILE_PIXELS, TILE_WEIGHTS, origin, read_staged
from dsdit.store.arrays import write_shard
from dsdit.window import Index, Window

if TYPE_CHECKING:
    from dsdit.sampling.sampler import TileSampler

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Context:
    """The pixels on `window` from which the tiles of a job are cut, in the model's range."""

    window: Window
    restored: Array
    """(band, y, x) bicubic LR with its truth restored."""
    ref: Array
    """(band, y, x) reference; the restored LR where there is none."""
    ref_valid: NDArray[np.bool_]
    ref_high: Array
    """(band, y, x) high band of the reference, which the LR sensor cannot see; 0 where there is no reference."""
    lr_state: NDArray[np.uint8]
    """(y / scale, x / scale) `LrState`."""


def sample(plan: Plan, job: Index, scratch: str, sampler: TileSampler, check: Check = unchecked) -> Receipt:
    """Samples and writes the tiles of `job`; returns its receipt."""
    started = time.monotonic()
    lattice, tiles = plan.lattice, plan.layout.sample_tiles(job)
    context = read_context(plan, job, scratch, sampler)
    states = {tile: choose_state(plan, context, tile) for tile in tiles}
    first = lattice.tiles_of(job)
    bands = len(plan.bands)
    out, weighting = (
        np.full(spec.shard_shape(lattice, bands), spec.fill, np.float32) for spec in (TILE_PIXELS, TILE_WEIGHTS)
    )
    errors: list[str] = []
    todo = [tile for tile in tiles if states[tile].sampled]
    size = plan.sampler.batch
    calls = 0
    for start in range(0, len(todo), size):
        part = todo[start : start + size]
        pictures, shares = sampler(_batch(plan, context, part, states, sampler))
        calls += sampler.passes
        for k, tile in enumerate(part):
            if not np.isfinite(pictures[k]).all():
                states[tile] = TileState.FAILED
                errors.append(f"tile {tuple(tile)}: the network returned values that are not finite")
                continue
            out[tile.row - first.row0, tile.col - first.col0] = sampler.curve.inverse(pictures[k])
            weighting[tile.row - first.row0, tile.col - first.col0] = shares[k]
    errors += [f"tile {tuple(t)}: LR could not be read" for t in tiles if _unreadable(plan, context, t)]
    check()
    for spec, values in ((TILE_PIXELS, out), (TILE_WEIGHTS, weighting)):
        write_shard(scratch, spec.name, origin(plan), job, values, spec.job_axes)
    failed = any(state is TileState.FAILED for state in states.values())
    return Receipt(
        step="sample",
        job=job,
        state=JobState.FAILED if failed else JobState.DONE,
        digest=plan.sample_digest(job),
        seconds=time.monotonic() - started,
        tiles={f"{t.row},{t.col}": int(state) for t, state in states.items()},
        errors=tuple(errors),
        measures=dict(Counter(state.name.lower() for state in states.values())),
        calls=calls,
    )


def read_context(plan: Plan, job: Index, scratch: str, sampler: TileSampler) -> Context:
    """Reads what the job's tiles need, and transforms it into the model's range."""
    window = plan.layout.sample_context(job)
    scale, mtf = plan.lattice.scale, plan.mtf_nyquist
    lr = sampler.curve.forward(read_staged(plan, scratch, "lr", window))
    lr = np.nan_to_num(lr, nan=0.0)
    restored = restored_lr(lr, scale, mtf)
    ref_valid = read_staged(plan, scratch, "ref_item", window) >= 0
    ref = np.where(ref_valid, sampler.curve.forward(read_staged(plan, scratch, "ref", window)), restored)
    ref_high = np.where(ref_valid, high_band(ref, scale, mtf), np.float32(0))
    state = read_staged(plan, scratch, "lr_state", window)
    return Context(window, restored, ref, ref_valid, ref_high, state)


def _unreadable(plan: Plan, context: Context, tile: Index) -> bool:
    state = _lr_state(plan, context, tile)
    return bool((state == LrState.UNREADABLE).any())


def _lr_state(plan: Plan, context: Context, tile: Index) -> NDArray[np.uint8]:
    place = plan.lattice.tile_window(tile).coarsen(plan.lattice.scale)
    return context.lr_state[place.within(context.window.coarsen(plan.lattice.scale))]


def choose_state(plan: Plan, context: Context, tile: Index) -> TileState:
    """State of a tile before it is sampled: DONE and NO_REFERENCE are sampled, the others skipped."""
    state = _lr_state(plan, context, tile)
    if (state == LrState.UNREADABLE).any():
        return TileState.FAILED
    cloudy, empty = float((state == LrState.CLOUDY).mean()), float((state == LrState.NO_DATA).mean())
    if cloudy + empty > plan.skip_over:
        return TileState.CLOUDY if cloudy >= empty else TileState.NO_DATA
    cover = float(context.ref_valid[plan.lattice.tile_window(tile).within(context.window)].mean())
    return TileState.DONE if cover >= plan.ref_min_cover else TileState.NO_REFERENCE


def _batch(
    plan: Plan, context: Context, tiles: Sequence[Index], states: dict[Index, TileState], sampler: TileSampler
) -> TileBatch:
    """Tiles as one batch of the constant size, padded with copies of the first tile."""
    padded = [*tiles, *[tiles[0]] * (plan.sampler.batch - len(tiles))]
    windows = [plan.lattice.tile_window(tile) for tile in padded]
    places = [window.within(context.window) for window in windows]
    has_ref = np.array([states[tile] is TileState.DONE for tile in padded])

    def cut(values: NDArray[Any]) -> NDArray[Any]:
        return np.stack([values[(..., *place)] for place in places])

    restored = cut(context.restored)
    return TileBatch(
        restored=restored,
        ref=np.where(has_ref[:, None, None, None], cut(context.ref), restored),
        ref_valid=cut(context.ref_valid) & has_ref[:, None, None],
        ref_high=np.where(has_ref[:, None, None, None], cut(context.ref_high), np.float32(0)),
        noise=np.stack([sampler.noise(window) for window in windows]),
        scale=plan.lattice.scale,
    )


def check_tiles(receipt: Receipt) -> dict[Index, TileState]:
    """Tile states of a sample receipt. Raises DsditError for a receipt of another step."""
    if receipt.step != "sample":
        raise DsditError(f"a receipt of step {receipt.step!r} has no tiles")
    states = {}
    for key, state in receipt.tiles.items():
        row, col = key.split(",")
        states[Index(int(row), int(col))] = TileState(state)
    return states
