"""Every real scene at hand, in three CRS, as GDAL warps it with an exact transformer: <= 1 DN apart, no pixel shifted.

The reference reads three bands without masks, in one call over the requested window; how far its kernels are widened
is computed here from the outline of the file's middle pixel.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from shapely.geometry import Polygon

from catalogs.read.scene import read_bands
from tests.catalogs.read.test_scene import scene

NOTHING = -1e30
SHAPE = (40, 70)
MERCATOR = "EPSG:3857"
SCENES: dict[str, tuple[float, tuple[str, ...]]] = {
    "oscd_montpellier/montpellier_1_20160514.tif": (10.0, ("EPSG:32631", "EPSG:32632", MERCATOR)),
    "oscd_montpellier/montpellier_2_20171030.tif": (10.0, ("EPSG:32631", "EPSG:32630", "EPSG:2154")),
    "oscd_rennes/rennes_1_20160706.tif": (10.0, ("EPSG:32630", "EPSG:32631", "EPSG:2154")),
    "oscd_rennes/rennes_2_20170621.tif": (1.25, ("EPSG:32630", "EPSG:32629", MERCATOR)),
    "oscd_rio/rio_1_20160424.tif": (10.0, ("EPSG:32723", "EPSG:32724", MERCATOR)),
    "oscd_rio/rio_2_20171011.tif": (5 / 3, ("EPSG:32723", "EPSG:32722", MERCATOR)),
    "oscd_valencia/valencia_1_20160730.tif": (10.0, ("EPSG:32630", "EPSG:32631", "EPSG:3035")),
    "oscd_valencia/valencia_2_20171107.tif": (13.0, ("EPSG:32630", "EPSG:32629", MERCATOR)),
    "s2_aber/sen2_20210527_aber_subset.tif": (10.0, ("EPSG:32630", "EPSG:27700", "EPSG:3035")),
    "elkton_va/naip_va.tif": (1.25, ("EPSG:26917", "EPSG:32618", MERCATOR)),
    "elkton_va/landsat8_va.tif": (30.0, ("EPSG:32617", "EPSG:32618", "EPSG:5070")),
    "landsat_peru/1985.tif": (90.0, ("EPSG:32718", "EPSG:32719", MERCATOR)),
    "landsat_peru/2020.tif": (120.0, ("EPSG:32718", "EPSG:32717", MERCATOR)),
    "naip_nd/m_4709963_se_14_1_20090818.tif": (5.0, ("EPSG:26914", "EPSG:32614", "EPSG:32615")),
    "naip_nd/m_4709963_se_14_1_20150926.tif": (8.0, ("EPSG:26914", "EPSG:5070", MERCATOR)),
    "naip_nd/m_4709963_se_14_1_20200831.tif": (1.25, ("EPSG:26914", "EPSG:32613", "EPSG:5070")),
    "naip_06m/m_3211605_ne_11_060_20200415.tif": (0.6, ("EPSG:26911", "EPSG:32611", "EPSG:32612")),
    "naip_06m/m_4208701_ne_16_060_20200902.tif": (1.0, ("EPSG:26916", "EPSG:32615", MERCATOR)),
    "nasty/RGB.byte.tif": (300.0, ("EPSG:32618", "EPSG:32619", MERCATOR)),
    "nasty/cog_dateline.tif": (100.0, ("EPSG:32660", "EPSG:32601", "EPSG:3832")),
    "nasty/cog_nodata.tif": (100.0, ("EPSG:32621", "EPSG:32622", MERCATOR)),
    "nasty/cog_nodata_nan.tif": (200.0, ("EPSG:32610", "EPSG:32611", MERCATOR)),
    "nasty/small-uint16-tile.tif": (0.1, ("EPSG:32618", "EPSG:32617", MERCATOR)),
    "nasty/source1.tif": (10.0, ("EPSG:26912", "EPSG:32612", "EPSG:32613")),
}


def bands_at(path: Path) -> list[int]:
    """Three bands of a file; the one of a file that has one, three times."""
    with rasterio.open(path) as file:
        return [1, 2, 3] if file.count >= 3 else [1, 1, 1]


def widened(file: rasterio.DatasetReader, geobox: GeoBox) -> float:
    """Side of the file's middle pixel over that of the GeoBox, as the root of their areas; at most 1."""
    row, col = file.height / 2, file.width / 2
    corners = [file.transform @ (col + dx, row + dy) for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1))]
    outline = Transformer.from_crs(file.crs, geobox.crs, always_xy=True).itransform(corners)
    ratio = math.sqrt(Polygon(outline).area / abs(geobox.affine.determinant))
    return ratio if ratio < 0.98 else 1.0


def exact(path: Path, geobox: GeoBox, resampling: Resampling) -> NDArray[np.float32]:
    """(3, y, x) by GDAL, each pixel's place transformed for itself; NaN without data."""
    with rasterio.open(path) as file:
        values, scale, nodata = file.read(bands_at(path)), repr(widened(file, geobox)), file.nodata
        place = {"height": file.height, "width": file.width, "transform": file.transform, "crs": file.crs}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", count=3, dtype=values.dtype, photometric="MINISBLACK", **place) as copy:
            copy.write(values)
        with (
            memory.open() as copy,
            WarpedVRT(
                copy, crs=geobox.crs.to_wkt() if geobox.crs else None, transform=geobox.affine, height=geobox.shape[0],
                width=geobox.shape[1], resampling=resampling, dtype="float32", src_nodata=nodata, nodata=NOTHING,
                tolerance=1e-9, XSCALE=scale, YSCALE=scale, UNIFIED_SRC_NODATA="YES",
            ) as warped,
        ):  # fmt: skip
            found = warped.read()
    return np.where(found == np.float32(NOTHING), np.float32(np.nan), found)


def boxes(path: Path, crs: str, gsd_m: float) -> list[GeoBox]:
    """Windows of the global lattice in the middle of a file, and over a corner of it."""
    with rasterio.open(path) as file:
        way = Transformer.from_crs(file.crs, crs, always_xy=True)
        places = [file.transform @ (share * file.width, share * file.height) for share in (0.5, 0.02)]
    found = []
    for place in places:
        x, y = way.transform(*place)
        row, col = math.floor(-y / gsd_m) - SHAPE[0] // 2, math.floor(x / gsd_m) - SHAPE[1] // 2
        found.append(GeoBox(SHAPE, Affine(gsd_m, 0, col * gsd_m, 0, -gsd_m, -row * gsd_m), crs))
    return found


@pytest.mark.shared
@pytest.mark.parametrize("name", SCENES)
def test_real_scenes_as_gdal_warps_them_exactly(shared: Path, name: str) -> None:
    path = shared / "geo" / name
    gsd_m, systems = SCENES[name]
    bands = {
        band: {"asset": "image", "index": k} for band, k in zip(("red", "green", "blue"), bands_at(path), strict=True)
    }
    item, source = scene(path.parent, path.name, alpha=False, bands=bands)
    assert len(set(systems)) >= 3
    compared = 0
    for crs in systems:
        for geobox, ways in zip(boxes(path, crs, gsd_m), (("cubic", "bilinear", "nearest"), ("cubic",)), strict=True):
            for resampling in ways:
                values, valid = read_bands(item, source, geobox, resampling)
                truth = exact(path, geobox, Resampling[resampling])
                known = np.isfinite(truth).all(axis=0)
                both = valid & known
                assert (valid == known).all(), (crs, resampling)
                assert np.abs(values - truth)[:, both].max(initial=0) <= (0 if resampling == "nearest" else 1), crs
                compared += both.sum()
    assert compared > 3 * SHAPE[0] * SHAPE[1]
