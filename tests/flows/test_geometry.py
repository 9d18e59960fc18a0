"""Where things are: from the truth to the mosaic as xarray, rioxarray and GDAL open it, in oblong regions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - the accessor `rio`
import xarray as xr

from catalogs.sample_region import make_sample_region
from dsdit.imaging.radiometry import SR_ADD_OFFSET, SR_FILL, SR_SCALE_FACTOR, decode
from dsdit.imaging.sensor import decimate
from dsdit.mosaic.template import level_count
from dsdit.region import Region
from dsdit.status import PixelStatus
from dsdit.steps.publish.cog import write_cog
from dsdit.steps.publish.publish import publish
from flows.plan.cost import price
from tests.conftest import CORNER, box
from tests.support.checks import SAMPLED, check_same_answer
from tests.support.running import NOW, Ran, prepare, run_here, sample_record

GSD_M = 1.25
POINTS = [(105, 46), (77, 94), (35, 60)]
"""(column, row) of HR pixels from the sample region's corner, clear in the scene of the region's own zone."""
BEHIND_CLOUD = (36, 116)
"""Covered by the scene of the other UTM zone alone."""
WIDE, TALL = box(330.9, 233.3, 548.1, 164.7), box(441.3, 329.6, 507.2, 110.4)
"""Two oblong regions that cross."""
SMALL_SHARDS = {"chunk_strides": 3, "shard_chunks": 1}


@dataclass(frozen=True)
class Spot:
    """A bright point: its pixel's centre in the CRS."""

    x: float
    y: float

    @classmethod
    def of(cls, place: tuple[int, int]) -> Spot:
        return cls(CORNER[0] + (place[0] + 0.5) * GSD_M, CORNER[1] - (place[1] + 0.5) * GSD_M)

    def off_px(self, excess: xr.DataArray, within_m: float, least: float) -> tuple[float, float]:
        """(x, y) in HR pixels from this spot to the centroid of `excess`, of what is above `least` of its peak."""
        near = excess.where((abs(excess.x - self.x) < within_m) & (abs(excess.y - self.y) < within_m), drop=True)
        peak = near.max()
        assert peak > 0.01, "nothing shines here"
        core = near.where(near > least * peak, 0.0)
        total = core.sum()
        return tuple(
            float(((core * near[axis]).sum() / total - at) / GSD_M) for axis, at in (("x", self.x), ("y", self.y))
        )


def _opened(ran: Ran) -> xr.DataTree:
    return xr.open_datatree(ran.places.mosaic, engine="zarr", consolidated=False)


@pytest.fixture(scope="module")
def lit(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.DataTree, xr.DataTree]:
    """The mosaics of one land with and without bright points, by the shipped weights."""
    folder = tmp_path_factory.mktemp("bright")
    places = [*POINTS, BEHIND_CLOUD]
    spots = [(spot.x, spot.y) for spot in map(Spot.of, places)]
    trees = []
    for name, points in (("bright", spots), ("plain", [])):
        make_sample_region(folder / name, seed=7, size_m=(200.0, 240.0), margin_m=400.0, bright_points=points)
        bounds = box(16.3, 178.8, 160.2, 3.1)
        record = sample_record(
            folder / name, Path("dsdit-tiny"), folder / f"{name}-output", bounds, keep_reference=True
        )
        record |= {"sampling": {"setting": "default", "batch": 4}, "tiling": SMALL_SHARDS}
        trees.append(_opened(run_here(record)))
    return trees[0], trees[1]


@pytest.mark.parametrize("place", POINTS, ids=str)
def test_a_bright_point_stays_where_it_is(lit: tuple[xr.DataTree, xr.DataTree], place: tuple[int, int]) -> None:
    spot = Spot.of(place)
    for group, name, within_m, least in (("0", "sr", 12, 0.5), ("ref", "ref", 12, 0.5), ("lr", "lr", 25, 0.02)):
        excess = (lit[0][group][name] - lit[1][group][name]).mean("band")
        x, y = spot.off_px(excess, within_m, least)
        print(f"{group}/{name} at {place}: off by {x:+.3f}, {y:+.3f} HR pixels")
        assert abs(x) < 0.5 and abs(y) < 0.5


def test_a_bright_point_in_a_scene_of_the_other_zone(lit: tuple[xr.DataTree, xr.DataTree]) -> None:
    spot = Spot.of(BEHIND_CLOUD)
    item = lit[0]["lr"]["lr_item"].sel(x=spot.x, y=spot.y, method="nearest")
    newest = lit[0]["lr"]["lr_item"].sel(x=Spot.of(POINTS[1]).x, y=Spot.of(POINTS[1]).y, method="nearest")
    assert int(item) >= 0 and int(item) != int(newest)
    for group, name, within_m, least in (("0", "sr", 12, 0.5), ("lr", "lr", 25, 0.02)):
        excess = (lit[0][group][name] - lit[1][group][name]).mean("band")
        x, y = spot.off_px(excess, within_m, least)
        print(f"{group}/{name} behind cloud: off by {x:+.3f}, {y:+.3f} HR pixels")
        assert abs(x) < 0.5 and abs(y) < 0.5


