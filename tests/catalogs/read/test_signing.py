"""A refused signature is renewed once; a second refusal is an error that names item and asset."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import planetary_computer
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from planetary_computer.sas import TOKEN_CACHE
from planetary_computer.settings import Settings

from catalogs.read.opening import with_file
from catalogs.read.scene import read_bands
from catalogs.read.signing import signed
from dsdit.errors import ReadError
from tests.catalogs.read.test_scene import ORIGIN, UTM, picture, scene, write
from tests.support.stac import make_source
from tests.support.web import Quiet, file_server, serving

BOX = GeoBox((40, 60), ORIGIN, UTM)


class Gate:
    """A file server that accepts only one signature, and its requests."""

    def __init__(self) -> None:
        self.good, self.status = 1, 403
        self.requested: list[tuple[str, int]] = []
        """(signature, status) of every request."""


class _Guarded(Quiet):
    def __init__(self, *args: Any, gate: Gate, folder: Path, **more: Any) -> None:
        self.gate, self.folder = gate, folder
        super().__init__(*args, **more)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        (mine,) = parse_qs(parts.query).get("sig", [""])
        span = self.headers.get("range", "")
        status = (206 if span else 200) if mine == str(self.gate.good) else self.gate.status
        self.gate.requested.append((mine, status))
        if status >= 400:
            self.reply(status)
            return
        content = (self.folder / parts.path.lstrip("/")).read_bytes()
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, stop = int(first or 0), min(int(last or len(content)), len(content) - 1)
        body = content[start : stop + 1] if self.command == "GET" else b""
        ranges = {"content-range": f"bytes {start}-{stop}/{len(content)}"} if span else {}
        self.reply(status, body, **{"content-length": str(stop + 1 - start), **ranges})


@contextmanager
def guarded(folder: Path) -> Iterator[tuple[str, Gate]]:
    gate = Gate()
    with serving(partial(_Guarded, gate=gate, folder=folder)) as url:
        yield url, gate


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Signs URLs of this machine as Planetary Computer's client does, by a token that it keeps; the tokens given."""
    given: list[int] = []

    def sign(url: str) -> str:
        if "own" not in TOKEN_CACHE:
            given.append(len(given) + 1)
            TOKEN_CACHE["own"] = given[-1]
        return f"{url}?sig={TOKEN_CACHE['own']}"

    TOKEN_CACHE.clear()
    monkeypatch.setattr(planetary_computer, "sign_url", sign)
    yield given
    TOKEN_CACHE.clear()


def signed_scene(url: str, name: str = "a.tif") -> Any:
    return scene(url, f"{url}/{name}", hosts=["127.0.0.1"], signing="planetary-computer")


@pytest.mark.parametrize("status", [401, 403])
def test_a_signature_that_ran_out_is_made_anew_while_the_file_is_open(
    tmp_path: Path, tokens: list[int], status: int
) -> None:
    stored = picture(800, 900)
    write(tmp_path / "a.tif", stored)
    with guarded(tmp_path) as (url, gate):
        gate.status = status
        read_bands(*signed_scene(url), BOX, "nearest")
        assert tokens == [1]
        gate.good = 2
        far = GeoBox((40, 60), ORIGIN @ ORIGIN.translation(700, 700), UTM)
        values, valid = read_bands(*signed_scene(url), far, "nearest")
        assert tokens == [1, 2]
        assert ("1", status) in gate.requested
    assert valid.all()
    np.testing.assert_array_equal(values, stored[:, 700:740, 700:760])


@pytest.mark.parametrize("copies", [2, 3])
def test_all_that_were_opened_by_a_signature_that_ran_out_are_given_up(
    tmp_path: Path, tokens: list[int], copies: int
) -> None:
    """A file that several readers had open at once is kept so many times."""
    stored = picture(800, 900)
    write(tmp_path / "a.tif", stored)
    with guarded(tmp_path) as (url, gate):
        together = threading.Barrier(copies)

        def read(file: rasterio.DatasetReader) -> str:
            together.wait(60)
            return str(file.name)

        with ThreadPoolExecutor(copies) as readers:
            names = list(readers.map(lambda _: with_file(*signed_scene(url), "image", read), range(copies)))
        assert names == [f"{url}/a.tif?sig=1"] * copies
        gate.good = 2
        far = GeoBox((40, 60), ORIGIN @ ORIGIN.translation(700, 700), UTM)
        values, _ = read_bands(*signed_scene(url), far, "nearest")
        assert tokens == [1, 2]
        gate.requested.clear()
        read_bands(*signed_scene(url), GeoBox((40, 60), ORIGIN @ ORIGIN.translation(300, 300), UTM), "nearest")
        assert {mine for mine, _ in gate.requested} <= {"2"}
    np.testing.assert_array_equal(values, stored[:, 700:740, 700:760])


def test_a_signature_refused_at_once_is_made_anew(tmp_path: Path, tokens: list[int]) -> None:
    stored = picture()
    write(tmp_path / "a.tif", stored)
    with guarded(tmp_path) as (url, gate):
        gate.good = 2
        values, _ = read_bands(*signed_scene(url), BOX, "nearest")
        assert tokens == [1, 2]
    np.testing.assert_array_equal(values, stored[:, :40, :60])


def test_a_second_refusal_is_an_error_without_the_signature(tmp_path: Path, tokens: list[int]) -> None:
    write(tmp_path / "a.tif", picture())
    with guarded(tmp_path) as (url, gate):
        gate.good = 9
        with pytest.raises(ReadError, match=r"item a-scene, asset image: .*403") as reported:
            read_bands(*signed_scene(url), BOX, "nearest")
        assert tokens == [1, 2], "tried once more, and no more"
        assert {mine for mine, _ in gate.requested} == {"1", "2"}
    assert "sig=" not in str(reported.value)


def test_a_file_that_is_missing_costs_no_token(tmp_path: Path, tokens: list[int]) -> None:
    with file_server(tmp_path) as (url, _):
        with pytest.raises(ReadError, match="item a-scene, asset image"):
            read_bands(*signed_scene(url), BOX, "nearest")
        assert tokens == [1]


def test_the_real_client_requests_a_new_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    class Tokens(Quiet):
        def do_GET(self) -> None:
            given.append(self.path)
            record = {"msft:expiry": "2099-01-01T00:00:00Z", "token": f"sig={len(given)}"}
            self.reply(200, json.dumps(record).encode())

    source = make_source("https://catalog.example", signing="planetary-computer")
    href = "https://account.blob.core.windows.net/scenes/a.tif"
    sign: Callable[..., str] = partial(signed, href, source)
    with serving(Tokens) as url:
        monkeypatch.setattr(Settings.get(), "sas_url", f"{url}/token")
        TOKEN_CACHE.clear()
        first = sign()
        assert first == sign() == f"{href}?sig=1"
        second = sign(refused=first)
        assert second == sign() == f"{href}?sig=2"
        assert sign(refused=first) == second, "another reader has a fresh token by now"
        assert given == ["/token/account/scenes"] * 2
    TOKEN_CACHE.clear()
