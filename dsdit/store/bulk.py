"""Many small objects at once: read in parallel, and removed a thousand a request where the store can do that.

An object store takes tens of milliseconds a request, whatever the size of the object: one after the other, a
continent's receipts would take hours. Memory holds one block of objects.
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
"""Objects that are read before the first is yielded; also the most that S3 removes in one request."""
_REMOVALS = 4
"""Removing requests in parallel."""
_ATTEMPTS = 5
_PAUSE_S = 0.2


def read_objects(folder: str, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """(name, content) of objects below `folder`, in order; None for one that does not exist.

    Raises what a read raises.
    """
    fs, root = filesystem(folder)
    # Without this s3fs requests the size of each object before it reads it.
    whole: dict[str, Any] = {"max_concurrency": 1} if is_remote(folder) else {}
    for block in _blocks(names):
        contents = fs.cat_ranges([f"{root}/{name}" for name in block], None, None, on_error="return", **whole)
        for name, content in zip(block, contents, strict=True):
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise content
            yield name, None if isinstance(content, Exception) else content


def remove_objects(folder: str, names: Iterable[str]) -> None:
    """Removes objects below `folder`; silent for one that does not exist. Raises StoreError where one remains."""
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
    """Removes one block, and retries the objects that the response lists as errors: s3fs's own delete ignores those."""
    bucket = fs.split_path(paths[0])[0]
    keys = [fs.split_path(path)[1] for path in paths]
    for attempt in range(_ATTEMPTS):
        request = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        refused = fs.call_s3("delete_objects", Bucket=bucket, Delete=request).get("Errors", [])
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
