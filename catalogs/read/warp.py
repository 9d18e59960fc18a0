"""Resampling of open files onto a GeoBox: exact, and the same whatever window is requested.

GDAL's own answer depends on the window: on how it rounds a window's origin, on the transformer that it approximates, on
the reduction that it guesses. So a window is cut from fixed blocks of the global lattice, each made by one and the same
call: an exact transformer, and a kernel widened by the ratio of the two pixel sizes, which is taken once a file. A file
on the very lattice of the GeoBox is not warped at all, and the nearest pixel is found by arithmetic. Invalid pixels are
marked before GDAL sees them and left out of its sums. Where several file pixels fall into one, the file is read at a
coarser step (catalogs/read/window.py). A misregistered image is moved in the same warp, by the file's transform
and not by the lattice.

There are two steps, so that files are read side by side and those that share a grid are warped in one call: `gather`
reads pixels of one file, `lay` puts those of several on the GeoBox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from catalogs.read.file_grid import MAX_WINDOW_PX, FileGrid, Reach, blocks_of, crs_of, geometry_of, reach_of
from catalogs.read.nearest import pick
from catalogs.read.window import Look

TOLERANCE_PX = 1e-5
"""Error allowed to GDAL's transformer, in file pixels; its own is 1/8. Well under a DN on real scenes."""
_NOTHING = -33554432.0

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """Pixels of a file that one block of the lattice is made of."""

    block: GeoBox
    row: int
    """First row of the block in the requested GeoBox."""
    col: int
    transform: Affine
    """Of `stored`."""
    whole: bool
    """Whether the file holds all that the block's kernels reach."""
    stored: Array
    """(n, rows, cols) dn, NaN where there is none."""


@dataclass(frozen=True)
class Gathered:
    """Pixels of one file for a GeoBox."""

    out: Array
    """(n, y, x) dn on the GeoBox, as far as no warp is needed."""
    kernel: float = 1.0
    """Pixel size of the pieces over that of the GeoBox, where it is under 1."""
    crs: rasterio.crs.CRS | None = None
    """Of the pieces."""
    pieces: tuple[Piece, ...] = ()
    """Pixels that are still to be warped."""

    @property
    def grid(self) -> tuple[object, ...]:
        """Equal for files whose pieces have the same pixels."""
        return (self.crs, self.kernel, *((p.block, p.transform, p.stored.shape[1:]) for p in self.pieces))


def gather(
    file: rasterio.DatasetReader,
    indexes: list[int],
    geobox: GeoBox,
    resampling: Resampling,
    nodata: float | None = None,
    alpha: bool = True,
    move_m: tuple[float, float] = (0.0, 0.0),
) -> Gathered:
    """The pixels of bands `indexes` that the GeoBox needs, moved by `move_m` (see `geometry_of`).

    `nodata` overrides the file's own; a pixel is without data where all of `indexes` hold it. `alpha` lets the file's
    alpha band take pixels away. Raises rasterio's errors, and ValueError where the geometry is beyond reason.
    """
    grid = FileGrid.of(file)
    geometry = geometry_of(grid, geobox, move_m)
    look = Look(file, indexes, resampling, nodata, alpha)
    if geometry.offset is not None:
        row, col = geometry.offset
        height, width = geobox.shape
        return Gathered(look.stored(row, col, (height, width), 1))
    reached = [(*place, reach) for place in blocks_of(geobox) if (reach := reach_of(grid, place[0], geometry))]
    out = np.full((len(indexes), *geobox.shape), np.nan, np.float32)
    step = geometry.step
    pieces = []
    for (block, row, col, reach), stored in zip(reached, _cut(look, [r[3] for r in reached], step), strict=True):
        transform = geometry.transform @ Affine.translation(reach.col, reach.row) @ Affine.scale(step)
        if resampling == Resampling.nearest:
            _put(out, pick(stored, transform, grid.crs, block), row, col)
        else:
            pieces.append(Piece(block, row, col, transform, reach.whole, stored))
    return Gathered(out, min(geometry.ratio * step, 1.0), grid.crs, tuple(pieces))


