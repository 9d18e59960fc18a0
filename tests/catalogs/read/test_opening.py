"""Files kept open between reads: never stale, never one that failed, few, and of no use to a forked process."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from catalogs.item import SceneItem
from catalogs.read import file_pool, opening
from catalogs.read.file_pool import FilePool
from catalogs.read.scene import read_band, read_bands, read_mask, read_scene
from catalogs.source import Source
from dsdit.bands import BANDS
from dsdit.errors import ReadError
from tests.benchmarks.waiting_files import waiting_server
from tests.catalogs.read.test_scene import ORIGIN, OTHER_UTM, UTM, box_on, lattice, picture, scene, write
from tests.support.web import file_server

BOX = GeoBox((40, 60), ORIGIN, UTM)


def in_three_files(folder: Path, values: NDArray, **changes: Any) -> tuple[SceneItem, Source]:
    """An item whose bands, from red to blue, lie in files of their own, and whose mask is a fourth at 20 m."""
    for name, band in zip(BANDS, values, strict=True):
        write(folder / f"{name}.tif", band[None], nodata=0)
    classes = np.random.default_rng(7).integers(2, 11, (1, *(side // 2 for side in values.shape[1:])))
    write(folder / "scl.tif", classes.astype(np.uint8), ORIGIN @ ORIGIN.scale(2), nodata=0)
    bands = {name: {"asset": name} for name in BANDS}
    item, source = scene(folder, "red.tif", asset="red", bands=bands, mask={"kind": "scl"}, nodata=0, **changes)
    return SceneItem.from_dict(item.to_dict() | {"hrefs": {n: f"{n}.tif" for n in (*BANDS, "scl")}}), source


@pytest.mark.parametrize("crs", [UTM, OTHER_UTM])
@pytest.mark.parametrize("resampling", ["cubic", "bilinear", "average", "nearest"])
@pytest.mark.parametrize("gsd_m", [8.0, 10.0, 25.0])
def test_files_of_one_item_read_together_as_each_alone(tmp_path: Path, crs: str, gsd_m: float, resampling: str) -> None:
    values = picture(150, 210)
    values[:, 20:30, 30:50] = 0
    values[1, 70:77, 90:120] = 0
    item, source = in_three_files(tmp_path, values)
    geobox = box_on(crs, gsd_m, *lattice(tmp_path / "red.tif", crs, gsd_m))
    together, valid, mask = read_scene(item, source, geobox, resampling)
    alone = np.stack([read_band(item, source, name, geobox, resampling) for name in BANDS])
    np.testing.assert_array_equal(valid, np.isfinite(alone).all(axis=0))
    np.testing.assert_array_equal(together[:, valid], alone[:, valid])
    np.testing.assert_array_equal(mask, read_mask(item, source, geobox))
    assert np.isnan(together[:, ~valid]).all()
    assert valid.mean() > 0.5
    assert np.isfinite(alone[0]).sum() > np.isfinite(alone[1]).sum()


@pytest.mark.parametrize("crs", [UTM, OTHER_UTM])
@pytest.mark.parametrize("resampling", ["cubic", "bilinear", "average", "nearest"])
@pytest.mark.parametrize("gsd_m", [8.0, 25.0])
def test_a_gap_changes_nothing_far_from_it(tmp_path: Path, crs: str, gsd_m: float, resampling: str) -> None:
    """A block without a gap is warped without marks: with them it would be the same."""
    whole = picture(900, 900)
    holed = whole.copy()
    holed[:, 440:443, 450:453] = 0
    for name, values in (("whole", whole), ("holed", holed)):
        write(tmp_path / f"{name}.tif", values, nodata=0)
    row, col, height, width = lattice(tmp_path / "whole.tif", crs, gsd_m)
    geobox = box_on(crs, gsd_m, row, col, height, width)
    one, seen = read_bands(*scene(tmp_path, "whole.tif"), geobox, resampling)
    other, valid = read_bands(*scene(tmp_path, "holed.tif"), geobox, resampling)
    apart = seen & (~valid | (one != other).any(axis=0))
    rows, cols = np.nonzero(apart)
    assert len(rows) > 0
    reach = 16 if gsd_m < 10 else 8
    assert max(np.ptp(rows), np.ptp(cols)) <= reach


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    first, second = picture(seed=1), picture(seed=2)
    for stored in (first, second, first):
        write(tmp_path / "a.tif", stored)
        values, _ = read_bands(*scene(tmp_path, "a.tif"), BOX, "nearest")
        np.testing.assert_array_equal(values, stored[:, :40, :60])


def test_a_remote_file_is_opened_once(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", picture(), blockxsize=256, blockysize=256)
    with file_server(tmp_path) as (web, requested):
        item, source = scene(web, f"{web}/a.tif", hosts=["127.0.0.1"])
        first, _ = read_bands(item, source, BOX, "nearest")
        count = len(requested)
        again, _ = read_bands(item, source, BOX, "nearest")
        assert len(requested) == count > 0
    np.testing.assert_array_equal(first, again)


def test_checking_every_image_of_a_file_sends_no_more_requests(tmp_path: Path) -> None:
    """Against rasterio alone, which has no checks; one request more finds out whether the file is redirected."""
    profile = {"driver": "COG", "count": 3, "height": 1200, "width": 1300, "dtype": "uint16", "compress": "deflate"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "a.tif", "w", crs=UTM, transform=ORIGIN, blocksize=256, **profile) as file,
    ):
        stored = picture(1200, 1300)
        file.write(stored)
        file.write_mask(np.arange(1200 * 1300).reshape(1200, 1300) % 1300 > 30)
    with waiting_server(tmp_path, 0.0) as web:
        with rasterio.Env(**opening.GDAL_SETTINGS), rasterio.open(f"{web}/plain/a.tif") as file:
            assert len(file.overviews(1)) == 3
            file.read(window=Window(0, 0, 60, 40)), file.read_masks(1, window=Window(0, 0, 60, 40))
        item, source = scene(web, f"{web}/ours/a.tif", hosts=["127.0.0.1"])
        values, valid = read_bands(item, source, BOX, "nearest")
        requested = requests.get(f"{web}/requested", timeout=10).json()
    assert requested["ours"] <= requested["plain"] + 1
    assert valid[:, 31:].all() and not valid[:, :31].any()
    np.testing.assert_array_equal(values[:, valid], stored[:, :40, :60][:, valid])


def test_only_few_are_kept_and_none_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FilePool()
    monkeypatch.setattr(opening, "_POOL", kept)
    for number in range(file_pool.MAX_IDLE_FILES + 5):
        write(tmp_path / f"{number}.tif", picture(64, 64))
        read_bands(*scene(tmp_path, f"{number}.tif"), GeoBox((8, 8), ORIGIN, UTM), "nearest")
    files = [one.file for one in kept._idle]
    assert len(files) == file_pool.MAX_IDLE_FILES
    assert Path(files[0].name).stem == "5"
    kept.close()
    assert all(file.closed for file in files)
    write(tmp_path / "one.tif", picture()[:1])
    with pytest.raises(ReadError, match="band 3"):
        read_bands(*scene(tmp_path, "one.tif"), BOX, "nearest")
    assert not kept._idle


def test_a_file_is_not_kept_longer_than_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", picture())
    kept = FilePool()
    monkeypatch.setattr(opening, "_POOL", kept)
    read_bands(*scene(tmp_path, "a.tif"), BOX, "nearest")
    (first,) = kept._idle
    read_bands(*scene(tmp_path, "a.tif"), BOX, "nearest")
    assert kept._idle == [first]
    monkeypatch.setattr(file_pool, "MAX_OPEN_S", -1.0)
    read_bands(*scene(tmp_path, "a.tif"), BOX, "nearest")
    assert first.file.closed


def _forked(item: SceneItem, source: Source, answers: Any) -> None:
    values, _, _ = read_scene(item, source, BOX, "cubic")
    answers.put(values)


def test_a_forked_process_reads_for_itself(tmp_path: Path) -> None:
    item, source = in_three_files(tmp_path, picture())
    here, _, _ = read_scene(item, source, BOX, "cubic")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=_forked, args=(item, source, answers))
    process.start()
    there = answers.get(timeout=120)
    process.join()
    assert process.exitcode == 0
    np.testing.assert_array_equal(here, there)
