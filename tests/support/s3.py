"""A real S3 API on loopback: moto's server in a process of its own, and the environment that leads to it.

A request holds nothing of it: endpoint and credentials come from the environment, as at home.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import httpx
import s3fs
from fsspec.asyn import sync_wrapper

from tests.support.commands import free_port, started, wait_for

BUCKET = "bucket"
KEY, SECRET = "AKIAOFTHETESTS", "a-secret-of-the-tests"


class S3:
    """The server's state, as the tests read it."""

    def __init__(self, endpoint: str, log: Path) -> None:
        self.endpoint = endpoint
        self._log = log
        self.client = boto3.client("s3")

    def objects(self, prefix: str = "") -> dict[str, tuple[str, str]]:
        """Key -> (time of writing, ETag) of the objects below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {o["Key"]: (str(o["LastModified"]), o["ETag"]) for page in pages for o in page.get("Contents", [])}

    def requests(self, part: str = "") -> list[str]:
        """Method and path of the requests so far whose path holds `part`."""
        found = re.findall(r'"((?:GET|PUT|HEAD|POST|DELETE) \S+)', self._log.read_text())
        return [line for line in found if part in line]

    def read(self, key: str) -> bytes:
        """Content of an object."""
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def write_folder(self, folder: Path, prefix: str) -> None:
        """Puts all files of a folder below a prefix."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())


@contextmanager
def s3_server(log: Path) -> Iterator[S3]:
    """A server with one bucket; this process and those it starts find it by their environment."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    place = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_S3_ENDPOINT": f"127.0.0.1:{port}",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with started(command, dict(os.environ), log), patch.dict(os.environ, place):
        wait_for(lambda: _answers(endpoint), 60, "the S3 server answers")
        s3fs.S3FileSystem.clear_instance_cache()
        server = S3(endpoint, log)
        server.client.create_bucket(Bucket=BUCKET)
        yield server
        s3fs.S3FileSystem.clear_instance_cache()


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(f"{endpoint}/moto-api/data.json", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def counted_requests() -> Iterator[Counter[str]]:
    """Requests that s3fs makes meanwhile, by the operation of the API; "at once" is the most of them in flight."""
    counts, call, flying = Counter[str](), s3fs.S3FileSystem._call_s3, 0

    async def counting(self: s3fs.S3FileSystem, method: str, *arguments: Any, **more: Any) -> Any:
        nonlocal flying
        counts[method] += 1
        flying += 1
        counts["at once"] = max(counts["at once"], flying)
        try:
            return await call(self, method, *arguments, **more)
        finally:
            flying -= 1

    with (
        patch.object(s3fs.S3FileSystem, "_call_s3", counting),
        patch.object(s3fs.S3FileSystem, "call_s3", sync_wrapper(counting)),
    ):
        yield counts
