"""State of a worker's whole process, set in one place by every function that runs on a worker.

A worker is started in several ways: forked or spawned by Dask, as a thread of the run's own process, or by somebody
else on another machine. Only what runs on it is ours in all cases, so each such function begins with `set_up_worker`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from catalogs.read.file_limits import ignore_missing_georeference
from dsdit.malloc import keep_freed_memory
from dsdit.store.arrays import arrays_of
from dsdit.store.options import use_storage

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""One thread a process: OpenMP barriers of several processes would spin against each other."""
_DASK_LOGGERS = ("", ".worker", ".scheduler", ".nanny", ".core")


@contextmanager
def set_up_worker(storage: Mapping[str, Any] | None = None, run: str = "") -> Iterator[None]:
    """Prepares this process for a step or another call of a run; cheap from the second time on.

    Args:
        storage: what object stores get with each request, see `dsdit.store.options`; None for nothing.
        run: id of the run. Within the block open arrays are cached for it alone.
    """
    _set_up_process()
    use_storage(storage or {})
    with arrays_of(run):
        yield


@cache
def _set_up_process() -> None:
    """What is set once: memory that is kept for reuse, threads, log levels and warnings."""
    keep_freed_memory()
    limit_threads()
    quiet_dask()
    ignore_missing_georeference()


def limit_threads() -> None:
    """One thread for each library that reads its number of threads later, in this process and those that it starts."""
    os.environ.update(ONE_THREAD)


def quiet_dask() -> None:
    """Sets Dask's loggers to errors; Prefect sets them to INFO when it is imported."""
    for name in _DASK_LOGGERS:
        logging.getLogger(f"distributed{name}").setLevel(logging.ERROR)
