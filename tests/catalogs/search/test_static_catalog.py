"""A static catalog on the web: the same scenes as on a disk, and links that mean harm lead nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pystac
import pytest

from catalogs.search.geoparquet import item_json, pack
from catalogs.search.http import RETRY
from catalogs.search.usable_scenes import SearchResult, search_items
from catalogs.source import Source
from dsdit.errors import CatalogError
from tests.catalogs.search.test_search import AREA, END, START, collection
from tests.support.stac import ASSETS, make_item, make_source
from tests.support.web import file_server


def write(folder: Path, name: str, record: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def group(*links: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A catalog with these links."""
    return {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "d",
            "links": [{"rel": rel, "href": href} for rel, href in links], **more}  # fmt: skip


def extent(bbox: list[float], interval: list[str | None]) -> dict[str, Any]:
    """Members of a collection that lies there."""
    return {"type": "Collection", "license": "x",
            "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [interval]}}}  # fmt: skip


def here(endpoint: str) -> Source:
    return make_source(endpoint, hosts=["127.0.0.1"])


def found(endpoint: str) -> SearchResult:
    return search_items(here(endpoint), AREA, START, END, retry=RETRY.new(total=0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two collections, one far away, another of other years, and a loop."""
    children = [("child", f"./{name}/collection.json") for name in ("near", "far", "old")]
    write(tmp_path, "catalog.json", group(("root", "catalog.json"), *children, ("item", "items/loose.json")))
    near = group(("item", "../items/a.json"), ("items", "b.json"), ("child", "../catalog.json"), ("self", "x.json"))
    write(tmp_path, "near/collection.json", near | extent([10, 48, 11, 49], ["2024-01-01T00:00:00Z", None]))
    far = group(("item", "never.json")) | extent([-60, -10, -59, -9], [None, None])
    write(tmp_path, "far/collection.json", far)
    old = group(("item", "never.json")) | extent([10, 48, 11, 49], [None, "2023-12-31T00:00:00Z"])
    write(tmp_path, "old/collection.json", old)
    write(tmp_path, "items/a.json", make_item("a", host="../images"))
    write(tmp_path, "items/loose.json", make_item("loose", host="images", collection="other"))
    items = [make_item("b", "2024-06-02T00:00:00Z", host="."), make_item("late", "2024-08-01T00:00:00Z", host=".")]
    write(tmp_path, "near/b.json", json.loads(collection([*items, 7])))
    return tmp_path


def test_a_static_catalog_is_walked_and_collections_elsewhere_are_not_read(folder: Path) -> None:
    with file_server(folder) as (web, requested):
        result = found(f"{web}/catalog.json")
        assert [item.id for item in result.items] == ["b", "a"]
        assert [item.hrefs["red"] for item in result.items] == [f"{web}/near/b/red.tif", f"{web}/images/a/red.tif"]
        assert result.notes == ()
        assert len(result.dropped) == 1
        assert len(requested) == len(set(requested)) == 7
        for place in ("near/b.json", "items/a.json", "near/collection.json"):
            assert set(found(f"{web}/{place}").items) <= set(result.items)
            assert found(f"{web}/{place}").items
    for path in ("far", "old"):
        (folder / path / "collection.json").unlink()
    links = [("child", "near/collection.json"), ("item", "items/loose.json")]
    write(folder, "catalog.json", group(*links))
    local = search_items(make_source(folder / "catalog.json"), AREA, START, END)
    assert [(item.id, item.when) for item in local.items] == [(item.id, item.when) for item in result.items]


LINKS = ["https://elsewhere.example/a.json", "//elsewhere.example/a.json", "file:///etc/passwd", "http://me:pass@{}/a.json",
         "http://{}1/a.json", "a b.json", "x" * 3000, "http://[/a.json", "ftp://{}/a.json"]  # fmt: skip


def test_links_to_other_hosts_and_schemes_are_not_followed_and_reported(tmp_path: Path) -> None:
    with file_server(tmp_path) as (web, requested):
        place = web.removeprefix("http://")
        links = [("item", href.format(place)) for href in LINKS]
        write(tmp_path, "catalog.json", group(*links, ("item", "good.json")))
        write(tmp_path, "good.json", make_item("good", host="."))
        result = found(f"{web}/catalog.json")
        assert [item.id for item in result.items] == ["good"]
        assert len(result.notes) == len(LINKS)
        assert all(note.startswith(f"{web}/catalog.json: ") for note in result.notes)
        assert not any("pass@" in note and "another host" not in note for note in result.notes)
        assert set(requested) == {"/catalog.json", "/good.json"}


@pytest.mark.parametrize(
    "href", ["/vsicurl/a.tif", "https://elsewhere.example/a.tif", "file:///etc/passwd", "s3://b/k"]
)
def test_assets_of_a_static_catalog_are_judged_like_those_of_an_api(href: str, tmp_path: Path) -> None:
    item = make_item("hostile", host=".")
    item["assets"]["red"]["href"] = href
    write(tmp_path, "item.json", item)
    with file_server(tmp_path) as (web, _):
        result = found(f"{web}/item.json")
    assert result.items == ()
    assert result.dropped[0][0] == "hostile"


def test_a_catalog_is_bounded_in_files_and_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(12):
        write(tmp_path, f"{k}.json", group(("child", f"{k + 1}.json")))
    write(tmp_path, "12.json", make_item("deep", host="."))
    with file_server(tmp_path) as (web, _):
        assert [item.id for item in found(f"{web}/0.json").items] == ["deep"]
        monkeypatch.setattr("catalogs.search.static_catalog.MAX_DEPTH", 5)
        with pytest.raises(CatalogError, match=r"6\.json is more than 5 catalogs deep"):
            found(f"{web}/0.json")
        monkeypatch.setattr("catalogs.search.static_catalog.MAX_FILES", 4)
        with pytest.raises(CatalogError, match="links to more than 4 files"):
            found(f"{web}/0.json")


def test_a_file_that_is_missing_or_no_stac_is_named(tmp_path: Path) -> None:
    write(tmp_path, "catalog.json", group(("item", "gone.json")))
    write(tmp_path, "other.json", {"type": "other"})
    write(tmp_path, "list.json", [1])
    with file_server(tmp_path) as (web, _):
        with pytest.raises(CatalogError, match="cannot be queried: HTTP status 404"):
            found(f"{web}/catalog.json")
        for name, said in (("other", "is neither a STAC catalog, an item"), ("list", "answers no STAC: an object")):
            with pytest.raises(CatalogError, match=rf"{name}\.json {said}"):
                found(f"{web}/{name}.json")


def test_a_parquet_file_on_the_web_is_a_catalog(tmp_path: Path) -> None:
    items = [make_item("a", host="images"), make_item("b", "2024-08-01T00:00:00Z"), make_item("c", collection="other")]
    texts = [item_json(pystac.Item.from_dict(item), ASSETS) for item in items]
    (tmp_path / "items.parquet").write_bytes(pack(texts))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with file_server(tmp_path) as (web, _):
        result = found(f"{web}/items.parquet")
        assert [item.hrefs["red"] for item in result.items] == [f"{web}/images/a/red.tif"]
        with pytest.raises(CatalogError, match=rf"{web}/torn\.parquet cannot be read as stac-geoparquet"):
            found(f"{web}/torn.parquet")
        with pytest.raises(CatalogError, match="cannot be queried: HTTP status 404"):
            found(f"{web}/gone.parquet")
