"""Every pixel accounted for: whatever goes wrong ends in the report with its status, and the report adds up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from dsdit.errors import CatalogError
from dsdit.imaging.radiometry import SR_FILL
from dsdit.sampling.sampler import TileSampler
from dsdit.sampling.tile_batch import TileBatch
from dsdit.status import PixelStatus
from dsdit.store.arrays import forget_arrays
from dsdit.window import Window
from tests.conftest import box
from tests.support.digests import mosaic_digest
from tests.support.running import Ran, prepare, run_here, sample_record
from tests.support.sums import check_status, check_sums

ONE_SHARD = box(100, 200, 220, 120)
THREE_SHARDS = box(-400, 160, 900, 100)
NEWEST_REF = "ref-20230704"


@pytest.fixture
def spoilt(catalog: Path, tmp_path: Path) -> Path:
    """A copy of the catalog, to be broken."""
    folder = tmp_path / "catalog"
    shutil.copytree(catalog, folder, ignore=shutil.ignore_patterns("truth"))
    return folder


def items(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "items.json").read_text())["features"]


def write_items(folder: Path, features: list[dict[str, Any]]) -> None:
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def scramble(path: Path) -> None:
    """The head stays, so that the file opens; its pixels are noise."""
    content = bytearray(path.read_bytes())
    start = len(content) // 3
    content[start:] = np.random.default_rng(0).bytes(len(content) - start)
    path.write_bytes(content)


def truncate(path: Path) -> None:
    """Nothing but the first bytes is left."""
    path.write_bytes(path.read_bytes()[:100])


def add_twin(folder: Path, scene: str) -> str:
    """The same scene once more under another id, a day earlier."""
    features = items(folder)
    twin = json.loads(json.dumps(next(f for f in features if f["id"] == scene)).replace(scene, "twin"))
    twin["properties"]["datetime"] = "2024-07-05T10:20:21Z"
    shutil.copytree(folder / "sample-lr" / scene, folder / "sample-lr" / "twin")
    write_items(folder, [*features, twin])
    return "twin"


def paint(path: Path, columns: slice, number: int) -> None:
    """Gives columns of a scene classification another class, where it has data: 9 is cloud, 4 is clear."""
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        classes = file.read(1)
        classes[:, columns][classes[:, columns] != 0] = number
        file.write(classes, 1)


def paint_clouds(folder: Path, columns: slice) -> None:
    for path in folder.glob("sample-lr/*/scl.tif"):
        paint(path, columns, 9)


def area(window: Window) -> int:
    rows, cols = window.shape
    return rows * cols


def item_ids(ran: Ran, name: str) -> set[str | None]:
    """Ids of the items from which the region's LR pixels or references were taken."""
    return {None if n < 0 else json.loads(ran.plan.item_names[n])["id"] for n in np.unique(ran.lr_layer(name))}


def test_without_a_fault_all_is_done(catalog: Path, weights: Path, tmp_path: Path) -> None:
    ran = run_here(sample_record(catalog, weights, tmp_path / "out", ONE_SHARD))
    check_sums(ran)
    check_status(ran)
    assert ran.report.jobs == {"done": 1, "planned": 1, "due": 0}
    assert ran.report.errors == ()
    assert ran.report.pixels["failed"] == ran.report.pixels["no_data"] == 0
    used = item_ids(ran, "ref_item")
    assert any(item is not None and item.startswith(NEWEST_REF) for item in used), used


@pytest.mark.parametrize("spoil", [pytest.param(scramble, marks=pytest.mark.slow), truncate])
def test_a_corrupt_reference_falls_back_to_the_next(spoil: Any, spoilt: Path, weights: Path, tmp_path: Path) -> None:
    broken = [i["id"] for i in items(spoilt) if i["id"].startswith(NEWEST_REF)]
    for item in broken:
        spoil(spoilt / "sample-ref" / item / "image.tif")
    ran = run_here(sample_record(spoilt, weights, tmp_path / "out", ONE_SHARD))
    check_sums(ran)
    check_status(ran)
    assert ran.report.jobs == {"degraded": 1, "planned": 1, "due": 1}
    assert any(
        f"item {broken[0]}, asset image: " in e or f"item {broken[1]}, asset image: " in e for e in ran.report.errors
    )
    assert all(len(e.split("asset image: ")[1]) > 10 for e in ran.report.errors if "asset image" in e)
    assert item_ids(ran, "ref_item") - {None} <= {"ref-20210812-e", "ref-20210812-w"}
    assert ran.report.pixels["failed"] == ran.report.pixels["no_data"] == 0
    assert ran.report.pixels["done"] > 0


