"""The template of a mosaic: an existing one is used where it fits the plan, and refused where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import zarr
from odc.geo.crs import CRS

from dsdit.errors import StoreError
from dsdit.mosaic.mosaic_arrays import shard_specs
from dsdit.mosaic.template import create_mosaic
from dsdit.plan.plan import Plan
from dsdit.window import Window
from tests.support.shards import plan_of

SHARDS = Window(-1, 2, 1, 5)


def test_every_array_of_the_descriptions_is_created_and_no_other(tmp_path: Path) -> None:
    plan = replace(plan_of(shards=SHARDS), keep_reference=True)
    create_mosaic(plan, str(tmp_path))
    root = zarr.open_group(str(tmp_path), mode="r")
    found = {array.path for name in ("0", "lr", "ref") for _, array in root[name].arrays() if array.ndim >= 2}
    assert found == {spec.path for spec in shard_specs(plan)} and len(found) == 9


def test_a_mosaic_of_other_bands_is_refused(tmp_path: Path) -> None:
    plan = plan_of(shards=SHARDS)
    create_mosaic(plan, str(tmp_path))
    create_mosaic(plan, str(tmp_path))
    with pytest.raises(StoreError, match="has bands red, green, blue where this run writes nir, red, green"):
        create_mosaic(replace(plan, bands=("nir", "red", "green")), str(tmp_path))
    with pytest.raises(StoreError, match="has another shape"):
        create_mosaic(replace(plan, bands=("red", "green", "blue", "nir")), str(tmp_path))


def test_a_mosaic_of_another_place_is_refused(tmp_path: Path) -> None:
    create_mosaic(plan_of(shards=SHARDS), str(tmp_path))
    with pytest.raises(StoreError, match="covers another place"):
        create_mosaic(plan_of(shards=Window(-1, 3, 1, 6)), str(tmp_path))


def test_a_mosaic_in_another_crs_is_refused_with_both_names(tmp_path: Path) -> None:
    """A code that was corrected: the same numbers on another datum. The same CRS in other words is accepted."""
    plan = plan_of(shards=SHARDS)
    create_mosaic(in_crs(plan, "EPSG:32632"), str(tmp_path))
    create_mosaic(in_crs(plan, CRS("EPSG:32632").to_wkt()), str(tmp_path))
    before = zarr.open_group(str(tmp_path), mode="r")["0"].attrs.asdict()
    names = r"in CRS 'WGS 84 / UTM zone 32N', and this run would write 'ETRS89 / UTM zone 32N' \(crs: EPSG:25832\)"
    with pytest.raises(StoreError, match=names):
        create_mosaic(in_crs(plan, "EPSG:25832"), str(tmp_path))
    assert zarr.open_group(str(tmp_path), mode="r")["0"].attrs.asdict() == before


def test_a_code_is_written_only_where_it_is_exactly_this_crs(tmp_path: Path) -> None:
    """PROJ finds EPSG:3035 for a LAEA without datum: alike, and not the same."""
    vague = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m +no_defs"
    for name, crs in (("a", "ESRI:102003"), ("b", CRS("EPSG:3035").to_wkt()), ("c", vague)):
        create_mosaic(in_crs(plan_of(shards=SHARDS), crs), str(tmp_path / name))
    found = [zarr.open_group(str(tmp_path / name), mode="r")["0"].attrs.get("proj:code") for name in "abc"]
    assert found == ["ESRI:102003", "EPSG:3035", None]
    assert "proj:wkt2" in zarr.open_group(str(tmp_path / "c"), mode="r")["0/sr"].attrs


def in_crs(plan: Plan, crs: str) -> Plan:
    grid = replace(plan.region.grid, crs=crs)
    return replace(plan, region=replace(plan.region, grid=grid))