@pytest.fixture(scope="module")
def wide(catalog: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    output = tmp_path_factory.mktemp("wide") / "output"
    return _published(run_here(sample_record(catalog, weights, output, WIDE, tiling=SMALL_SHARDS)))


@pytest.fixture(scope="module")
def tall(catalog: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    output = tmp_path_factory.mktemp("tall") / "output"
    return _published(run_here(sample_record(catalog, weights, output, TALL, tiling=SMALL_SHARDS)))


def _published(ran: Ran) -> Ran:
    publish(ran.plan, ran.request.output, ran.report, NOW)
    return ran


@pytest.fixture(params=["wide", "tall"])
def oblong(request: pytest.FixtureRequest) -> Ran:
    return request.getfixturevalue(request.param)


def _expected_bounds(ran: Ran) -> tuple[float, float, float, float]:
    """Of the pixels whose centres are within the request's bounds."""
    x0, y0, x1, y1 = ran.request.bounds or ()
    return (
        np.ceil(x0 / GSD_M - 0.5) * GSD_M,
        np.ceil(y0 / GSD_M - 0.5) * GSD_M,
        np.ceil(x1 / GSD_M - 0.5) * GSD_M,
        np.ceil(y1 / GSD_M - 0.5) * GSD_M,
    )


def test_two_oblong_regions_agree_where_they_cross(wide: Ran, tall: Ran) -> None:
    (h, w), (h2, w2) = wide.plan.region.window.shape, tall.plan.region.window.shape
    assert w > 2 * h and h2 > 2 * w2
    check_same_answer(wide, tall)


def test_xarray_opens_the_mosaic(oblong: Ran) -> None:
    tree = _opened(oblong)
    levels = {name for name in tree.children if name.isdigit()}
    assert levels == {str(k) for k in range(level_count(oblong.plan))}
    x0, y0, x1, y1 = _expected_bounds(oblong)
    inside = tree["0"].ds.sel(x=slice(x0, x1), y=slice(y1, y0))
    assert inside.sr.dims == ("band", "y", "x") and list(inside.band.values) == ["red", "green", "blue"]
    assert inside.sr.shape[1:] == oblong.plan.region.window.shape
    assert (float(inside.x[0]), float(inside.y[0])) == (x0 + GSD_M / 2, y1 - GSD_M / 2)
    assert (float(inside.x[-1]), float(inside.y[-1])) == (x1 - GSD_M / 2, y0 + GSD_M / 2)
    assert np.array_equal(inside.status, oblong.pixels(name="status"))
    outside = int((tree["0"].ds.status != PixelStatus.OUTSIDE).sum()) - inside.status.size
    assert outside == 0 and not (inside.status == PixelStatus.OUTSIDE).any()
    np.testing.assert_allclose(inside.sr, decode(oblong.pixels()), atol=1e-6)
    sampled = np.isin(inside.status, SAMPLED)
    assert sampled.any() and np.array_equal(np.isfinite(inside.sr).all("band"), sampled)
    assert 0.0 < float(inside.sr.mean()) < 0.5


def test_rioxarray_knows_crs_bounds_and_resolution(oblong: Ran) -> None:
    tree, plan = _opened(oblong), oblong.plan
    jobs, side = plan.layout.mosaic_jobs_window, plan.lattice.shard_px * GSD_M
    shards = (jobs.col0 * side, -jobs.row1 * side, jobs.col1 * side, -jobs.row0 * side)
    x0, y0, x1, y1 = _expected_bounds(oblong)
    for group, name, gsd in (("0", "sr", GSD_M), ("0", "status", GSD_M), ("lr", "lr", 10.0), ("lr", "residual", 10.0)):
        array = tree[group].ds[name]
        assert array.rio.crs.to_epsg() == 32632
        assert array.rio.resolution() == (gsd, -gsd)
        assert array.rio.bounds() == shards
    part = tree["0"].ds.sr.rio.clip_box(x0 + 0.1, y0 + 0.1, x1 - 0.1, y1 - 0.1)
    assert part.rio.bounds() == (x0, y0, x1, y1)
    coarse = tree["1"].ds.sr if "1" in tree.children else None
    if coarse is not None:
        assert coarse.rio.resolution() == (2 * GSD_M, -2 * GSD_M) and coarse.rio.crs.to_epsg() == 32632
        assert coarse.rio.bounds()[::3] == shards[::3]


def test_lr_is_under_sr(oblong: Ran) -> None:
    """SR through the sensor is the LR pixel at the same coordinates, and no neighbour of it."""
    tree = _opened(oblong)
    sr, lr = tree["0"].ds.sr, tree["lr"].ds.lr
    blocks = sr[0].coarsen(x=8, y=8).mean()
    np.testing.assert_allclose(blocks.x, lr.x)
    np.testing.assert_allclose(blocks.y, lr.y)
    sensed = decimate(sr.values.astype(np.float32), 8, oblong.plan.mtf_nyquist)
    error = np.abs(lr - sensed)
    assert int(np.isfinite(error).sum()) > 30
    assert float(error.mean()) <= 0.001
    for axis, step in (("x", 1), ("x", -1), ("y", 1), ("y", -1)):
        assert float(np.abs(lr.shift({axis: step}) - sensed).mean()) > 5 * float(error.mean())


def test_gdal_opens_the_cog(oblong: Ran) -> None:
    window = oblong.plan.region.window
    x0, y0, x1, y1 = _expected_bounds(oblong)
    with rasterio.open(Path(oblong.request.output) / "sr.tif") as file:
        assert file.crs.to_epsg() == 32632 and file.shape == window.shape and file.count == 3
        assert tuple(file.bounds) == (x0, y0, x1, y1) and file.res == (GSD_M, GSD_M)
        assert tuple(file.transform)[:6] == (GSD_M, 0, x0, 0, -GSD_M, y1)
        assert file.nodata == SR_FILL and file.dtypes == ("uint16",) * 3
        assert file.scales == (SR_SCALE_FACTOR,) * 3 and file.offsets == (SR_ADD_OFFSET,) * 3
        assert file.descriptions == ("red", "green", "blue")
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.is_tiled
        assert np.array_equal(file.read(), oblong.pixels())


def test_a_cog_larger_than_one_block_has_overviews(wide: Ran, tmp_path: Path) -> None:
    """The same shards under a larger outline: what was never written reads as fill."""
    grid, shards = wide.plan.region.grid, wide.plan.layout.mosaic_jobs_window
    bounds = grid.bounds_of(shards.refine(wide.plan.lattice.shard_px), grid.gsd_m)
    plan = replace(wide.plan, region=Region.from_bounds("large", grid, bounds))
    write_cog(plan, wide.places.mosaic, str(tmp_path / "large.tif"))
    with rasterio.open(tmp_path / "large.tif") as file:
        assert max(file.shape) > 512 and file.overviews(1)[0] == 2
        window = wide.plan.region.window.within(plan.region.window)
        assert np.array_equal(file.read()[(slice(None), *window)], wide.pixels())
        outside = file.read(1, masked=True).mask
        outside[window] = True
        assert outside.all()


@pytest.mark.slow
def test_a_region_at_scale_10(catalog: Path, weights: Path, tmp_path: Path) -> None:
    bounds = box(441.3, 233.6, 529.6, 162.3)
    ran = run_here(sample_record(catalog, weights, tmp_path / "output", bounds, gsd_m=1.0, scale=10, tiling={}))
    lattice = ran.plan.lattice
    assert (lattice.tile_px, lattice.overlap_px) == (160, 40)
    assert lattice.shard_px % 10 == 0 and lattice.halo_px % 10 == 0
    tree = _opened(ran)
    assert tree["0"].ds.sr.rio.resolution() == (1.0, -1.0) and tree["lr"].ds.lr.rio.resolution() == (10.0, -10.0)
    assert tree["0"].ds.sr.rio.bounds() == tree["lr"].ds.lr.rio.bounds()
    assert ran.report.complete and not ran.report.pixels["failed"]
    pixels = ran.pixels(name="status")
    assert pixels.shape == (72, 89) and np.isin(pixels, SAMPLED).mean() > 0.9
    assert ran.report.lr_error["after"] <= 0.001


def test_a_region_at_scale_16_is_planned(catalog: Path, weights: Path, tmp_path: Path) -> None:
    bounds = box(405.3, 330.4, 493.6, 259.1)
    record = sample_record(catalog, weights, tmp_path / "output", bounds, gsd_m=0.625, scale=16, tiling={})
    _, plan, _ = prepare(record)
    lattice = plan.lattice
    assert lattice.tile_px % 16 == lattice.overlap_px % 16 == lattice.stride_px % 16 == lattice.halo_px % 16 == 0
    assert plan.region.grid.lr_gsd_m == 10.0 and plan.layout.tile_count > 0
    assert price(plan)["network_calls"] > 0
