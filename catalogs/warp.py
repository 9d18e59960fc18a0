"""Pixels of one open file onto a GeoBox: exact, and the same whatever window is asked.

GDAL's own answer depends on the window: on how it rounds a window's origin, on the transformer that it approximates, on
the reduction that it guesses. So a window is cut from fixed blocks of the global lattice, each made by one and the same
call: an exact transformer, and a kernel widened by the ratio of the two pixel sizes, which is taken once a file. A file
on the very lattice of the GeoBox is not warped at all. Invalid pixels are marked before GDAL sees them and left out of
its sums. Where several file pixels fall into one, the file is read at a coarser step, from overviews if it has them.
A picture that lies beside its place is moved in the same warp, by the file's transform and not by the lattice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags, Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points
from rasterio.windows import Window as RasterWindow

BLOCK_PX = 256
"""Side of the blocks of the global lattice that are warped at once."""
TOLERANCE_PX = 1e-9
"""Error allowed to GDAL's transformer where the nearest pixel is taken, in file pixels; its own is 1/8, and 0 would
mean that."""
SMOOTH_TOLERANCE_PX = 1e-5
"""The same where pixels are weighted: well under a DN on real scenes, in half the time."""
MAX_WINDOW_PX = 2**26
"""More pixels of one file are not read for one block."""
_KERNEL_PX = 2
_MARGIN_PX = 4
_NEAR_ONE = 0.02
_ALIGNED_PX = 1e-6
_NOTHING = -33554432.0
_PROBES = 17

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Geometry:
    """How a file lies to the lattice of a GeoBox."""

    ratio: float
    """Pixel size of the file over that of the GeoBox; under 1 means that pixels are merged."""
    offset: tuple[int, int] | None
    """(row, col) of the GeoBox's first pixel in the file, where both share one lattice."""
    transform: Affine
    """Of the file's pixels, as far as they are moved."""

    @property
    def step(self) -> int:
        """File pixels, a power of two, that are averaged on reading; the warp still merges two or more of these."""
        return 2 ** max(0, math.floor(math.log2(0.5 / self.ratio)))


def geometry_of(file: rasterio.DatasetReader, geobox: GeoBox, move_m: tuple[float, float] = (0.0, 0.0)) -> Geometry:
    """Of the whole file to the lattice of the GeoBox: but for `offset` the same for every window of it.

    The picture is moved by `move_m` (right, up) in units of the GeoBox's CRS, as that is in the middle of the file.
    Raises ValueError where the file's CRS cannot be brought to that of the GeoBox.
    """
    crs = _crs(geobox)
    placed = _moved(file, crs, move_m) if any(move_m) else file.transform
    if crs == file.crs:
        to_file = ~placed @ geobox.affine
        small = _ALIGNED_PX / max(file.shape)
        one = abs(to_file.a - 1) < small and abs(to_file.e - 1) < small
        straight = abs(to_file.b) < small and abs(to_file.d) < small
        row, col = round(to_file.f), round(to_file.c)
        if one and straight and abs(to_file.f - row) < _ALIGNED_PX and abs(to_file.c - col) < _ALIGNED_PX:
            return Geometry(1.0, (row, col), placed)
    middle_row, middle_col = file.height / 2, file.width / 2
    places = [placed @ (middle_col + dc, middle_row + dr) for dr, dc in ((0, 0), (0, 1), (1, 0))]
    xs, ys = transform_points(file.crs, crs, *zip(*places, strict=True))
    across = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
    down = math.hypot(xs[2] - xs[0], ys[2] - ys[0])
    pixel = math.sqrt(abs(geobox.affine.determinant))
    ratio = math.sqrt(across * down) / pixel if math.isfinite(across * down) else math.nan
    if not ratio > 0:
        raise ValueError(f"the file's CRS cannot be brought to {geobox.crs}")
    return Geometry(1.0 if abs(ratio - 1) < _NEAR_ONE else ratio, None, placed)


