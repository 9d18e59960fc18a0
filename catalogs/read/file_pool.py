"""Pool of open files, since opening one costs requests.

A file is lent to one thread at a time. The least recently used is closed first, one on which a read failed is closed at
once, and none stays open for longer than `MAX_OPEN_S`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import rasterio

MAX_IDLE_FILES = 32
"""Most files that stay open in a process between reads."""
MAX_OPEN_S = 600.0
"""Longest time that a file stays open: the content at its URL may change."""


class _Idle(NamedTuple):
    key: Hashable
    opened_s: float
    file: rasterio.DatasetReader


class FilePool:
    """Open files of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []
        """Files not in use, the least recently used first."""

    @contextmanager
    def lend(
        self, key: Hashable, opening: Callable[[], rasterio.DatasetReader], only: str | None = None
    ) -> Iterator[rasterio.DatasetReader]:
        """A file of this key, from the pool or opened, for one reader; it returns to the pool unless the reader fails.

        With `only`, files of the key that were opened under another name are closed: their signature is refused.
        """
        own = self._taken(key, only) or _Idle(key, time.monotonic(), opening())
        try:
            yield own.file
        except BaseException:
            own.file.close()
            raise
        with self._lock:
            self._idle.append(own)
            surplus = self._idle[:-MAX_IDLE_FILES]
            self._idle = self._idle[-MAX_IDLE_FILES:]
        for old in surplus:
            old.file.close()

    def _taken(self, key: Hashable, only: str | None) -> _Idle | None:
        with self._lock:
            since = time.monotonic() - MAX_OPEN_S
            refused = [only is not None and one.key == key and one.file.name != only for one in self._idle]
            stale = [one for one, bad in zip(self._idle, refused, strict=True) if bad or one.opened_s < since]
            self._idle = [one for one in self._idle if one not in stale]
            found = next((one for one in reversed(self._idle) if one.key == key), None)
            if found is not None:
                self._idle.remove(found)
        for old in stale:
            old.file.close()
        return found

    def close(self) -> None:
        """Closes all files that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.file.close()
