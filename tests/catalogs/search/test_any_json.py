"""Items with any JSON in any field: each is used, or left out with a reason, and what is used can be kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.choose.reference_score import coarseness_us
from catalogs.item import SceneItem, scene_item
from catalogs.search.geoparquet import item_json, pack, unpack
from catalogs.search.parsing import BadItem, read_item
from catalogs.search.replay import replay_answer, save_answer
from catalogs.search.usable_scenes import search_items
from dsdit.errors import CatalogError
from tests.catalogs.search.test_search import AREA, END, START, collection
from tests.support.stac import make_item, make_source

PROPERTIES = (
    "datetime", "start_datetime", "end_datetime", "platform", "gsd", "eo:cloud_cover", "proj:code", "proj:epsg",
    "proj:projjson", "proj:wkt2", "grid:code", "s2:mgrs_tile", "mgrs:utm_zone", "mgrs:latitude_band",
    "mgrs:grid_square", "landsat:wrs_path", "landsat:wrs_row", "s2:generation_time", "processing:datetime", "updated",
    "created", "earthsearch:boa_offset_applied", "s2:boa_offset_applied", "sentinel:boa_offset_applied",
    "s2:processing_baseline", "processing:version", "sentinel:processing_baseline",
)  # fmt: skip
ASSET = (
    "href", "type", "roles", "title", "alternate", "raster:bands", "bands", "raster:scale", "raster:offset", "scale",
    "proj:code", "proj:epsg", "proj:projjson", "proj:wkt2", "file:checksum",
)  # fmt: skip
RECORD = ("id", "collection", "geometry", "bbox", "links", "stac_version", "stac_extensions", "assets", "properties")
NUMBERS = (st.integers(), st.floats(), st.sampled_from([10**400, -1, 0, 5e-324, 1e308, -0.0, 2**63]))
TEXTS = (
    st.text(),
    st.text(st.characters(codec=None)),
    st.sampled_from(
        ["", "x", "\u202e", "05.00", "1", "EPSG:32632", "+proj=utm", "2024-06-01T10:00:00Z", "\0", "\ud800"]
    ),
)
LEAF = st.one_of(st.none(), st.booleans(), *NUMBERS, *TEXTS)
BANDS = st.fixed_dictionaries({}, optional={"scale": LEAF, "offset": LEAF, "raster:scale": LEAF, "raster:offset": LEAF})
TREE = st.recursive(
    LEAF, lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(st.text(max_size=6), deeper, max_size=4)
)
JSON = TREE | st.lists(BANDS | LEAF, max_size=3)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """A sound item with any JSON in a few of the fields that are read."""
    item = make_item("odd", mgrs__utm_zone=32, mgrs__latitude_band="U", mgrs__grid_square="PU")
    item["properties"] |= draw(st.dictionaries(st.sampled_from(PROPERTIES), JSON, max_size=5))
    for key in draw(st.sets(st.sampled_from(["red", "green", "scl"]))):
        item["assets"][key] |= draw(st.dictionaries(st.sampled_from(ASSET), JSON, max_size=3))
    if draw(st.integers(0, 3)) == 0:
        item["assets"][draw(st.sampled_from(["red", "other"]))] = draw(JSON)
    if draw(st.integers(0, 3)) == 0:
        item |= draw(st.dictionaries(st.sampled_from(RECORD), JSON, max_size=2))
    return json.loads(json.dumps(item))


SOURCES = [
    make_source("https://catalog.example", collection="any", alternate="s3"),
    make_source("https://catalog.example", collection="any", rule={"kind": "stated"}),
    make_source("https://catalog.example", collection="any", rule={"kind": "fixed", "scale": 1e-4}),
]


@settings(max_examples=150, deadline=None)
@given(records(), st.sampled_from(SOURCES))
def test_any_json_is_a_scene_that_can_be_kept_or_is_refused_with_a_sentence(record: Any, source: Any) -> None:
    item = read_item(record)
    if isinstance(item, BadItem):
        assert item.reason.isprintable()
        return
    reported: dict[str, str] = {}
    try:
        scene = scene_item(item, source, reported.__setitem__)
    except CatalogError as error:
        assert str(error).isprintable()
        scene = None
    assert "".join(reported.values()).isprintable()
    (kept,) = unpack(pack([item_json(item, source.assets)]))
    again = read_item(kept)
    assert not isinstance(again, BadItem)
    if scene is None:
        with pytest.raises(CatalogError):
            scene_item(again, source)
        return
    assert scene_item(again, source) == scene
    assert SceneItem.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene
    assert coarseness_us([scene.gsd_m or 10.0], 1.25) >= 0


REFUSED = {
    "raster:bands": (7, "its raster:bands is 7: a list of bands is expected"),
    "bands": (True, "its bands is True: a list of bands is expected"),
}


@pytest.mark.parametrize("field", REFUSED)
def test_bands_that_are_no_list_cost_that_item_alone(field: str, tmp_path: Path) -> None:
    odd = make_item("odd")
    odd["assets"]["red"][field], said = REFUSED[field]
    (tmp_path / "items.json").write_text(collection([odd, make_item("good")]))
    found = search_items(make_source(tmp_path / "items.json"), AREA, START, END)
    assert [item.id for item in found.items] == ["good"]
    assert found.dropped == (("odd", said),)


UTM: dict[str, Any] = {"mgrs__latitude_band": "U", "mgrs__grid_square": "PU"}
LEFT: dict[str, tuple[dict[str, Any], str]] = {
    "an endless code": ({"proj__epsg": float("inf")}, "proj:epsg is inf, not a whole number from 1 to 2147483647"),
    "a code that is no number": ({"proj__epsg": float("nan")}, "proj:epsg is nan, not a whole number"),
    "a zone of letters": ({"mgrs__utm_zone": "x", **UTM}, "mgrs:utm_zone is 'x', not a whole number from 1 to 60"),
    "a platform that is no name": ({"platform": float("nan")}, "platform is nan, not text that can be printed"),
    "a hidden platform": ({"platform": "a\u202e"}, r"platform is 'a\u202e', not text that can be printed"),
    "a pixel below zero": ({"gsd": -1}, "gsd is -1, not a number from 0.001 to 1e+06"),
    "a cloud cover of words": ({"eo__cloud_cover": "half"}, "eo:cloud_cover is 'half', not a number"),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_field_of_the_wrong_type_is_left_out_and_reported_and_the_scene_is_used(name: str, tmp_path: Path) -> None:
    properties, said = LEFT[name]
    odd = [make_item(f"odd-{k}", f"2024-06-0{k}T10:00:00Z", **properties) for k in (1, 2, 3)]
    (tmp_path / "items.json").write_text(collection([*odd, make_item("good", "2024-06-09T10:00:00Z")]))
    source = make_source(tmp_path / "items.json")
    found = search_items(source, AREA, START, END)
    assert {item.id for item in found.items} == {"odd-1", "odd-2", "odd-3", "good"}
    (note,) = found.notes
    assert note.startswith(f"item odd-1: {said}")
    assert note.endswith(": left out (so in 2 more items)")
    save_answer(str(tmp_path / "kept"), "lr", source, AREA, (START, END), found)
    assert replay_answer(str(tmp_path / "kept"), "lr", source, AREA, (START, END)).items == found.items
    assert all(SceneItem.from_dict(item.to_dict()) == item for item in found.items)
