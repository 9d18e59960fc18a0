"""The STAC item: valid, and readable by clients that know neither the mosaic nor where it is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import odc.stac
import pystac
import pytest
import xarray as xr
from pystac.validation import validate_dict

from dsdit.digest import NO_DIGEST
from dsdit.plan.candidates import Items
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt
from dsdit.status import JobState
from dsdit.steps.publish.cog import write_cog
from dsdit.steps.publish.metadata import item_record, stac_item
from dsdit.steps.publish.report import Report, Tally
from dsdit.window import Index, Window
from tests.support.running import NOW
from tests.support.shards import make_mosaic, plan_of

FIRST, LAST = "2024-07-06T10:20:21+00:00", "2024-07-11T10:20:21+00:00"
XPYSTAC = ("application/vnd+zarr", "application/vnd.zarr", "application/vnd.zarr+icechunk", str(pystac.MediaType.COG))
"""Media types that xpystac 0.5 compares an asset's with, character by character."""
EXTENSIONS = {"proj": "projection", "raster": "raster", "processing": "processing"}


def record_of(plan: Plan, cog: bool = True, scenes: tuple[str, ...] = (FIRST, LAST)) -> dict[str, Any]:
    return json.loads(json.dumps(item_record(stac_item(plan, NOW, cog=cog, scenes=scenes))))


def in_crs(crs: str) -> Plan:
    plan = plan_of(shards=Window(-1, 0, 1, 2))
    return replace(plan, region=replace(plan.region, grid=replace(plan.region.grid, crs=crs)))


@pytest.mark.parametrize("cog", [True, False])
@pytest.mark.parametrize("scenes", [(), (FIRST,), (FIRST, LAST)])
def test_it_is_valid_and_declares_each_extension_that_it_uses(cog: bool, scenes: tuple[str, ...]) -> None:
    record = record_of(in_crs("EPSG:32632"), cog, scenes)
    # Only the core's schemas are part of pystac; those of extensions are on the web.
    assert validate_dict({**record, "stac_extensions": []}) == [
        "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"
    ]
    fields = [*record["properties"], *(name for asset in record["assets"].values() for name in asset)]
    used = {EXTENSIONS[name.split(":")[0]] for name in fields if ":" in name}
    assert used == {url.split("/")[-3] for url in record["stac_extensions"]}
    assert all(re.fullmatch(r"https://.*/v\d\.\d\.\d/schema\.json", url) for url in record["stac_extensions"])


def test_it_links_to_itself_without_a_path_of_this_machine(tmp_path: Path) -> None:
    record = record_of(in_crs("EPSG:32632"))
    assert record["links"] == [{"rel": "self", "href": "./item.json", "type": "application/geo+json"}]
    assert str(Path.cwd()) not in json.dumps(record)
    (tmp_path / "item.json").write_text(json.dumps(record))
    item = pystac.Item.from_file(str(tmp_path / "item.json"))
    assert item.assets["sr"].get_absolute_href() == str(tmp_path / "sr.tif")


def test_dates_are_those_of_the_first_and_the_last_scene() -> None:
    both = record_of(in_crs("EPSG:32632"))["properties"]
    assert (both["start_datetime"], both["end_datetime"]) == ("2024-07-06T10:20:21Z", "2024-07-11T10:20:21Z")
    assert both["datetime"] == "2024-07-11T10:20:21Z"
    one = record_of(in_crs("EPSG:32632"), scenes=(FIRST, FIRST))["properties"]
    assert one["datetime"] == "2024-07-06T10:20:21Z" and "start_datetime" not in one


@pytest.mark.parametrize("crs", ["EPSG:32632", "epsg:32632", "ESRI:102003"])
def test_a_code_is_authority_and_number(crs: str) -> None:
    found = record_of(in_crs(crs))["properties"]
    assert found["proj:code"] == crs.upper() and "proj:wkt2" not in found


def test_a_crs_without_a_code_is_written_as_wkt2() -> None:
    """Even where it was given as text that has no code in it, and where PROJ knows one that is nearly the same."""
    plan = in_crs("+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m +no_defs")
    found = record_of(plan)["properties"]
    assert "proj:code" not in found and found["proj:wkt2"].startswith("PROJCRS[")
    wkt = record_of(in_crs(plan_of().region.grid.odc_crs.to_wkt()))["properties"]
    assert wkt["proj:code"] == "EPSG:32632"


def test_odc_stac_and_xarray_open_its_assets(tmp_path: Path) -> None:
    plan = in_crs("EPSG:32632")
    make_mosaic(plan, str(tmp_path / "mosaic.zarr"), {Index(-1, 0): 1})
    write_cog(plan, str(tmp_path / "mosaic.zarr"), str(tmp_path / "sr.tif"))
    (tmp_path / "item.json").write_text(json.dumps(record_of(plan)))
    item = pystac.Item.from_file(str(tmp_path / "item.json"))
    assert all(a.media_type in XPYSTAC for a in item.assets.values() if "data" in (a.roles or ()))
    found = odc.stac.load([item], chunks={})
    assert {*found.data_vars} == {"sr.1", "sr.2", "sr.3"} and found.odc.crs == "EPSG:32632"
    assert (found.sizes["y"], found.sizes["x"]) == plan.region.window.shape
    level = xr.open_dataset(item.assets["sr_zarr"].get_absolute_href(), engine="zarr", consolidated=False)
    assert {"sr", "status"} <= {*level.data_vars}


def receipt(state: JobState = JobState.DONE, sources: tuple[str, ...] = (), **measures: float) -> Receipt:
    return Receipt("mosaic", Index(-1, 0), state, NO_DIGEST, 0.0, sources=sources, measures=measures)


def test_scenes_of_a_report_are_those_that_pixels_are_from() -> None:
    """Receipts of earlier versions have only the ids of all that was read, references too."""
    whens = {"a": ("lr", FIRST), "b": ("lr", LAST), "c": ("ref", "2024-09-01T00:00:00+00:00")}
    items = Items.of([{"id": n, "source": s, "when": when, "digest": n} for n, (s, when) in whens.items()])
    sources = {name: {"role": name} for name in ("lr", "ref")}
    plan = replace(plan_of(shards=Window(-1, 0, 1, 2)), items=items, sources=sources)

    def report(*receipts: Receipt) -> Report:
        tally = Tally(plan)
        for each in receipts:
            tally.add(each)
        return tally.report()

    some = receipt(sources=("a", "b", "c"), scenes=1, first_scene_s=1720261221.0, last_scene_s=1720261221.0)
    assert report(some).scenes == (FIRST, FIRST)
    assert report(some, receipt(sources=("b", "c"))).scenes == (FIRST, LAST)
    assert report(receipt(sources=("a", "b", "c"), scenes=0)).scenes == ()
    assert report(receipt(JobState.FAILED, sources=("b",))).scenes == ()
