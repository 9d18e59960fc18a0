"""Real pixels on rotated and oblong grids, in three CRS, as GDAL warps them exactly: none shifted, <= 1 DN apart."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import transform as transform_points

from catalogs.read.scene import read_bands
from tests.catalogs.read.test_exact import exact
from tests.catalogs.read.test_scene import box_on, lattice, scene, write

SCENES = [
    ("oscd_montpellier/montpellier_2_20171030.tif", "EPSG:32631", "EPSG:32632"),
    ("oscd_rio/rio_2_20171011.tif", "EPSG:32723", "EPSG:32724"),
    ("s2_aber/sen2_20210527_aber_subset.tif", "EPSG:32630", "EPSG:27700"),
]
"""Pixels, the CRS of a file made from them, and the CRS that they are read in."""


def turned(shared: Path, folder: Path, name: str, crs: str, angle_deg: float) -> Path:
    """A file of real pixels whose rows do not run along the axes of its CRS, and whose pixels are oblong: 10 x 12 m."""
    with rasterio.open(shared / "geo" / name) as file:
        stored = file.read([1, 2, 3], window=((0, 210), (0, 330)))
        (x,), (y,) = transform_points(file.crs, crs, *([v] for v in file.transform @ (0, 0)))
    place = Affine.translation(x, y) @ Affine.rotation(angle_deg) @ Affine.scale(10, -12)
    return write(folder / "turned.tif", stored, place, crs)


@pytest.mark.shared
@pytest.mark.parametrize("resampling", ["cubic", "bilinear", "nearest"])
@pytest.mark.parametrize(("name", "crs", "other"), SCENES)
def test_rotated_files_with_oblong_pixels(
    shared: Path, tmp_path: Path, name: str, crs: str, other: str, resampling: str
) -> None:
    path = turned(shared, tmp_path, name, crs, 17.0)
    item, source = scene(tmp_path, path.name)
    for target in (crs, other):
        geobox = box_on(target, 10.0, *lattice(path, target, 10.0))
        assert geobox.shape[0] != geobox.shape[1]
        values, valid = read_bands(item, source, geobox, resampling)
        truth = exact(path, geobox, Resampling[resampling])
        seen = np.isfinite(truth).all(axis=0)
        both = valid & seen
        assert both.mean() > 0.3
        assert (valid ^ seen).mean() < 0.002
        assert np.abs(values - truth)[:, both].max() <= 1


@pytest.mark.shared
@pytest.mark.parametrize(("name", "crs", "other"), SCENES)
def test_a_grid_that_is_itself_rotated(shared: Path, tmp_path: Path, name: str, crs: str, other: str) -> None:
    path = shared / "geo" / name
    item, source = scene(path.parent, path.name, alpha=False)
    with rasterio.open(path) as file:
        (x,), (y,) = transform_points(file.crs, crs, *([v] for v in file.transform @ (60, 40)))
    for angle in (8.0, -31.0):
        affine = Affine.translation(x, y) @ Affine.rotation(angle) @ Affine.scale(10, -10)
        geobox = GeoBox((90, 200), affine, crs)
        values, valid = read_bands(item, source, geobox, "bilinear")
        truth = exact(path, geobox, Resampling.bilinear)
        both = valid & np.isfinite(truth).all(axis=0)
        assert both.mean() > 0.3
        assert np.abs(values - truth)[:, both].max() <= 1


def test_a_bright_point_of_a_rotated_file_stays_where_it_is(tmp_path: Path) -> None:
    stored = np.full((3, 100, 160), 1000, np.uint16)
    stored[:, 40, 90] = 60000
    place = Affine.translation(500_000, 5_300_000) @ Affine.rotation(-23) @ Affine.scale(10, -12)
    path = write(tmp_path / "a.tif", stored, place)
    x, y = place @ (90.5, 40.5)
    item, source = scene(tmp_path, "a.tif")
    for crs in ("EPSG:32632", "EPSG:32633", "EPSG:3035"):
        geobox = box_on(crs, 1.25, *lattice(path, crs, 1.25))
        values, _ = read_bands(item, source, geobox, "bilinear")
        row, col = np.unravel_index(np.nanargmax(values[0]), geobox.shape)
        found = geobox.affine @ (col + 0.5, row + 0.5)
        xs, ys = transform_points("EPSG:32632", crs, [x], [y])
        assert math.hypot(found[0] - xs[0], found[1] - ys[0]) <= 0.75 * 1.25
