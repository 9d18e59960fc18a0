"""A proxy before an object store that spoils a share of all requests: errors, resets, lost answers, slow ones."""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support.web import Quiet, serving

FAULTS = ("500", "503", "reset", "lost", "cut", "slow", "silent")
"""lost: done, but the answer does not arrive. cut: the answer ends in its middle. silent: no answer ever."""
SLOW_S, SILENT_S, READ_TIMEOUT_S = 0.5, 10.0, 2
CLIENT = {"FSSPEC_S3": json.dumps({"config_kwargs": {"read_timeout": READ_TIMEOUT_S}})}
"""Environment of a client that gives up on an answer before `SILENT_S`."""
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection", "expect"}


@contextmanager
def faulty_proxy(
    endpoint: str, share: float, seed: int, faults: tuple[str, ...] = FAULTS
) -> Iterator[tuple[str, Counter[str]]]:
    """(URL, requests by fault; "none" for those that went through) of a proxy to `endpoint`."""
    chance, lock, counts = random.Random(seed), threading.Lock(), Counter[str]()
    host = urlsplit(endpoint).netloc

    class Proxy(Quiet):
        protocol_version = "HTTP/1.1"
        timeout = 120

        def do_GET(self) -> None:
            with lock:
                fault = chance.choice(faults) if chance.random() < share else "none"
                counts[fault] += 1
            body = self._body()
            if fault in ("500", "503"):
                code = {"500": "InternalError", "503": "SlowDown"}[fault]
                self._answer(int(fault), {}, f"<Error><Code>{code}</Code></Error>".encode())
                return
            if fault == "silent":
                time.sleep(SILENT_S)
            if fault in ("reset", "silent"):
                self._reset()
                return
            if fault == "slow":
                time.sleep(SLOW_S)
            status, headers, answer = self._forward(body)
            if fault == "lost":
                self._reset()
            elif fault == "cut" and self.command == "GET" and len(answer) > 1:
                self._answer(status, headers, answer, len(answer) // 2)
                self._reset()
            else:
                self._answer(status, headers, answer)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def _body(self) -> bytes:
            if self.headers.get("expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                whole = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole
            return self.rfile.read(int(self.headers.get("content-length") or 0))

        def handle_expect_100(self) -> bool:
            return True

        def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            server = http.client.HTTPConnection(host, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in (*_HOP, "content-length")}
            server.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = server.getresponse()
            content = answer.read()
            server.close()
            return answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}, content

        def _answer(self, status: int, headers: dict[str, str], content: bytes, upto: int | None = None) -> None:
            self.send_response_only(status)
            if not any(name.lower() == "content-length" for name in headers):
                headers = {**headers, "Content-Length": str(len(content))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:upto])
                self.wfile.flush()

        def _reset(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    with serving(Proxy) as url:
        yield url, counts
