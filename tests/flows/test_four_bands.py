"""Four bands from files to mosaic, levels, COG, picture and item: the band axis has no fixed length.

The network is replaced by one that gives its restored LR back, so that every band of the mosaic has known values, and
each band has its own: swapped bands fail.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import rasterio
import yaml
import zarr
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping

import dsdit.sampling.sampler
from dsdit import open_mosaic
from dsdit.imaging.radiometry import Curve, decode
from dsdit.imaging.sensor import EVALUATION_MTF, reach_px, restore, restored_lr
from dsdit.mosaic.template import create_mosaic, level_url
from dsdit.plan.pair_fits import Fits
from dsdit.plan.plan import Plan
from dsdit.sampling.sampler import TileBatch
from dsdit.steps.publish.mosaic_picture import display_bands
from dsdit.steps.publish.publish import publish
from dsdit.steps.publish.pyramid import halve
from dsdit.steps.publish.report import due_jobs, make_report
from dsdit.steps.scratch import create_scratch
from dsdit.store.arrays import forget_arrays
from dsdit.window import Window
from flows.plan.cost import price
from flows.plan.make_plan import keep_plan, make_plan
from flows.request.request import make_request
from flows.run.loop import Wavefront
from flows.run.run_step import Places, run_step
from tests.support.running import NOW, Ran, run_steps

BANDS = ("red", "green", "blue", "nir")
IN_FILE = {"nir": 1, "blue": 2, "red": 3, "green": 4}
"""Place of each band in the files: another order than the plan's."""
LEVEL = {"red": 0.10, "green": 0.20, "blue": 0.05, "nir": 0.35}
CRS, X0, Y0 = "EPSG:32632", 720_000.0, 5_322_000.0
LR_M, SCALE = 10.0, 8
LAND = Window(0, 0, 144, 176)
"""LR pixels of the scene, from (X0, Y0)."""
REGION = Window(48, 60, 100, 116)
"""LR pixels of the region: 52 x 56, under several shards."""


def landscape(gsd_m: float, name: str) -> NDArray[np.float32]:
    """(y, x) reflectance of one band: a wave around its own level, with its own direction."""
    k, step = BANDS.index(name), gsd_m / LR_M
    rows, cols = np.meshgrid(np.arange(LAND.row1 / step), np.arange(LAND.col1 / step), indexing="ij")
    wave = np.sin((rows + 0.5) * step / (3 + k)) * np.cos((cols + 0.5) * step / (5 - k / 2))
    return (LEVEL[name] + 0.02 * wave).astype(np.float32)


def write_image(path: Path, gsd_m: float) -> None:
    """All bands in one uint16 file; reflectance is dn / 10,000."""
    order = sorted(IN_FILE, key=lambda name: IN_FILE[name])
    dn = np.stack([np.rint(landscape(gsd_m, name) * 1e4) for name in order]).astype(np.uint16)
    size = {"count": len(order), "height": dn.shape[1], "width": dn.shape[2]}
    transform = from_origin(X0, Y0, gsd_m, gsd_m)
    with rasterio.open(path, "w", driver="COG", dtype="uint16", nodata=0, crs=CRS, transform=transform, **size) as file:
        file.write(dn)


def item(collection: str, when: str, path: Path) -> dict[str, object]:
    """STAC record of a file."""
    with rasterio.open(path) as file:
        outline = box(*transform_bounds(CRS, "EPSG:4326", *file.bounds))
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": path.stem,
        "collection": collection,
        "geometry": mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {"datetime": when},
        "links": [],
        "assets": {"image": {"href": f"./{path.name}"}},
    }


def write_source(folder: Path, role: str, gsd_m: float) -> Path:
    record = {
        "name": f"four-{role}",
        "role": role,
        "endpoint": "items.json",
        "collection": role,
        "bands": {name: {"asset": "image", "index": index} for name, index in IN_FILE.items()},
        "rule": {"kind": "fixed", "scale": 1e-4},
        "mask": {"kind": "none"},
        "nodata": 0,
        "gsd_m": gsd_m,
        "licence": "CC0-1.0",
        "attribution": "none",
        "derivatives": "yes",
    }
    path = folder / f"{role}.yaml"
    path.write_text(yaml.safe_dump(record, sort_keys=False))
    return path


