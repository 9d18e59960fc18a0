"""`python -m tests.benchmarks.waiting_files FOLDER SECONDS`: files over HTTP, every request after a wait.

In a process of its own: GDAL may send requests while it holds Python's lock, and would wait for ever for a server in
the same process. It prints its URL and serves until its input ends; `/requested` counts the requests of each first part
of a path, `/sent` the bytes sent for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.web import Quiet, serving


class Waiting(Quiet):
    """Files by ranges; every request waits first. The first part of a path only distinguishes readers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wait_s = 0.0

    def __init__(self, *args: Any, folder: Path, requested: Counter[str], sent: Counter[str], **more: Any) -> None:
        self.folder, self.requested, self.sent = folder, requested, sent
        super().__init__(*args, **more)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path in ("/requested", "/sent"):
            self.reply(200, json.dumps(self.requested if self.path == "/requested" else self.sent).encode())
            return
        time.sleep(self.wait_s)
        self.requested[self.path.split("/")[1]] += 1
        path = self.folder / self.path.rpartition("/")[2]
        if not path.is_file():
            self.reply(404)
            return
        size, span = path.stat().st_size, self.headers.get("range", "")
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, stop = int(first or 0), min(int(last or size), size - 1)
        body = b""
        if self.command == "GET":
            with path.open("rb") as file:
                file.seek(start)
                body = file.read(stop + 1 - start)
        self.sent[self.path.split("/")[1]] += len(body)
        ranges = {"content-range": f"bytes {start}-{stop}/{size}"} if span else {}
        self.reply(206 if span else 200, body, **{"content-length": str(stop + 1 - start), **ranges})


@contextmanager
def waiting_server(folder: Path, wait_s: float) -> Iterator[str]:
    """The URL of such a server, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.waiting_files", str(folder), str(wait_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def main(folder: str, wait_s: str) -> None:
    """Serves until standard input ends."""
    Waiting.wait_s = float(wait_s)
    with serving(partial(Waiting, folder=Path(folder), requested=Counter(), sent=Counter())) as url:
        print(url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
