"""Geometry of a file relative to the lattice of a GeoBox, and the fixed blocks of that lattice behind a window.

The ratio of the two pixel sizes is taken once a file, in its middle, and blocks are anchored at the CRS's origin, so
that neither depends on the requested window.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import CRS as PyprojCRS
from rasterio.transform import array_bounds
from rasterio.warp import transform as transform_points

BLOCK_PX = 256
"""Side of the blocks of the global lattice that are warped at once."""
MAX_WINDOW_PX = 2**26
"""More pixels of one file are not read for one block."""
_KERNEL_PX = 2
_MARGIN_PX = 4
_NEAR_ONE = 0.02
_ALIGNED_PX = 1e-6
_PROBES = 17
_HALF_TURN_DEG = 180 + 1e-9
_SAME_PLACE_DEG = 1e-9

P = ParamSpec("P")
T = TypeVar("T")


def _once(function: Callable[P, T]) -> Callable[P, T]:
    """A cached function that runs once where several threads call it with the same arguments."""
    cached: Callable[P, T] = cast(Any, lru_cache(maxsize=1024)(function))
    lock = threading.Lock()

    @wraps(function)
    def locked(*args: P.args, **more: P.kwargs) -> T:
        with lock:
            return cached(*args, **more)

    return locked


@dataclass(frozen=True)
class Geometry:
    """Geometry of a file relative to the lattice of a GeoBox."""

    ratio: float
    """Pixel size of the file over that of the GeoBox; under 1 means that pixels are merged."""
    offset: tuple[int, int] | None
    """(row, col) of the GeoBox's first pixel in the file, where both share one lattice."""
    transform: Affine
    """Of the file's pixels, moved where a shift is corrected."""

    @property
    def step(self) -> int:
        """File pixels, a power of two, that are averaged on reading; the warp still merges two or more of these."""
        step: int = 2 ** max(0, math.floor(math.log2(0.5 / self.ratio)))
        return step


class Reach(NamedTuple):
    """Pixels of a file that a block is made of."""

    row: int
    col: int
    height: int
    width: int
    whole: bool
    """Whether the file has all pixels that the block's kernels reach."""


class FileGrid(NamedTuple):
    """Grid of a file's pixels; files of an item that share it are placed once.

    Longitudes beyond 180 degrees, which no transform to them yields, are counted from the file's middle.
    """

    crs: rasterio.crs.CRS
    transform: Affine
    height: int
    width: int

    @classmethod
    def of(cls, file: rasterio.DatasetReader) -> FileGrid:
        """Of an open file. Raises ValueError where it crosses 180 degrees in a CRS that cannot be turned."""
        crs, transform = file.crs, file.transform
        if crs.is_geographic:
            west, _, east, _ = array_bounds(file.height, file.width, transform)
            if west < -_HALF_TURN_DEG or east > _HALF_TURN_DEG:
                middle = (west + east) / 2
                crs, transform = _turned(crs, middle), Affine.translation(-middle, 0) @ transform
        return cls(crs, transform, file.height, file.width)


@_once
def geometry_of(file: FileGrid, geobox: GeoBox, move_m: tuple[float, float] = (0.0, 0.0)) -> Geometry:
    """Of the whole file to the lattice of the GeoBox: but for `offset` the same for every window of it.

    The picture is moved by `move_m` (right, up) in units of the GeoBox's CRS, as that is in the middle of the file.
    Raises ValueError where the file's CRS cannot be brought to that of the GeoBox.
    """
    crs = crs_of(geobox)
    placed = _moved(file, crs, move_m) if any(move_m) else file.transform
    if crs == file.crs:
        to_file = ~placed @ geobox.affine
        small = _ALIGNED_PX / max(file.height, file.width)
        one = abs(to_file.a - 1) < small and abs(to_file.e - 1) < small
        straight = abs(to_file.b) < small and abs(to_file.d) < small
        row, col = round(to_file.f), round(to_file.c)
        if one and straight and abs(to_file.f - row) < _ALIGNED_PX and abs(to_file.c - col) < _ALIGNED_PX:
            return Geometry(1.0, (row, col), placed)
    middle_row, middle_col = file.height / 2, file.width / 2
    # Size of the pixel in the middle of the file: where it and its two neighbours are in the GeoBox's CRS.
    points = [placed @ (middle_col + dc, middle_row + dr) for dr, dc in ((0, 0), (0, 1), (1, 0))]
    xs, ys = transform_points(file.crs, crs, *zip(*points, strict=True))
    across = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
    down = math.hypot(xs[2] - xs[0], ys[2] - ys[0])
    pixel = math.sqrt(abs(geobox.affine.determinant))
    ratio = math.sqrt(across * down) / pixel if math.isfinite(across * down) else math.nan
    if not ratio > 0:
        raise ValueError(f"the file's CRS cannot be brought to {geobox.crs}")
    return Geometry(1.0 if abs(ratio - 1) < _NEAR_ONE else ratio, None, placed)


def _moved(file: FileGrid, crs: rasterio.crs.CRS, move_m: tuple[float, float]) -> Affine:
    """The file's transform, its picture moved by (right, up) in units of `crs`."""
    x, y = file.transform @ (file.width / 2, file.height / 2)
    (here_x,), (here_y,) = transform_points(file.crs, crs, [x], [y])
    xs, ys = transform_points(crs, file.crs, [here_x, here_x + move_m[0]], [here_y, here_y + move_m[1]])
    right, up = xs[1] - xs[0], ys[1] - ys[0]
    if not math.isfinite(right + up):
        raise ValueError(f"the file's CRS cannot be brought to {crs}")
    return Affine.translation(right, up) @ file.transform


def blocks_of(geobox: GeoBox) -> list[tuple[GeoBox, int, int]]:
    """Blocks that cover the GeoBox, each with its (row, col) in it.

    They are on a lattice anchored at the CRS's origin. A GeoBox off every such lattice is one block: then windows
    of it may differ.
    """
    affine, (height, width) = geobox.affine, geobox.shape
    if affine.b or affine.d:
        return [(geobox, 0, 0)]
    first_row, first_col = round(affine.f / affine.e), round(affine.c / affine.a)
    if max(abs(affine.f / affine.e - first_row), abs(affine.c / affine.a - first_col)) > _ALIGNED_PX:
        return [(geobox, 0, 0)]
    blocks = []
    for row in range(first_row // BLOCK_PX * BLOCK_PX, first_row + height, BLOCK_PX):
        for col in range(first_col // BLOCK_PX * BLOCK_PX, first_col + width, BLOCK_PX):
            origin = Affine(affine.a, 0, col * affine.a, 0, affine.e, row * affine.e)
            blocks.append((GeoBox((BLOCK_PX, BLOCK_PX), origin, geobox.crs), row - first_row, col - first_col))
    return blocks


@_once
def reach_of(file: FileGrid, block: GeoBox, geometry: Geometry) -> Reach | None:
    """File pixels that the block's kernels reach, in whole steps and inside the file; None where it does not reach it.

    Raises ValueError where they are beyond reason.
    """
    steps = np.linspace(0.0, 1.0, _PROBES)
    cols, rows = np.meshgrid(steps * block.shape[1], steps * block.shape[0])
    xs, ys = block.affine @ (cols.ravel(), rows.ravel())
    x, y = (np.asarray(v) for v in transform_points(crs_of(block), file.crs, xs, ys))
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        return None
    col, row = ~geometry.transform @ (x[finite], y[finite])
    step = geometry.step
    bend = 0.01 * max(np.ptp(row), np.ptp(col))
    margin = _KERNEL_PX / min(geometry.ratio, 1.0) + _MARGIN_PX * step + bend
    top, left = (math.floor((v.min() - margin) / step) * step for v in (row, col))
    bottom, right = (math.ceil((v.max() + margin) / step) * step for v in (row, col))
    row0, col0 = max(0, top), max(0, left)
    row1, col1 = min(bottom, -(-file.height // step) * step), min(right, -(-file.width // step) * step)
    if row1 <= row0 or col1 <= col0:
        return None
    if (row1 - row0) * (col1 - col0) > MAX_WINDOW_PX * step * step:
        raise ValueError(f"{row1 - row0} x {col1 - col0} px of the file fall on {BLOCK_PX} x {BLOCK_PX}: too many")
    within = top >= 0 and left >= 0 and bottom <= file.height and right <= file.width
    return Reach(row0, col0, row1 - row0, col1 - col0, within and bool(finite.all()))


@lru_cache(maxsize=64)
def _turned(crs: rasterio.crs.CRS, middle: float) -> rasterio.crs.CRS:
    """A geographic CRS in degrees whose longitudes are counted from the meridian `middle`. Raises ValueError."""
    record = PyprojCRS.from_wkt(crs.to_wkt(version="WKT2_2019")).to_json_dict()
    datum = record.pop("datum", None) or record.pop("datum_ensemble", None)
    turned = None
    if datum is not None and "prime_meridian" not in datum and crs.units_factor[0] == "degree":
        frame = {"type": "GeodeticReferenceFrame", "name": datum["name"], "ellipsoid": datum["ellipsoid"]}
        frame["prime_meridian"] = {"name": "middle", "longitude": (middle + 180) % 360 - 180}
        record.pop("id", None)
        turned = rasterio.crs.CRS.from_wkt(PyprojCRS.from_json_dict(record | {"datum": frame}).to_wkt())
        points = [transform_points(own, "EPSG:4326", [x], [0.0]) for own, x in ((turned, 0.0), (crs, middle))]
        apart = (np.asarray(points[0]) - np.asarray(points[1]))[:, 0]
        if max(abs((apart[0] + 180) % 360 - 180), abs(apart[1])) < _SAME_PLACE_DEG:
            return turned
    raise ValueError(f"the file crosses 180 degrees in {crs.to_string()}: write it in a projected CRS, or in EPSG:4326")


def crs_of(geobox: GeoBox) -> rasterio.crs.CRS:
    """CRS of a GeoBox, as rasterio has it."""
    return _parsed(geobox.crs)


@lru_cache(maxsize=64)
def _parsed(crs: CRS | None) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_wkt(crs.to_wkt() if crs else "")
