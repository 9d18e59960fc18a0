"""Memory of a process that works in large arrays of a few sizes, again and again."""

from __future__ import annotations

import ctypes
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt, by their numbers in malloc.h."""
_KEEP_FREE = 256 * 2**20
"""Bytes at the top of the heap that are kept when they are freed."""
_LARGEST_IN_HEAP = 32 * 2**20
"""Arrays up to this many bytes come from the heap; glibc takes no more for an answer."""


@cache
def keep_freed_memory() -> bool:
    """Has the process keep what it frees for its next array; returns whether its C library can (glibc).

    Dask starts workers so that freed memory goes back to the system at once. An array is then made of new pages each
    time it is needed, zeroed by the kernel one after the other: half of a worker's time while it draws tiles.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEEP_FREE) and mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP))
