"""Regions from a bbox, GeoJSON and YAML: one footprint whichever way it is given, one sentence where it is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import yaml

from dsdit.errors import RequestError
from dsdit.grid import Grid
from dsdit.region import Region

GRID = Grid("EPSG:32632", 1.25, 8)
BBOX = (9.0, 47.5, 9.03, 47.51)
RING = [[9.0, 47.5], [9.03, 47.5], [9.03, 47.51], [9.0, 47.51], [9.0, 47.5]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}
FEATURE = {"type": "Feature", "properties": {}, "geometry": POLYGON}


def test_a_bbox_and_every_form_of_geojson_give_one_region(tmp_path: Path) -> None:
    first = Region.from_bbox("field", GRID, BBOX)
    assert first.window.shape == (889, 1808)
    assert first.footprint.bounds == pytest.approx((500_000, 5_260_729.7, 502_259.4, 5_261_841.5), abs=0.1)
    collection = {"type": "FeatureCollection", "features": [FEATURE]}
    high = {"type": "Polygon", "coordinates": [[[*corner, 431.0] for corner in RING]]}
    path = tmp_path / "field.geojson"
    for record in (POLYGON, FEATURE, collection, high):
        path.write_text(json.dumps(record))
        for given in (record, path, str(path)):
            assert Region.from_geojson("field", GRID, given) == first


def test_a_bbox_across_the_antimeridian_has_a_part_on_each_side() -> None:
    region = Region.from_bbox("fiji", Grid("EPSG:3832", 1.25, 8), (179.9, -18.0, -179.9, -17.9))
    x0, _, x1, _ = region.footprint.bounds
    assert x1 - x0 == pytest.approx(0.2 / 360 * 40_075_017, rel=1e-3)
    assert [part.bounds[0] for part in region.footprint.geoms] == pytest.approx([x0, (x0 + x1) / 2], abs=1)


@pytest.mark.parametrize(
    ("keys", "same"),
    [
        ({"bbox": list(BBOX)}, Region.from_bbox("field", GRID, BBOX)),
        ({"bounds": [0, 0, 100, 50]}, Region.from_bounds("field", GRID, (0, 0, 100, 50))),
        ({"geojson": "shapes/field.geojson"}, Region.from_geojson("field", GRID, POLYGON)),
    ],
)
def test_a_request_file_gives_its_region_from_any_folder(keys: dict[str, Any], same: Region, tmp_path: Path) -> None:
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "field.geojson").write_text(json.dumps(FEATURE))
    path = tmp_path / "field.yaml"
    settings = {"name": "field", "crs": "EPSG:32632", "gsd_m": 1.25, "scale": 8, "output": "out", "period": {}}
    path.write_text(yaml.safe_dump({**settings, **keys}))
    assert Region.from_yaml(path) == Region.from_yaml(str(path)) == same


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": None}, "give one of bbox, bounds and geojson; given are none"),
        ({"bounds": [0, 0, 1, 1]}, "given are ['bbox', 'bounds']"),
        ({"bbox": [9, 48, 9.1, 47]}, "bbox [9, 48, 9.1, 47] is not west, south, east, north in degrees"),
        ({"bbox": [9, 47]}, "bbox [9, 47] has 2 numbers"),
        ({"bbox": "here"}, "bbox is 'here': give a list of four numbers"),
        ({"bbox": None, "bounds": [5, 0, 1, 1]}, "bounds of 'field' are (5, 0, 1, 1)"),
        ({"bbox": None, "geojson": "no.geojson"}, "no.geojson' cannot be read"),
        ({"scale": 8.5}, "scale is 8.5: it must be a int"),
        ({"scale": 3}, "scale is 3"),
        ({"gsd_m": "fine"}, "gsd_m is 'fine'"),
        ({"crs": None}, "crs is missing"),
        ({"crs": "EPSG:4326"}, "crs 'EPSG:4326' is not projected"),
        ({"name": "a field"}, "region name 'a field' cannot be used"),
    ],
)
def test_a_request_file_that_gives_no_region_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "field.yaml"
    settings = {"name": "field", "crs": "EPSG:32632", "gsd_m": 1.25, "scale": 8, "bbox": list(BBOX)}
    path.write_text(yaml.safe_dump({**settings, **change}))
    with pytest.raises(RequestError, match=re.escape(message)) as refused:
        Region.from_yaml(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_file_that_is_no_request_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "field.yaml"
    for content, message in (("[1, 2]", "does not hold a mapping"), ("{", "cannot be read")):
        path.write_text(content)
        with pytest.raises(RequestError, match=message):
            Region.from_yaml(path)
    with pytest.raises(RequestError, match=r"none\.yaml' cannot be read"):
        Region.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"type": "FeatureCollection", "features": [FEATURE, FEATURE]}, "has 2 features: give one"),
        ({"type": "Feature", "geometry": None}, "holds no geometry"),
        ({"type": "Polygon"}, "is not a GeoJSON geometry"),
        ({"type": "LineString", "coordinates": RING}, "is a LineString: give one polygon"),
        ({"type": "Polygon", "coordinates": []}, "is empty"),
        ({"type": "Polygon", "coordinates": [[[9, 47], [10, 48], [10, 47], [9, 48], [9, 47]]]}, "Self-intersection"),
        ({"type": "Polygon", "coordinates": [[[170, 0], [190, 0], [190, 1], [170, 0]]]}, r"spans \(170.0, 0.0, 190.0"),
    ],
)
def test_geojson_without_one_polygon_in_degrees_is_refused(
    record: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.geojson"
    path.write_text(json.dumps(record))
    with pytest.raises(RequestError, match=message) as refused:
        Region.from_geojson("field", GRID, path)
    assert str(refused.value).startswith(f"geojson '{path}' ")
    with pytest.raises(RequestError, match=message) as refused:
        Region.from_geojson("field", GRID, record)
    assert str(refused.value).startswith("the footprint of 'field' ")


def test_the_outline_of_a_bbox_starts_in_the_south_west_and_runs_to_the_east() -> None:
    """Digests of shards at the edge are computed from the text: another order of vertices would make them due."""
    outline = Region.from_bbox("field", GRID, (9.0, 47.5, 9.005, 47.505)).footprint.exterior
    corners = [(500_000, 5_260_729.733), (500_376.567, 5_260_729.745), (500_376.531, 5_261_285.426)]
    corners += [(500_000, 5_261_285.414), (500_000, 5_260_729.733)]
    np.testing.assert_allclose(shapely.get_coordinates(outline), corners, atol=1e-3)
