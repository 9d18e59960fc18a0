"""Catalogs that mean harm: each refused with a sentence, nothing read, nothing written outside the output."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from odc.geo.geobox import GeoBox
from rich.console import Console

from catalogs.item import scene_item
from catalogs.measure.cover_and_fit import cached_covers, item_window
from catalogs.read import redirects
from catalogs.read.scene import read_bands
from catalogs.search.http import RETRY
from catalogs.search.parsing import MAX_ITEM_BYTES, BadItem, read_item
from catalogs.search.replay import save_answer
from catalogs.search.usable_scenes import SearchResult, search_items
from catalogs.source import load_source
from dsdit.errors import CatalogError, ReadError
from dsdit.grid import Grid
from dsdit.lattice.tiling import CELL_LR_PX
from dsdit.steps.publish.report import Report
from flows.report import print_report, report_markdown
from tests.catalogs.read.test_scene import ORIGIN, UTM, picture, scene, write
from tests.catalogs.search.test_search import AREA, END, START, collection
from tests.support.stac import make_item, make_source
from tests.support.web import fault_proxy, file_server, stac_server

GEOBOX = GeoBox((8, 8), ORIGIN, UTM)
ITEM = "item a-scene, asset image: "


@pytest.fixture(autouse=True)
def unseen() -> Iterator[None]:
    """What was requested in another test is requested again."""
    redirects._checked.clear()
    yield
    redirects._checked.clear()


def searched(folder: Path, *items: dict[str, Any]) -> SearchResult:
    """What a search over files gives; remote hrefs may lie on data.example."""
    folder.mkdir(exist_ok=True)
    (folder / "items.json").write_text(collection(list(items)))
    return search_items(make_source(folder / "items.json"), AREA, START, END)


def reason(folder: Path, item: dict[str, Any]) -> str:
    """Why an item is refused; a good one beside it is not."""
    found = searched(folder, item, make_item("good"))
    assert [kept.id for kept in found.items] == ["good"]
    ((_, said),) = found.dropped
    return said


LOCAL = "/etc/passwd"
HREFS = {
    LOCAL: "is no URL",
    "file:///etc/passwd": "scheme 'file'",
    "../../etc/passwd": "is no URL",
    "/vsizip//etc/a.zip": "is no URL",
    "/vsicurl/https://data.example/a.tif": "is no URL",
    "https://data.example/vsicurl/../a.tif": "path that is not followed",
    "https://data.example/vsitar/vsicurl/a.tif": "path that is not followed",
    "vrt://https://data.example/a.tif": "scheme 'vrt'",
    "zip+https://data.example/a.tif": "scheme 'zip+https'",
    "<VRTDataset rasterXSize='1'/>": "odd characters",
    "GTIFF_DIR:1:/etc/passwd": "scheme 'gtiff_dir'",
    "https://elsewhere.example/a.tif": "host 'elsewhere.example'",
    "https://data.example@elsewhere.example/a.tif": "carries a login",
    "https://169.254.169.254/latest/meta-data": "host '169.254.169.254'",
    "http://data.example/a.tif": "http to another machine",
    "s3://data.example/a.tif": "scheme 's3'",
}


@pytest.mark.parametrize("href", HREFS)
def test_a_remote_item_with_such_a_href_is_refused(href: str) -> None:
    record = make_item("hostile")
    record["assets"]["red"]["href"] = href
    with pytest.raises(CatalogError) as reported:
        scene_item(pystac.Item.from_dict(record), make_source("https://catalog.example"))
    assert HREFS[href] in str(reported.value) or "is no URL" in str(reported.value)
    item, source = scene("https://catalog.example", href)
    with pytest.raises(ReadError, match="href"):
        read_bands(item, source, GEOBOX, "nearest")


def test_an_alternate_href_is_no_back_door() -> None:
    record = make_item("hostile")
    record["assets"]["red"]["alternate"] = {"s3": {"href": LOCAL}}
    with pytest.raises(CatalogError, match="is no URL"):
        scene_item(pystac.Item.from_dict(record), make_source("https://catalog.example", alternate="s3"))


def tiff_directory(width: int, height: int, block: int, kind: int = 0) -> bytes:
    """One little-endian TIFF directory of one uint8 band in tiles, that claims more than it holds; the last of a file.

    `kind` 1 is a reduced picture, 4 a mask.
    """
    photometric = 4 if kind & 4 else 1
    entries = [
        (254, 4, 1, kind), (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8),
        (262, 3, 1, photometric), (277, 3, 1, 1), (322, 4, 1, block), (323, 4, 1, block), (324, 4, 1, 8),
        (325, 4, 1, 8),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", 0)


def tiff(width: int, height: int, block: int) -> bytes:
    """Head of a TIFF of such a directory."""
    return b"II*\0" + struct.pack("<I", 8) + tiff_directory(width, height, block)


def appended(path: Path, *directories: bytes) -> None:
    """Puts directories at the end of the chain of a little-endian TIFF."""
    for directory in directories:
        content = bytearray(path.read_bytes())
        content += b"\0" * (len(content) % 2)
        place, after = 4, struct.unpack_from("<I", content, 4)[0]
        while after:
            (count,) = struct.unpack_from("<H", content, after)
            place = after + 2 + 12 * count
            (after,) = struct.unpack_from("<I", content, place)
        struct.pack_into("<I", content, place, len(content))
        path.write_bytes(bytes(content) + directory)


BOMBS = {
    "a million a side": (10**6, 256, r"1000000 x 1000000 px is more than the limit for one file \(400000\)"),
    "one huge block": (60_000, 60_000, "blocks of 60000 x 60000 px are more than the limit"),
    "beyond counting": (2**31 - 1, 512, r".*Cannot handle zero number of tiles"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_dimensions_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    side, block, said = BOMBS[name]
    (tmp_path / "a.tif").write_bytes(tiff(side, side, block))
    item, source = scene(tmp_path, "a.tif")
    with pytest.raises(ReadError, match=ITEM + said):
        read_bands(item, source, GEOBOX, "nearest")


BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "wide pixels": (
        {"count": 3, "dtype": "float64", "blocks": 8192},
        "blocks of 8192 x 8192 px .*: 536870912 bytes at once",
    ),
    "many bands in one block": (
        {"count": 300, "dtype": "uint16", "blocks": 1024, "interleave": "pixel"},
        "blocks of 1024 x 1024 px .*: 629145600 bytes at once",
    ),
    "bands without end": ({"count": 4000, "dtype": "uint8", "blocks": 256}, "4000 bands are more than the limit"),
    "complex integers": ({"count": 3, "dtype": "complex_int16", "blocks": 256}, "its pixels are complex_int16"),
    "complex": (
        {"count": 3, "dtype": "complex128", "blocks": 256},
        "its pixels are complex128: only integers and floats",
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_that_fill_the_memory_are_refused_before_one_is_read(name: str, tmp_path: Path) -> None:
    made, said = BLOCKS[name]
    side = made["blocks"]
    options = {"driver": "GTiff", "tiled": True, "sparse_ok": True, "interleave": made.get("interleave", "band")}
    place = {"height": side, "width": side, "crs": UTM, "transform": ORIGIN, "blockxsize": side, "blockysize": side}
    with rasterio.open(tmp_path / "a.tif", "w", count=made["count"], dtype=made["dtype"], **options, **place):
        pass
    assert (tmp_path / "a.tif").stat().st_size < 1_000_000
    item, source = scene(tmp_path, "a.tif")
    with pytest.raises(ReadError, match=ITEM + said):
        read_bands(item, source, GEOBOX, "nearest")


BEHIND = {
    "overview": ([(512, 512, 17_008, 1)], "blocks of picture 2 of 17008 x 17008 px .*: 289272064 bytes at once"),
    "mask": ([(1024, 1024, 17_008, 4)], "blocks of picture 2 of 17008 x 17008 px"),
    "overview behind a good one": ([(512, 512, 256, 1), (256, 256, 17_008, 1)], "blocks of picture 3 of 17008"),
    "overviews without end": ([(512, 512, 256, 1)] * 70, "more than 64 pictures in one TIFF are not accepted"),
}


@pytest.mark.parametrize("name", BEHIND)
@pytest.mark.parametrize("gsd", [1, 8])
def test_a_bomb_behind_the_first_picture_is_refused(name: str, gsd: int, tmp_path: Path) -> None:
    made, said = BEHIND[name]
    write(tmp_path / "a.tif", picture(1024, 1024))
    appended(tmp_path / "a.tif", *(tiff_directory(*one) for one in made))
    item, source = scene(tmp_path, "a.tif")
    with pytest.raises(ReadError, match=ITEM + said):
        read_bands(item, source, GeoBox((8, 8), ORIGIN @ ORIGIN.scale(gsd), UTM), "average")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e9", "null", '"text"'])
def test_a_geometry_that_is_none_is_refused(value: str, tmp_path: Path) -> None:
    text = json.dumps(make_item("odd")).replace("10.5, 48.0", f"{value}, 48.0")
    assert json.loads(text) != make_item("odd")
    said = reason(tmp_path / "catalog", json.loads(text))
    assert "geometry" in said


@pytest.mark.parametrize(
    "geometry", [{"type": "Polygon"}, {"type": "x"}, [], 7, {"type": "Polygon", "coordinates": []}]
)
def test_a_geometry_of_nonsense_is_refused(geometry: Any, tmp_path: Path) -> None:
    item = make_item("odd")
    item["geometry"] = geometry
    found = searched(tmp_path / "catalog", item, make_item("good"))
    assert "good" in [kept.id for kept in found.items]
    assert all("Traceback" not in said for _, said in found.dropped)


def test_ten_megabytes_of_properties_are_refused(tmp_path: Path) -> None:
    item = make_item("fat", filler="x" * 10_000_000)
    said = reason(tmp_path / "catalog", item)
    assert f"more than {MAX_ITEM_BYTES} are not accepted" in said
    assert len(said) < 200


def test_a_record_without_end_of_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(CatalogError, match="cannot be read"):
        search_items(make_source(tmp_path / "items.json"), AREA, START, END)


@pytest.mark.parametrize(
    "name",
    [
        "../../../tmp/x",
        "..",
        "a/../../b",
        "a\\..\\b",
        "a\0b",
        "a\nb",
        "\x1b[31mred",
        "x" * 300,
        "a\u202e\x9b31m",
        "a\u202eb",
        "a\x9bb",
        "a\u2028b",
        "a\u200bb",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    said = reason(tmp_path / "catalog", make_item(name, host="https://data.example"))
    assert said.startswith("its id ")


AT_ITEM = Affine(10, 0, 600_000, 0, -10, 5_330_000)
"""On the ground of `make_item`."""


@pytest.mark.parametrize("name", ["a/b", "/etc/cron.d/x", "~root", "con", "%2e%2e%2fx", "$(touch x)"])
def test_a_strange_name_is_used_in_no_path(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    item = make_item(name, host=".", collection="scenes")
    for key, asset in item["assets"].items():
        asset["href"] = f"{key}.tif"
    found = searched(folder, item)
    for key in ("red", "green", "blue"):
        write(folder / f"{key}.tif", picture()[:1], AT_ITEM)
    write(folder / "scl.tif", np.full((1, 210, 330), 4, np.uint8), AT_ITEM)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    (kept,) = found.items
    source = make_source(folder / "items.json")
    grid = Grid("EPSG:32632", 1.25, 8)
    cells = item_window(kept, grid).coarsen(CELL_LR_PX)
    cached_covers([(kept, source)], grid, cells, str(tmp_path / "out" / "measures"), pytest.fail)
    save_answer(str(tmp_path / "out" / "search"), "lr", source, AREA, (START, END), found)
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.parent.relative_to(tmp_path).as_posix() for path in made} == {"out/search", "out/measures/cover"}
    names = {path.name for path in made}
    assert {"lr.json", "lr.parquet"} <= names
    assert all(part.isalnum() for n in names - {"lr.json", "lr.parquet"} for part in n.split("."))


VRT = """<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


