"""LR averaged beside the grid: no shift is found where there is none, and the sensor's MTF is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from catalogs.item import SceneItem
from catalogs.measure.registration import measure_registration
from catalogs.measure.sensor_mtf import cached_item_mtfs, cached_pair_mtfs
from catalogs.read.lattice_offset import lattice_offsets
from catalogs.source import Source
from dsdit.errors import ReadError
from dsdit.grid import Grid
from dsdit.imaging.cubic import ON_PIXELS
from dsdit.imaging.mtf import MtfEstimate
from dsdit.imaging.sensor import decimate
from tests.support.scenes import image_item, image_source
from tests.support.texture import texture

GRID = Grid("EPSG:32632", 1.0, 8)
SIDE_PX = 2048
NORTH_WEST = (720000.0, 5320000.0)


def write(path: Path, values: np.ndarray, gsd_m: float, west_m: float, north_m: float, crs: str) -> Path:
    dn = np.clip(np.rint(values * 1e4), 1, 60000).astype(np.uint16)
    size = {"count": 3, "height": dn.shape[1], "width": dn.shape[2], "crs": crs, "nodata": 0}
    transform = Affine(gsd_m, 0, west_m, 0, -gsd_m, north_m)
    with rasterio.open(path, "w", driver="GTiff", dtype="uint16", transform=transform, **size) as file:
        file.write(dn)
    return path


def pair(folder: Path, mtf: float, beside_px: int, ground: np.ndarray) -> tuple[SceneItem, SceneItem, Source]:
    """A reference of 1 m pixels and LR of 8 m pixels, `beside_px` metres right of and below those of the grid."""
    x, y = NORTH_WEST
    ref = write(folder / "ref.tif", ground, 1.0, x, y, "EPSG:32632")
    inner = ground[:, beside_px:, beside_px:]
    inner = inner[:, : inner.shape[1] // 8 * 8, : inner.shape[2] // 8 * 8]
    lr = write(folder / "lr.tif", decimate(inner, 8, mtf), 8.0, x + beside_px, y - beside_px, "EPSG:32632")
    source = image_source(folder, nodata=0, mtf_nyquist=0.255)
    return image_item(ref, folder, 0), image_item(lr, folder, 1), source


def ground(seed: int, side_px: int = SIDE_PX) -> np.ndarray:
    bands = np.concatenate([texture(seed, side_px), texture(seed + 1, side_px)])
    return np.stack([0.3 + 0.05 * bands[0] + 0.01 * k * bands[1] for k in range(3)]).astype(np.float32)


def no_error(error: ReadError) -> None:
    raise error


@pytest.mark.parametrize(("mtf", "beside_px"), [(0.255, 0), (0.4, 3), (0.63, 3), (0.63, 2)])
def test_mtf_and_shift_of_lr_beside_the_grid(tmp_path: Path, mtf: float, beside_px: int) -> None:
    ref, lr, source = pair(tmp_path, mtf, beside_px, ground(0))
    shift = measure_registration(ref, source, lr, source, GRID)
    assert shift.windows and (shift.dy, shift.dx) == pytest.approx((0.0, 0.0), abs=0.1)
    cache = str(tmp_path / "measures")
    found = cached_pair_mtfs([(0, 1)], [ref, lr], source, source, GRID, cache, no_error)[0, 1]
    assert found is not None and found.estimate is not None and found.estimate.method == "reference"
    assert found.estimate.value == pytest.approx(mtf, abs=0.05) and mtf in found.estimate
    part = beside_px / 8
    assert found.offsets_px == (((1 - part) % 1, (1 - part) % 1),)
    (tmp_path / "lr.tif").unlink()
    assert cached_pair_mtfs([(0, 1)], [ref, lr], source, source, GRID, cache, no_error) == {(0, 1): found}


def test_mtf_of_an_item_alone_is_cached_apart(tmp_path: Path) -> None:
    ref, lr, source = pair(tmp_path, 0.4, 0, ground(2))
    cache = str(tmp_path / "measures")
    found = cached_item_mtfs([1], [ref, lr], source, GRID, cache, no_error)[1]
    assert found is not None and found.estimate is not None and found.estimate.method == "spectrum"
    assert 0.4 in found.estimate
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "measures" / "mtf").iterdir()]
    assert record["lr"] == "lr" and MtfEstimate(**record["mtf"]["estimate"]) == found.estimate


def test_flat_ground_shows_no_mtf(tmp_path: Path) -> None:
    ref, lr, source = pair(tmp_path, 0.4, 0, np.full((3, SIDE_PX, SIDE_PX), 0.2, np.float32))
    measured = cached_pair_mtfs([(0, 1)], [ref, lr], source, source, GRID, str(tmp_path), no_error)[0, 1]
    assert measured is not None and measured.estimate is None


def test_offsets_of_a_lattice(tmp_path: Path) -> None:
    ref, lr, source = pair(tmp_path, 0.4, 3, ground(0, 512))
    x, y = NORTH_WEST
    own = GeoBox((20, 20), Affine(8, 0, x + 83, 0, -8, y - 83), "EPSG:32632")
    grid = GeoBox((20, 20), Affine(8, 0, x + 80, 0, -8, y - 80), "EPSG:32632")
    assert lattice_offsets(lr, source, own) == ON_PIXELS
    assert lattice_offsets(lr, source, grid) == ((0.625, 0.625),)
    assert lattice_offsets(ref, source, grid) == ON_PIXELS
    other = GeoBox((20, 20), Affine(8, 0, 277600, 0, -8, 5320100), "EPSG:32633")
    assert len(lattice_offsets(lr, source, other)) == 25


@pytest.mark.shared
@pytest.mark.parametrize("mtf", [0.255, 0.63])
def test_a_real_reference_that_is_in_its_place_is_not_moved(tmp_path: Path, mtf: float, shared: Path) -> None:
    with rasterio.open(shared / "geo" / "elkton_va" / "naip_va.tif") as file:
        values, transform, crs = file.read([1, 2, 3]).astype(np.float32), file.transform, file.crs
    row, col = (int(-start % 8) + 3 for start in (-transform.f, transform.c))
    values = values / 255 * 0.4
    inner = values[:, row:, col:]
    inner = inner[:, : inner.shape[1] // 8 * 8, : inner.shape[2] // 8 * 8]
    ref = write(tmp_path / "ref.tif", values, 1.0, transform.c, transform.f, crs)
    lr = write(tmp_path / "lr.tif", decimate(inner, 8, mtf), 8.0, transform.c + col, transform.f - row, crs)
    source = image_source(tmp_path, nodata=0, mtf_nyquist=0.255)
    grid = Grid(f"EPSG:{crs.to_epsg()}", 1.0, 8)
    items = image_item(ref, tmp_path, 0), image_item(lr, tmp_path, 1)
    assert len(lattice_offsets(items[1], source, grid.lr_geobox(grid.window_of((0, 0, 80, 80), 8.0)))) == 1
    shift = measure_registration(items[0], source, items[1], source, grid)
    assert shift.windows and (shift.dy, shift.dx) == pytest.approx((0.0, 0.0), abs=0.1)
    found = cached_pair_mtfs([(0, 1)], items, source, source, grid, str(tmp_path / "m"), no_error)[0, 1]
    assert found is not None and found.estimate is not None
    assert mtf in found.estimate
