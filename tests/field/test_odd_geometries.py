"""Footprints with heights, empty parts, many vertices or crossings: used or reported, and never the end of a run."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from shapely.geometry import box, mapping

from catalogs.choose.reprocessed import newer_processings
from catalogs.item import SceneItem
from catalogs.measure.cover_and_fit import item_outline, item_window, measure_cover
from dsdit.geojson import footprint_of, read_geojson
from dsdit.grid import Grid
from dsdit.window import Window
from tests.support.field import ONE_FILE, catalog_of, flat, found_in, item_of, lonlat, one_scene, write_tif
from tests.support.stac import make_source

GRID = Grid("EPSG:32632", 1.25, 8)
WEST, SOUTH, EAST, NORTH = lonlat()
RING = [[WEST, SOUTH], [EAST, SOUTH], [EAST, NORTH], [WEST, NORTH], [WEST, SOUTH]]
HEIGHTS = {"level": 12.5, "nan": math.nan, "none": None, "a measure": [1]}


def with_heights(height: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[[x, y, height] for x, y in RING]]}


@pytest.mark.parametrize("height", HEIGHTS.values(), ids=HEIGHTS)
def test_heights_of_an_item_are_dropped(tmp_path: Path, height: Any) -> None:
    write_tif(tmp_path / "image.tif", flat())
    item, source = one_scene(tmp_path, item_of() | {"geometry": with_heights(height)})
    plain, _ = one_scene(tmp_path, item_of())
    assert item.digest == plain.digest and item.footprint == plain.footprint | {"coordinates": [RING]}
    assert not item_outline(item, GRID).has_z
    assert SceneItem.from_dict(json.loads(json.dumps(item.to_dict()))) == item
    assert measure_cover(item, source, GRID, item_window(item, GRID).coarsen(256))


def test_one_position_with_a_height_is_enough() -> None:
    ring = [[0, 0], [1, 0, 7.0], [1, 1], [0, 0]]
    assert footprint_of({"type": "Polygon", "coordinates": [ring]}, "it").wkt == "POLYGON ((0 0, 1 0, 1 1, 0 0))"


@pytest.mark.parametrize("empty", [[], [[]]])
def test_an_empty_part_of_a_multipolygon_is_dropped(tmp_path: Path, empty: list[Any]) -> None:
    geometry = {"type": "MultiPolygon", "coordinates": [[RING], empty]}
    write_tif(tmp_path / "image.tif", flat())
    item, _ = one_scene(tmp_path, item_of() | {"geometry": geometry})
    assert item.geometry.equals(box(WEST, SOUTH, EAST, NORTH))
    assert footprint_of(geometry, "it").equals(item.geometry)


def test_a_bbox_with_heights_stands_for_a_missing_geometry(tmp_path: Path) -> None:
    record = item_of() | {"geometry": None, "bbox": [WEST, SOUTH, 100.0, EAST, NORTH, 900.0]}
    assert one_scene(tmp_path, record)[0].bbox == (WEST, SOUTH, EAST, NORTH)


def test_a_file_with_a_byte_order_mark_is_geojson(tmp_path: Path) -> None:
    path = tmp_path / "field.geojson"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(with_heights(3)).encode())
    assert footprint_of(read_geojson(path), "it").equals(box(WEST, SOUTH, EAST, NORTH))


ODD = {
    "a text": "POLYGON",
    "no coordinates": {"type": "Polygon"},
    "a number for a ring": {"type": "Polygon", "coordinates": [7]},
    "texts": {"type": "Polygon", "coordinates": [["ab", "cd", "ef", "ab"]]},
    "two corners": {"type": "Polygon", "coordinates": [RING[:2]]},
    "infinite": {"type": "Polygon", "coordinates": [[[math.inf, 0], [1, 0], [1, 1], [math.inf, 0]]]},
    "all parts empty": {"type": "MultiPolygon", "coordinates": [[], []]},
    "nested": {"type": "GeometryCollection", "geometries": [{"type": "GeometryCollection", "geometries": [7]}]},
    "unknown": {"type": "Sphere", "coordinates": [0, 0, 1]},
}


@pytest.mark.parametrize("geometry", ODD.values(), ids=ODD)
def test_an_item_with_an_odd_geometry_is_left_out_alone(tmp_path: Path, geometry: Any) -> None:
    source = make_source(catalog_of(tmp_path, item_of("odd") | {"geometry": geometry}, item_of("good")), **ONE_FILE)
    found = found_in(source)
    assert [item.id for item in found.items] == ["good"]
    assert [name for name, _ in found.dropped] == ["odd"] and "geometry" in found.dropped[0][1]


def test_an_item_that_breaks_what_reads_it_is_left_out_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import catalogs.item as item_module

    def broken(properties: Any) -> str:
        raise ZeroDivisionError("by a record")

    record = item_of("odd", s2__mgrs_tile="32UPU")
    monkeypatch.setattr(item_module, "_tile", lambda p: broken(p) if p.text("s2:mgrs_tile") else None)
    found = found_in(make_source(catalog_of(tmp_path, record, item_of("good")), **ONE_FILE))
    assert [item.id for item in found.items] == ["good"]
    assert found.dropped == (("odd", "it cannot be used (ZeroDivisionError: by a record)"),)


@pytest.mark.parametrize("bounds", [(-180, -90, 180, 90), (-100, -89, 60, 89), (-160, -85, 15, 85), (-60, -30, 80, 70)])
def test_a_footprint_over_half_the_world_is_measured_where_its_file_is(tmp_path: Path, bounds: Any) -> None:
    write_tif(tmp_path / "image.tif", flat())
    item, source = one_scene(tmp_path, item_of(bounds=bounds))
    for grid in (GRID, Grid("EPSG:3035", 1.25, 8)):
        window = item_window(item, grid)
        assert all(math.isfinite(v) for v in (window.row0, window.col0, window.row1, window.col1))
    ground = GRID.window_of((600_000, 5_399_360, 600_640, 5_400_000), GRID.lr_gsd_m).coarsen(256)
    assert measure_cover(item, source, GRID, ground)


def stars(count: int, vertices: int) -> list[dict[str, Any]]:
    """Processings of one scene, each with a ragged outline of many vertices."""
    turn = np.linspace(0, 2 * np.pi, vertices)
    records = []
    for k in range(count):
        reach = 1 + 0.05 * np.sin(turn * 900 + k)
        x = (WEST + EAST) / 2 + (EAST - WEST) / 2 * reach * np.cos(turn)
        y = (SOUTH + NORTH) / 2 + (NORTH - SOUTH) / 2 * reach * np.sin(turn)
        record = item_of(f"star{k}", s2__mgrs_tile="32UPU", s2__generation_time=f"2024-07-0{k + 1}T00:00:00Z")
        records.append(record | {"geometry": mapping(shapely.Polygon([*zip(x[:-1], y[:-1], strict=True)]))})
    return records


def test_twenty_thousand_vertices_cost_seconds(tmp_path: Path) -> None:
    source = make_source(catalog_of(tmp_path, *stars(6, 20_000)), **ONE_FILE)
    begun = time.process_time()
    found = found_in(source)
    pairs = newer_processings(found.items)
    assert len(found.items) == 6 and len(pairs) == 15
    assert time.process_time() - begun < 15


def test_an_outline_of_countless_crossings_becomes_its_hull(tmp_path: Path) -> None:
    """A repair's time grows faster than the square of the crossings; 1,500 are above the limit, and still harmless."""
    corners = np.random.default_rng(1).uniform((WEST, SOUTH), (EAST, NORTH), (120, 2)).tolist()
    record = item_of() | {"geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}}
    begun = time.process_time()
    item, _ = one_scene(tmp_path, record)
    assert time.process_time() - begun < 15
    assert item.geometry.equals(shapely.convex_hull(shapely.multipoints(corners)))


def test_an_outline_of_few_crossings_is_repaired_as_before(tmp_path: Path) -> None:
    bow = [RING[0], RING[2], RING[1], RING[3], RING[0]]
    item, _ = one_scene(tmp_path, item_of() | {"geometry": {"type": "Polygon", "coordinates": [bow]}})
    assert item.geometry.equals(shapely.make_valid(shapely.Polygon(bow)))
    assert item_window(item, GRID).intersect(Window(-(10**7), 0, 0, 10**7)).shape[0] > 0
