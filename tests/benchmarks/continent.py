"""A continent without pixels: a rough outline of the conterminous United States, its catalogs, and made-up covers.

References have the footprints of NAIP's quarter quads (3.75 minutes), scenes those of Sentinel-2's tiles (110 km every
100 km) at many dates. What an item covers of a cell follows from its bounds, how cloudy it is from a hash.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from catalogs.choose.candidates import CoverTable
from catalogs.choose.cells import Dates
from dsdit.digest import text_digests
from dsdit.grid import Grid
from dsdit.lattice.tiling import Lattice
from dsdit.plan.candidates import Items
from dsdit.plan.pair_fits import Fits
from dsdit.region import Region
from dsdit.window import Window

OUTLINE = [
    (-124.7, 48.4), (-123.0, 49.0), (-95.2, 49.0), (-94.6, 48.7), (-89.6, 48.0), (-84.8, 46.6), (-82.5, 45.3),
    (-82.4, 43.0), (-79.0, 42.8), (-76.3, 44.2), (-74.7, 45.0), (-71.4, 45.0), (-69.2, 47.4), (-67.8, 47.1),
    (-67.0, 44.8), (-70.2, 43.5), (-70.0, 41.6), (-74.0, 40.5), (-75.6, 37.8), (-75.5, 35.2), (-77.9, 33.9),
    (-81.2, 31.7), (-80.0, 26.8), (-80.4, 25.2), (-81.8, 26.0), (-82.8, 28.0), (-83.9, 30.0), (-85.3, 29.7),
    (-89.2, 30.3), (-89.4, 29.0), (-94.0, 29.6), (-97.1, 27.8), (-97.2, 25.9), (-99.3, 26.6), (-101.4, 29.8),
    (-103.2, 29.0), (-104.7, 29.7), (-106.5, 31.8), (-111.1, 31.3), (-114.8, 32.5), (-117.1, 32.5), (-120.6, 34.6),
    (-122.5, 37.5), (-124.3, 40.4), (-124.1, 43.7), (-124.7, 48.4),
]  # fmt: skip
"""Longitude and latitude, by hand from an atlas."""
SQUARE = [(-100.0, 40.0), (-99.0, 40.0), (-99.0, 41.0), (-100.0, 41.0), (-100.0, 40.0)]
"""A degree of Nebraska."""
GRID = Grid("EPSG:5070", 1.0, 10)
LATTICE = Lattice(scale=10, token_px=16, tile_px=480, overlap_px=80, chunk_strides=1, shard_chunks=8, halo_px=120)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTES = 3.75
_PITCH_M, _SIDE_M = 100_000, 110_000


def region(outline: list[tuple[float, float]]) -> Region:
    """The outline in an equal-area projection, at 1 m."""
    return Region.from_geojson("continent", GRID, {"type": "Polygon", "coordinates": [outline]})


@dataclass(frozen=True)
class Catalogs:
    """The table of items, scenes first, and what they cover."""

    items: Items
    dates: Dates
    scenes: int
    bounds: NDArray[np.float64]
    """(item, 4) x0, y0, x1, y1 in the units of cells: x to the east, y to the south."""
    spent_s: list[float] = field(default_factory=list)
    """Seconds that went into making covers up: part of measuring, and left out of what a plan takes."""

    spent_cpu_s: list[float] = field(default_factory=list)
    """The same, of the processor."""

    def over(self, window: Window) -> CoverTable:
        """One row per item and cell of a window."""
        started, processor = time.monotonic(), time.process_time()
        low = np.floor(self.bounds[:, :2]).astype(np.int64)
        high = np.ceil(self.bounds[:, 2:]).astype(np.int64)
        col0, col1 = np.clip(low[:, 0], window.col0, None), np.clip(high[:, 0], None, window.col1)
        row0, row1 = np.clip(low[:, 1], window.row0, None), np.clip(high[:, 1], None, window.row1)
        item = np.flatnonzero((col0 < col1) & (row0 < row1))
        width = (col1 - col0)[item]
        count = width * (row1 - row0)[item]
        number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        which, wide = np.repeat(item, count), np.repeat(width, count)
        row, col = row0[which] + number // wide, col0[which] + number % wide
        cover, clear = cover_of(which, row, col, self.bounds[which])
        take = cover > 0
        cell = (row - window.row0) * window.shape[1] + col - window.col0
        found = CoverTable(cell, which.astype(np.int32), cover, clear).where(take)
        self.spent_s.append(time.monotonic() - started)
        self.spent_cpu_s.append(time.process_time() - processor)
        return found


def cover_of(
    item: NDArray[np.int64], row: NDArray[np.int64], col: NDArray[np.int64], bounds: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cover and clear share of cells, in 1024ths as measured ones are: half of all views are clear."""
    width = np.minimum(bounds[:, 2], col + 1) - np.maximum(bounds[:, 0], col)
    height = np.minimum(bounds[:, 3], row + 1) - np.maximum(bounds[:, 1], row)
    cover = np.rint(np.clip(width, 0, 1) * np.clip(height, 0, 1) * 1024)
    chance = (item * 2654435761 + row * 40503 * 65537 + col * 69069 * 257) % 1009 / 1008
    clear = np.rint(cover * np.clip(2 * chance, 0, 1))
    return (cover / 1024).astype(np.float32), (clear / 1024).astype(np.float32)