@pytest.mark.slow
def test_a_corrupt_scene_falls_back_to_the_next(spoilt: Path, weights: Path, tmp_path: Path) -> None:
    twin = add_twin(spoilt, "s2-t32upu-20240706")
    paint(spoilt / "sample-lr" / twin / "scl.tif", slice(None), 4)
    for item in ("s2-t32upu-20240706", "s2-t33utp-20240711"):
        scramble(spoilt / "sample-lr" / item / "red.tif")
    ran = run_here(sample_record(spoilt, weights, tmp_path / "out", ONE_SHARD))
    check_sums(ran)
    check_status(ran)
    assert ran.report.jobs == {"degraded": 1, "planned": 1, "due": 1}
    assert item_ids(ran, "lr_item") == {twin}
    assert any("item s2-t32upu-20240706, asset red: " in e for e in ran.report.errors)
    assert ran.report.pixels["failed"] == ran.report.pixels["no_data"] == 0


@pytest.mark.parametrize("spoil", [scramble, truncate, Path.unlink])
def test_all_scenes_corrupt_is_failed_and_not_no_data(spoil: Any, spoilt: Path, weights: Path, tmp_path: Path) -> None:
    for path in spoilt.glob("sample-lr/*/*.tif"):
        spoil(path)
    ran = run_here(sample_record(spoilt, weights, tmp_path / "out", ONE_SHARD))
    check_sums(ran)
    check_status(ran)
    assert ran.report.jobs == {"failed": 1, "planned": 1, "due": 1}
    assert {s: n for s, n in ran.report.pixels.items() if n} == {"failed": area(ran.plan.region.window)}
    assert ran.report.tiles.get("no_data", 0) == 0
    assert ran.report.calls == 0
    assert any("item s2-" in e and "asset " in e for e in ran.report.errors)
    assert (ran.pixels() == SR_FILL).all()


@pytest.mark.slow
def test_a_missing_file_of_a_reference_is_reported_and_passed_over(spoilt: Path, weights: Path, tmp_path: Path) -> None:
    for item in items(spoilt):
        if item["id"].startswith(NEWEST_REF):
            (spoilt / "sample-ref" / item["id"] / "image.tif").unlink()
    ran = run_here(sample_record(spoilt, weights, tmp_path / "out", ONE_SHARD))
    check_sums(ran)
    assert ran.report.jobs["degraded"] == 1
    assert any(f"item {NEWEST_REF}" in e and "asset image: " in e for e in ran.report.errors)
    assert item_ids(ran, "ref_item") - {None} <= {"ref-20210812-e", "ref-20210812-w"}


def test_an_item_without_an_asset_is_left_out_with_the_reason(spoilt: Path, weights: Path, tmp_path: Path) -> None:
    features = items(spoilt)
    for item in features:
        if item["id"] == "s2-t33utp-20240711":
            del item["assets"]["green"]
    write_items(spoilt, features)
    record = sample_record(spoilt, weights, tmp_path / "out", ONE_SHARD)
    ran = run_here(record)
    kept = json.loads((tmp_path / "out" / "search" / "lr.json").read_text())
    assert kept["dropped"] == [["s2-t33utp-20240711", "asset green is missing"]]
    check_sums(ran)
    assert ran.report.jobs["done"] == 1
    assert item_ids(ran, "lr_item") == {"s2-t32upu-20240706"}


def test_a_region_without_scenes_reports_what_was_searched(catalog: Path, weights: Path, tmp_path: Path) -> None:
    period = {"start": "2019-01-01", "end": "2019-02-01"}
    with pytest.raises(CatalogError) as caught:
        prepare(sample_record(catalog, weights, tmp_path / "out", ONE_SHARD, period=period))
    sentence = str(caught.value)
    for part in (
        "sample-lr",
        str(catalog / "items.json"),
        "2019-01-01",
        "2019-02-01",
        "'test'",
        "EPSG:32632",
        "720100",
    ):
        assert part in sentence
    assert "\n" not in sentence
    assert not (tmp_path / "out" / "mosaic.zarr").exists()


@pytest.mark.parametrize("how", ["none requested", "none young enough"])
def test_a_region_without_references_is_done(how: str, catalog: Path, weights: Path, tmp_path: Path) -> None:
    ref = {"source": "sample-ref", "endpoint": str(catalog / "items.json"), "max_age_days": 1.0}
    record = sample_record(catalog, weights, tmp_path / "out", ONE_SHARD, ref=None if how == "none requested" else ref)
    ran = run_here(record)
    check_sums(ran)
    check_status(ran)
    assert ran.report.jobs == {"done": 1, "planned": 1, "due": 0}
    assert set(ran.report.tiles) == {"planned", "no_reference"}
    assert {name for name, n in ran.report.pixels.items() if n} <= {"no_reference", "cloudy"}
    assert ran.report.pixels["no_reference"] > 0
    assert item_ids(ran, "ref_item") == {None}


