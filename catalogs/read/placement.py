"""Whether a file is on the ground that its item describes.

A file with a wrong CRS or geotransform reads as empty wherever the item's footprint is: it would count as "no data".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.warp import transform as transform_points
from shapely.affinity import translate

from catalogs.item import SceneItem
from catalogs.read.file_grid import FileGrid

TOUCHING_DEG = 0.002
"""Distance between a file and its item's footprint up to which they count as touching: catalogs round footprints."""
_EDGE_POINTS = 32


def check_placement(file: rasterio.DatasetReader, item: SceneItem) -> None:
    """Raises ValueError where the file states no place, or one that does not touch the item's footprint."""
    if file.transform == Affine.identity():
        raise ValueError(
            "the file states no geotransform, so that its place is not known: write one into the file, such as with "
            "gdal_edit.py -a_ullr"
        )
    if item.footprint:
        _check_touching(FileGrid.of(file), item)


@lru_cache(maxsize=4096)
def _check_touching(grid: FileGrid, item: SceneItem) -> None:
    outline = _outline(grid)
    if outline is None:
        return
    turned = (translate(item.geometry, turn) for turn in (-360.0, 0.0, 360.0))
    if not any(shapely.dwithin(outline, footprint, TOUCHING_DEG) for footprint in turned):
        raise ValueError(
            f"the file is at {_box(outline.bounds)} and the item's footprint at {_box(item.bbox)} (west, south, east, "
            f"north in degrees): its CRS ({grid.crs.to_string()[:80]}) or geotransform is wrong, or the footprint is"
        )


def _outline(grid: FileGrid) -> shapely.Geometry | None:
    """The file's outline in degrees, its longitudes without a jump at 180; None where a part of it is not on Earth.

    Raises ValueError where all of it is not on Earth.
    """
    along = np.linspace(0, 1, _EDGE_POINTS, endpoint=False)
    none, full = np.zeros(_EDGE_POINTS), np.ones(_EDGE_POINTS)
    cols = np.concatenate([along, full, 1 - along, none]) * grid.width
    rows = np.concatenate([none, along, full, 1 - along]) * grid.height
    corners: Any = (cols, rows)
    xs, ys = grid.transform @ corners
    try:
        lons, lats = (np.asarray(v) for v in transform_points(grid.crs, "EPSG:4326", xs, ys))
    except Exception as error:  # PROJ raises several kinds for coordinates outside a CRS
        raise ValueError(_off(grid)) from error
    on_earth = np.isfinite(lons) & np.isfinite(lats) & (np.abs(lats) <= 90 + TOUCHING_DEG)
    if not on_earth.any():
        raise ValueError(_off(grid))
    if not on_earth.all():
        return None
    lons = np.unwrap(lons, period=360)
    if abs(lons[-1] - lons[0]) > 180:  # it goes round a pole
        return None
    lons -= round((lons.min() + lons.max()) / 720) * 360
    return shapely.make_valid(shapely.Polygon(np.column_stack([lons, lats])))


def _off(grid: FileGrid) -> str:
    x, y = grid.transform @ (grid.width / 2, grid.height / 2)
    return (
        f"the middle of the file is at x {x:.10g}, y {y:.10g}, which is no place in its CRS "
        f"({grid.crs.to_string()[:80]}): its CRS or geotransform is wrong"
    )


def _box(bounds: tuple[float, ...]) -> str:
    return ", ".join(f"{v:.3f}" for v in bounds)