def test_a_tif_that_is_a_vrt_inside_is_not_opened_and_what_it_names_not_read(tmp_path: Path) -> None:
    with file_server(tmp_path) as (web, requested):
        (tmp_path / "a.tif").write_text(VRT.format(f"/vsicurl/{web}/secret.tif"))
        item, source = scene(web, f"{web}/a.tif", hosts=["127.0.0.1"])
        with pytest.raises(ReadError, match=ITEM):
            read_bands(item, source, GEOBOX, "nearest")
        assert requested
        assert set(requested) == {"/a.tif"}


COARSE = GeoBox((16, 16), ORIGIN @ ORIGIN.scale(8), UTM)
"""Of pixels so large that GDAL looks for overviews."""


@pytest.mark.parametrize("secret", ["secret.tif", "secret.vrt", ":::BASE:::secret.tif", "the web"])
@pytest.mark.parametrize("band", [0, 2])
@pytest.mark.parametrize("domain", ["OVERVIEWS", "overviews"])
def test_overviews_that_the_metadata_names_are_not_opened(domain: str, band: int, secret: str, tmp_path: Path) -> None:
    write(tmp_path / "secret.tif", np.full((3, 32, 32), 7, np.uint16))
    (tmp_path / "secret.vrt").write_text(VRT.format(tmp_path / "secret.tif"))
    write(tmp_path / "a.tif", picture(256, 256))
    with file_server(tmp_path) as (web, requested):
        named = {"the web": f"/vsicurl/{web.replace('127.0.0.1', 'localhost')}/secret.tif"}.get(secret, secret)
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.update_tags(band, ns=domain, OVERVIEW_FILE=named if ":" in named else str(tmp_path / named))
        item, source = scene(web, f"{web}/a.tif", hosts=["127.0.0.1"])
        with pytest.raises(ReadError, match=ITEM + "its metadata names another file as its overviews"):
            read_bands(item, source, COARSE, "average")
        assert set(requested) == {"/a.tif"}


