"""Geographic files whose longitudes go beyond 180 degrees: read on both sides, as the same picture at 0 degrees is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from catalogs.masks import VALID
from catalogs.read.scene import read_bands, read_mask
from dsdit.errors import ReadError
from tests.catalogs.read.test_scene import box_on, lattice, picture, scene, write

STEP_DEG = 0.002
HERE, THERE = "EPSG:32731", "EPSG:32701"
"""UTM zones in which 0 and 180 degrees lie at the same place."""
GSD_M = 160.0


def file_at(folder: Path, middle_deg: float, values: NDArray, crs: str = "EPSG:4326") -> Path:
    """The picture around a meridian, at 17 degrees south."""
    west = middle_deg - values.shape[2] / 2 * STEP_DEG
    place = Affine.translation(west, -17.0) @ Affine.scale(STEP_DEG, -STEP_DEG)
    return write(folder / f"at{middle_deg:g}{crs[-4:]}.tif", values, place, crs)


def box_around(path: Path, gsd_m: float = GSD_M) -> tuple[int, int, int, int]:
    return lattice(path, HERE, gsd_m)


@pytest.mark.parametrize("middle_deg", [180.0, -180.0, 179.9, -179.83])
@pytest.mark.parametrize("resampling", ["cubic", "bilinear", "average", "nearest"])
@pytest.mark.parametrize("gsd_m", [GSD_M, 800.0])
def test_a_file_across_180_degrees_is_read_on_both_sides(
    tmp_path: Path, middle_deg: float, resampling: str, gsd_m: float
) -> None:
    values = picture(120, 200)
    away = file_at(tmp_path, middle_deg, values)
    home = file_at(tmp_path, middle_deg - 180 if middle_deg > 0 else middle_deg + 180, values)
    window = box_around(home, gsd_m)
    there, valid = read_bands(*scene(tmp_path, away.name), box_on(THERE, gsd_m, *window), resampling)
    here, expected = read_bands(*scene(tmp_path, home.name), box_on(HERE, gsd_m, *window), resampling)
    assert expected.mean() > 0.5
    np.testing.assert_array_equal(valid, expected)
    if resampling == "nearest":
        assert (there != here)[:, valid].mean() < 1e-3
    else:
        np.testing.assert_allclose(there[:, valid], here[:, valid], rtol=0, atol=1e-3)
    mask = read_mask(*scene(tmp_path, away.name), box_on(THERE, gsd_m, *window))
    assert (mask == VALID).mean() > 0.5


def test_every_window_across_180_degrees_reads_the_same(tmp_path: Path) -> None:
    path = file_at(tmp_path, 180.0, picture(120, 200))
    row, col, height, width = box_around(file_at(tmp_path, 0.0, picture(120, 200)))
    item = scene(tmp_path, path.name)
    whole, valid = read_bands(*item, box_on(THERE, GSD_M, row, col, height, width), "cubic")
    for y, x, high, wide in ((3, 5, 50, 70), (60, width // 2 - 20, 40, 41), (17, width // 2, 30, 60)):
        part, seen = read_bands(*item, box_on(THERE, GSD_M, row + y, col + x, high, wide), "cubic")
        np.testing.assert_array_equal(seen, valid[y : y + high, x : x + wide])
        np.testing.assert_array_equal(part, whole[:, y : y + high, x : x + wide])


def test_longitudes_from_0_to_360_degrees_are_read_in_the_west(tmp_path: Path) -> None:
    values = picture(40, 720)
    place = Affine.translation(0, 10) @ Affine.scale(0.5, -0.5)
    write(tmp_path / "a.tif", values, place, "EPSG:4326")
    item = scene(tmp_path, "a.tif")
    geobox = GeoBox((8, 8), Affine(30_000, 0, 400_000, 0, -30_000, 500_000), "EPSG:32613")
    found, valid = read_bands(*item, geobox, "nearest")
    assert valid.all()
    col = int((360 - 105) / 0.5)
    assert (found[0, 4, 3] == values[0, :, col - 2 : col + 3]).any()


def test_a_file_across_180_degrees_that_cannot_be_placed_is_refused(tmp_path: Path) -> None:
    """Of a datum that lies beside WGS 84: what is known of the way between them is lost with its name."""
    path = file_at(tmp_path, 180.0, picture(40, 60), "EPSG:4272")
    with pytest.raises(ReadError, match=r"crosses 180 degrees in EPSG:4272: write it in a projected CRS, or"):
        read_bands(
            *scene(tmp_path, path.name), GeoBox((8, 8), Affine(80, 0, 180_000, 0, -80, 8_000_000), THERE), "cubic"
        )
    inside = file_at(tmp_path, 179.0, picture(40, 60), "EPSG:4272")
    geobox = box_on("EPSG:32760", GSD_M, *lattice(inside, "EPSG:32760", GSD_M))
    assert read_bands(*scene(tmp_path, inside.name), geobox, "cubic")[1].any()
