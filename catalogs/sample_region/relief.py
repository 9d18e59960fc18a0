"""Heights above ground, the slopes of roofs and crowns, and the light that falls on them.

Crowns and roofs are real solids: sun sides, dark sides and cast shadows follow from one sun and are never painted, so
that another date with another sun is another picture of the same land.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalogs.sample_region.buildings import Buildings
from catalogs.sample_region.trees import Trees

Array = NDArray[np.float32]
_STRIP_PX = 64
"""Rows shaded at once: few enough to stay in the processor's cache."""
AMBIENT = 0.34
"""Share of skylight: how bright a shadow is."""


@dataclass(frozen=True)
class Sun:
    """Direction of the sun, degrees; azimuth clockwise from north."""

    azimuth_deg: float
    elevation_deg: float

    @property
    def vector(self) -> tuple[float, float, float]:
        """Unit vector to the sun: x east, y south, z up."""
        azimuth, elevation = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        flat = math.cos(elevation)
        return flat * math.sin(azimuth), -flat * math.cos(azimuth), math.sin(elevation)


@dataclass
class Relief:
    """Trees and buildings above the ground, on the pixel grid."""

    height: Array
    slope_x: Array
    slope_y: Array
    crown: NDArray[np.int32]
    """Number of the tree that is visible here, -1 where none."""
    roof: NDArray[np.int32]
    """Number of the building that is visible here, -1 where none."""


def build_relief(shape: tuple[int, int], gsd_m: float, trees: Trees, buildings: Buildings) -> Relief:
    """Relief of `shape` (rows, columns): the highest thing wins a pixel."""
    relief = Relief(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.full(shape, -1, np.int32),
        np.full(shape, -1, np.int32),
    )
    _stand_trees(relief, gsd_m, trees)
    for number in range(len(buildings)):
        _raise_roof(relief, gsd_m, buildings, number)
    return relief


def _stand_trees(relief: Relief, gsd_m: float, trees: Trees) -> None:
    rows, columns = relief.height.shape
    best = np.full(rows * columns, -1, np.int64)
    radius_px = np.ceil(trees.radius_m / gsd_m).astype(int)
    for reach in np.unique(radius_px):
        group = np.flatnonzero(radius_px == reach)
        steps = np.arange(-reach, reach + 1)
        column = np.floor(trees.x[group] / gsd_m).astype(int)[:, None, None] + steps
        row = np.floor(trees.y[group] / gsd_m).astype(int)[:, None, None] + steps[None, :, None]
        share = _share(trees, group[:, None, None], row, column, gsd_m)
        height = _dome(trees.height_m[group][:, None, None], trees.conifer[group][:, None, None], share)
        inside = (share < 1) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        key = (height * 1000).astype(np.int64) << 32 | group[:, None, None]
        np.maximum.at(best, (row * columns + column)[inside], np.broadcast_to(key, share.shape)[inside])
    found = np.flatnonzero(best >= 0)
    tree = (best[found] & 0xFFFFFFFF).astype(np.int32)
    row, column = np.divmod(found, columns)
    share = _share(trees, tree, row, column, gsd_m)
    conifer = trees.conifer[tree]
    relief.crown.ravel()[found] = tree
    relief.height.ravel()[found] = _dome(trees.height_m[tree], conifer, share)
    # Leaves scatter light, so that a crown is shaded less than a smooth dome of its slope would be.
    steep = np.where(conifer, 1.0, 0.25 + 0.9 * np.sqrt(share))
    dx = ((column + 0.5) * gsd_m - trees.x[tree]) / trees.radius_m[tree]
    dy = ((row + 0.5) * gsd_m - trees.y[tree]) / trees.radius_m[tree]
    relief.slope_x.ravel()[found] = -steep * dx
    relief.slope_y.ravel()[found] = -steep * dy