def test_a_cloudy_scene_is_cloudy_and_costs_no_network(spoilt: Path, weights: Path, tmp_path: Path) -> None:
    paint_clouds(spoilt, slice(None))
    ran = run_here(sample_record(spoilt, weights, tmp_path / "out", ONE_SHARD))
    check_sums(ran)
    check_status(ran)
    assert ran.report.jobs == {"done": 1, "planned": 1, "due": 0}
    assert {s: n for s, n in ran.report.pixels.items() if n} == {"cloudy": area(ran.plan.region.window)}
    assert ran.report.calls == 0
    assert (ran.pixels() == SR_FILL).all()


def test_half_a_cloudy_scene_is_half_cloudy(spoilt: Path, weights: Path, tmp_path: Path) -> None:
    write_items(spoilt, [i for i in items(spoilt) if i["id"] != "s2-t33utp-20240711"])
    paint_clouds(spoilt, slice((600 + 160) // 20, None))
    ran = run_here(sample_record(spoilt, weights, tmp_path / "out", ONE_SHARD))
    check_sums(ran)
    check_status(ran)
    cloudy = ran.pixels(name="status") == PixelStatus.CLOUDY
    west, east = cloudy[:, :48], cloudy[:, 48:]
    assert east.all()
    assert not west.all()
    assert ran.report.pixels["done"] + ran.report.pixels["no_reference"] > 0


def break_tile(monkeypatch: pytest.MonkeyPatch, window: Window) -> None:
    """The network gives NaN for the tile of `window`, known by its noise, and what it always gives for the others."""
    honest = TileSampler.__call__

    def broken(self: TileSampler, batch: TileBatch) -> tuple[np.ndarray, np.ndarray]:
        pictures, shares = honest(self, batch)
        wanted = self.noise(window)
        for number, noise in enumerate(batch.noise):
            if np.array_equal(noise, wanted):
                pictures[number, 1, 3, 5] = np.nan
        return pictures, shares

    monkeypatch.setattr(TileSampler, "__call__", broken)


@pytest.mark.slow
def test_nan_from_the_network_fails_its_job_marks_its_neighbours_and_is_mended(
    catalog: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(name: str, seed: int) -> dict[str, Any]:
        sampling = {"steps": 2, "batch": 4, "seed": seed}
        return sample_record(catalog, weights, tmp_path / name, THREE_SHARDS, sampling=sampling)

    first = run_here(record("out", 0))
    west, middle, east = first.plan.layout.mosaic_jobs
    region = first.plan.region.window
    own = {job: first.plan.lattice.shard_window(job).intersect(region) for job in (west, middle, east)}
    old = {job: (first.pixels(own[job]), first.pixels(own[job], "status")) for job in own}
    straight = run_here(record("straight", 1))
    assert mosaic_digest(first.plan, first.places.mosaic) != mosaic_digest(straight.plan, straight.places.mosaic)
    tile = next(
        t
        for t in first.plan.layout.sample_tiles(west)
        if not first.plan.lattice.tile_window(t).intersect(own[west]).empty
        and t not in first.plan.layout.tiles_of_mosaic(middle)
    )
    with monkeypatch.context() as patch:
        break_tile(patch, first.plan.lattice.tile_window(tile))
        faulty = run_here(record("out", 1))
        new = run_here(record("new", 1))
    for ran in (faulty, new):
        check_sums(ran)
        assert ran.report.jobs == {"failed": 1, "degraded": 1, "done": 1, "planned": 3, "due": 2}
        assert ran.report.tiles["failed"] == 1
        assert ran.report.pixels["failed"] == area(own[west])
        assert any(str(tuple(tile)) in e and "not finite" in e for e in ran.report.errors)
        states = {r.job: str(r.state) for r in ran.receipts if r.step == "mosaic"}
        assert states == {west: "failed", middle: "degraded", east: "done"}
        for job in (middle, east):
            assert np.array_equal(ran.pixels(own[job]), straight.pixels(own[job]))
    assert np.array_equal(faulty.pixels(own[west]), old[west][0])
    assert np.array_equal(faulty.pixels(own[west], "status"), old[west][1])
    assert (new.pixels(own[west], "status") == PixelStatus.FAILED).all()
    assert (new.pixels(own[west]) == SR_FILL).all()
    check_status(new)
    mended = run_here(record("out", 1))
    forget_arrays()
    assert sorted(r.job for r in mended.receipts if r.step == "mosaic") == [west, middle]
    assert mended.report.jobs == {"done": 3, "planned": 3, "due": 0}
    assert mended.report.errors == ()
    assert mosaic_digest(mended.plan, mended.places.mosaic) == mosaic_digest(straight.plan, straight.places.mosaic)
