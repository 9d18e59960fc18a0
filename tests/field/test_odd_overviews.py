"""Bands of one pixel-interleaved file of odd size, read coarsely through its overviews: in their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.enums import Resampling

from catalogs.read.scene import read_bands
from tests.support.field import UTM32, geobox, item_of, lonlat, one_scene, write_tif


@pytest.mark.parametrize(
    ("shape", "levels", "file_px", "px", "resampling"),
    [
        ((1001, 1003), [2, 4], 0.3, 1.25, "bilinear"),
        ((1001, 1003), [2, 4, 8], 0.3, 2.5, "cubic"),
        ((2001, 2003), None, 0.3, 1.25, "bilinear"),  # a COG
        ((2057, 1735), None, 0.6, 2.5, "average"),
        ((1000, 1004), [2, 4], 0.3, 1.25, "bilinear"),
    ],
)
def test_bands_are_where_each_band_alone_is(
    tmp_path: Path, shape: tuple[int, int], levels: list[int] | None, file_px: float, px: float, resampling: str
) -> None:
    """Along a slope an error in place is an error in value."""
    place = Affine(file_px, 0, 600_000, 0, -file_px, 5_400_000)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    slope = np.stack([1000 + cols * 4.0 + rows * 2.0] * 3).astype(np.float32)
    path = tmp_path / "image.tif"
    if levels is None:
        plain = write_tif(tmp_path / "plain.tif", slope, place)
        options = {"compress": "DEFLATE", "blocksize": 128, "overview_resampling": "AVERAGE"}
        rasterio.shutil.copy(plain, path, driver="COG", **options)
    else:
        write_tif(path, slope, place, tiled=True, blockxsize=128, blockysize=128, interleave="pixel")
        with rasterio.open(path, "r+") as file:
            file.build_overviews(levels, Resampling.average)
    item, source = one_scene(tmp_path, item_of(bounds=lonlat(shape, place)))
    side = int(min(shape) * file_px / px) - 6
    values, _ = read_bands(
        item, source, geobox((side, side), Affine(px, 0, 600_001.25, 0, -px, 5_399_998.75), UTM32), resampling
    )
    down, across = np.mgrid[:side, :side] + 0.5
    truth = 1000 + 4 * ((1.25 + across * px) / file_px - 0.5) + 2 * ((1.25 + down * px) / file_px - 0.5)
    for band in values:
        off = (band - truth) / 6 * file_px / px  # pixels of the grid, along both axes
        assert abs(np.nanmean(off[-20:-8, -20:-8])) < 0.03
        assert abs(np.nanmean(off[8:20, 8:20])) < 0.03