def lay(found: Sequence[Gathered], resampling: Resampling) -> list[Array]:
    """(n, y, x) dn as float32 of each file, NaN where there is none; files on one grid are warped in one call."""
    groups: dict[tuple[object, ...], list[Gathered]] = {}
    for one in found:
        groups.setdefault(one.grid, []).append(one)
    for group in groups.values():
        for number in range(len(group[0].pieces)):
            for alike in _by_gaps(group, number):
                pieces = [one.pieces[number] for one in alike]
                warped = _warped(pieces, alike[0].crs, alike[0].kernel, resampling)
                for one in alike:
                    count = len(one.out)
                    _put(one.out, warped[:count], pieces[0].row, pieces[0].col)
                    warped = warped[count:]
    return [one.out for one in found]


def _by_gaps(group: list[Gathered], number: int) -> list[list[Gathered]]:
    """Files whose pixels are missing at the same places of piece `number`: a call has one mask for its bands."""
    found: dict[bytes, list[Gathered]] = {}
    for one in group:
        gaps = np.isnan(one.pieces[number].stored[0])
        found.setdefault(np.packbits(gaps).tobytes() if gaps.any() else b"", []).append(one)
    return list(found.values())


def _put(out: Array, pixels: Array, row: int, col: int) -> None:
    """Writes a block that starts at (row, col) of `out`, clipped to it."""
    height, width = pixels.shape[1:]
    row0, row1 = max(row, 0), min(row + height, out.shape[1])
    col0, col1 = max(col, 0), min(col + width, out.shape[2])
    out[:, row0:row1, col0:col1] = pixels[:, row0 - row : row1 - row, col0 - col : col1 - col]


def _cut(look: Look, reaches: list[Reach], step: int) -> list[Array]:
    """Stored pixels of each reach; where no pixels are merged they are cut from one read over all of them."""
    if step == 1 and len(reaches) > 1:
        row0, col0 = min(r.row for r in reaches), min(r.col for r in reaches)
        shape = max(r.row + r.height for r in reaches) - row0, max(r.col + r.width for r in reaches) - col0
        if shape[0] * shape[1] <= min(MAX_WINDOW_PX, 2 * sum(r.height * r.width for r in reaches)):
            whole = look.stored(row0, col0, shape, 1)
            return [
                whole[:, r.row - row0 : r.row - row0 + r.height, r.col - col0 : r.col - col0 + r.width] for r in reaches
            ]
    return [look.stored(r.row, r.col, (r.height, r.width), step) for r in reaches]


def _warped(pieces: Sequence[Piece], crs: rasterio.crs.CRS | None, kernel: float, resampling: Resampling) -> Array:
    """(n, y, x) of one block; `pieces` have the same pixels and the same gaps."""
    first = pieces[0]
    values = np.concatenate([piece.stored for piece in pieces])
    gaps = np.isnan(values)
    marked = not first.whole or bool(gaps.any())
    if marked:
        values[gaps] = _NOTHING
    profile = {"driver": "GTiff", "dtype": "float32", "count": len(values), "photometric": "MINISBLACK"}
    size = {"height": values.shape[1], "width": values.shape[2], "transform": first.transform}
    marks = {"src_nodata": _NOTHING, "nodata": _NOTHING, "UNIFIED_SRC_NODATA": "YES"} if marked else {}
    with MemoryFile() as memory:
        with memory.open(**profile, **size, alpha="NO") as stored:
            stored.write(values)
        with (
            memory.open() as stored,
            WarpedVRT(
                stored,
                src_crs=crs,
                crs=crs_of(first.block),
                transform=first.block.affine,
                height=first.block.shape[0],
                width=first.block.shape[1],
                resampling=resampling,
                tolerance=TOLERANCE_PX,
                num_threads=1,
                XSCALE=repr(kernel),
                YSCALE=repr(kernel),
                **marks,
            ) as warped,
        ):
            out: Array = warped.read(out_dtype=np.float32)
    if marked:
        out[out == np.float32(_NOTHING)] = np.nan
    return out