def make_catalogs(outline: list[tuple[float, float]], scenes: int, references: int) -> Catalogs:
    """So many scenes and references over the outline, at dates of the last 50 days and the last 6 years."""
    polygon = shapely.Polygon(outline)
    shapely.prepare(polygon)
    to_crs = Transformer.from_crs("EPSG:4326", GRID.crs, always_xy=True)
    west, south, east, north = polygon.bounds
    step = _MINUTES / 60
    lon, lat = (a.ravel() for a in np.meshgrid(np.arange(west, east, step), np.arange(south, north, step)))
    quads = np.stack([lon, lat, lon + step, lat + step], 1)
    quads = quads[shapely.intersects(polygon, shapely.box(*quads.T))][:references]
    corners = [to_crs.transform(quads[:, i], quads[:, k]) for i in (0, 2) for k in (1, 3)]
    xs, ys = np.array([c[0] for c in corners]), np.array([c[1] for c in corners])
    quad_bounds = np.stack([xs.min(0), ys.min(0), xs.max(0), ys.max(0)], 1)
    place = region(outline).footprint
    x, y = (
        a.ravel()
        for a in np.meshgrid(
            np.arange(place.bounds[0] // _PITCH_M, place.bounds[2] // _PITCH_M + 1) * _PITCH_M,
            np.arange(place.bounds[1] // _PITCH_M, place.bounds[3] // _PITCH_M + 1) * _PITCH_M,
        )
    )
    tiles = np.stack([x, y, x + _SIDE_M, y + _SIDE_M], 1)
    tiles = tiles[shapely.intersects(place, shapely.box(*tiles.T))]
    which = np.arange(scenes) % len(tiles)
    metres = np.concatenate([tiles[which], quad_bounds])
    cell = LATTICE.cell_px * GRID.gsd_m
    bounds = np.stack([metres[:, 0], -metres[:, 3], metres[:, 2], -metres[:, 1]], 1) / cell
    now = datetime(2026, 7, 1, tzinfo=UTC)
    hours = np.concatenate([(np.arange(scenes) // len(tiles)) * 48, 24 * (200 + np.arange(len(quads)) * 7 % 2000)])
    ends = [to_crs.transform(*metres[:, k : k + 2].T, direction="INVERSE") for k in (0, 2)]
    boxes = np.stack([*ends[0], *ends[1]], 1).round(6)
    records, digests = [], []
    for n, (box, age) in enumerate(zip(boxes.tolist(), hours.tolist(), strict=True)):
        digest = f"{n * 2654435761 % 2**64:016x}" * 4
        digests.append(digest)
        records.append(_record(n, "lr" if n < scenes else "ref", box, now - timedelta(hours=age), digest))
    when = [int((now - _EPOCH).total_seconds() - age * 3600) * 1_000_000 for age in hours.tolist()]
    return Catalogs(
        Items(records, text_digests(digests)), Dates.of(np.array(when, np.int64), np.array(digests)), scenes, bounds
    )


def _record(number: int, kind: str, box: list[float], when: datetime, digest: str) -> str:
    w, s, e, n = box
    return json.dumps(
        {
            "id": f"{kind}-{number:06d}",
            "source": kind,
            "when": when.isoformat(),
            "digest": digest,
            "footprint": {"type": "Polygon", "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]]},
            "hrefs": {b: f"https://example.com/{kind}/{number:06d}/{b}.tif" for b in ("red", "green", "blue")},
        },
        separators=(",", ":"),
    )


def make_fits(pairs: NDArray[np.int64]) -> Fits:
    """A fit for every pair, from its numbers."""
    share = (pairs % 997) / 997
    values = np.stack([0.9 + 0.2 * share] * 3 + [0.01 * share] * 3, 1)
    return Fits(pairs, values, np.full(len(pairs), 4096, np.int64))
