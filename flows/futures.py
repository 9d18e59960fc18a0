"""Futures of a run on Dask: a bounded number is alive at a time, and results of many are fetched at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, as_completed

DASK_RETRIES = 2
"""Times that Dask gives a raised step to a worker again."""
_COUNT_WORKERS_S = 1.0
"""How often the scheduler is asked for its workers."""
T = TypeVar("T")
R = TypeVar("R")


class Bound:
    """How many futures may be alive: so many a worker, of those that are there by now."""

    def __init__(self, client: Client, per_worker: int) -> None:
        self._client, self._per_worker = client, per_worker
        self._counted, self._most = float("-inf"), 0

    def most(self) -> int:
        """The bound at this moment."""
        if time.monotonic() - self._counted > _COUNT_WORKERS_S:
            self._most = self._per_worker * max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))
            self._counted = time.monotonic()
        return self._most


def gathered(client: Client, futures: list[Any]) -> list[tuple[Any, Any]]:
    """Each future with its result, or with the error that it ended in."""
    finished = [future for future in futures if future.status == "finished"]
    found: dict[Any, Any] = {}
    try:
        found = dict(zip((f.key for f in finished), client.gather(finished), strict=True))
    except Exception:  # noqa: BLE001 - one that was lost and failed again: each is asked for itself
        found = {}
    return [(future, found[future.key] if future.key in found else _ended(future)) for future in futures]


def _ended(future: Any) -> Any:
    try:
        return future.result()
    except CancelledError:  # the scheduler is gone, and with it the run
        raise
    except Exception as error:  # noqa: BLE001 - the caller decides what an error of a step means
        return error


def run_bounded(
    client: Client, run: Callable[..., R], arguments: Iterator[T], per_worker: int, **same: Any
) -> Iterator[tuple[T, R]]:
    """`run(argument, **same)` of each argument on a worker, as they end; arguments are taken as there is room.

    Raises what a call still raises after Dask has tried it again.
    """
    bound, running, in_flight = Bound(client, per_worker), as_completed(loop=client.loop), dict[Any, T]()

    def submit() -> None:
        given = list(islice(arguments, max(0, bound.most() - len(in_flight))))
        keys = [f"{run.__name__}-{number}-{time.monotonic_ns()}" for number in range(len(given))]
        futures = client.map(run, given, key=keys, pure=False, retries=DASK_RETRIES, **same) if given else []
        in_flight.update(zip((future.key for future in futures), given, strict=True))
        running.update(futures)

    submit()
    while in_flight:
        for future, result in gathered(client, running.next_batch()):
            argument = in_flight.pop(future.key)
            if isinstance(result, Exception):
                raise result
            future.release()
            yield argument, result
        submit()
