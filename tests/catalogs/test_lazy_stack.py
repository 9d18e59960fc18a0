"""The lazy stack: it holds what the exact reader reads, reads nothing before it is computed, and can be saved."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from odc.geo.crs import CRS

import catalogs
from catalogs.masks import VALID
from catalogs.read.scene import read_bands, read_mask
from catalogs.search.usable_scenes import search_items
from catalogs.source import Source, load_source
from dsdit.errors import CatalogError, ReadError, RequestError
from dsdit.grid import Grid
from dsdit.region import Region
from tests.conftest import box

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
GRID = Grid("EPSG:32632", 1.25, 8)
ANY = Region.from_bounds("any", GRID, box(53, 417, 331, 88))


def sample(catalog: Path, role: str) -> Source:
    return load_source(f"sample-{role}").at(catalog / "items.json")


@pytest.mark.parametrize("role", ["lr", "ref"])
def test_a_stack_holds_what_the_exact_reader_reads(catalog: Path, role: str) -> None:
    source = sample(catalog, role)
    stack = catalogs.stack(ANY, source, START, END, chunk_px=64)
    window = ANY.window.coarsen(8) if role == "lr" else ANY.window
    geobox = GRID.lr_geobox(window) if role == "lr" else GRID.hr_geobox(window)
    assert stack.dims == ("time", "band", "y", "x")
    assert stack.shape[1:] == (3, *geobox.shape)
    np.testing.assert_allclose(stack.x, geobox.coords["x"].values)
    np.testing.assert_allclose(stack.y, geobox.coords["y"].values)
    items = {item.id: item for item in search_items(source, region_shape(), START, END).items}
    assert set(stack.id.values.tolist()) == set(items) and len(items) > 1
    assert (np.diff(stack.time.values) >= np.timedelta64(0)).all()
    for number in (0, len(items) - 1):
        layer = stack.isel(time=number)
        item = items[str(layer.id.item())]
        values, valid = read_bands(item, source, geobox, "cubic" if role == "lr" else "bilinear")
        seen = valid & (read_mask(item, source, geobox) == VALID)
        found = layer.compute()
        np.testing.assert_array_equal(found.notnull().all("band"), seen)
        np.testing.assert_array_equal(found.values[:, seen], values[:, seen])


def region_shape() -> shapely.Geometry:
    return shapely.geometry.shape(ANY.lonlat())


def test_stored_dn_come_out_within_one_on_the_files_own_grid(catalog: Path) -> None:
    """LR scenes of the sample lie on the LR lattice: reflectance is the file's dn by the source's rule."""
    source = sample(catalog, "lr")
    stack = catalogs.stack(ANY, source, START, END)
    (item,) = (i for i in search_items(source, region_shape(), START, END).items if i.id == stack.id.values[0])
    found = stack.isel(time=0).sel(band="green").compute()
    with rasterio.open(catalog / item.hrefs["green"]) as file:
        rows, cols = rasterio.transform.rowcol(
            file.transform,
            np.repeat(found.x.values[None], found.y.size, 0).ravel(),
            found.y.values.repeat(found.x.size),
        )
        stored = file.read(1)[np.array(rows), np.array(cols)].reshape(found.shape)
    dn = (found.values - item.offset[1]) / item.scale[1]
    seen = np.isfinite(dn)
    assert seen.any() and np.abs(dn - stored)[seen].max() <= 1


def test_a_stack_reads_nothing_before_it_is_computed_and_then_a_broken_file_is_an_error(
    catalog: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(catalog, copy)
    source = sample(copy, "lr")
    item = min(search_items(source, region_shape(), START, END).items, key=lambda i: i.when)
    (copy / item.hrefs["red"]).unlink()
    stack = catalogs.stack(ANY, source, START, END)
    assert isinstance(stack, xr.DataArray)
    with pytest.raises(ReadError, match=item.id):
        stack.isel(time=0).compute()


def test_what_cannot_be_stacked_is_refused(catalog: Path) -> None:
    with pytest.raises(CatalogError, match="nothing of sample-lr"):
        catalogs.stack(ANY, sample(catalog, "lr"), START, datetime(2020, 1, 2, tzinfo=UTC))
    wkt = CRS("+proj=tmerc +lon_0=9.5 +x_0=500000 +ellps=GRS80 +units=m").to_wkt()
    own = Region.from_bounds("own", Grid(wkt, 1.25, 8), (500_000, 5_300_000, 500_300, 5_300_300))
    with pytest.raises(RequestError, match="no EPSG code"):
        catalogs.stack(own, sample(catalog, "lr"), START, END)


@pytest.mark.parametrize("ending", ["zarr", "nc"])
@pytest.mark.parametrize("alone", [False, True])
def test_a_stack_is_saved_and_opened_again_equal(catalog: Path, tmp_path: Path, ending: str, alone: bool) -> None:
    """Items of which some, or all, state no cloud cover; their times are cut to seconds."""
    copy = tmp_path / "copy"
    shutil.copytree(catalog, copy)
    record = json.loads((copy / "items.json").read_text())
    scenes = [item for item in record["features"] if item["collection"] == "sample-lr"]
    for number, item in enumerate(scenes):
        item["properties"]["datetime"] = f"20{23 - 9 * number:02}-07-06T10:20:21.02400{number + 1}Z"
    del scenes[0]["properties"]["eo:cloud_cover"]
    (copy / "items.json").write_text(json.dumps(record | {"features": scenes[:1] if alone else scenes}))
    stack = catalogs.stack(ANY, sample(copy, "lr"), datetime(2000, 1, 1, tzinfo=UTC), END, chunk_px=16)
    assert stack.sizes["time"] == (1 if alone else len(scenes)) and len(scenes) > 1
    assert np.isnan(stack.cloud_cover.values).sum() == 1
    path = tmp_path / f"stack.{ending}"
    if ending == "zarr":
        stack.to_zarr(path)
        opened = xr.open_zarr(path)["reflectance"]
    else:
        stack.to_netcdf(path)
        opened = xr.open_dataarray(path)
    xr.testing.assert_identical(opened.load(), stack.compute())
    assert opened.time.values[-1] == np.datetime64("2023-07-06T10:20:21")
    assert opened.attrs == {
        "crs": "EPSG:32632",
        "source": "sample-lr",
        "attribution": "Made by this project's sample-region command",
        "licence": "CC0-1.0",
    }


def test_times_without_a_zone_are_utc(catalog: Path) -> None:
    source = sample(catalog, "lr")
    whole = catalogs.stack(ANY, source, START, END)
    moment = datetime.fromisoformat(str(whole.time.values[0])[:19])
    found = catalogs.stack(ANY, source, moment, moment + timedelta(seconds=1))
    assert found.id.values.tolist() == whole.id.values[:1].tolist()
    with pytest.raises(CatalogError, match="nothing of sample-lr"):
        catalogs.stack(ANY, source, moment - timedelta(hours=1), moment - timedelta(seconds=1))


def test_times_need_not_be_given(catalog: Path) -> None:
    references = catalogs.stack(ANY, sample(catalog, "ref"))
    assert references.sizes["time"] == catalogs.stack(ANY, sample(catalog, "ref"), START, END).sizes["time"] >= 1
    now = datetime.now(UTC)
    with pytest.raises(CatalogError, match=f"from {(now - timedelta(days=45)).date()} to {now.date()}"):
        catalogs.stack(ANY, sample(catalog, "lr"))
