"""Many small objects at once: read side by side, and removed a thousand a request where the store can.

An object store takes tens of milliseconds a request, whatever is in it: one after the other, a continent's receipts
would take a night. Nothing is kept but one block.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any

from dsdit.errors import StoreError
from dsdit.store.objects import filesystem, is_remote

BLOCK = 1000
"""Objects that are read before the first is given; also what S3 removes in one request at most."""
_REMOVALS = 4
"""Requests that remove at once."""
_ATTEMPTS = 5
_PAUSE_S = 0.2


def read_objects(folder: str, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """(name, content) of objects below `folder`, in order; None where one is not there. Raises what a read raises."""
    fs, root = filesystem(folder)
    # Without it s3fs asks for the size of each object before it reads it.
    whole: dict[str, Any] = {"max_concurrency": 1} if is_remote(folder) else {}
    for block in _blocks(names):
        contents = fs.cat_ranges([f"{root}/{name}" for name in block], None, None, on_error="return", **whole)
        for name, content in zip(block, contents, strict=True):
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise content
            yield name, None if isinstance(content, Exception) else content


def remove_objects(folder: str, names: Iterable[str]) -> None:
    """Removes objects below `folder`; silent where one is not there. Raises StoreError where one stays."""
    fs, root = filesystem(folder)
    blocks = [[f"{root}/{name}" for name in block] for block in _blocks(names)]
    if not is_remote(folder):
        for path in (path for block in blocks for path in block):
            with suppress(FileNotFoundError):
                fs.rm_file(path)
    elif len(blocks) == 1:
        _remove_block(fs, blocks[0])
    elif blocks:
        with ThreadPoolExecutor(_REMOVALS, thread_name_prefix="remove") as pool:
            list(pool.map(lambda block: _remove_block(fs, block), blocks))


def _remove_block(fs: Any, paths: list[str]) -> None:
    """One request, and another for what its answer says was not removed: s3fs's own bulk delete drops that answer."""
    bucket = fs.split_path(paths[0])[0]
    keys = [fs.split_path(path)[1] for path in paths]
    for attempt in range(_ATTEMPTS):
        asked = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        refused = fs.call_s3("delete_objects", Bucket=bucket, Delete=asked).get("Errors", [])
        if not refused:
            return
        keys = [error["Key"] for error in refused]
        if attempt + 1 < _ATTEMPTS:
            time.sleep(_PAUSE_S * 2**attempt)
    reason = f"{refused[0].get('Code')}: {refused[0].get('Message')}"
    raise StoreError(f"{len(keys)} objects could not be removed, the first s3://{bucket}/{keys[0]} ({reason})")


def _blocks(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while block := list(islice(rest, BLOCK)):
        yield block
