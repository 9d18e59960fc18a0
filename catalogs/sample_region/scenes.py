"""Two LR scenes of the truth, each in the UTM zone of its satellite tile.

They see the land through the sensor operator A that evaluation uses, with noise, clouds and their shadows; one of them
ends at the edge of its swath.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject
from shapely.geometry import Polygon, box

from catalogs.sample_region.clouds import CloudField
from catalogs.sample_region.frame import CRS, GSD_M, LR_GSD_M, OTHER_CRS, SCALE, Frame, centres, move
from catalogs.sample_region.painting import Moment
from catalogs.sample_region.relief import Array, Sun
from dsdit.imaging.sensor import EVALUATION_MTF, decimate

TRUTH = Moment(datetime(2024, 7, 6, 10, 20, 21, tzinfo=UTC), Sun(149.0, 61.0))
"""The date of the truth and of the first LR scene."""
LR_NOISE = 0.001
LR_OFFSET_DN = 1000
"""dn of reflectance 0 since Sentinel-2's processing baseline 04.00."""
SHADOW, PLANTS, BARE, WATER, THIN, THICK = 3, 4, 5, 6, 8, 9
"""Classes of Sentinel-2's scene classification; thin and thick are clouds of medium and high probability."""
_SWATH_EDGE = 0.90, 0.12
"""No data where u is larger than the first plus the second times v."""
_REACH_M = 30.0
"""Land that A needs around an LR pixel, on a grid turned against the landscape."""


@dataclass(frozen=True)
class LrScene:
    """A Sentinel-2-like scene."""

    id: str
    when: datetime
    crs: str
    grid: Affine
    """Transform of the 10 m bands."""
    dn: NDArray[np.uint16]
    """Red, green, blue; 0 is no data."""
    scl: NDArray[np.uint8]
    """Scene classification at 20 m."""
    cloud_cover: float
    """Percent of what has data."""
    valid: Polygon
    """Where it has data, in `crs`."""


@dataclass(frozen=True)
class _Pass:
    """How one LR scene differs from the truth."""

    id: str
    when: datetime
    crs: str
    gain: tuple[float, float, float]
    clouds: tuple[tuple[float, float, float], ...]
    """(u, v, radius as a share of the region's shorter side)."""
    swath_edge: bool


PASSES = (
    _Pass("s2-t32upu-20240706", TRUTH.when, CRS, (1.0, 1.0, 1.0),
          ((0.16, 0.72, 0.17), (0.42, 0.13, 0.10), (0.70, 0.66, 0.07)), False),
    _Pass("s2-t33utp-20240711", datetime(2024, 7, 11, 10, 20, 24, tzinfo=UTC), OTHER_CRS, (1.010, 1.006, 0.992),
          ((0.62, 0.22, 0.16), (0.30, 0.42, 0.09), (0.71, 0.67, 0.08)), True),
)  # fmt: skip


def lr_scenes(truth: Array, frame: Frame, seed: int) -> list[LrScene]:
    """Both scenes of `truth` (red, green, blue, nir; rows; columns), which covers the landscape."""
    lr = decimate(truth, SCALE, EVALUATION_MTF)
    ground = np.where(lr[3] < lr[1], WATER, np.where(lr[3] > 2.2 * lr[0], PLANTS, BARE))
    streams = [np.random.Generator(np.random.Philox(key=[seed, 20 + n])) for n in range(len(PASSES))]
    return [_lr_scene(p, truth[:3], ground, frame, rng) for p, rng in zip(PASSES, streams, strict=True)]


