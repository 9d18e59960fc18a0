"""A worker that Dask started reuses the memory of its arrays."""

from __future__ import annotations

import resource

import numpy as np
import pytest
from distributed import Client, LocalCluster

from dsdit.malloc import keep_freed_memory

ARRAYS, BYTES = 200, 2 * 2**20


def new_pages(reuse: bool) -> int:
    """Pages that the kernel gave for arrays that were allocated one after the other, each freed before the next."""
    if reuse and not keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    np.ones(BYTES, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ARRAYS):
        np.ones(BYTES, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_worker_reuses_the_pages_of_its_arrays() -> None:
    pages = BYTES // resource.getpagesize()
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert client.submit(new_pages, False, pure=False).result() > ARRAYS * pages / 4
        assert client.submit(new_pages, True, pure=False).result() < 4 * pages
