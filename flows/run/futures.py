"""Futures of a run on Dask: a bounded number is alive at a time, and those that ended are dealt with in rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

from dask.utils import key_split
from distributed import Client, as_completed

from flows.run.limits_and_hooks import WORKER_WAIT_S
from flows.run.result_channel import ResultChannel
from flows.run.run_step import RETRIES
from flows.run.workers import Workers

_POLL_S = 1.0
"""How long a round waits for the first future that ends, before it counts the workers."""
_MORE_S = 0.05
"""How long it waits then, until half have ended: workers have others to go on with, and each round costs."""
_KEYS = 8192
"""Keys whose groups Dask may remember: more than are in flight, some 3 MB."""
T = TypeVar("T")
R = TypeVar("R")


def watch_futures(client: Any, running: Any, futures: list[Any]) -> None:
    """Adds to Dask's `as_completed` in the client's event loop: from another thread each future would wake it once."""
    client.loop.add_callback(running.update, futures)


def release_futures(client: Any, futures: list[Any]) -> None:
    """Releases futures in the client's event loop, as `watch_futures` adds them."""
    client.loop.add_callback(lambda: [future.release() for future in futures])


def forget_keys() -> None:
    """Empties this process's cache of key groups: Dask caches 100,000, some 30 MB, though the calls have ended."""
    if key_split.cache_info().currsize > _KEYS:
        key_split.cache_clear()


def hold_groups(client: Client, names: Iterable[str]) -> list[Any]:
    """A small future for each name of calls, to be held while there are such calls, and released afterwards.

    Dask's scheduler forgets a group of calls with its last call, builds a new one with the next, and keeps all groups
    that it ever built. A run whose calls come and go would cost it a little more memory and time with each round.
    """
    run = uuid4().hex
    return [client.submit(str, name, key=f"{name}-{run}", pure=False, retries=RETRIES) for name in names]


def ended_futures(
    client: Client, running: Any, workers: Workers, in_flight: Mapping[Any, Any], channel: ResultChannel | None = None
) -> list[tuple[Any, Any]]:
    """Each future that ended since the last call, with its result or the error that it ended in.

    One message gathers all results that were not published. Empty where none ended for a second. `running` is Dask's
    `as_completed`; keys that are not `in_flight` are left out.
    """
    if not in_flight:
        return []
    with running.thread_condition:
        if not running.thread_condition.wait_for(running.has_ready, _POLL_S):
            return []
        running.thread_condition.wait_for(lambda: 2 * running.queue.qsize() >= len(in_flight), _MORE_S)
    ended = [future for future in running.next_batch() if future.key in in_flight]
    results = channel.take(ended) if channel is not None else {}
    missing = [future for future in ended if future.key not in results]
    if missing:
        found = workers.wait_for_answer(lambda: _gathered(client, missing))
        results.update((future.key, result) for future, result in found)
    forget_keys()
    return [(future, results[future.key]) for future in ended]


def _gathered(client: Client, futures: list[Any]) -> list[tuple[Any, Any]]:
    """Each future with its result, or with the error that it ended in."""
    finished = [future for future in futures if future.status == "finished"]
    found: dict[Any, Any] = {}
    try:
        found = dict(zip((f.key for f in finished), client.gather(finished), strict=True))
    except Exception:  # noqa: BLE001 - one was lost and failed again: each is fetched for itself
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
    client: Client,
    run: Callable[..., R],
    arguments: Iterator[T],
    per_worker: int,
    wait_s: float = WORKER_WAIT_S,
    **same: Any,
) -> Iterator[tuple[T, R]]:
    """`run(argument, **same)` of each argument on a worker, as they end; arguments are taken as there is room.

    Raises what a call still raises after Dask's retries, and RequestError where there is no worker for `wait_s`.
    """
    workers, running, in_flight = Workers(client, wait_s), as_completed(loop=client.loop), dict[Any, T]()

    def submit() -> None:
        new = list(islice(arguments, max(0, per_worker * max(1, workers.count()) - len(in_flight))))
        keys = [f"{run.__name__}-{number}-{time.monotonic_ns()}" for number in range(len(new))]
        futures = client.map(run, new, key=keys, pure=False, retries=RETRIES, **same) if new else []
        in_flight.update(zip((future.key for future in futures), new, strict=True))
        watch_futures(client, running, futures)

    submit()
    while in_flight:
        for future, result in ended_futures(client, running, workers, in_flight):
            argument = in_flight.pop(future.key)
            if isinstance(result, Exception):
                raise result
            future.release()
            yield argument, result
        submit()