class PassThrough:
    """A sampler whose network gives the restored LR back."""

    curve = Curve()
    passes = 1

    def __init__(self, plan: Plan) -> None:
        self.tokens = plan.lattice.tile_px // plan.lattice.token_px

    def noise(self, window: Window) -> NDArray[np.float32]:
        return np.zeros((1, 1, 1), np.float32)

    def __call__(self, batch: TileBatch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert batch.restored.shape[1] == batch.ref.shape[1] == batch.ref_high.shape[1] == len(BANDS)
        return batch.restored, np.full((len(batch.restored), self.tokens, self.tokens), 0.5, np.float32)


def four_band_plan(record: dict[str, object], output: str) -> tuple[Plan, str]:
    """The plan of a request, which measures red, green and blue, with near infrared beside them."""
    plan = make_plan(make_request(record), NOW, lambda _: None)
    fits = {
        pair: dataclasses.replace(fit, gain=(*fit.gain, 0.9), offset=(*fit.offset, 0.03))
        for pair, fit in plan.fits.items()
    }
    assert fits and plan.bands == BANDS[:3]
    plan = dataclasses.replace(plan, bands=BANDS, fits=Fits.of(fits), keep_reference=True)
    return plan, keep_plan(plan, output)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("four")
    write_image(folder / "scene.tif", LR_M)
    write_image(folder / "flight.tif", LR_M / SCALE)
    scene = item("lr", "2024-07-10T10:00:00Z", folder / "scene.tif")
    flight = item("ref", "2023-06-01T10:00:00Z", folder / "flight.tif")
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [scene, flight]}))
    bounds = (X0 + REGION.col0 * LR_M, Y0 - REGION.row1 * LR_M, X0 + REGION.col1 * LR_M, Y0 - REGION.row0 * LR_M)
    record = {
        "name": "four",
        "bounds": list(bounds),
        "crs": CRS,
        "gsd_m": LR_M / SCALE,
        "scale": SCALE,
        "period": {"start": "2024-06-15", "end": "2024-07-15"},
        "lr": {"source": str(write_source(folder, "lr", LR_M))},
        "ref": {"source": str(write_source(folder, "ref", LR_M / SCALE)), "max_age_days": 900},
        "output": str(folder / "out"),
        "model": {"weights": str(weights)},
        "sampling": {"steps": 2, "batch": 4},
        "tiling": {"chunk_strides": 2, "shard_chunks": 2},
    }
    request = make_request(record)
    plan, url = four_band_plan(record, request.output)
    places = Places.of(url, request.scratch_url, request.output)
    create_mosaic(plan, places.mosaic)
    forget_arrays()
    create_scratch(places.scratch, plan.lattice, plan.layout.jobs_window, plan.bands)
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), True)
    with patch.object(dsdit.sampling.sampler, "open_sampler", lambda *_: PassThrough(plan)):
        receipts = run_steps(front, run_step)
    report = make_report(plan, places.receipts, tuple(receipts))
    publish(plan, request.output, report, NOW)
    yield Ran(request, plan, places, receipts, report)
    forget_arrays()


