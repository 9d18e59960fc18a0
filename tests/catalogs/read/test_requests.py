"""Requests of a read: few for a window, the files of an item side by side, logins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from catalogs.item import SceneItem
from catalogs.read import opening
from catalogs.read.scene import read_bands, read_scene
from catalogs.source import Source
from dsdit.bands import BANDS
from tests.benchmarks.waiting_files import waiting_server
from tests.catalogs.read.test_opening import in_three_files
from tests.catalogs.read.test_scene import ORIGIN, UTM, scene, write
from tests.support.web import Files, Requested, file_server, serving

SIDE = 512


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No file is open from another test."""
    opening._POOL.close()
    yield
    opening._POOL.close()


def noise(count: int = 3) -> NDArray[np.uint16]:
    return np.random.default_rng(2).integers(1, 60_000, (count, SIDE, SIDE)).astype(np.uint16)


def test_blocks_of_a_window_come_in_few_requests(tmp_path: Path) -> None:
    """16 blocks of 128 px, and 4 of them in the window: one request for the head, one for each band's rows at most."""
    write(tmp_path / "a.tif", noise(), blockxsize=128, blockysize=128, interleave="pixel")
    with file_server(tmp_path) as (web, requested):
        item = scene(web, f"{web}/a.tif", hosts=["127.0.0.1"])
        read_bands(*item, GeoBox((8, 8), ORIGIN, UTM), "nearest")
        before = len(requested)
        read_bands(*item, GeoBox((256, 256), ORIGIN @ ORIGIN.translation(256, 256), UTM), "nearest")
        assert 1 <= len(requested) - before <= 5


class _Together(Files):
    """Holds the first answer with pixels of each file back until all files were requested."""

    def __init__(self, *args: Any, gate: threading.Barrier, seen: set[str], **more: Any) -> None:
        self.gate, self.seen = gate, seen
        super().__init__(*args, **more)

    def do_GET(self) -> None:
        first = self.headers.get("range", "").removeprefix("bytes=").partition("-")[0]
        if int(first or 0) > 0 and self.path not in self.seen:
            self.seen.add(self.path)
            self.gate.wait(20)
        super().do_GET()


def test_the_files_of_an_item_are_read_side_by_side(tmp_path: Path) -> None:
    """One after another they would wait for each other for ever."""
    item, source = in_three_files(tmp_path, noise())
    gate, seen = threading.Barrier(len(BANDS)), set[str]()
    handler = partial(
        _Together, gate=gate, seen=seen, requested=Requested(), redirects={}, faults=[], directory=str(tmp_path)
    )
    box = GeoBox((SIDE, SIDE), ORIGIN, UTM)
    here, _, _ = read_scene(item, source, box, "nearest")
    with serving(handler) as web:
        hrefs = {name: f"{web}/{href}" for name, href in item.hrefs.items()}
        (tmp_path / "scl.tif").rename(tmp_path / "mask.tif")
        away = SceneItem.from_dict(item.to_dict() | {"hrefs": hrefs})
        remote = Source.model_validate(
            source.model_dump() | {"endpoint": web, "hosts": ["127.0.0.1"], "mask": {"kind": "none"}}
        )
        there, _, _ = read_scene(away, remote, box, "nearest")
    assert seen == {f"/{name}.tif" for name in BANDS}
    assert not gate.broken
    assert np.isfinite(there).all()
    assert (there == here)[:, np.isfinite(here[0])].all()


class _Store(Files):
    """Notes the headers of each request."""

    def __init__(self, *args: Any, headers_of: list[dict[str, str]], **more: Any) -> None:
        self.headers_of = headers_of
        super().__init__(*args, **more)

    def do_GET(self) -> None:
        self.headers_of.append({key.lower(): value for key, value in self.headers.items()})
        super().do_GET()


@pytest.mark.parametrize(
    ("changes", "signed", "payer"),
    [({}, False, None), ({"signing": "aws"}, True, None), ({"requester_pays": True}, True, "requester")],
)
def test_what_a_source_says_of_logins_reaches_the_object_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], signed: bool, payer: str | None
) -> None:
    """An open bucket is read without the environment's login."""
    bucket = f"bucket{len(str(changes))}"
    (tmp_path / bucket).mkdir()
    stored = noise()
    write(tmp_path / bucket / "a.tif", stored)
    reported: list[dict[str, str]] = []
    handler = partial(
        _Store, headers_of=reported, requested=Requested(), redirects={}, faults=[], directory=str(tmp_path)
    )
    with serving(handler) as web:
        place = {"AWS_S3_ENDPOINT": web.removeprefix("http://"), "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
        login = {"AWS_ACCESS_KEY_ID": "AKIAOFTHETESTS", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_REGION": "us-east-1"}
        for key, value in (place | login).items():
            monkeypatch.setenv(key, value)
        item, source = scene(web, f"s3://{bucket}/a.tif", schemes=["s3", "http"], hosts=[bucket], **changes)
        values, _ = read_bands(item, source, GeoBox((40, 60), ORIGIN, UTM), "nearest")
    np.testing.assert_array_equal(values, stored[:, :40, :60])
    assert reported
    assert {"authorization" in headers for headers in reported} == {signed}
    assert {headers.get("x-amz-request-payer") for headers in reported} == {payer}


@pytest.mark.parametrize("resampling", ["average", "nearest"])
def test_a_coarse_read_takes_overviews_and_leaves_the_rest_of_the_file(tmp_path: Path, resampling: str) -> None:
    """The same picture without them is read whole."""
    stored = np.random.default_rng(1).integers(1000, 3000, (3, 1500, 1800)).astype(np.uint16)
    place = {"crs": UTM, "transform": ORIGIN, "count": 3, "height": 1500, "width": 1800, "dtype": "uint16"}
    for name, overviews in (("with", "AUTO"), ("without", "NONE")):
        options = {"driver": "COG", "blocksize": 256, "compress": "deflate", "overviews": overviews}
        with rasterio.open(tmp_path / f"{name}.tif", "w", **place, **options) as file:
            file.write(stored)
    coarse = GeoBox((140, 170), ORIGIN @ ORIGIN.scale(10.5), UTM)
    with waiting_server(tmp_path, 0.0) as web:
        pictures = {}
        for name in ("with", "without"):
            item = scene(web, f"{web}/{name}/{name}.tif", hosts=["127.0.0.1"])
            pictures[name], valid = read_bands(*item, coarse, resampling)
            assert valid.mean() > 0.9
        sent = requests.get(f"{web}/sent", timeout=10).json()
    share = {name: sent[name] / (tmp_path / f"{name}.tif").stat().st_size for name in pictures}
    print(f"{resampling}: {share['with']:.1%} of the file with overviews, {share['without']:.1%} without")
    assert share["with"] < 0.15
    assert share["without"] > 0.9
    if resampling != "nearest":
        assert np.nanmax(np.abs(pictures["with"] - pictures["without"])) < 150
