"""Cover and cloud per (item, cell), gain and offset per (reference, LR) pair of items, measured from overviews.

A measure depends on items and grid, never on a region: it is cached under their digests and computed once, ever. The
fit of a pair is taken over the whole overlap of the two items, in reflectance and well below LR's resolution, where
both sensors show the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geom import Geometry

from catalogs.item import SceneItem
from catalogs.masks import CLOUD, NO_DATA
from catalogs.measure.cache import Job, OnError, Pair, Spread, cached_pairs, measure_key, parsed, run_all, side_by_side
from catalogs.measure.records import Records
from catalogs.read.scene import read_mask, read_scene
from catalogs.source import Source
from dsdit.bands import BANDS
from dsdit.grid import Grid
from dsdit.imaging.matching import MIN_SAMPLES, match_moments
from dsdit.lattice.tiling import CELL_LR_PX
from dsdit.lonlat import is_polar, lonlat_bbox, to_plane
from dsdit.plan.candidates import pair_of
from dsdit.plan.pair_fits import Fit
from dsdit.window import Index, Window

SAMPLES = 32
"""Samples along a side of a cell."""
_FIT_LR_PX = 2
_EARTH_M, _MAX_SPAN_DEG = 5e7, 60
_FIT_MAX_PX = 1024


@dataclass(frozen=True)
class Cover:
    """One item over one cell, as shares of the cell's area."""

    cover: float
    """With data."""
    clear: float
    """With data and without cloud."""


COVER_ROW = np.dtype([("row", np.int32), ("col", np.int32), ("cover", np.float32), ("clear", np.float32)])


def rows_of(covers: Mapping[Index, Cover]) -> NDArray[np.void]:
    """A table of `COVER_ROW`, one row per cell: compact enough for millions of cells."""
    return np.array([(*cell, c.cover, c.clear) for cell, c in covers.items()], COVER_ROW)


POLAR_STEP_DEG = 0.1
"""Around a pole an edge of a footprint is curved in the grid's CRS."""


def item_outline(item: SceneItem, grid: Grid) -> shapely.Geometry:
    """Footprint of an item in the grid's CRS; a square of the Earth's size for one that the CRS does not hold."""
    if is_polar(grid.odc_crs):
        return to_plane(item.geometry, grid.odc_crs, POLAR_STEP_DEG)
    west, south, east, north = lonlat_bbox(item.geometry)
    if max((east - west) % 360, north - south) <= _MAX_SPAN_DEG:
        outline = Geometry(item.geometry, "EPSG:4326").to_crs(grid.odc_crs).geom
        if np.abs(outline.bounds).max() <= _EARTH_M:
            return outline
    return shapely.box(-_EARTH_M, -_EARTH_M, _EARTH_M, _EARTH_M)


def item_window(item: SceneItem, grid: Grid) -> Window:
    """LR pixels around the footprint of an item."""
    return grid.window_of(item_outline(item, grid).bounds, grid.lr_gsd_m)


def measure_cover(item: SceneItem, source: Source, grid: Grid, cells: Window) -> dict[Index, Cover]:
    """Cover and clear share for every cell of `cells` that the item touches. Raises ReadError."""
    touched = item_window(item, grid).coarsen(CELL_LR_PX).intersect(cells)
    if touched.empty:
        return {}
    factor = CELL_LR_PX // SAMPLES
    mask = read_mask(item, source, grid.lr_geobox(touched.refine(SAMPLES), factor))
    # (row, col, y, x): the samples of one cell are the last two axes.
    blocks = mask.reshape(touched.shape[0], SAMPLES, touched.shape[1], SAMPLES).transpose(0, 2, 1, 3)
    result = {}
    for index in touched.indices():
        block = blocks[index.row - touched.row0, index.col - touched.col0]
        data = float((block != NO_DATA).mean())
        if data > 0:
            result[index] = Cover(data, float(((block != NO_DATA) & (block != CLOUD)).mean()))
    return result


def measure_fit(ref: SceneItem, ref_source: Source, lr: SceneItem, lr_source: Source, grid: Grid) -> Fit:
    """Gain and offset that give the reference the mean and deviation of LR, over all pixels that are clear in both.

    Returns the identity with `samples` 0 where they share too little. Raises ReadError.
    """
    overlap = item_window(ref, grid).intersect(item_window(lr, grid))
    if overlap.empty:
        return Fit()
    factor = _FIT_LR_PX
    while max(overlap.shape) > _FIT_MAX_PX * factor:
        factor *= 2
    geobox = grid.lr_geobox(overlap.coarsen(factor), factor)
    ref_values, ref_valid, ref_mask = read_scene(ref, ref_source, geobox, "average")
    lr_values, lr_valid, lr_mask = read_scene(lr, lr_source, geobox, "average")
    valid = ref_valid & lr_valid & (lr_mask == 0) & (ref_mask == 0)
    if int(valid.sum()) < MIN_SAMPLES:
        return Fit()
    return fit_moments(ref_values[:, valid], lr_values[:, valid])


