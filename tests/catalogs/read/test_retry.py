"""Reads that fail for a moment are repeated with the file reopened; lasting failures are raised."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from catalogs.item import SceneItem
from catalogs.read import opening, retry
from catalogs.read.scene import read_bands
from catalogs.source import Source
from dsdit.errors import ReadError
from tests.catalogs.read.test_scene import ORIGIN, UTM, scene, write
from tests.support.web import CUT, file_server

CORNER = GeoBox((40, 60), ORIGIN, UTM)
WHOLE = GeoBox((700, 900), ORIGIN, UTM)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pauses as in use, but short; no file is open from another test."""
    opening._POOL.close()
    monkeypatch.setattr(opening, "PAUSES_S", tuple(0.01 for _ in retry.PAUSES_S))
    yield
    opening._POOL.close()


@pytest.fixture
def stored(tmp_path: Path) -> NDArray[np.uint16]:
    """Pixels of a.tif, whose blocks are as large as GDAL's requests at least."""
    values = np.random.default_rng(1).integers(0, 60_000, (3, 700, 900)).astype(np.uint16)
    write(tmp_path / "a.tif", values, blockxsize=256, blockysize=256)
    return values


def opened(web: str) -> tuple[SceneItem, Source]:
    """The scene of a.tif, its file open."""
    item, source = scene(web, f"{web}/a.tif", hosts=["127.0.0.1"])
    read_bands(item, source, CORNER, "nearest")
    return item, source


def test_an_answer_that_ends_early_is_requested_again(tmp_path: Path, stored: NDArray) -> None:
    faults: list[int | None] = []
    with file_server(tmp_path, faults=faults) as (web, _):
        item = opened(web)
        faults[:] = [CUT]
        values, valid = read_bands(*item, WHOLE, "nearest")
        assert faults == []
        assert valid.all()
        np.testing.assert_array_equal(values, stored)


def test_patience_with_answers_that_end_early_has_an_end(tmp_path: Path, stored: NDArray) -> None:
    faults: list[int | None] = []
    with file_server(tmp_path, faults=faults) as (web, _):
        item = opened(web)
        faults[:] = [CUT] * 1000
        with pytest.raises(ReadError, match=r"a-scene, asset image: Read failed.*IReadBlock failed"):
            read_bands(*item, WHOLE, "nearest")
        assert 3 <= 1000 - len(faults) <= 30
        faults.clear()
        np.testing.assert_array_equal(read_bands(*item, WHOLE, "nearest")[0], stored)


@pytest.mark.parametrize("at_open", [True, False])
def test_a_request_to_a_busy_file_server_is_repeated(tmp_path: Path, stored: NDArray, at_open: bool) -> None:
    faults: list[int | None] = []
    with file_server(tmp_path, faults=faults) as (web, _):
        item = scene(web, f"{web}/a.tif", hosts=["127.0.0.1"]) if at_open else opened(web)
        faults[:] = [503]
        values, _ = read_bands(*item, WHOLE, "nearest")
        assert faults == []
        np.testing.assert_array_equal(values, stored)


def test_lasting_failures_are_raised_at_once(tmp_path: Path, stored: NDArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: float) -> None:
        raise AssertionError("it waits")

    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(b"of another format" * 99)
    (tmp_path / "c.tif").write_bytes(content[:1_500_000] + b"\x13\xf7" * 200 + content[1_500_400:])
    with file_server(tmp_path) as (web, _):
        item = opened(web)
        monkeypatch.setattr(time, "sleep", refused)
        for name in ("b", "c", "none"):
            with pytest.raises(ReadError, match="a-scene, asset image"):
                read_bands(*scene(web, f"{web}/{name}.tif", hosts=["127.0.0.1"]), WHOLE, "nearest")
        (tmp_path / "a.tif").unlink()
        with pytest.raises(ReadError, match="a-scene, asset image"):
            read_bands(*item, WHOLE, "nearest")
    for path in (tmp_path / "c.tif", tmp_path / "short.tif"):
        path.write_bytes(content[:1_500_000])
        with pytest.raises(ReadError, match="a-scene, asset image"):
            read_bands(*scene(tmp_path, path.name), WHOLE, "nearest")