def _lr_scene(p: _Pass, truth: Array, ground: NDArray[Any], frame: Frame, rng: np.random.Generator) -> LrScene:
    hr, grid = _on_grid(truth, frame, p.crs)
    values = decimate(hr, SCALE, EVALUATION_MTF)
    shape = values.shape[-2:]
    x, y = frame.to_landscape(*move(p.crs, CRS, *centres(grid, shape)))
    u, v = frame.to_region(x, y)
    has_data = np.ones(shape, bool)
    if p.crs != CRS:
        east, south = frame.landscape_m
        has_data &= (np.abs(x - east / 2) < east / 2 - _REACH_M) & (np.abs(y - south / 2) < south / 2 - _REACH_M)
    if p.swath_edge:
        has_data &= u < _SWATH_EDGE[0] + _SWATH_EDGE[1] * v
    rows, columns = ((w / LR_GSD_M).astype(int).clip(0, n - 1) for w, n in zip((y, x), ground.shape, strict=True))
    gain = np.array(p.gain, np.float32)[:, None, None]
    values = values * gain + np.float32(LR_NOISE) * rng.standard_normal(values.shape, np.float32)
    unit = min(frame.size_m)
    places = [(*frame.place(cu, cv), r * unit) for cu, cv, r in p.clouds]
    field = CloudField.heaped(places, min(420.0, 0.24 * unit), rng)
    cover, shadow = field.cover(x, y), field.shadow(x, y, TRUTH.sun)
    white = np.float32(0.46) + np.float32(0.22) * cover
    values = values * (1 - np.float32(0.62) * shadow) * (1 - cover) + white * cover
    dn = np.clip(np.rint(values * 10_000) + LR_OFFSET_DN, 1, 65535).astype(np.uint16)
    dn[:, ~has_data] = 0
    scl = _classify(has_data, cover, shadow, ground[rows, columns])
    cloudy = np.isin(scl, (THIN, THICK)).sum() / max(int((scl > 0).sum()), 1)
    valid = _valid_polygon(p, frame, grid, shape)
    return LrScene(p.id, p.when, p.crs, grid, dn, scl, round(100 * float(cloudy), 2), valid)


def _on_grid(truth: Array, frame: Frame, crs: str) -> tuple[Array, Affine]:
    """(truth on the HR grid of `crs`, the LR grid), both anchored at multiples of 20 m."""
    if crs == CRS:
        return truth, frame.affine(LR_GSD_M)
    corner = frame.affine(GSD_M)
    rows, columns = truth.shape[-2:]
    xs, ys = (np.array(c) for c in zip(*[corner @ (c, r) for c in (0, columns) for r in (0, rows)], strict=True))
    xs, ys = move(CRS, crs, xs, ys)
    snap = 2 * LR_GSD_M
    west, north = math.floor(xs.min() / snap) * snap, math.ceil(ys.max() / snap) * snap
    east, south = math.ceil(xs.max() / snap) * snap, math.floor(ys.min() / snap) * snap
    hr = np.zeros((len(truth), round((north - south) / GSD_M), round((east - west) / GSD_M)), np.float32)
    reproject(truth, hr, src_transform=corner, src_crs=CRS, dst_transform=Affine(GSD_M, 0, west, 0, -GSD_M, north),
              dst_crs=crs, resampling=Resampling.cubic, tolerance=0, num_threads=1)  # fmt: skip
    return hr, Affine(LR_GSD_M, 0, west, 0, -LR_GSD_M, north)


def _classify(has_data: NDArray[Any], cover: Array, shadow: Array, ground: NDArray[Any]) -> NDArray[np.uint8]:
    """Sentinel-2 scene classification of 2 x 2 pixels: the worst of cloud and shadow, the most of the ground."""

    def blocks(a: NDArray[Any]) -> NDArray[Any]:
        return a.reshape(a.shape[0] // 2, 2, a.shape[1] // 2, 2).swapaxes(1, 2).reshape(a.shape[0] // 2, -1, 4)

    of = blocks(ground)
    scl = np.where((of == PLANTS).mean(-1) >= 0.5, PLANTS, BARE)
    scl = np.where((of == WATER).mean(-1) >= 0.5, WATER, scl)
    scl = np.where(blocks(shadow).max(-1) > 0, SHADOW, scl)
    scl = np.where(blocks(cover).max(-1) > 0, THIN, scl)
    scl = np.where(blocks(cover).max(-1) > 0.6, THICK, scl)
    return np.where(blocks(has_data).all(-1), scl, 0).astype(np.uint8)


def _valid_polygon(p: _Pass, frame: Frame, grid: Affine, shape: tuple[int, int]) -> Polygon:
    """Where a scene has data, in its CRS."""
    if p.crs == CRS:
        west, north = grid @ (0, 0)
        east, south = grid @ (shape[1], shape[0])
        return box(west, south, east, north)
    width, depth = frame.landscape_m
    edge = [frame.place(_SWATH_EDGE[0] + _SWATH_EDGE[1] * v, v) for v in (-50.0, 50.0)]
    shape_m = box(_REACH_M, _REACH_M, width - _REACH_M, depth - _REACH_M)
    if p.swath_edge:
        shape_m = shape_m.intersection(Polygon([(-1e6, edge[0][1]), edge[0], edge[1], (-1e6, edge[1][1])]))
    west, north = frame.corner
    x, y = np.asarray(shape_m.exterior.coords).T
    return Polygon(np.stack(move(CRS, p.crs, west + x, north - y), 1))
