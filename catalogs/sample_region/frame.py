"""Location of the sample region, and its two coordinate systems.

Landscape metres count from the north-west corner of the landscape, y to the south. On the map it is at the border of
two UTM zones, so that one LR scene comes in each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.warp import transform, transform_geom
from shapely.geometry import Polygon, mapping

from dsdit.errors import RequestError

CRS = "EPSG:32632"
"""CRS of the region, of the truth and of the references."""
OTHER_CRS = "EPSG:32633"
"""CRS of the second LR scene."""
GSD_M = 1.25
SCALE = 8
LR_GSD_M = GSD_M * SCALE
WEST_M, NORTH_M = 720_000.0, 5_322_000.0
"""North-west corner of the region: 11.95 degrees east, 48.01 degrees north."""
_SNAP_M = 2 * LR_GSD_M

Coordinates = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """Region and landscape on the map."""

    size_m: tuple[float, float]
    """(y, x) extent of the region."""
    margin_m: float
    """Landscape around the region."""

    @staticmethod
    def of(size_m: tuple[float, float], margin_m: float) -> Frame:
        """Raises RequestError for a size that is no multiple of the LR pixel, or a landscape beyond the UTM zones."""
        height, width = (float(s) for s in size_m)
        if not all(s >= 200 and s % LR_GSD_M == 0 for s in (height, width)):
            raise RequestError(f"size_m is {size_m}: both must be multiples of {LR_GSD_M:g} m, 200 m or more")
        if margin_m < 100 or max(height, width) > 12_000:
            raise RequestError(f"size_m {size_m}, margin_m {margin_m}: at most 12000 m, with 100 m or more around")
        return Frame((height, width), math.ceil(margin_m / _SNAP_M) * _SNAP_M)

    @property
    def landscape_m(self) -> tuple[float, float]:
        """(x, y) extent of the landscape: a whole number of 20 m pixels."""
        south, east = (math.ceil((s + 2 * self.margin_m) / _SNAP_M) * _SNAP_M for s in self.size_m)
        return east, south

    @property
    def inner(self) -> tuple[float, float, float, float]:
        """The region in landscape metres: x0, y0, x1, y1."""
        m = self.margin_m
        return m, m, m + self.size_m[1], m + self.size_m[0]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The region in `CRS`: west, south, east, north."""
        return WEST_M, NORTH_M - self.size_m[0], WEST_M + self.size_m[1], NORTH_M

    @property
    def corner(self) -> tuple[float, float]:
        """North-west corner of the landscape in `CRS`."""
        return WEST_M - self.margin_m, NORTH_M + self.margin_m

    def affine(self, gsd_m: float, x: float = 0.0, y: float = 0.0) -> Affine:
        """Transform of a raster in `CRS` whose corner is at (x, y) in landscape metres."""
        west, north = self.corner
        return Affine(gsd_m, 0, west + x, 0, -gsd_m, north - y)

    def to_landscape(self, x: ArrayLike, y: ArrayLike) -> tuple[Coordinates, Coordinates]:
        """Landscape metres of `CRS` coordinates."""
        west, north = self.corner
        return np.asarray(x) - west, north - np.asarray(y)

    def place(self, u: float, v: float) -> tuple[float, float]:
        """Landscape metres of (u, v), the inverse of `to_region`."""
        x0, y0, x1, y1 = self.inner
        return x0 + u * (x1 - x0), y0 + v * (y1 - y0)

    def to_region(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Coordinates, Coordinates]:
        """(u, v) of landscape metres: 0..1 to the east and to the south within the region."""
        x0, y0, x1, y1 = self.inner
        return (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)

    def lonlat(self, shape: Polygon) -> dict[str, Any]:
        """GeoJSON geometry of a polygon in landscape metres."""
        west, north = self.corner
        on_map = Polygon([(west + x, north - y) for x, y in shape.exterior.coords])
        return lonlat(CRS, on_map)


def lonlat(crs: str, shape: Polygon) -> dict[str, Any]:
    """GeoJSON geometry of a polygon in `crs`, wound anticlockwise."""
    geometry = transform_geom(crs, "EPSG:4326", mapping(shape.reverse() if not shape.exterior.is_ccw else shape))
    ring = [[round(x, 7), round(y, 7)] for x, y in geometry["coordinates"][0]]
    return {"type": "Polygon", "coordinates": [ring]}


def centres(grid: Affine, shape: tuple[int, int]) -> tuple[Coordinates, Coordinates]:
    """(x, y) of the pixel centres of a north-up grid, each of `shape`."""
    x = grid.c + grid.a * (np.arange(shape[1]) + 0.5)
    y = grid.f + grid.e * (np.arange(shape[0]) + 0.5)
    return np.broadcast_to(x, shape), np.broadcast_to(y[:, None], shape)


def move(from_crs: str, to_crs: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Coordinates, Coordinates]:
    """Coordinates in another CRS, of the shape given."""
    if from_crs == to_crs:
        return x, y
    moved = transform(from_crs, to_crs, np.ravel(x), np.ravel(y))
    return np.reshape(moved[0], np.shape(x)), np.reshape(moved[1], np.shape(y))
