"""The whole arrow on real scenes: georeferencing against the sources, and what restoring and blending leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
import yaml
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from dsdit.grid import Grid
from dsdit.imaging.radiometry import decode
from dsdit.imaging.sensor import EVALUATION_MTF, decimate, high_band, restored_lr
from dsdit.mosaic.template import mosaic_window
from dsdit.steps.publish.publish import publish
from dsdit.window import Window
from tests.support.quality import block_ratio, seam_ratio
from tests.support.running import NOW, Ran, run_here

pytestmark = pytest.mark.shared


def write_source(folder: Path, name: str, role: str, endpoint: Path, rule: dict[str, Any], gsd_m: float) -> str:
    record = {
        "name": name,
        "role": role,
        "endpoint": str(endpoint),
        "collection": None,
        "bands": {b: {"asset": "image", "index": k} for k, b in enumerate(("red", "green", "blue"), 1)},
        "rule": rule,
        "gsd_m": gsd_m,
        "nodata": 0,
        "mtf_nyquist": EVALUATION_MTF,
        "licence": "public domain",
        "attribution": "as the source requires",
        "derivatives": "yes",
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(record))
    return str(path)


def warped(path: Path, geobox: GeoBox, resampling: Resampling) -> np.ndarray:
    """(3, y, x) dn by GDAL's own warp, NaN outside."""
    with (
        rasterio.open(path) as file,
        WarpedVRT(
            file,
            crs=geobox.crs.to_wkt(),
            transform=geobox.affine,
            height=geobox.shape[0],
            width=geobox.shape[1],
            resampling=resampling,
            dtype="float32",
            src_nodata=0,
            nodata=-1e30,
            tolerance=1e-9,
            XSCALE="1",
            YSCALE="1",
        ) as vrt,
    ):
        values = vrt.read([1, 2, 3])
    return np.where(values == np.float32(-1e30), np.float32(np.nan), values)


def run_rennes(shared: Path, work: Path, bounds: list[int]) -> Ran:
    """Sentinel-2 over Rennes as delivered (10 m, on a grid in degrees), to 1.25 m of UTM 30, without references."""
    source = write_source(work, "rennes", "lr", shared / "geo/oscd_rennes", {"kind": "fixed", "scale": 1e-4}, 10)
    record = {
        "name": "rennes",
        "bounds": bounds,
        "crs": "EPSG:32630",
        "gsd_m": 1.25,
        "scale": 8,
        "period": {"start": "2017-06-01", "end": "2017-07-01"},
        "lr": {"source": source},
        "output": str(work / "out"),
    }
    return run_here(record)


@pytest.fixture(scope="module")
def rennes(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, dict[str, str], Path]:
    ran = run_rennes(shared, tmp_path_factory.mktemp("rennes"), [598600, 5328900, 599400, 5329500])
    return ran, publish(ran.plan, ran.request.output, ran.report, NOW), shared / "geo/oscd_rennes/rennes_2_20170621.tif"


def test_rennes_is_where_its_source_is(rennes: tuple[Ran, dict[str, str], Path]) -> None:
    ran, places, path = rennes
    assert ran.report.jobs["due"] == 0
    assert set(ran.report.tiles) == {"planned", "no_reference"}
    region, scale = ran.plan.region, 8
    window = region.window.coarsen(scale)
    truth = warped(path, region.grid.lr_geobox(window), Resampling.cubic) * 1e-4
    sr = decode(ran.pixels(window.refine(scale)))
    inner = (slice(None), slice(12, -12), slice(12, -12))
    error = np.abs(decimate(sr, scale, EVALUATION_MTF) - truth)[inner]
    assert error.mean() < 0.001
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        moved = np.abs(decimate(sr, scale, EVALUATION_MTF) - np.roll(truth, shift, (1, 2)))[inner]
        assert error.mean() < moved.mean() / 3
    tree = xr.open_datatree(places["mosaic"], engine="zarr", consolidated=False)
    level = tree["0"].to_dataset()
    assert level.rio.crs.to_epsg() == 32630
    assert level.rio.resolution() == (1.25, -1.25)
    lr = tree["lr"].to_dataset()["lr"]
    xs, ys = [599003.0, 598815.0], [5329205.0, 5329335.0]
    with rasterio.open(path) as file:
        lon, lat = transform("EPSG:32630", file.crs, xs, ys)
        for x, y, values in zip(xs, ys, file.sample(zip(lon, lat, strict=True)), strict=True):
            near = lr.sel(x=slice(x - 11, x + 11), y=slice(y + 11, y - 11)).values
            assert near.min() - 0.02 <= values[:3].mean() * 1e-4 <= near.max() + 0.02


def seams_and_own(ran: Ran) -> tuple[float, float]:
    """The ratio on the lines of the tile lattice, and that of its part below LR's Nyquist, which no tile drew."""
    place, sr = ran.plan.region.window, decode(ran.pixels())
    smooth = sr - high_band(sr, 8, EVALUATION_MTF)
    found, own = (seam_ratio(picture, place, ran.plan.lattice) for picture in (sr, smooth))
    print(f"rennes: seams {found:.4f}, of its smooth picture {own:.4f}, lr error {ran.report.lr_error}")
    return found, own


