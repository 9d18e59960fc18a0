"""Footprints across the antimeridian in each way of writing them, and the spellings of a CRS."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyproj
import pystac
import pytest
from shapely.geometry import Point, box, mapping, shape

from catalogs.footprint import item_footprint, stated_crs
from catalogs.json_fields import Fields
from catalogs.measure.cover_and_fit import item_window
from catalogs.search.usable_scenes import clean
from dsdit.errors import CatalogError, RequestError
from dsdit.grid import Grid
from dsdit.lonlat import within_180
from flows.request.request import Request, make_request
from tests.support.stac import make_item, make_source

FIJI = (179.0, -18.0, -179.5, -17.0)
"""West, south, east, north: 1.5 degrees wide, across the antimeridian."""
START, END = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
PARTS = [box(179.0, -18.0, 180.0, -17.0), box(-180.0, -18.0, -179.5, -17.0)]
WAYS: dict[str, dict[str, Any] | None] = {
    "jumping ring": {
        "type": "Polygon",
        "coordinates": [[[179, -18], [-179.5, -18], [-179.5, -17], [179, -17], [179, -18]]],
    },
    "beyond 180": mapping(box(179.0, -18.0, 180.5, -17.0)),
    "beyond -180": mapping(box(-181.0, -18.0, -179.5, -17.0)),
    "two parts": mapping(PARTS[0].union(PARTS[1])),
    "bbox alone": None,
}


def item(way: str) -> pystac.Item:
    record = make_item("fiji", bounds=FIJI)
    record["geometry"] = WAYS[way]
    return pystac.Item.from_dict(record)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_crossing_covers_the_same_ground(way: str) -> None:
    found = item_footprint(item(way))
    assert found.symmetric_difference(PARTS[0].union(PARTS[1])).area < 1e-9
    assert found.is_valid
    assert not found.intersects(Point(0, -17.5))


@pytest.mark.parametrize("way", WAYS)
def test_a_region_across_it_finds_the_scenes_on_both_sides(way: str) -> None:
    region = within_180(shape({"type": "Polygon", "coordinates": [[
        [179.8, -17.6], [-179.8, -17.6], [-179.8, -17.4], [179.8, -17.4], [179.8, -17.6]]]}))  # fmt: skip
    answer = [item(way), pystac.Item.from_dict(make_item("europe", bounds=(10.0, -17.9, 11.0, -17.1)))]
    found = clean(answer, make_source("https://catalog.example"), region, START, END)
    assert [scene.id for scene in found.items] == ["fiji"]


def test_what_does_not_cross_stays_as_it_was() -> None:
    for ground in (box(10, 48, 11, 49), box(-180, -90, 180, 90), box(179, 0, 180, 1), Point(3, 4)):
        assert within_180(ground) is ground


def test_pixels_around_a_crossing_item_are_few() -> None:
    windows = [item_window(scene_of(way), Grid("EPSG:32701", 1.25, 8)) for way in WAYS]
    assert len({(w.row0, w.col0, w.row1, w.col1) for w in windows}) == 1
    height, width = windows[0].shape
    assert 10_000 < height < 13_000
    assert 15_000 < width < 18_000


def scene_of(way: str) -> Any:
    (found,) = clean([item(way)], make_source("https://catalog.example"), box(-180, -90, 180, 90), START, END).items
    return found


def request(bbox: tuple[float, ...]) -> Request:
    return make_request({
        "name": "fiji", "bbox": list(bbox), "crs": "EPSG:32701", "gsd_m": 1.25, "scale": 8,
        "period": {"latest_days": 10}, "lr": {"source": "sample-lr"}, "output": "nowhere",
    })  # fmt: skip


def test_a_request_may_cross_the_antimeridian() -> None:
    region = request((179.9, -17.1, -179.9, -17.0)).region()
    height, width = (n * 1.25 for n in region.window.shape)
    assert height == pytest.approx(11_070, rel=0.05)
    assert width == pytest.approx(21_280, rel=0.05)
    back = within_180(shape(region.lonlat(region.window)))
    assert back.covers(Point(179.95, -17.05))
    assert back.covers(Point(-179.95, -17.05))
    assert back.area < 0.05


def test_swapped_longitudes_are_still_refused() -> None:
    with pytest.raises(RequestError, match="swapped"):
        request((-121.72, 38.64, -121.80, 38.70))


def test_every_spelling_of_a_crs() -> None:
    crs = pyproj.CRS.from_epsg(32633)
    spellings: list[dict[str, Any]] = [
        {"proj:epsg": 32633},
        {"proj:epsg": 32633.0},
        {"proj:code": "EPSG:32633"},
        {"proj:projjson": crs.to_json_dict()},
        {"proj:wkt2": crs.to_wkt()},
    ]
    for where in ("item", "asset"):
        for spelling in spellings:
            record = make_item("a")
            del record["properties"]["proj:epsg"]
            (record["properties"] if where == "item" else record["assets"]["red"]).update(spelling)
            assert stated_crs(Fields(record["properties"]), Fields(record["assets"]["red"])) == "EPSG:32633", (
                where,
                spelling,
            )


@pytest.mark.parametrize("stated", [{}, {"proj:wkt2": "no CRS"}, {"proj:projjson": {"type": "x"}}, {"proj:code": 7.5}])
def test_a_crs_that_is_not_stated_is_left_to_the_file(stated: dict[str, Any]) -> None:
    record = make_item("a")
    del record["properties"]["proj:epsg"]
    record["properties"].update(stated)
    (found,) = clean(
        [pystac.Item.from_dict(record)], make_source("https://catalog.example"), box(10, 48, 11, 49), START, END
    ).items
    assert found.crs is None


def test_a_geometry_of_endless_vertices_is_refused() -> None:
    record = make_item("long")
    ring = [[10 + k * 1e-6, 48.0 + (k % 2) * 1e-3] for k in range(100_001)]
    record["geometry"]["coordinates"] = [[*ring, [10.2, 49.0], ring[0]]]
    with pytest.raises(CatalogError, match="more than 100000 vertices"):
        item_footprint(pystac.Item.from_dict(record))


def test_an_item_without_geometry_and_bbox_is_refused() -> None:
    record = make_item("nowhere")
    record["geometry"] = None
    record["bbox"] = None
    with pytest.raises(CatalogError, match="geometry cannot be read"):
        item_footprint(pystac.Item.from_dict(record))
