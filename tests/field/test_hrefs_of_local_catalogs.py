"""Local catalogs as programs write them: file URLs, blanks, percent-encoding, and files of another folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from catalogs.item import scene_item
from catalogs.read.scene import read_bands
from catalogs.search.parsing import read_item
from catalogs.source import load_source
from dsdit.errors import CatalogError
from tests.support.field import ONE_FILE, catalog_of, flat, found_in, geobox, item_of, one_scene, write_tif
from tests.support.stac import make_source

HREFS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "a file URL": ("image.tif", lambda path: path.as_uri()),
    "a file URL with a host": ("image.tif", lambda path: f"file://localhost{path}"),
    "a blank": ("my image.tif", lambda path: path.name),
    "a blank, encoded": ("my image.tif", lambda path: "my%20image.tif"),
    "a file URL with a blank": ("my image.tif", lambda path: path.as_uri()),
    "an umlaut": ("bild_ü.tif", lambda path: path.name),
    "an umlaut, encoded": ("bild_ü.tif", lambda path: "bild_%C3%BC.tif"),
    "a name with a percent sign": ("50%25.tif", lambda path: path.name),
    "a colon": ("a:1.tif", lambda path: path.name),
    "a hash": ("a#1.tif", lambda path: path.name),
    "a question mark": ("a?1.tif", lambda path: path.name),
    "a folder above": ("image.tif", lambda path: f"../{path.parent.name}/image.tif"),
}


@pytest.mark.parametrize("name", HREFS)
def test_an_href_of_a_local_catalog_is_read(tmp_path: Path, name: str) -> None:
    file, href = HREFS[name]
    path = write_tif(tmp_path / "pixels" / file, flat())
    folder = tmp_path / "pixels" if "above" not in name else tmp_path
    record = item_of(hrefs={"image": href(path)})
    if folder == tmp_path:
        (tmp_path / "items").mkdir()
        record["assets"]["image"]["href"] = "../pixels/image.tif"
        (tmp_path / "items" / "a.json").write_text(json.dumps(record))
        root = {"type": "Catalog", "id": "c", "links": [{"rel": "item", "href": "items/a.json"}]}
        (tmp_path / "catalog.json").write_text(json.dumps(root))
        source = make_source(tmp_path / "catalog.json", **ONE_FILE)
        (item,) = found_in(source).items
    else:
        item, source = one_scene(folder, record)
    assert read_bands(item, source, geobox(), "nearest")[1].all()
    assert not item.hrefs["image"].startswith(("/", "file:"))


def test_links_of_a_catalog_may_be_file_urls_or_encoded(tmp_path: Path) -> None:
    catalog_of(tmp_path / "first part", item_of("one"))
    catalog_of(tmp_path / "second", item_of("two"))
    links = [(tmp_path / "first part" / "items.json").as_uri(), "./second/items.json"]
    root = {"type": "Catalog", "id": "c", "links": [{"rel": "items", "href": href} for href in links]}
    (tmp_path / "catalog.json").write_text(json.dumps(root))
    found = found_in(make_source(tmp_path / "catalog.json", **ONE_FILE))
    assert sorted(item.id for item in found.items) == ["one", "two"]
    assert {item.hrefs["image"] for item in found.items} == {"first part/image.tif", "second/image.tif"}


@pytest.mark.parametrize("as_url", [False, True])
def test_files_outside_the_catalog_are_read_below_the_folders_that_the_source_names(
    tmp_path: Path, as_url: bool
) -> None:
    path = write_tif(tmp_path / "archive 1" / "image.tif", flat())
    record = item_of(hrefs={"image": path.as_uri() if as_url else str(path)})
    endpoint = catalog_of(tmp_path / "catalog", record)
    refused = found_in(make_source(endpoint, **ONE_FILE))
    assert not refused.items and "name the folder in `folders` of the source" in refused.dropped[0][1]
    elsewhere = found_in(make_source(endpoint, **ONE_FILE, folders=[str(tmp_path / "other")]))
    assert not elsewhere.items
    item, source = one_scene(tmp_path / "catalog", record, folders=[str(tmp_path / "archive 1")])
    assert item.hrefs["image"] == str(path)
    assert read_bands(item, source, geobox(), "nearest")[1].all()
    assert source.digest == make_source(endpoint, **ONE_FILE).digest


def test_a_link_out_of_an_allowed_folder_is_refused(tmp_path: Path) -> None:
    secret = write_tif(tmp_path / "secret" / "image.tif", flat())
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "image.tif").symlink_to(secret)
    record = item_of(hrefs={"image": str(tmp_path / "archive" / "image.tif")})
    source = make_source(catalog_of(tmp_path / "catalog", record), **ONE_FILE, folders=[str(tmp_path / "archive")])
    assert "leaves the catalog's folder" in found_in(source).dropped[0][1]


@pytest.mark.parametrize("href", ["file:///etc/passwd", "file://other/image.tif", "file:image.tif", "%2e%2e/image.tif"])
def test_a_file_url_opens_nothing_else(tmp_path: Path, href: str) -> None:
    write_tif(tmp_path / "image.tif", flat())
    source = make_source(catalog_of(tmp_path / "catalog", item_of(hrefs={"image": href})), **ONE_FILE)
    assert not found_in(source).items


def test_an_item_of_a_remote_catalog_names_no_file(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "image.tif", flat())
    item = read_item(item_of(hrefs={"image": path.as_uri()}))
    with pytest.raises(CatalogError, match="scheme 'file'"):
        scene_item(item, make_source("https://catalog.example", **ONE_FILE, folders=[str(tmp_path)]))  # type: ignore[arg-type]


def test_folders_are_relative_to_the_file_of_the_source(tmp_path: Path) -> None:
    record = make_source("items.json", **ONE_FILE).model_dump(mode="json") | {"folders": ["../archive"]}
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / "source.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(record).encode())
    assert Path(load_source(path).folders[0]).resolve() == (tmp_path / "archive").resolve()


def test_a_catalog_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, item_of())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(found_in(make_source(path, **ONE_FILE)).items) == 1
