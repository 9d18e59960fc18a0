"""The nearest file pixel of each pixel of a block, by arithmetic on indices.

A transform between two CRSs is smooth over a block: it is computed at a few nodes, a polynomial through them gives it
everywhere else, and where a test at other points finds that not exact enough every pixel is transformed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.warp import transform as transform_points

from catalogs.read.file_grid import crs_of

TOLERANCE_PX = 1e-7
"""Error allowed to the polynomial, in file pixels."""
_ON_BORDER_PX = 1e-10
"""A point this close before the border of two pixels belongs to the second, as in GDAL."""
_NODES = 8
_TESTS = (0.013, 0.31, 0.77, 0.991)

Indexes = NDArray[Any]


def pick(stored: NDArray[np.float32], transform: Affine, crs: rasterio.crs.CRS, block: GeoBox) -> NDArray[np.float32]:
    """(n, y, x) of `block`: the pixel of `stored` (n, rows, cols; `transform` and `crs` place it) that each centre
    falls into, NaN beside them."""
    rows, cols = indexes_of(transform, crs, block)
    inside = (rows >= 0) & (rows < stored.shape[1]) & (cols >= 0) & (cols < stored.shape[2])
    row, col = (np.where(inside, v, 0).astype(np.intp) for v in (rows, cols))
    flat = stored.reshape(len(stored), -1)[:, (row * stored.shape[2] + col).ravel()]
    found = flat.reshape(len(stored), *block.shape)
    found[:, ~inside] = np.nan
    return found


def indexes_of(transform: Affine, crs: rasterio.crs.CRS, block: GeoBox) -> tuple[Indexes, Indexes]:
    """(row, col), each (y, x), of the file pixels that the centres of the block's pixels fall into; NaN without one."""
    height, width = block.shape
    down, across = np.arange(height) + 0.5, np.arange(width) + 0.5
    own = crs_of(block)
    if own == crs:
        to_file = ~transform @ block.affine
        cols = to_file.a * across[None, :] + to_file.b * down[:, None] + to_file.c
        rows = to_file.d * across[None, :] + to_file.e * down[:, None] + to_file.f
    else:
        rows, cols = _interpolated(transform, crs, block) or _file_indexes(transform, crs, block, down, across)
    return np.floor(rows + _ON_BORDER_PX), np.floor(cols + _ON_BORDER_PX)


def _file_indexes(
    transform: Affine, crs: rasterio.crs.CRS, block: GeoBox, down: Indexes, across: Indexes
) -> tuple[Indexes, Indexes]:
    """(rows, cols) in the file, each (len(down), len(across)), of points in the block; NaN where there is none."""
    grid_x, grid_y = np.meshgrid(across, down)
    centres: Any = (grid_x.ravel(), grid_y.ravel())
    xs, ys = block.affine @ centres
    x, y = (np.array(v) for v in transform_points(crs_of(block), crs, xs, ys))
    finite = np.isfinite(x) & np.isfinite(y)
    x[~finite], y[~finite] = np.nan, np.nan
    inverse = ~transform
    col = inverse.a * x + inverse.b * y + inverse.c
    row = inverse.d * x + inverse.e * y + inverse.f
    return row.reshape(grid_x.shape), col.reshape(grid_x.shape)


def _interpolated(transform: Affine, crs: rasterio.crs.CRS, block: GeoBox) -> tuple[Indexes, Indexes] | None:
    """`_file_indexes` of all centres from those of the nodes; None where that is not within `TOLERANCE_PX`."""
    (down, rise), (across, run) = (_nodes(length) for length in block.shape)
    tests = [np.array(_TESTS) * length for length in block.shape]
    at_nodes = _file_indexes(transform, crs, block, down, across)
    truth = _file_indexes(transform, crs, block, *tests)
    matrices = [_weights(length, tuple(v)) for length, v in zip(block.shape, tests, strict=True)]
    for known, true in zip(at_nodes, truth, strict=True):
        apart = np.abs(matrices[0] @ known @ matrices[1].T - true).max()
        if not apart <= TOLERANCE_PX:
            return None
    rows, cols = (rise @ known @ run.T for known in at_nodes)
    return rows, cols


@lru_cache(maxsize=16)
def _nodes(length: int) -> tuple[Indexes, Indexes]:
    """Chebyshev nodes over [0, length], and the matrix that takes values there to pixel centres."""
    nodes = length / 2 * (1 - np.cos((2 * np.arange(_NODES) + 1) / (2 * _NODES) * np.pi))
    return nodes, _lagrange(nodes, np.arange(length) + 0.5)


@lru_cache(maxsize=16)
def _weights(length: int, places: tuple[float, ...]) -> Indexes:
    return _lagrange(_nodes(length)[0], np.array(places))


def _lagrange(nodes: Indexes, places: Indexes) -> Indexes:
    """(len(places), len(nodes)) values of the polynomials that are 1 at one node and 0 at the others."""
    out = np.ones((len(places), len(nodes)))
    for k, node in enumerate(nodes):
        for other in np.delete(nodes, k):
            out[:, k] *= (places - other) / (node - other)
    return out