def _moved(file: rasterio.DatasetReader, crs: rasterio.crs.CRS, move_m: tuple[float, float]) -> Affine:
    """The file's transform, its picture moved by (right, up) in units of `crs`."""
    x, y = file.transform @ (file.width / 2, file.height / 2)
    (here_x,), (here_y,) = transform_points(file.crs, crs, [x], [y])
    xs, ys = transform_points(crs, file.crs, [here_x, here_x + move_m[0]], [here_y, here_y + move_m[1]])
    right, up = xs[1] - xs[0], ys[1] - ys[0]
    if not math.isfinite(right + up):
        raise ValueError(f"the file's CRS cannot be brought to {crs}")
    return Affine.translation(right, up) @ file.transform


def read_on(
    file: rasterio.DatasetReader,
    indexes: list[int],
    geobox: GeoBox,
    resampling: Resampling,
    nodata: float | None = None,
    alpha: bool = True,
    move_m: tuple[float, float] = (0.0, 0.0),
) -> Array:
    """(len(indexes), y, x) dn as float32, NaN where there is none; moved by `move_m`, see `geometry_of`.

    `nodata` overrides the file's own; a pixel is without data where all of `indexes` hold it. `alpha` lets the file's
    alpha band take pixels away. Raises rasterio's errors, and ValueError where the geometry is beyond reason.
    """
    geometry = geometry_of(file, geobox, move_m)
    if geometry.offset is not None:
        row, col = geometry.offset
        height, width = geobox.shape
        return _stored(file, indexes, row, col, (height, width), 1, resampling, nodata, alpha)
    out = np.full((len(indexes), *geobox.shape), np.nan, np.float32)
    for block, row, col in _blocks(geobox):
        pixels = _warped(file, indexes, block, resampling, geometry, nodata, alpha)
        if pixels is not None:
            height, width = block.shape
            row0, row1 = max(row, 0), min(row + height, geobox.shape[0])
            col0, col1 = max(col, 0), min(col + width, geobox.shape[1])
            out[:, row0:row1, col0:col1] = pixels[:, row0 - row : row1 - row, col0 - col : col1 - col]
    return out


