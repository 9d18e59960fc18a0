"""Servers on this machine: files by ranges, a STAC API, and a proxy before it that puts faults in."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of `handler` on 127.0.0.1, as a URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Quiet(BaseHTTPRequestHandler):
    """A handler without a log."""

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Requested(list[str]):
    """Paths that were requested from a server."""

    sent_bytes = 0
    """Bytes of the bodies that it sent."""


SOUND, CUT = 200, None
"""Faults of an answer: none, and a body that ends before its stated length."""


class Files(Quiet, SimpleHTTPRequestHandler):
    """Files by ranges; `requested` collects the paths, `redirects` maps paths to other URLs.

    `faults` are the next responses to requests of more than one byte: a status, or CUT for a body that ends early.
    """

    def __init__(
        self, *args: Any, requested: Requested, redirects: dict[str, str], faults: list[int | None], **more: Any
    ) -> None:
        self.requested, self.redirects, self.faults = requested, redirects, faults
        super().__init__(*args, **more)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.requested.append(self.path)
        if self.path in self.redirects:
            self.reply(302, location=self.redirects[self.path])
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.reply(404)
            return
        content, span = path.read_bytes(), self.headers.get("range", "")
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, stop = int(first or 0), min(int(last or len(content)), len(content) - 1)
        ranges = {"content-range": f"bytes {start}-{stop}/{len(content)}"} if span else {}
        body = content[start : stop + 1] if self.command == "GET" else b""
        fault = self.faults.pop(0) if self.faults and len(body) > 1 else SOUND
        if fault is CUT:
            body, self.close_connection = body[: len(body) // 2], True
        elif fault != SOUND:
            self.reply(fault)
            return
        self.requested.sent_bytes += len(body)
        self.reply(206 if span else 200, body, **{"content-length": str(stop + 1 - start), **ranges})


@contextmanager
def file_server(
    folder: Path, redirects: dict[str, str] | None = None, faults: list[int | None] | None = None
) -> Iterator[tuple[str, Requested]]:
    """(URL, paths that were requested) of a server of the files below `folder`; see `Files`."""
    requested = Requested()
    faults = [] if faults is None else faults
    handler = partial(Files, requested=requested, redirects=redirects or {}, faults=faults, directory=str(folder))
    with serving(handler) as url:
        yield url, requested


@contextmanager
def stac_server(items: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    """A STAC API of these items."""
    path = folder / "served.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [str(Path(sys.executable).parent / "rustac"), "serve", "--create-collections", "--addr", place, str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(100):
                try:
                    requests.get(f"http://{place}", timeout=1)
                    break
                except requests.ConnectionError:
                    assert process.poll() is None, "the server did not start"
                    time.sleep(0.1)
            yield f"http://{place}"
        finally:
            process.terminate()


class Faults:
    """What a proxy does to the requests and answers of a STAC API behind it."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.own = ""
        """URL of the proxy."""
        self.failing: list[int] = []
        """Statuses of the next searches, instead of an answer."""
        self.headers: dict[str, str] = {}
        """Headers of such an answer."""
        self.slow: list[float] = []
        """Seconds that the next searches take before they are answered."""
        self.broken: list[float] = []
        """Of the next answers: half of each comes, and after so many seconds the connection is closed."""
        self.conforms: Callable[[list[str]], list[str]] = lambda known: known
        """Changes the conformance."""
        self.page: Callable[[dict[str, Any]], dict[str, Any]] = lambda page: page
        """Changes a page of an answer."""
        self.searches: list[dict[str, Any]] = []
        """Bodies of the searches."""
        self.gets: list[dict[str, str]] = []
        """Queries of the searches by GET."""
        self.refused: Callable[[dict[str, str]], int] = lambda query: 200
        """Status of a search by GET."""
        self.get_only = False
        """Whether searches by POST are answered with 405."""
        self.landing: Callable[[dict[str, Any]], dict[str, Any]] = lambda record: record
        """Changes the landing page."""


class _Proxy(Quiet):
    def __init__(self, *args: Any, faults: Faults, **more: Any) -> None:
        self.faults = faults
        super().__init__(*args, **more)

    def do_GET(self) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query))
        if (status := self.faults.refused(query)) != 200:
            self.reply(status)
            return
        if self.path.startswith("/search"):
            self.faults.gets.append(query)
            self.reply(200, json.dumps(self.search(query)).encode(), content_type="application/json")
            return
        answer = requests.get(self.faults.behind + self.path, timeout=30).text
        record = json.loads(answer.replace(self.faults.behind, self.faults.own))
        if "conformsTo" in record:
            record["conformsTo"] = self.faults.conforms(record["conformsTo"])
        if self.path in ("", "/"):
            record = self.faults.landing(record)
        self.reply(200, json.dumps(record).encode(), content_type="application/json")

    def search(self, query: dict[str, str]) -> dict[str, Any]:
        """A page for a search by GET, fetched by POST from the server behind; filters are not passed on."""
        readers: dict[str, Callable[[str], Any]] = {
            "collections": lambda text: text.split(","), "intersects": json.loads, "limit": int,
            "skip": int, "datetime": str,
        }  # fmt: skip
        requested = {key: read(query[key]) for key, read in readers.items() if key in query}
        answer = requests.post(f"{self.faults.behind}/search", json=requested, timeout=30).text
        page = json.loads(answer.replace(self.faults.behind, self.faults.own))
        for link in page["links"]:
            if link["rel"] == "next":
                more = {"skip": link.pop("body")["skip"]}
                link |= {"method": "GET", "href": f"{self.faults.own}/search?{urlencode(query | more)}"}
        return self.faults.page(page)

    def do_POST(self) -> None:
        faults = self.faults
        requested = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        faults.searches.append(requested)
        if faults.get_only:
            self.reply(405)
            return
        if faults.failing:
            self.reply(faults.failing.pop(0), b"", **faults.headers)
            return
        if faults.slow:
            time.sleep(faults.slow.pop(0))
        answer = requests.post(faults.behind + self.path, json=requested, timeout=30).text
        page = faults.page(json.loads(answer.replace(faults.behind, faults.own)))
        with_body = json.dumps(page).encode()
        try:
            if faults.broken:
                half = with_body[: len(with_body) // 2]
                self.reply(200, half, **{"content-type": "application/json", "content-length": str(len(with_body))})
                self.wfile.flush()
                time.sleep(faults.broken.pop(0))
                self.close_connection = True
                return
            self.reply(200, with_body, content_type="application/json")
        except (BrokenPipeError, ConnectionResetError):
            return


@contextmanager
def fault_proxy(behind: str) -> Iterator[Faults]:
    """A proxy before a STAC API; its faults can be changed while it runs."""
    faults = Faults(behind)
    with serving(partial(_Proxy, faults=faults)) as url:
        faults.own = url
        yield faults
