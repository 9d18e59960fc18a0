"""search: a real server and a folder of files give the same scenes; answers are checked and cleaned."""

from __future__ import annotations

import importlib
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pystac
import pytest
from shapely.geometry import box
from urllib3 import Retry

from catalogs.choose.reprocessed import newer_processings
from catalogs.item import SceneItem, scene_item
from catalogs.search.api import stac_items
from catalogs.search.usable_scenes import clean, search_items
from catalogs.source import Source, load_source
from dsdit.errors import CatalogError
from tests.support.stac import make_item, make_source
from tests.support.web import stac_server

AREA = box(10.1, 48.1, 10.2, 48.2)
START, END = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
NUMBER = 130
"""Items of the catalog: more than a page holds."""


def many() -> list[dict[str, Any]]:
    items = [make_item(f"scene-{k:03}", f"2024-06-{k % 28 + 1:02}T10:{k % 60:02}:00Z") for k in range(NUMBER)]
    items.append(make_item("elsewhere", bounds=(20.0, 10.0, 21.0, 11.0)))
    items.append(make_item("too-old", "2023-06-01T10:00:00Z"))
    items.append(make_item("no-mask", "2024-06-05T10:00:00Z", without="scl"))
    return items


def collection(items: list[dict[str, Any]]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": items})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A STAC API of `many` items on this machine."""
    with stac_server(many(), tmp_path_factory.mktemp("server")) as url:
        yield url


def test_server_and_files_give_the_same_scenes(server: str, tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(collection(many()[::-1]))
    requested = search_items(make_source(server), AREA, START, END)
    local = search_items(make_source(tmp_path / "items.json"), AREA, START, END)
    assert len(requested.items) == NUMBER
    assert requested == local
    assert [item.digest for item in requested.items] == [item.digest for item in local.items]
    assert requested.dropped == (("no-mask", "asset scl is missing"),)
    assert list(requested.items) == sorted(
        sorted(requested.items, key=lambda i: i.id), key=lambda i: i.when, reverse=True
    )
    assert search_items(make_source(server), AREA, START, END, max_items=7).items == requested.items[:7]


def test_unreachable_catalog_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        source = make_source(f"http://127.0.0.1:{probe.getsockname()[1]}")
        with pytest.raises(CatalogError, match=r"127\.0\.0\.1.*cannot be queried"):
            list(stac_items(source, AREA, START, END, retry=Retry(0)))


class Wicked(BaseHTTPRequestHandler):
    """A catalog that fails twice, ignores the question, and sends us away."""

    mode: ClassVar[str] = "ok"
    failures: ClassVar[int] = 0
    requested: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.answer(
            {
                "type": "Catalog",
                "id": "c",
                "stac_version": "1.0.0",
                "description": "d",
                "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
                "links": [
                    {"rel": "search", "type": "application/geo+json", "method": "POST", "href": self.own("/search")}
                ],
            }
        )

    def do_POST(self) -> None:
        type(self).requested.append(self.path)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_response(503)
            self.send_header("content-length", "0")
            self.end_headers()
        elif self.mode == "redirect":
            self.send_response(307)
            self.send_header("location", "http://127.0.0.1:9/search")
            self.send_header("content-length", "0")
            self.end_headers()
        else:
            links = [{"rel": "next", "method": "POST", "href": "http://127.0.0.1:9/search"}]
            features = [make_item("here"), {"id": "<script>"}, many()[NUMBER], many()[NUMBER + 1]]
            self.answer(
                {
                    "type": "FeatureCollection",
                    "features": features,
                    "links": links if self.mode == "next" else [],
                }
            )

    def own(self, path: str) -> str:
        return f"http://{self.headers['host']}{path}"

    def answer(self, record: dict[str, Any]) -> None:
        body = json.dumps(record).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def wicked() -> Iterator[str]:
    Wicked.mode, Wicked.failures, Wicked.requested = "ok", 0, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Wicked) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_request_to_a_busy_server_is_repeated_and_its_answer_filtered(wicked: str) -> None:
    Wicked.failures = 2
    found = search_items(make_source(wicked), AREA, START, END)
    assert [item.id for item in found.items] == ["here"]
    assert [name for name, _ in found.dropped] == ["<script>"]
    assert len(Wicked.requested) == 3


@pytest.mark.parametrize("mode", ["next", "redirect"])
def test_nobody_sends_us_to_another_host(wicked: str, mode: str) -> None:
    Wicked.mode = mode
    with pytest.raises(CatalogError, match=r"sends us to '127\.0\.0\.1:9'"):
        search_items(make_source(wicked), AREA, START, END)


def found(items: list[dict[str, Any]], source: Source | None = None) -> Any:
    answer = [pystac.Item.from_dict(item) for item in items]
    return clean(answer, source or make_source("https://catalog.example"), AREA, START, END)


def test_the_newest_processing_is_found_and_halves_of_an_overpass_stay() -> None:
    tile: dict[str, Any] = {"grid__code": "MGRS-32UPU"}
    west, east = (10.0, 48.0, 10.16, 48.4), (10.15, 48.0, 10.5, 48.4)
    items = [
        make_item("old", updated="2024-06-02T00:00:00Z", **tile),
        make_item("new", updated="2024-06-09T00:00:00Z", **tile),
        make_item("west", "2024-06-11T10:00:00Z", west, updated="2024-06-12T00:00:00Z", **tile),
        make_item("east", "2024-06-11T10:00:15Z", east, updated="2024-06-12T01:00:00Z", **tile),
        make_item("other-zone", updated="2024-06-02T00:00:00Z", **tile | {"proj__epsg": 32633}),
    ]
    for order in (items, items[::-1]):
        result = found(order)
        assert {item.id for item in result.items} == {"old", "new", "west", "east", "other-zone"}
        named = {tuple(result.items[n].id for n in pair) for pair in newer_processings(result.items).tolist()}
        # A tile of MGRS has one zone: a record that states another is of the same scene all the same.
        assert named == {("old", "new"), ("old", "other-zone"), ("other-zone", "new")}
        assert not result.dropped


@pytest.mark.parametrize(
    ("properties", "offset"),
    [
        ({"s2__processing_baseline": "03.01"}, 0.0),
        ({"s2__processing_baseline": "04.00"}, -0.1),
        ({"s2__processing_baseline": "05.11"}, -0.1),
        ({"s2__processing_baseline": "04"}, -0.1),
        ({"s2__processing_baseline": 4}, -0.1),
        ({"s2__processing_baseline": 4.0}, -0.1),
        ({"s2__processing_baseline": "3"}, 0.0),
        ({"s2__processing_baseline": "99.99"}, -0.1),
        ({"s2__processing_baseline": "02.14"}, 0.0),
        ({"s2__processing_baseline": "05.11", "earthsearch__boa_offset_applied": True}, 0.0),
        ({"s2__processing_baseline": "05.11", "s2__boa_offset_applied": False}, -0.1),
    ],
)
def test_the_offset_of_sentinel_2_in_each_catalogs_way(properties: dict[str, Any], offset: float) -> None:
    (item,) = found([make_item("a", **properties)]).items
    assert item.scale == (1e-4,) * 3
    assert item.offset == (offset,) * 3


def test_offset_of_the_raster_extension_and_none_at_all() -> None:
    record = make_item("a")
    for key in ("red", "green", "blue"):
        record["assets"][key]["raster:bands"] = [{"scale": 0.0001, "offset": -0.2}]
    assert found([record]).items[0].offset == (-0.2,) * 3
    record = make_item("a")
    del record["properties"]["s2:processing_baseline"]
    assert "baseline" in found([record]).dropped[0][1]


def test_both_spellings_of_the_projection_extension() -> None:
    codes = {"proj__epsg": 32633}, {"proj__epsg": None, "proj__code": "EPSG:32633"}
    assert [found([make_item("a", **code)]).items[0].crs for code in codes] == ["EPSG:32633"] * 2


def test_real_items_of_both_versions(shared: Path) -> None:
    read = 0
    for path in sorted((shared / "geo/stac_items_real").glob("sentinel2__*L2A*.json")):
        item = pystac.Item.from_dict(json.loads(path.read_text()))
        for asset in item.assets.values():
            asset.href = "https://data.example/" + asset.href.lstrip("./")
        mask = {"kind": "scl"} if "scl" in item.assets else {"kind": "none"}
        scene = scene_item(item, make_source("https://catalog.example", mask=mask))
        assert scene.crs
        assert scene.tile
        assert scene.tile.startswith("MGRS-")
        baseline = str(item.properties["s2:processing_baseline"])
        assert (scene.offset[0] == 0) == (baseline < "04")
        assert SceneItem.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene
        read += 1
    assert read >= 10


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "../../etc/passwd",
        "/vsicurl/https://data.example/a.tif",
        "https://data.example/vsizip/../a.tif",
        "https://data.example/%2e%2e/a.tif",
        "https://evil.example/a.tif",
        "https://data.example.evil.example/a.tif",
        "https://data.example@evil.example/a.tif",
        "https://me:pass@data.example/a.tif",
        "http://data.example/a.tif",
        "s3://data.example/a.tif",
        "ftp://data.example/a.tif",
        "https://data.example/a b.tif",
        "https://data.example:port/a.tif",
        "<VRTDataset/>",
        "https://data.example/" + "a" * 3000,
    ],
)
def test_hrefs_that_are_not_followed(href: str) -> None:
    record = make_item("hostile")
    record["assets"]["red"]["href"] = href
    result = found([record])
    assert result.items == ()
    assert result.dropped[0][0] == "hostile"
    assert "pass@" not in result.dropped[0][1]


