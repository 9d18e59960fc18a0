"""Servers that refuse HEAD, serve no ranges, or write http into the links of an https catalog."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter

from catalogs.allowed import followed_href, same_host
from catalogs.read.scene import read_bands
from catalogs.search.http import RETRY, OwnHostSession
from dsdit.errors import CatalogError, ReadError
from tests.support.field import flat, geobox, item_of, one_scene, write_tif


@contextmanager
def server(content: bytes, head: int, ranges: bool, get: int = 200) -> Iterator[str]:
    """A server that answers HEAD with a status, and GET with the content, or a range of it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

        def do_HEAD(self) -> None:
            self.send_response(head)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            found = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            body, status = content, get
            if found and ranges and get == 200:
                first, last = int(found[1]), min(int(found[2]), len(content) - 1)
                body, status = content[first : last + 1], 206
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/image.tif"
        web.shutdown()


def content_of(folder: Path) -> bytes:
    return write_tif(folder / "image.tif", flat(shape=(3, 256, 256)), tiled=True).read_bytes()


@pytest.mark.parametrize("head", [403, 404, 405, 501])
def test_a_server_that_refuses_head_and_serves_ranges_is_read(tmp_path: Path, head: int) -> None:
    with server(content_of(tmp_path), head, ranges=True) as url:
        item, source = one_scene(tmp_path / "catalog", item_of(hrefs={"image": url}), hosts=["127.0.0.1"])
        assert read_bands(item, source, geobox(), "nearest")[1].all()


def test_a_server_without_ranges_is_named_as_such(tmp_path: Path) -> None:
    with server(content_of(tmp_path), 200, ranges=False) as url:
        item, source = one_scene(tmp_path / "catalog", item_of(hrefs={"image": url}), hosts=["127.0.0.1"])
        with pytest.raises(ReadError, match=f"{url} is on a server without byte ranges"):
            read_bands(item, source, geobox(), "nearest")


def test_a_file_that_is_not_there_is_still_an_error(tmp_path: Path) -> None:
    with server(b"not found", 404, ranges=True, get=404) as url:
        item, source = one_scene(tmp_path / "catalog", item_of(hrefs={"image": url}), hosts=["127.0.0.1"])
        with pytest.raises(ReadError, match="404"):
            read_bands(item, source, geobox(), "nearest")


class Recorder(BaseAdapter):
    """Answers every request with one body, and records where it went."""

    def __init__(self, content: bytes = b"{}") -> None:
        super().__init__()
        self.content, self.urls = content, list[str | None]()

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.urls.append(request.url)
        answer = requests.Response()
        answer.status_code, answer._content, answer.url = 200, self.content, request.url or ""
        return answer

    def close(self) -> None:
        """Nothing is open."""


OWN = "https://stac.example/api"


@pytest.mark.parametrize("link", ["http://stac.example/api/search", "http://stac.example:80/api/search"])
def test_a_link_with_http_to_the_own_host_of_an_https_catalog_is_raised(link: str) -> None:
    """A proxy that ends TLS: the server behind it knows http alone. Nothing goes out without TLS."""
    assert same_host(urlsplit(link), urlsplit(OWN))
    assert followed_href(link, OWN, OWN) == "https://stac.example/api/search"
    recorder, session = Recorder(), OwnHostSession(OWN, RETRY)
    for scheme in ("https://", "http://"):
        session.mount(scheme, recorder)
    session.post(link, json={})
    assert recorder.urls == ["https://stac.example/api/search"]


@pytest.mark.parametrize("link", ["http://other.example/api", "http://stac.example:8080/api", "ftp://stac.example/api"])
def test_another_host_port_or_scheme_is_not_followed(link: str) -> None:
    with pytest.raises(CatalogError, match="leads to another host or scheme"):
        followed_href(link, OWN, OWN)


def test_an_answer_with_a_byte_order_mark_is_json() -> None:
    session = OwnHostSession(OWN, RETRY)
    session.mount("https://", Recorder(b"\xef\xbb\xbf" + b'{"type": "Catalog"}'))
    assert session.get(OWN).json() == {"type": "Catalog"}
