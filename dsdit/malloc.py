"""Allocator settings for a process that allocates large arrays of a few sizes again and again."""

from __future__ import annotations

import ctypes
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt, by their numbers in malloc.h."""
_KEEP_FREE = 256 * 2**20
"""Bytes at the top of the heap that stay with the process when they are freed."""
_LARGEST_IN_HEAP = 32 * 2**20
"""Arrays up to this many bytes come from the heap; glibc allows no more."""


@cache
def keep_freed_memory() -> bool:
    """Makes the process reuse the memory that it frees; returns whether its C library can do so (glibc).

    Dask starts workers so that freed memory goes back to the system at once. Each array then gets new pages, zeroed by
    the kernel one after the other: half of a worker's time while it samples tiles.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEEP_FREE) and mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP))