def _share(
    trees: Trees,
    number: NDArray[np.integer],
    row: NDArray[np.integer],
    column: NDArray[np.integer],
    gsd_m: float,
) -> NDArray[np.float64]:
    """(distance from the stem / crown radius) squared."""
    dx = (column + 0.5) * gsd_m - trees.x[number]
    dy = (row + 0.5) * gsd_m - trees.y[number]
    share: NDArray[np.float64] = (dx * dx + dy * dy) / trees.radius_m[number] ** 2
    return share


def _dome(height: NDArray[np.float64], conifer: NDArray[np.bool_], share: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.minimum(share, 1.0)
    dome: NDArray[np.float64] = height * np.where(conifer, 1 - 0.55 * np.sqrt(share), 0.5 + 0.5 * np.sqrt(1 - share))
    return dome


def _raise_roof(relief: Relief, gsd_m: float, b: Buildings, number: int) -> None:
    reach = 0.5 * math.hypot(b.length_m[number], b.width_m[number]) + gsd_m
    rows, columns = relief.height.shape
    x0, x1 = (max(0, min(columns, int((b.x[number] + s * reach) / gsd_m) + (s > 0))) for s in (-1, 1))
    y0, y1 = (max(0, min(rows, int((b.y[number] + s * reach) / gsd_m) + (s > 0))) for s in (-1, 1))
    x = (np.arange(x0, x1) + 0.5) * gsd_m - b.x[number]
    y = ((np.arange(y0, y1) + 0.5) * gsd_m - b.y[number])[:, None]
    c, s = math.cos(b.angle[number]), math.sin(b.angle[number])
    along, across = x * c + y * s, y * c - x * s
    half = b.width_m[number] / 2
    inside = (np.abs(along) <= b.length_m[number] / 2) & (np.abs(across) <= half)
    here = slice(y0, y1), slice(x0, x1)
    pitch = b.pitch[number]
    height = b.eaves_m[number] + pitch * (half - np.abs(across))
    inside &= height > relief.height[here]
    side = np.sign(across) * pitch
    relief.height[here][inside] = height[inside]
    relief.slope_x[here][inside] = (side * s)[inside]
    relief.slope_y[here][inside] = (-side * c)[inside]
    relief.roof[here][inside] = number
    relief.crown[here][inside] = -1


def light(relief: Relief, sun: Sun, gsd_m: float) -> Array:
    """Light on each pixel, 1 on open level ground: skylight, and sunlight by slope where no shadow falls."""
    x, y, z = (np.float32(part) for part in sun.vector)
    share = np.ones(relief.height.shape, np.float32)
    raised = np.flatnonzero(relief.height)
    slope_x, slope_y = relief.slope_x.ravel()[raised], relief.slope_y.ravel()[raised]
    direct = (z - slope_x * x - slope_y * y) / np.sqrt(1 + slope_x**2 + slope_y**2) / z
    share.ravel()[raised] = np.clip(direct, 0, 1.5)
    share[cast_shadow(relief.height, sun, gsd_m)] = 0
    share *= np.float32(1 - AMBIENT)
    share += np.float32(AMBIENT)
    return share


def cast_shadow(height: Array, sun: Sun, gsd_m: float) -> NDArray[np.bool_]:
    """True in shadow: a pixel is dark where something towards the sun is higher than the ray."""
    x, y, z = sun.vector
    flat = math.hypot(x, y)
    climb = z / flat * gsd_m
    rows, columns = height.shape
    shadow = np.zeros(height.shape, bool)
    highest = float(height.max())
    steps = [(n * climb, round(n * x / flat), round(n * y / flat)) for n in range(1, int(highest / climb) + 2)]
    for top in range(0, rows, _STRIP_PX):
        for rise, dx, dy in steps:
            first, last = max(top, -dy, 0), min(top + _STRIP_PX, rows, rows - dy)
            if first >= last:
                continue
            there = height[first + dy : last + dy, max(dx, 0) : columns + min(dx, 0)]
            here = slice(first, last), slice(max(-dx, 0), columns + min(-dx, 0))
            shadow[here] |= there > height[here] + np.float32(rise + 0.4)
    return shadow
