"""Items as the catalogs give them: recorded ones, and answers written to the schema of each shipped source."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
from shapely.geometry import box

from catalogs.item import SceneItem, scene_item
from catalogs.search.parsing import BadItem, read_item
from catalogs.search.usable_scenes import clean, search_items
from catalogs.source import Source, known_sources, load_source
from dsdit.errors import CatalogError
from tests.support.stac import make_source

STORED = Path(__file__).parents[2] / "data" / "stac"
SHIPPED = [name for name in known_sources() if not name.startswith("sample")]
WORLD, START, END = box(-180, -90, 180, 90), datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def stored(name: str) -> list[dict[str, Any]]:
    return json.loads((STORED / f"{name}.json").read_text())["features"]


def scenes(name: str) -> dict[str, SceneItem]:
    """Scenes by id."""
    found = clean(map(read_item, stored(name)), load_source(name), WORLD, START, END)
    assert found.dropped == ()
    return {item.id: item for item in found.items}


def test_every_shipped_source_has_an_answer() -> None:
    assert {path.stem for path in STORED.glob("*.json")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_answers_of_every_source_are_scenes_with_all_assets(name: str) -> None:
    source, found = load_source(name), scenes(name)
    assert len(found) == len(stored(name))
    for item in found.values():
        assert tuple(item.hrefs) == source.assets
        assert item.crs in ("EPSG:32632", "EPSG:26910")
        assert SceneItem.from_dict(json.loads(json.dumps(item.to_dict()))) == item


OFFSETS = {
    "earth-search-sentinel-2": {"2021": -0.1, "2024": -0.1},
    "earth-search-sentinel-2-l2a": {"2021": 0.0, "2022": -0.1, "2024": 0.0},
    "planetary-computer-sentinel-2": {"2021": 0.0, "2024": -0.1},
}


@pytest.mark.parametrize("name", OFFSETS)
def test_the_offset_of_each_catalog(name: str) -> None:
    assert {str(i.when.year): i.offset[0] for i in scenes(name).values()} == OFFSETS[name]
    assert {i.scale for i in scenes(name).values()} == {(1e-4,) * 3}
    assert {i.tile for i in scenes(name).values()} == {"MGRS-32UPU"}


def test_landsat_is_read_from_the_bucket_whichever_way_the_item_names_it() -> None:
    for item in scenes("earth-search-landsat").values():
        assert all(href.startswith("s3://usgs-landsat/collection02/") for href in item.hrefs.values())
        assert (item.scale[0], item.offset[0]) == (2.75e-5, -0.2)
        assert item.tile == "WRS-193026"


def local(name: str, folder: Path) -> Source:
    """A shipped source whose endpoint is a file with its stored answer."""
    path = folder / f"{name}.json"
    path.write_text((STORED / path.name).read_text())
    return load_source(name).at(path)


@pytest.mark.parametrize("name", ["earth-search-landsat", "planetary-computer-landsat"])
def test_other_sensors_are_kept_out_by_the_filter(name: str, tmp_path: Path) -> None:
    found = search_items(local(name, tmp_path), WORLD, START, END)
    assert {item.platform for item in found.items} == {"landsat-8", "landsat-9"}
    assert len(found.items) == 2


def on_the_web(record: dict[str, Any]) -> dict[str, Any]:
    """A recorded item with its relative hrefs on an allowed host."""
    for asset in record["assets"].values():
        asset["href"] = "https://data.example/" + asset["href"].rpartition("../")[2].lstrip("./").rpartition("://")[2]
    return record


REFUSED = {
    "landsat__LC08_L2SP_0": "asset red, green, blue, qa_pixel is missing",
    "landsat__LM0": "asset blue is missing",
    "stactools__MCD43A4": "asset red, green, blue, scl is missing",
    "L1C": "asset scl is missing",
    "MSI_L1C": "asset scl is missing",
}


@pytest.mark.shared
def test_every_recorded_item_is_a_scene_or_refused_with_what_is_missing(shared: Path) -> None:
    reported: dict[str, str] = {}
    crossing = []
    paths = sorted((shared / "geo/stac_items_real").glob("*.json"))
    for path in paths:
        landsat = path.name.startswith("landsat")
        kinds: dict[str, Any] = {"rule": {"kind": "stated"}, "mask": {"kind": "bits"}} if landsat else {}
        source = make_source("https://catalog.example", collection="any", **kinds)
        item = read_item(on_the_web(json.loads(path.read_text())))
        assert not isinstance(item, BadItem), (path.name, item)
        try:
            scene = scene_item(item, source)
        except CatalogError as error:
            reported[path.name] = str(error)
            continue
        check(path.name, item, scene, landsat)
        if scene.bbox[0] == -180 and scene.bbox[2] == 180:
            crossing.append(path.name)
    for name, reason in reported.items():
        assert reason in {said for mark, said in REFUSED.items() if mark in name}, (name, reason)
    assert len(reported) == 12
    assert len(paths) - len(reported) == 18
    assert any("T60CWS" in name for name in crossing)


def check(name: str, item: pystac.Item, scene: SceneItem, landsat: bool) -> None:
    assert scene.crs, name
    assert scene.crs.startswith("EPSG:32"), name
    assert scene.tile, name
    assert scene.footprint["type"] in ("Polygon", "MultiPolygon"), name
    assert -180 <= scene.bbox[0] < scene.bbox[2] <= 180, name
    if landsat:
        assert (scene.scale[0], scene.offset[0]) == (2.75e-5, -0.2), name
    else:
        assert (scene.offset[0] == 0) == (str(item.properties["s2:processing_baseline"]) < "04"), name
    assert SceneItem.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene
