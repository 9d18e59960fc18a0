"""Locations for Zarr stores that have none: an open session of a repository gets a name like that of a folder.

Steps are given the location of a mosaic, never a store. Each mount has a unique location, so that arrays cached for an
earlier mount are never used for a later one; `dsdit.store.arrays` opens it like any other location.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MARK = "#"
_MOUNTS: dict[str, Any] = {}


@contextmanager
def mounted(url: str, store: Any) -> Iterator[str]:
    """Location of `store`, a Zarr store, in this process while the block runs; it begins with `url`."""
    place = f"{url}{_MARK}{uuid.uuid4().hex}"
    _MOUNTS[place] = store
    try:
        yield place
    finally:
        del _MOUNTS[place]


def find_mount(url: str) -> tuple[Any, str] | None:
    """(store, path in it) of a location that is mounted or below a mounted one; None for any other."""
    head, mark, tail = url.rpartition(_MARK)
    name, _, path = tail.partition("/")
    store = _MOUNTS.get(f"{head}{mark}{name}")
    return None if store is None else (store, path)