def _blocks(geobox: GeoBox) -> list[tuple[GeoBox, int, int]]:
    """Blocks that cover the GeoBox, each with its (row, col) in it.

    They lie on a lattice anchored at the CRS's origin. A GeoBox off every such lattice is one block: nothing is
    promised for windows of it.
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


def _warped(
    file: rasterio.DatasetReader,
    indexes: list[int],
    block: GeoBox,
    resampling: Resampling,
    geometry: Geometry,
    nodata: float | None,
    alpha: bool,
) -> Array | None:
    """One block of the lattice; None where the file does not reach it."""
    step = geometry.step
    window = _window(file, block, geometry)
    if window is None:
        return None
    row, col, height, width = window
    values = _stored(file, indexes, row, col, (height, width), step, resampling, nodata, alpha)
    transform = geometry.transform @ Affine.translation(col, row) @ Affine.scale(step)
    values = np.where(np.isnan(values), np.float32(_NOTHING), values)
    scale = repr(min(geometry.ratio * step, 1.0))
    profile = {"driver": "GTiff", "dtype": "float32", "count": len(indexes), "photometric": "MINISBLACK"}
    size = {"height": values.shape[1], "width": values.shape[2], "crs": file.crs, "transform": transform}
    with MemoryFile() as memory:
        with memory.open(**profile, **size, alpha="NO") as stored:
            stored.write(values)
        with (
            memory.open() as stored,
            WarpedVRT(
                stored,
                crs=_crs(block),
                transform=block.affine,
                height=block.shape[0],
                width=block.shape[1],
                resampling=resampling,
                src_nodata=_NOTHING,
                nodata=_NOTHING,
                tolerance=TOLERANCE_PX if resampling == Resampling.nearest else SMOOTH_TOLERANCE_PX,
                num_threads=1,
                XSCALE=scale,
                YSCALE=scale,
                UNIFIED_SRC_NODATA="YES",
            ) as warped,
        ):
            out: Array = warped.read(out_dtype=np.float32)
    out[out == np.float32(_NOTHING)] = np.nan
    return out


def _window(file: rasterio.DatasetReader, block: GeoBox, geometry: Geometry) -> tuple[int, int, int, int] | None:
    """(row, col, height, width) in file pixels that the block's kernels reach, in whole steps and inside the file."""
    steps = np.linspace(0.0, 1.0, _PROBES)
    cols, rows = np.meshgrid(steps * block.shape[1], steps * block.shape[0])
    xs, ys = block.affine @ (cols.ravel(), rows.ravel())
    x, y = (np.asarray(v) for v in transform_points(_crs(block), file.crs, xs, ys))
    seen = np.isfinite(x) & np.isfinite(y)
    if not seen.any():
        return None
    col, row = ~geometry.transform @ (x[seen], y[seen])
    step = geometry.step
    bend = 0.01 * max(np.ptp(row), np.ptp(col))
    margin = _KERNEL_PX / min(geometry.ratio, 1.0) + _MARGIN_PX * step + bend
    row0, col0 = (max(0, math.floor((v.min() - margin) / step) * step) for v in (row, col))
    row1, col1 = (math.ceil((v.max() + margin) / step) * step for v in (row, col))
    row1, col1 = min(row1, -(-file.height // step) * step), min(col1, -(-file.width // step) * step)
    if row1 <= row0 or col1 <= col0:
        return None
    if (row1 - row0) * (col1 - col0) > MAX_WINDOW_PX * step * step:
        raise ValueError(f"{row1 - row0} x {col1 - col0} px of the file fall on {BLOCK_PX} x {BLOCK_PX}: too many")
    return row0, col0, row1 - row0, col1 - col0


def _stored(
    file: rasterio.DatasetReader,
    indexes: list[int],
    row: int,
    col: int,
    shape: tuple[int, int],
    step: int,
    resampling: Resampling,
    nodata: float | None,
    alpha: bool,
) -> Array:
    """(len(indexes), y/step, x/step) of a window as the file holds it, NaN where it has no data or does not reach."""
    out = np.full((len(indexes), shape[0] // step, shape[1] // step), np.nan, np.float32)
    row0, row1 = max(row, 0), min(row + shape[0], file.height // step * step)
    col0, col1 = max(col, 0), min(col + shape[1], file.width // step * step)
    if row1 <= row0 or col1 <= col0:
        return out
    window = RasterWindow(col0, row0, col1 - col0, row1 - row0)
    small = ((row1 - row0) // step, (col1 - col0) // step)
    merge = Resampling.nearest if resampling == Resampling.nearest else Resampling.average
    values = file.read(indexes, window=window, out_shape=(len(indexes), *small), resampling=merge).astype(np.float32)
    nodata = file.nodata if nodata is None else nodata
    if nodata is not None and not math.isnan(nodata):
        values[:, np.logical_and.reduce(values == np.float32(nodata), axis=0)] = np.nan
    flags = file.mask_flag_enums[indexes[0] - 1]
    if MaskFlags.per_dataset in flags and (alpha or MaskFlags.alpha not in flags):
        mask = file.read_masks(indexes[0], window=window, out_shape=small, resampling=Resampling.nearest)
        values[:, mask == 0] = np.nan
    values[:, ~np.logical_and.reduce(np.isfinite(values), axis=0)] = np.nan
    top, left = (row0 - row) // step, (col0 - col) // step
    out[:, top : top + small[0], left : left + small[1]] = values
    return out


def _crs(geobox: GeoBox) -> rasterio.crs.CRS:
    return _crs_of(geobox.crs)


@lru_cache(maxsize=64)
def _crs_of(crs: CRS | None) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_wkt(crs.to_wkt() if crs else "")