def test_overviews_that_the_boxes_of_a_jpeg_2000_name_are_not_opened(tmp_path: Path) -> None:
    write(tmp_path / "secret.tif", np.full((3, 32, 32), 7, np.uint16))
    with rasterio.open(write(tmp_path / "plain.tif", picture(256, 256)), "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(tmp_path / "secret.tif"))
    rasterio.shutil.copy(tmp_path / "plain.tif", tmp_path / "a.jp2", driver="JP2OpenJPEG", WRITE_METADATA="YES")
    item, source = scene(tmp_path, "a.jp2", drivers=["JP2OpenJPEG"])
    with pytest.raises(ReadError, match=ITEM + "its metadata names another file as its overviews"):
        read_bands(item, source, COARSE, "average")


@pytest.mark.parametrize("remote", [True, False])
def test_files_beside_a_file_are_not_looked_for(remote: bool, tmp_path: Path) -> None:
    """Neither reduced pictures nor masks, nor what another file says of them."""
    stored = picture(256, 256)
    write(tmp_path / "a.tif", stored)
    write(tmp_path / "secret.tif", np.full((3, 32, 32), 7, np.uint16))
    write(tmp_path / "other.tif", np.full((3, 32, 32), 7, np.uint16)).rename(tmp_path / "a.tif.ovr")
    with rasterio.open(write(tmp_path / "other.tif", np.zeros((1, 256, 256), np.uint8)), "r+") as file:
        file.update_tags(**{f"INTERNAL_MASK_FLAGS_{k}": "2" for k in (1, 2, 3)})
    (tmp_path / "other.tif").rename(tmp_path / "a.tif.msk")
    named = f'<MDI key="OVERVIEW_FILE">{tmp_path}/secret.tif</MDI>'
    (tmp_path / "a.tif.aux.xml").write_text(f'<PAMDataset><Metadata domain="OVERVIEWS">{named}</Metadata></PAMDataset>')
    for name in ("a.aux", "a.tfw", "a.xml", "a.IMD"):
        (tmp_path / name).write_text("<x/>")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.overviews(1) == [8], "GDAL's own ways would follow them"
    with file_server(tmp_path) as (web, requested):
        item, source = scene(web, f"{web}/a.tif", hosts=["127.0.0.1"]) if remote else scene(tmp_path, "a.tif")
        values, valid = read_bands(item, source, COARSE, "average")
        assert set(requested) <= {"/a.tif"}
    assert valid.all()
    assert np.abs(values - stored[:, :128, :128].reshape(3, 16, 8, 16, 8).mean((2, 4))).max() < 1


def test_a_redirect_of_a_file_to_another_host_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", picture())
    with file_server(tmp_path) as (inner, inside):
        elsewhere = inner.replace("127.0.0.1", "localhost")
        away = {"/b.tif": f"{elsewhere}/a.tif", "/c.tif": "/b.tif", "/d.tif": "file:///etc/passwd", "/e.tif": "/e.tif"}
        with file_server(tmp_path, away) as (web, _):
            for name, said in (
                ("b", "host 'localhost'"),
                ("c", "host 'localhost'"),
                ("d", "scheme 'file'"),
                ("e", "redirected more than"),
            ):
                item, source = scene(web, f"{web}/{name}.tif", hosts=["127.0.0.1"])
                with pytest.raises(ReadError, match=said):
                    read_bands(item, source, GEOBOX, "nearest")
        assert inside == []


def test_a_redirect_to_an_allowed_host_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", picture())
    with file_server(tmp_path) as (inner, _), file_server(tmp_path, {"/b.tif": f"{inner}/a.tif"}) as (web, requested):
        item, source = scene(web, f"{web}/b.tif", hosts=["127.0.0.1"])
        values, valid = read_bands(item, source, GEOBOX, "nearest")
        assert valid.all()
        assert (values == picture()[:, :8, :8]).all()
        first = requested.count("/b.tif")
        read_bands(item, source, GEOBOX, "nearest")
        assert requested.count("/b.tif") <= first + 1, "redirects of a file are checked once"


@pytest.mark.parametrize("link", ["http://localhost:{port}/search", "https://127.0.0.1:{port}/search", "file:///etc"])
def test_a_next_link_to_another_host_or_scheme_is_not_followed(link: str, tmp_path: Path) -> None:
    with stac_server([make_item("a")], tmp_path) as behind, fault_proxy(behind) as faults:
        port = faults.own.rpartition(":")[2]
        away = {"rel": "next", "method": "POST", "href": link.format(port=port), "body": {}}
        faults.page = lambda page: {**page, "links": [away]}
        with pytest.raises(CatalogError, match=r"not followed|cannot be queried"):
            search_items(make_source(faults.own), AREA, START, END, retry=RETRY.new(total=0))
        assert len(faults.searches) == 1


def test_no_token_is_requested_for_a_foreign_host(monkeypatch: pytest.MonkeyPatch) -> None:
    import planetary_computer

    requested: list[str] = []
    monkeypatch.setattr(planetary_computer, "sign_url", lambda url: requested.append(url) or url)
    source = load_source("planetary-computer-sentinel-2")
    for href in (
        "https://evil.blob.core.windows.net/sentinel2-l2/B04.tif",
        "https://sentinel2l2a01.blob.core.windows.net.evil.example/B04.tif",
        "https://evil.example/?u=https://sentinel2l2a01.blob.core.windows.net/B04.tif",
    ):
        item, _ = scene("https://catalog.example", href, asset="B04")
        with pytest.raises(ReadError, match="allows sentinel2l2a01"):
            read_bands(item, source, GEOBOX, "nearest")
    assert requested == []


def test_a_login_is_not_sent_where_a_redirect_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password SECRET\nmachine 127.0.0.1 login me password SECRET\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with stac_server([make_item("a")], tmp_path) as behind, fault_proxy(behind) as faults:
        faults.failing = [307]
        faults.headers = {"location": faults.own.replace("127.0.0.1", "localhost") + "/search"}
        with pytest.raises(CatalogError, match="sends us to 'localhost") as reported:
            search_items(make_source(faults.own), AREA, START, END, retry=RETRY.new(total=0))
        assert "SECRET" not in str(reported.value)
        assert len(faults.searches) == 1


SCRIPT = '<script>alert("x")</script>[click](javascript:alert(1))![](https://evil.example/p.png)|`[red]`'


def test_an_id_with_a_script_is_escaped_wherever_it_is_shown(tmp_path: Path) -> None:
    record = make_item(SCRIPT.replace("//", ":"), host="https://evil.example")
    ((name, said),) = searched(tmp_path / "catalog", record).dropped
    assert name.startswith("<script>")
    text = f"item {SCRIPT}, asset red: {said}\nnext \x1b[31mline"
    report = Report("r", "p", {"done": 1}, {"done": 1}, {"done": 1}, {}, 0, {}, (text,))
    shown = report_markdown(report)
    (line,) = [line for line in shown.splitlines() if "script" in line]
    for forbidden in ("<script", "](", "![", "`", "[red]", "\x1b"):
        assert forbidden not in line
    assert line.count("|") == 3
    assert "&#60;script&#62;" in line
    console = Console(record=True, width=300, force_terminal=False)
    print_report(report, console)
    printed = console.export_text()
    assert '<script>alert("x")</script>[click]' in printed
    assert "next ?[31mline" in printed
    assert "\x1b" not in printed


def test_a_record_that_is_no_object_is_reported() -> None:
    for record in (None, [], "text", 7, {"id": None}, {"id": {"a": 1}, "type": "Feature"}):
        bad = read_item(record)
        assert isinstance(bad, BadItem)
        assert "is no STAC item" in bad.reason
