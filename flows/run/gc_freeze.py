"""Python's heap in a process that runs for hours: what stays for the run is not looked through again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled_heap() -> Iterator[None]:
    """Until its end Python's collector of cycles leaves alone what is there at its start.

    Torch, Prefect, Dask and the plan are some 300,000 objects and more; each full collection stops all threads for a
    quarter of a second to look at them, Dask's event loop too.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
