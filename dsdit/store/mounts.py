"""Locations for Zarr stores that have none: a session of a repository can be named like a folder while it is open.

Steps know a mosaic by its location alone. What is mounted gets a location of its own, so that whoever opened it before
or holds another one beside it never meets it; `dsdit.store.objects` opens it like any other.
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
    """Location at which this process finds `store`, a Zarr store, while the block runs; it begins as `url`."""
    place = f"{url}{_MARK}{uuid.uuid4().hex}"
    _MOUNTS[place] = store
    try:
        yield place
    finally:
        del _MOUNTS[place]


def find_mount(url: str) -> tuple[Any, str] | None:
    """(store, path in it) of a location that is mounted or lies below one; None where there is none."""
    head, mark, tail = url.rpartition(_MARK)
    name, _, path = tail.partition("/")
    store = _MOUNTS.get(f"{head}{mark}{name}")
    return None if store is None else (store, path)
