"""How far a reference lies beside a scene, from fixed windows of the overlap of the two items.

The windows lie on the global lattice of LR pixels, in an order that follows from the two footprints alone; they are
read in that order until enough of them tell. So a pair has one shift, whatever region asks. It is kept under the
digests of both items and measured once, ever. What is done about it is decided by the plan, from the request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from catalogs.item import SceneItem
from catalogs.measure.cache import OnError, Pair, Spread, kept_pairs
from catalogs.measure.cover_and_fit import item_outline
from catalogs.read.scene import STILL, Move, read_bands, read_mask, read_scene
from catalogs.source import Source
from dsdit.grid import Grid
from dsdit.imaging.shift import PairShift, common_shift, search_shift
from dsdit.plan.pair_fits import FLAGGED, Correction, Fit, Fits, Registration
from dsdit.window import Index, Window

WINDOWS_LR_PX = (64, 32)
"""Sides of the windows; the smaller ones serve where fewer than `_FEW` of the larger fit into the overlap."""
MAX_WINDOWS = 12
"""Windows of a pair that are read at most."""
ENOUGH_WINDOWS = 5
"""Believed windows after which no more are read."""
LEAST_MOVE_PX = 0.2
"""Shorter shifts, in HR pixels, stay, and so do those shorter than their doubt: resampling costs detail."""
_FEW = 4


def registration_windows(ref: SceneItem, lr: SceneItem, grid: Grid) -> list[Window]:
    """LR pixels of at most `MAX_WINDOWS` windows that lie in both footprints, spread over the overlap, in order."""
    shared = shapely.intersection(*(shapely.make_valid(item_outline(item, grid)) for item in (ref, lr)))
    if shared.is_empty:
        return []
    bounds = grid.window_of(shared.bounds, grid.lr_gsd_m)
    places: list[Window] = []
    for side in WINDOWS_LR_PX:
        blocks = bounds.coarsen(side)
        stride = max(1, math.isqrt(blocks.shape[0] * blocks.shape[1] // 4096))
        shapely.prepare(shared)
        places = []
        for index in blocks.indices():
            block = Window(*index, index.row + 1, index.col + 1).refine(side)
            on_lattice = not (index.row % stride or index.col % stride)
            if on_lattice and shared.covers(shapely.box(*grid.bounds_of(block, grid.lr_gsd_m))):
                places.append(block)
        if len(places) >= _FEW:
            return _spread(places)
    return _spread(places)


def _spread(places: list[Window]) -> list[Window]:
    """Up to `MAX_WINDOWS` of the places, each as far as can be from those before it; ties go to the first."""
    if not places:
        return []
    rows, cols = zip(*(place.corner for place in places), strict=True)
    middle = Index((min(rows) + max(rows)) // 2, (min(cols) + max(cols)) // 2)
    first = min(places, key=lambda place: (_squared(place, middle), place))
    chosen = [first]
    far = [_squared(place, first.corner) for place in places]
    while len(chosen) < min(MAX_WINDOWS, len(places)):
        best = max(range(len(places)), key=lambda k: (far[k], -k))
        chosen.append(places[best])
        far = [min(old, _squared(place, places[best].corner)) for old, place in zip(far, places, strict=True)]
    return chosen


def _squared(place: Window, corner: tuple[int, int]) -> int:
    return (place.row0 - corner[0]) ** 2 + (place.col0 - corner[1]) ** 2


def measure_registration(ref: SceneItem, ref_source: Source, lr: SceneItem, lr_source: Source, grid: Grid) -> PairShift:
    """The pair's shift in HR pixels, from windows at LR and HR. Raises ReadError."""
    found = []
    for window in registration_windows(ref, lr, grid):
        geobox = grid.lr_geobox(window)
        lr_values, valid, mask = read_scene(lr, lr_source, geobox, "cubic")
        valid &= mask == 0
        if valid.mean() < 0.5:
            continue
        valid &= read_mask(ref, ref_source, geobox) == 0
        ref_values, ref_valid = read_bands(ref, ref_source, grid.hr_geobox(window.refine(grid.scale)), "bilinear")
        side = grid.scale
        valid &= ref_valid.reshape(window.shape[0], side, window.shape[1], side).all((1, 3))
        told = search_shift(lr_values, ref_values, side, lr_source.mtf_nyquist, valid)
        if told is not None:
            found.append(told)
        if sum(believed for _, believed in found) >= ENOUGH_WINDOWS:
            break
    return common_shift(found, grid.scale)


def _shift_of(record: dict[str, Any]) -> PairShift:
    """Raises ValueError and others where the record is no shift."""
    found = PairShift(**record)
    if not np.isfinite([float(value) for value in astuple(found)]).all():
        raise ValueError(f"{found}")
    return found


def kept_registrations(
    pairs: Iterable[Pair],
    items: Sequence[SceneItem],
    source: Source,
    lr_source: Source,
    grid: Grid,
    folder: str,
    on_error: OnError,
    spread: Spread | None = None,
) -> dict[Pair, PairShift | None]:
    """`measure_registration` of every pair (number of an item of `source`, of an LR item), kept below `folder`.

    None, told and not kept, where a pair cannot be read.
    """
    place, both = [grid.crs, repr(grid.gsd_m), repr(grid.scale)], (source, lr_source)
    measure = measure_registration
    return kept_pairs("shift", grid, place, pairs, items, both, folder, measure, _shift_of, on_error, spread)


def decide(found: PairShift | None, grid: Grid, limit_px: float, apply: bool) -> Registration:
    """What a plan does about a pair's shift. Metres are rounded to tenths of a millimetre."""
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
        correction = (
            Correction.APPLIED if length_px >= max(LEAST_MOVE_PX, found.doubt(grid.scale)) else Correction.NOT_NEEDED
        )
    dy_m, dx_m, residual_m = (round(v * grid.gsd_m, 4) for v in (found.dy, found.dx, found.residual))
    return Registration(dy_m, dx_m, round(found.agreement, 4), residual_m, found.windows, correction)


def moves_of(
    fits: Fits, ref: int, scenes: tuple[int, ...], scene: NDArray[np.int32]
) -> list[tuple[Move, NDArray[np.bool_]]]:
    """Each way to lay the reference on some scene, with the pixels (y, x) of it; those without a scene follow the
    cell's first."""
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
    """What a receipt tells of the pairs of a job, in metres; empty where no pair has a fit.

    `shift_m` is the longest shift that was taken out, `shift_spread_m` the widest spread of a pair's windows around
    its shift, `shift_residual_m` how far a reference may still lie beside its scene: the spread where the shift was
    taken out, shift and spread where it stays. These two are left out where no pair's shift is known; `pairs_flagged`
    counts the pairs that cannot be believed, whose residual is unknown, and those above the limit.
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