def fit_moments(ref: NDArray[np.float32], lr: NDArray[np.float32]) -> Fit:
    """`match_moments` of (band, n) samples as a fit; the identity with `samples` 0 where nothing can be fitted."""
    found = match_moments(ref, lr)
    return Fit() if found is None else Fit(*found, int(ref.shape[1]))


def cached_covers(
    queries: Sequence[tuple[SceneItem, Source]],
    grid: Grid,
    cells: Window,
    folder: str,
    on_error: OnError,
    spread: Spread | None = None,
) -> dict[int, NDArray[np.void] | None]:
    """`measure_cover` of each (item, source), by its number, from the cache; only new cells are measured.

    None, and a call of `on_error`, for an item that cannot be read. Results are cached below `folder` under the digests
    of item, source and grid.
    """
    records, grid_key = Records(folder, "cover"), [grid.crs, repr(grid.lr_gsd_m)]

    def cached(number: int, _: OnError) -> NDArray[np.void] | Job:
        item, source = queries[number]
        key = measure_key(grid_key, item.digest, source.digest)
        url, record = records.get(key)
        known, measured = parsed(url, records.kind, record or {"seen": [], "cells": []}, _cover_of)
        new = [item_window(item, grid).coarsen(CELL_LR_PX).intersect(cells)]
        for window in measured:
            new = [part for whole in new for part in whole.without(window)]
        new = [part for part in new if not part.empty]
        if new:
            return Job(_cover_record, (item, source, grid, known, measured, new), records.url(key))
        return _inside(known, cells)

    found: dict[int, Any] = side_by_side(range(len(queries)), cached, on_error)
    missing = [number for number, value in found.items() if isinstance(value, Job)]
    for number, record in run_all(missing, found.__getitem__, on_error, spread).items():
        found[number] = None if record is None else _inside(_cover_of(record)[0], cells)
    return found


def _inside(covers: dict[Index, Cover], cells: Window) -> NDArray[np.void]:
    return rows_of({index: cover for index, cover in covers.items() if index in cells})


def _cover_record(
    item: SceneItem, source: Source, grid: Grid, known: dict[Index, Cover], measured: list[Window], new: list[Window]
) -> dict[str, Any]:
    """The record of an item with cells of new windows added; cells without data are in its windows alone."""
    for part in new:
        known = known | measure_cover(item, source, grid, part)
    cells = [[*index, cover.cover, cover.clear] for index, cover in sorted(known.items())]
    return {"item": item.id, "seen": [list(astuple(window)) for window in [*measured, *new]], "cells": cells}


def _cover_of(record: dict[str, Any]) -> tuple[dict[Index, Cover], list[Window]]:
    """Measured cells and the windows that were measured. Raises ValueError and others where it is no such record."""
    known = {Index(int(r), int(c)): Cover(float(cover), float(clear)) for r, c, cover, clear in record["cells"]}
    stored = record["seen"]
    windows = stored if not stored or isinstance(stored[0], list) else [stored]  # old records have a single window
    return known, [Window(*map(int, window)) for window in windows or []]


def _fit_of(record: dict[str, Any]) -> Fit:
    """Raises ValueError and others where the record is no fit."""
    gain, offset = (tuple(float(value) for value in record[key]) for key in ("gain", "offset"))
    if len(gain) != len(BANDS) or len(offset) != len(BANDS) or not np.isfinite([*gain, *offset]).all():
        raise ValueError(f"gain {gain} and offset {offset}")
    return Fit(gain, offset, int(record["samples"]))


def cached_fits(
    keys: NDArray[np.int64],
    items: Sequence[SceneItem],
    source: Source,
    lr_source: Source,
    grid: Grid,
    folder: str,
    on_error: OnError,
    spread: Spread | None = None,
) -> dict[Pair, Fit]:
    """`measure_fit` of every pair (item of `source`, LR item), cached below `folder`.

    Pairs are given by the keys of their numbers; see `pair_keys`. One that cannot be read gets the identity and a call
    of `on_error`, and is not cached.
    """
    grid_key, pairs, both = [grid.crs, repr(grid.lr_gsd_m)], map(pair_of, keys.tolist()), (source, lr_source)
    found = cached_pairs("fit", grid, grid_key, pairs, items, both, folder, measure_fit, _fit_of, on_error, spread)
    return {pair: fit or Fit() for pair, fit in found.items()}