def test_signatures_are_not_kept() -> None:
    record = make_item("signed")
    record["assets"]["red"]["href"] += "?sig=SECRET&se=1"
    (item,) = found([record]).items
    assert "SECRET" not in json.dumps(item.to_dict())
    assert item.digest == found([make_item("signed")]).items[0].digest


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_geometry_that_is_not_finite_is_reported(value: float) -> None:
    record = make_item("odd")
    record["geometry"]["coordinates"] = [[[value, 48], [11, 48], [11, 49], [value, 48]]]
    result = found([record])
    assert result.items == ()


def test_local_files_stay_below_the_catalog(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    folder.mkdir()
    (tmp_path / "outside.tif").write_bytes(b"x")
    (folder / "link.tif").symlink_to(tmp_path / "outside.tif")
    items = []
    for k, href in enumerate(("../outside.tif", str(tmp_path / "outside.tif"), "link.tif", "a/../../outside.tif")):
        items.append(make_item(f"bad-{k}", host="."))
        items[-1]["assets"]["red"]["href"] = href
    (folder / "items.json").write_text(collection([*items, make_item("good", host=".")]))
    result = search_items(make_source(folder / "items.json"), AREA, START, END)
    assert [item.id for item in result.items] == ["good"]
    assert result.items[0].hrefs["red"] == "good/red.tif"
    assert [name for name, _ in result.dropped] == ["bad-0", "bad-1", "bad-2", "bad-3"]


def test_files_of_a_sibling_folder_are_the_catalogs_own(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    (catalog / "items").mkdir(parents=True)
    inside, outside = make_item("inside", host="../images"), make_item("outside", host="../images")
    outside["assets"]["red"]["href"] = "../../red.tif"
    links = []
    for item in (inside, outside):
        (catalog / "items" / f"{item['id']}.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./items/{item['id']}.json"})
    (catalog / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": links}))
    for place in (catalog, catalog / "catalog.json"):
        result = search_items(make_source(place), AREA, START, END)
        assert [item.id for item in result.items] == ["inside"]
        assert result.items[0].hrefs["red"] == "images/inside/red.tif"
        assert result.dropped == (("outside", "href '../red.tif' leaves the catalog's folder"),)


def test_a_file_of_a_folder_that_is_no_item_is_left_out_and_reported(tmp_path: Path) -> None:
    (tmp_path / "item.json").write_text(json.dumps(make_item("good")))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/list.json").write_text("[1, 2]")
    (tmp_path / "notes/torn.json").write_text('{"type": "Feat')
    (tmp_path / "notes/settings.json").write_text('{"type": "other"}')
    result = search_items(make_source(tmp_path), AREA, START, END)
    assert [item.id for item in result.items] == ["good"]
    assert [name for name, _ in result.dropped] == ["notes/list.json", "notes/torn.json"]
    assert "holds no STAC object" in result.dropped[0][1]
    assert "cannot be read" in result.dropped[1][1]


@pytest.mark.parametrize("links", [7, [7], [{"rel": "item", "href": 7}], [{"rel": "item"}], None])
def test_links_of_nonsense_lead_nowhere(links: Any, tmp_path: Path) -> None:
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": links}))
    assert search_items(make_source(tmp_path / "catalog.json"), AREA, START, END).items == ()


def test_catalog_json_folder_and_item_collection_agree(catalog: Path) -> None:
    whole = box(-180, -90, 180, 90)
    period = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    for name in ("sample-lr", "sample-ref"):
        source = load_source(name)
        results = [
            search_items(source.at(catalog / place), whole, *period) for place in ("items.json", "catalog.json", ".")
        ]
        assert results[0].items
        assert results[0] == results[1]
        assert results[0] == results[2]
        assert not results[0].dropped


def test_digest_follows_the_local_file(tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(collection([make_item("a", host=".")]))
    source, digests = make_source(tmp_path / "items.json"), set()
    for content in (None, b"one", b"two"):
        if content:
            (tmp_path / "a").mkdir(exist_ok=True)
            (tmp_path / "a/red.tif").write_bytes(content)
        digests.add(search_items(source, AREA, START, END).items[0].digest)
    assert len(digests) == 3


def test_the_door_of_search_has_the_function_under_both_names() -> None:
    door = importlib.import_module("catalogs.search")
    assert sorted(door.__all__) == sorted(dir(door)) == ["SearchResult", "search", "search_items"]
    assert door.search is door.search_items is search_items
