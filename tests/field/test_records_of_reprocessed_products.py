"""Two processings of one scene in two spellings are one scene; two halves of a downlink are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from affine import Affine

from catalogs.choose.overpasses import group_overpasses
from catalogs.choose.reprocessed import newer_processings
from tests.support.field import NORTH_UP, ONE_FILE, catalog_of, found_in, item_of, lonlat
from tests.support.stac import make_source

WEST, SOUTH, EAST, NORTH = lonlat((10980, 10980))
OLD, NEW = "2022-01-01T00:00:00Z", "2024-01-01T00:00:00Z"


def pairs(folder: Path, *records: dict[str, Any]) -> list[tuple[str, str]]:
    items = found_in(make_source(catalog_of(folder, *records), **ONE_FILE)).items
    return [(items[old].id, items[new].id) for old, new in newer_processings(items).tolist()]


def product(name: str, generated: str, bounds: Any = (WEST, SOUTH, EAST, NORTH), **properties: Any) -> dict[str, Any]:
    tile = {} if "grid__code" in properties else {"s2__mgrs_tile": "32UPU"}
    record = item_of(name, bounds, **{**tile, "s2__generation_time": generated, **properties})
    if "proj__code" in properties:
        record["properties"].pop("proj:epsg")
    return record


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"grid__code": "MGRS-9VWK"}, {"grid__code": "MGRS-09VWK"}),
        ({"s2__mgrs_tile": "9VWK"}, {"s2__mgrs_tile": "09VWK"}),
        ({"s2__mgrs_tile": "32upu"}, {"grid__code": "MGRS-32UPU"}),
        ({"platform": "Sentinel-2A"}, {"platform": "sentinel-2a"}),
        ({"platform": "SENTINEL_2A"}, {"platform": "S2A"}),
        ({"proj__code": 32632}, {"proj__code": "EPSG:32632"}),
        ({"proj__code": "32632"}, {"proj__epsg": 32632}),
        ({"proj__code": 32732}, {"proj__code": "EPSG:32632"}),
        ({"proj__code": "EPSG:32633"}, {"proj__code": "EPSG:32632"}),
    ],
)
def test_records_of_two_spellings_are_one_scene(tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> None:
    assert pairs(tmp_path, product("old", OLD, **first), product("new", NEW, **second)) == [("old", "new")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"platform": "sentinel-2a"}, {"platform": "sentinel-2b"}),
        ({"s2__mgrs_tile": "9VWK"}, {"s2__mgrs_tile": "19VWK"}),
        ({"grid__code": "WRS-031030", "proj__code": 32632}, {"grid__code": "WRS-031030", "proj__code": 32633}),
    ],
)
def test_other_satellites_tiles_and_grids_stay_apart(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert pairs(tmp_path, product("old", OLD, **first), product("new", NEW, **second)) == []


def test_two_halves_of_one_downlink_stay_two(tmp_path: Path) -> None:
    middle = (WEST + EAST) / 2
    halves = (
        product("west", OLD, (WEST, SOUTH, middle, NORTH)),
        product("east", OLD[:-3] + "59Z", (middle, SOUTH, EAST, NORTH)),
    )
    assert pairs(tmp_path, *halves) == []


def test_a_footprint_drawn_otherwise_leaves_both_in_use(tmp_path: Path) -> None:
    """It cannot be told from a split downlink, so no ground is lost: both are scenes of one overpass."""
    data = (WEST, SOUTH, WEST + 0.5 * (EAST - WEST), NORTH)
    records = product("square", OLD), product("data", NEW, data)
    assert pairs(tmp_path, *records) == []
    items = found_in(make_source(tmp_path / "items.json", **ONE_FILE)).items
    assert len(items) == 2 and group_overpasses(items) == (0, 0)


def test_one_overpass_in_two_spellings_counts_once(tmp_path: Path) -> None:
    east = lonlat((10980, 10980), NORTH_UP @ Affine.translation(9990, 0))
    records = item_of("a", platform="Sentinel-2A"), item_of("b", east, platform="sentinel-2a")
    items = found_in(make_source(catalog_of(tmp_path, *records), **ONE_FILE)).items
    assert group_overpasses(items) == (0, 0)
