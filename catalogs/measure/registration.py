"""Misregistration of a reference against a scene, from fixed windows of the overlap of the two items.

The windows are on the global lattice of LR pixels, in an order that follows from the two footprints alone; they are
read in that order until enough of them give an accepted shift. So a pair has one shift, whatever the region. It is
cached under the digests of both items and measured once, ever. Whether it is corrected is decided by the plan, from
the request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from catalogs.item import SceneItem
from catalogs.measure.cache import OnError, Pair, Spread, cached_pairs
from catalogs.measure.cover_and_fit import item_outline
from catalogs.read.lattice_offset import lattice_offsets
from catalogs.read.scene import STILL, Move, read_bands, read_mask, read_scene
from catalogs.source import Source
from dsdit.grid import Grid
from dsdit.imaging.cubic import Offset
from dsdit.imaging.shift import PairShift, common_shift, search_shift
from dsdit.plan.pair_fits import FLAGGED, Correction, Fit, Fits, Registration
from dsdit.window import Index, Window

WINDOWS_LR_PX = (64, 32)
"""Sides of the windows; the smaller ones serve where fewer than `_FEW` of the larger fit into the overlap."""
MAX_WINDOWS = 12
"""Windows of a pair that are read at most."""
ENOUGH_WINDOWS = 5
"""Accepted windows after which no more are read."""
_FEW = 4


def registration_windows(ref: SceneItem, lr: SceneItem, grid: Grid) -> list[Window]:
    """LR pixels of at most `MAX_WINDOWS` windows inside both footprints, spread over the overlap, in order."""
    shared = shapely.intersection(*(shapely.make_valid(item_outline(item, grid)) for item in (ref, lr)))
    if shared.is_empty:
        return []
    bounds = grid.window_of(shared.bounds, grid.lr_gsd_m)
    blocks_inside: list[Window] = []
    for side in WINDOWS_LR_PX:
        blocks = bounds.coarsen(side)
        stride = max(1, math.isqrt(blocks.shape[0] * blocks.shape[1] // 4096))
        shapely.prepare(shared)
        blocks_inside = []
        for index in blocks.indices():
            block = Window(*index, index.row + 1, index.col + 1).refine(side)
            on_lattice = not (index.row % stride or index.col % stride)
            if on_lattice and shared.covers(shapely.box(*grid.bounds_of(block, grid.lr_gsd_m))):
                blocks_inside.append(block)
        if len(blocks_inside) >= _FEW:
            break
    return _spread(blocks_inside)


def _spread(windows: list[Window]) -> list[Window]:
    """Up to `MAX_WINDOWS` of the windows, each as far as possible from those before it; ties go to the first."""
    if not windows:
        return []
    rows, cols = zip(*(window.corner for window in windows), strict=True)
    middle = Index((min(rows) + max(rows)) // 2, (min(cols) + max(cols)) // 2)
    first = min(windows, key=lambda window: (_squared(window, middle), window))
    chosen = [first]
    # Farthest-point sampling: `far` is each window's squared distance from the nearest chosen one.
    far = [_squared(window, first.corner) for window in windows]
    while len(chosen) < min(MAX_WINDOWS, len(windows)):
        best = max(range(len(windows)), key=lambda k: (far[k], -k))
        chosen.append(windows[best])
        far = [min(old, _squared(window, windows[best].corner)) for old, window in zip(far, windows, strict=True)]
    return chosen


def _squared(window: Window, corner: tuple[int, int]) -> int:
    return (window.row0 - corner[0]) ** 2 + (window.col0 - corner[1]) ** 2


class PairWindow(NamedTuple):
    """What two items show of one window."""

    lr: NDArray[np.float32]
    """(band, h, w) reflectance."""
    ref: NDArray[np.float32]
    """(band, h * scale, w * scale) reflectance."""
    valid: NDArray[np.bool_]
    """(h, w) where both see the ground."""
    offsets_px: tuple[Offset, ...]
    """How far LR was read beside its own pixels."""


def read_window(
    ref: SceneItem, ref_source: Source, lr: SceneItem, lr_source: Source, grid: Grid, window: Window
) -> PairWindow | None:
    """Both items on a window of LR pixels, None where most of LR is clouded. Raises ReadError."""
    geobox = grid.lr_geobox(window)
    lr_values, valid, mask = read_scene(lr, lr_source, geobox, "cubic")
    valid &= mask == 0
    if valid.mean() < 0.5:
        return None
    valid &= read_mask(ref, ref_source, geobox) == 0
    ref_values, ref_valid = read_bands(ref, ref_source, grid.hr_geobox(window.refine(grid.scale)), "bilinear")
    side = grid.scale
    valid &= ref_valid.reshape(window.shape[0], side, window.shape[1], side).all((1, 3))
    return PairWindow(lr_values, ref_values, valid, lattice_offsets(lr, lr_source, geobox))


def measure_registration(ref: SceneItem, ref_source: Source, lr: SceneItem, lr_source: Source, grid: Grid) -> PairShift:
    """The pair's shift in HR pixels, from windows at LR and HR. Raises ReadError."""
    found = []
    for window in registration_windows(ref, lr, grid):
        both = read_window(ref, ref_source, lr, lr_source, grid, window)
        if both is None:
            continue
        estimate = search_shift(both.lr, both.ref, grid.scale, lr_source.mtf_nyquist, both.valid, both.offsets_px)
        if estimate is not None:
            found.append(estimate)
        if sum(accepted for _, accepted in found) >= ENOUGH_WINDOWS:
            break
    return common_shift(found, grid.scale)