def expected(plan: Plan) -> NDArray[np.float32]:
    """(band, y, x) what the mosaic must hold of the region: LR restored before the network and after it."""
    margin = -(-2 * reach_px(SCALE, EVALUATION_MTF) // SCALE)
    around = REGION.expand(margin)
    rows, cols = around.within(Window(0, 0, *LAND.shape))
    assert rows.start >= 0 and cols.start >= 0 and rows.stop <= LAND.row1 and cols.stop <= LAND.col1
    lr = np.stack([np.rint(landscape(LR_M, name) * 1e4) / 1e4 for name in plan.bands]).astype(np.float32)
    lr = lr[:, rows, cols]
    smooth = restore(restored_lr(lr, SCALE, EVALUATION_MTF), lr, SCALE, EVALUATION_MTF)
    return smooth[(..., *REGION.refine(SCALE).within(around.refine(SCALE)))]


def test_every_band_of_the_mosaic_is_its_restored_lr(ran: Ran) -> None:
    assert ran.report.complete and ran.report.pixels["done"] == REGION.shape[0] * REGION.shape[1] * SCALE**2
    np.testing.assert_allclose(decode(ran.pixels()), expected(ran.plan), atol=1.1e-4)


def test_a_reader_selects_the_fourth_band_by_its_name(ran: Ran) -> None:
    tree = open_mosaic(ran.request.output)
    for group, name in (("0", "sr"), ("1", "sr"), ("lr", "lr"), ("lr", "residual"), ("ref", "ref")):
        assert tree[group][name].band.values.tolist() == list(BANDS)
    x0, y0, x1, y1 = ran.plan.region.footprint.bounds
    place = {"x": slice(x0, x1), "y": slice(y1, y0)}
    for k, band in enumerate(BANDS):
        sr = tree["0"]["sr"].sel(band=band).sel(place).values
        np.testing.assert_allclose(sr, expected(ran.plan)[k], atol=1.1e-4)
        assert float(tree["lr"]["lr"].sel(band=band).mean()) == pytest.approx(LEVEL[band], abs=0.01)
    ref = tree["ref"]["ref"].sel(band="nir").sel(place).values
    rows, cols = REGION.refine(SCALE).within(Window(0, 0, *LAND.refine(SCALE).shape))
    # A shift of hundredths of a pixel is measured between the two pictures, and corrected by resampling.
    np.testing.assert_allclose(ref, landscape(LR_M / SCALE, "nir")[rows, cols] * 0.9 + 0.03, atol=1e-3)


def stored(url: str) -> NDArray[np.uint16]:
    """(band, y, x) of a level as it is stored."""
    return np.asarray(zarr.open_group(url, mode="r")["sr"])


def test_levels_halve_every_band(ran: Ran) -> None:
    fine, coarse = (stored(level_url(ran.places.mosaic, level)) for level in (0, 1))
    rows, cols = fine.shape[1] // 2, fine.shape[2] // 2
    assert coarse.shape[0] == len(BANDS)
    np.testing.assert_array_equal(coarse[:, :rows, :cols], halve(fine))


def test_the_cog_has_four_named_bands_and_none_is_alpha(ran: Ran) -> None:
    with rasterio.open(f"{ran.request.output}/sr.tif") as file:
        assert file.descriptions == BANDS
        assert file.colorinterp[:3] == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert ColorInterp.alpha not in file.colorinterp
        np.testing.assert_array_equal(file.read(), ran.pixels())
        assert file.read_masks(1).all() and file.scales == (1e-4,) * 4


def test_the_item_lists_four_bands_and_the_picture_shows_three(ran: Ran) -> None:
    record = json.loads(Path(f"{ran.request.output}/item.json").read_text())
    assert len(record["assets"]["sr"]["raster:bands"]) == 4
    picture = np.asarray(Image.open(io.BytesIO(Path(f"{ran.request.output}/picture.png").read_bytes())))
    panel = picture[picture.shape[0] // 2 :, : picture.shape[1] // 5].reshape(-1, 3).mean(0)
    assert panel[1] > panel[0] > panel[2], "green is brightest, blue darkest, as in the landscape"
    assert display_bands(("nir", "blue", "green", "red")) == [3, 2, 1]
    assert display_bands(("nir", "swir")) == [0, 1, 1]


def test_costs_grow_with_the_bands(ran: Ran) -> None:
    three = dataclasses.replace(ran.plan, bands=BANDS[:3])
    pixels = ran.plan.lattice.shard_px**2
    shards = len(ran.plan.layout.mosaic_jobs)
    more = price(ran.plan)["bytes_written"] - price(three)["bytes_written"]
    band = pixels * 2 * 4 / 3 + pixels * 2 + pixels / SCALE**2 * (2 + 4)
    assert more == pytest.approx(shards * band, abs=2)
