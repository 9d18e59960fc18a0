"""Python's garbage collector in a process that runs for hours: objects that stay for the whole run are frozen."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Hides all objects that exist now from the collector of cycles, while the block runs.

    Torch, Prefect, Dask and the plan are some 300,000 objects and more. Each full collection would stop all threads for
    a quarter of a second to look at them, Dask's event loop too.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