def _shift_of(record: dict[str, Any]) -> PairShift:
    """Raises ValueError and others where the record is no shift."""
    found = PairShift(**record)
    if not np.isfinite([float(value) for value in astuple(found)]).all():
        raise ValueError(f"{found}")
    return found


def cached_registrations(
    pairs: Iterable[Pair],
    items: Sequence[SceneItem],
    source: Source,
    lr_source: Source,
    grid: Grid,
    folder: str,
    on_error: OnError,
    spread: Spread | None = None,
) -> dict[Pair, PairShift | None]:
    """`measure_registration` of every pair (number of an item of `source`, of an LR item), cached below `folder`.

    None, a call of `on_error` and no cached result, where a pair cannot be read.
    """
    # Shifts that were cached before offsets of lattices were known are measured again.
    grid_key, both = [grid.crs, repr(grid.gsd_m), repr(grid.scale), "lattice offsets"], (source, lr_source)
    measure = measure_registration
    return cached_pairs("shift", grid, grid_key, pairs, items, both, folder, measure, _shift_of, on_error, spread)


def decide(found: PairShift | None, grid: Grid, limit_px: float, apply: bool) -> Registration:
    """The plan's decision on a pair's shift; a shift over `limit_px` HR pixels stays. Metres, rounded to 0.1 mm."""
    if found is None or not found.seen:
        return Registration()
    length_px = math.hypot(found.dy, found.dx)
    if not found.accepted:
        correction = Correction.UNSURE
    elif length_px > limit_px:
        correction = Correction.TOO_FAR
    elif not apply:
        correction = Correction.NOT_REQUESTED
    else:
        correction = Correction.APPLIED if found.worth_moving(grid.scale) else Correction.NOT_NEEDED
    dy_m, dx_m, residual_m = (round(v * grid.gsd_m, 4) for v in (found.dy, found.dx, found.residual))
    return Registration(dy_m, dx_m, round(found.agreement, 4), residual_m, found.windows, correction)


def moves_of(
    fits: Fits, ref: int, scenes: tuple[int, ...], scene: NDArray[np.int32]
) -> list[tuple[Move, NDArray[np.bool_]]]:
    """Each move that corrects the reference for some scene, with the pixels (y, x) of these scenes.

    Pixels without a scene follow the cell's first.
    """
    ways: dict[Move, list[int]] = {}
    for number in scenes:
        dy, dx = fits.get((ref, number), Fit()).registration.corrected_m
        ways.setdefault((-dx, dy) if dy or dx else STILL, []).append(number)
    found = []
    for move_m, numbers in ways.items():
        where = np.isin(scene, numbers)
        found.append((move_m, where | ~np.isin(scene, scenes) if scenes[0] in numbers else where))
    return found


def registration_measures(fits: Fits, pairs: set[tuple[int, int]]) -> dict[str, float]:
    """Measures of a job's pairs for its receipt, in metres; empty where no pair has a fit.

    `shift_m` is the longest corrected shift, `shift_spread_m` the widest spread of a pair's windows around its shift,
    `shift_residual_m` how far a reference may still be off its scene: the spread where the shift was corrected, shift
    and spread where it was not. These two are left out where no pair's shift is known; `pairs_flagged` counts the pairs
    whose shift was not accepted, so that their residual is unknown, and those above the limit.
    """
    found = [fits[pair].registration for pair in sorted(pairs) if pair in fits]
    if not found:
        return {}
    measures = {
        "shift_m": max((r.length_m for r in found if r.correction is Correction.APPLIED), default=0.0),
        "pairs_flagged": float(sum(r.correction in FLAGGED for r in found)),
    }
    if known := [r for r in found if r.windows]:
        measures["shift_spread_m"] = max(r.residual_m for r in known)
        measures["shift_residual_m"] = max(r.remaining_m for r in known)
    return measures
