"""Futures of a run on Dask: a bounded number is alive at a time, and results of many are fetched at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, as_completed

from flows.workers import WAIT_S, Workers

DASK_RETRIES = 2
"""Times that Dask gives a raised step to a worker again."""
_LOOK_S = 1.0
"""How long is waited for one that is done, before it is asked whether there are workers."""
T = TypeVar("T")
R = TypeVar("R")


def finished_of(client: Client, running: Any, workers: Workers, in_flight: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Each future that ended meanwhile with its result, or with the error that it ended in: one message fetches all.

    Empty where none did for a while. `running` is Dask's `as_completed`; keys that are not `in_flight` are left out.
    """
    if not in_flight:
        return []
    with running.thread_condition:
        if not running.thread_condition.wait_for(running.has_ready, _LOOK_S):
            return []
    ended = [future for future in running.next_batch() if future.key in in_flight]
    return workers.answered(lambda: _gathered(client, ended))


def _gathered(client: Client, futures: list[Any]) -> list[tuple[Any, Any]]:
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
    client: Client, run: Callable[..., R], arguments: Iterator[T], per_worker: int, wait_s: float = WAIT_S, **same: Any
) -> Iterator[tuple[T, R]]:
    """`run(argument, **same)` of each argument on a worker, as they end; arguments are taken as there is room.

    Raises what a call still raises after Dask has tried it again, and RequestError where there is no worker for
    `wait_s`.
    """
    workers, running, in_flight = Workers(client, wait_s), as_completed(loop=client.loop), dict[Any, T]()

    def submit() -> None:
        given = list(islice(arguments, max(0, per_worker * max(1, workers.count()) - len(in_flight))))
        keys = [f"{run.__name__}-{number}-{time.monotonic_ns()}" for number in range(len(given))]
        futures = client.map(run, given, key=keys, pure=False, retries=DASK_RETRIES, **same) if given else []
        in_flight.update(zip((future.key for future in futures), given, strict=True))
        running.update(futures)

    submit()
    while in_flight:
        for future, result in finished_of(client, running, workers, in_flight):
            argument = in_flight.pop(future.key)
            if isinstance(result, Exception):
                raise result
            future.release()
            yield argument, result
        submit()
