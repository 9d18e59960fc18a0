"""Files that state no place, or another one than their item: an error, never "no data"."""

from __future__ import annotations

from pathlib import Path

import pytest
from affine import Affine

from catalogs.read.scene import native_geobox, read_bands, read_mask
from dsdit.errors import ReadError
from tests.support.field import NORTH_UP, UTM32, flat, geobox, item_of, lonlat, one_scene, write_tif


def test_a_file_with_a_crs_and_no_geotransform_is_an_error(tmp_path: Path) -> None:
    write_tif(tmp_path / "image.tif", flat(), transform=None)
    item, source = one_scene(tmp_path)
    with pytest.raises(ReadError, match="item a, asset image: the file states no geotransform"):
        read_bands(item, source, geobox(), "cubic")
    with pytest.raises(ReadError, match="states no geotransform"):
        read_mask(item, source, geobox())
    with pytest.raises(ReadError, match="states no geotransform"):
        native_geobox(item, source, 8)


@pytest.mark.parametrize(
    ("transform", "crs", "cause"),
    [
        (NORTH_UP, "EPSG:32633", "the file is at 16.3"),  # the neighbouring zone's code
        (NORTH_UP, "EPSG:32732", "the file is at"),  # the other hemisphere
        (Affine(1e-4, 0, 10.36, 0, -1e-4, 48.75), UTM32, "the file is at"),  # degrees under metres
        (NORTH_UP, "EPSG:4326", "is no place in its CRS"),  # metres under degrees
        (Affine(10, 0, 5_400_000, 0, -10, 600_000), UTM32, "the file is at 49.3"),  # axes swapped
    ],
)
def test_a_file_elsewhere_than_its_item_is_an_error(tmp_path: Path, transform: Affine, crs: str, cause: str) -> None:
    write_tif(tmp_path / "image.tif", flat(), transform, crs)
    item, source = one_scene(tmp_path)
    with pytest.raises(ReadError, match=f"item a, asset image: .*{cause}.* or geotransform is wrong"):
        read_bands(item, source, geobox(), "cubic")


def test_a_mask_elsewhere_is_an_error_too(tmp_path: Path) -> None:
    write_tif(tmp_path / "image.tif", flat())
    write_tif(tmp_path / "scl.tif", flat(4, "uint8", (1, 64, 64)), crs="EPSG:32633")
    item, source = one_scene(tmp_path, item_of(assets=("image", "scl")), mask={"kind": "scl"})
    assert read_bands(item, source, geobox(), "cubic")[1].all()
    with pytest.raises(ReadError, match="asset scl: the file is at"):
        read_mask(item, source, geobox())


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (Affine(10, 0, 300_000, 0, -10, 7_300_000), "EPSG:32601"),  # across 180 degrees
        (Affine(0.01, 0, 179.8, 0, -0.01, 10), "EPSG:4326"),  # longitudes beyond 180
        (Affine(100, 0, -3200, 0, -100, 3200), "EPSG:3031"),  # around the pole
        (Affine(10, 2, 600_000, 2, -10, 5_400_000), UTM32),  # turned
    ],
)
def test_a_file_at_the_footprint_is_read(tmp_path: Path, transform: Affine, crs: str) -> None:
    write_tif(tmp_path / "image.tif", flat(), transform, crs)
    west, south, east, north = lonlat((64, 64), transform, crs)
    bounds = (west, south, east if east >= west else east + 360, north)
    item, source = one_scene(tmp_path, item_of(bounds=bounds))
    assert read_bands(item, source, geobox((64, 64), transform, crs), "nearest")[1].all()


def test_a_footprint_of_one_part_of_the_file_is_enough(tmp_path: Path) -> None:
    write_tif(tmp_path / "image.tif", flat(shape=(3, 640, 640)))
    item, source = one_scene(tmp_path, item_of(bounds=lonlat((3, 3), NORTH_UP @ Affine.translation(317, 411))))
    assert read_bands(item, source, geobox((640, 640)), "nearest")[1].all()