def test_rennes_has_no_seams_and_lr_is_restored(rennes: tuple[Ran, dict[str, str], Path]) -> None:
    """Twelve lines of the lattice: the ground's own edges weigh as much there, and are divided out."""
    ran, _, _ = rennes
    found, own = seams_and_own(ran)
    assert 0.97 <= found / own <= 1.03
    assert ran.report.lr_error["after"] <= 0.001


@pytest.mark.slow
def test_a_large_part_of_rennes_has_no_seams(shared: Path, tmp_path: Path) -> None:
    ran = run_rennes(shared, tmp_path, [598800, 5328400, 601200, 5330800])
    found, _ = seams_and_own(ran)
    assert 0.97 <= found <= 1.03
    assert ran.report.lr_error["after"] <= 0.001


@pytest.fixture(scope="module")
def dakota(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, np.ndarray, Window]:
    """NAIP over North Dakota: LR is the 2020 flight through the sensor (40 m), the reference that of 2015 (5 m)."""
    work = tmp_path_factory.mktemp("dakota")
    grid = Grid("EPSG:26914", 5.0, 8)
    with rasterio.open(shared / "geo/naip_nd/m_4709963_se_14_1_20200831.tif") as file:
        left, top = round(file.transform.c / 40) * 40 + 40, round(file.transform.f / 40) * 40 - 40
    window = Window(round(-top / 5), round(left / 5), round(-top / 5) + 88 * 8, round(left / 5) + 114 * 8)
    geobox = grid.hr_geobox(window)
    path = shared / "geo/naip_nd/m_4709963_se_14_1_20200831.tif"
    truth = (warped(path, geobox, Resampling.bilinear) * np.float32(0.4 / 255)).astype(np.float32)
    assert np.isfinite(truth).all()
    lr = decimate(truth, 8, EVALUATION_MTF)
    folder = work / "catalog"
    folder.mkdir()
    profile = {
        "driver": "GTiff",
        "height": lr.shape[1],
        "width": lr.shape[2],
        "count": 3,
        "dtype": "uint16",
        "nodata": 0,
    }
    profile |= {"crs": "EPSG:26914", "transform": grid.lr_geobox(window.coarsen(8)).affine}
    with rasterio.open(folder / "lr.tif", "w", **profile) as file:
        file.write(np.clip(np.rint(lr * 1e4), 1, 65535).astype(np.uint16))
    item = json.loads((shared / "geo/naip_nd/m_4709963_se_14_1_20200831.json").read_text())
    item["assets"] = {"image": {"href": "./lr.tif"}}
    (folder / "lr.json").write_text(json.dumps(item))
    references = work / "references"
    references.mkdir()
    for name in ("m_4709963_se_14_1_20150926.tif", "m_4709963_se_14_1_20150926.json"):
        shutil.copy(shared / "geo/naip_nd" / name, references / name)
    record = {
        "name": "dakota",
        "bounds": list(grid.bounds_of(window.expand(-96), 5.0)),
        "crs": "EPSG:26914",
        "gsd_m": 5.0,
        "scale": 8,
        "period": {"start": "2020-08-01", "end": "2020-09-30"},
        "lr": {"source": write_source(work, "lr", "lr", folder, {"kind": "fixed", "scale": 1e-4}, 40)},
        "ref": {"source": write_source(work, "ref", "ref", references, {"kind": "display"}, 5)},
        "output": str(work / "out"),
    }
    return run_here(record), truth, window


@pytest.mark.slow
def test_dakota_is_better_than_interpolation_and_true_to_lr(dakota: tuple[Ran, np.ndarray, Window]) -> None:
    ran, truth, window = dakota
    place = ran.plan.region.window
    sr = decode(ran.pixels())
    cut = (slice(None), *place.within(window))
    smooth = restored_lr(decimate(truth, 8, EVALUATION_MTF), 8, EVALUATION_MTF)[cut]

    def psnr(picture: np.ndarray) -> float:
        return -10 * float(np.log10(np.mean(((picture - truth[cut]) / 0.4) ** 2)))

    print(f"dakota: PSNR restored {psnr(smooth):.2f}, sr {psnr(sr):.2f} dB; lr error {ran.report.lr_error}")
    assert psnr(sr) > psnr(smooth)
    assert ran.report.lr_error["after"] <= 0.001
    assert ran.report.pixels["done"] > 0.9 * sum(ran.report.pixels.values())


@pytest.mark.slow
def test_dakota_shows_no_blocks(dakota: tuple[Ran, np.ndarray, Window]) -> None:
    ran, truth, window = dakota
    place = ran.plan.region.window
    cut = truth[(slice(None), *place.within(window))]
    blocks, own = block_ratio(decode(ran.pixels()), place, 8), block_ratio(cut, place, 8)
    print(f"dakota: blocks {blocks:.4f}, the truth's {own:.4f}")
    assert blocks <= 1.08 * own


@pytest.mark.slow
def test_dakota_array_starts_at_whole_shards(dakota: tuple[Ran, np.ndarray, Window]) -> None:
    ran, _, _ = dakota
    window = mosaic_window(ran.plan)
    assert window.row0 % ran.plan.lattice.shard_px == 0
    assert window.col0 % ran.plan.lattice.shard_px == 0
