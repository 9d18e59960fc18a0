"""Futures of a run on Dask: a bounded number is alive at a time, and small results come along with the news of them."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

from dask.utils import key_split
from distributed import Client, Worker, WorkerPlugin, as_completed, get_worker

from flows.run.workers import WAIT_S, Workers

DASK_RETRIES = 2
"""Times that Dask gives a raised step to a worker again."""
_LOOK_S = 1.0
"""How long is waited for one that is done, before it is asked whether there are workers."""
_TOPIC = "dsdit-results"
"""Dask's scheduler keeps the last thousand messages of a topic for ever: one topic for all runs."""
_TOLD_BYTES = 2**16
"""Larger results are asked for: what is told stays with the scheduler for the next thousand."""
_MORE_S = 0.05
"""How long is waited, once one has ended, until half have: workers have others to go on with, and each round costs."""
_KEYS = 8192
"""Keys that Dask may remember the groups of: more than are in flight, some 3 MB."""
T = TypeVar("T")
R = TypeVar("R")


class Told:
    """Small results as the workers tell them: a message that travels with the one that says that a call has ended.

    Asked for, a result costs scheduler and worker a question and an answer each. What was not told is still asked for.
    """

    def __init__(self) -> None:
        self.run = uuid4().hex
        self._results: dict[Any, bytes] = {}

    @contextmanager
    def heard(self, client: Client) -> Iterator[None]:
        """While open, results of this run are kept as they are told."""
        client.subscribe_topic(_TOPIC, self._hear)
        try:
            yield
        finally:
            if client.status == "running":
                client.unsubscribe_topic(_TOPIC)

    def _hear(self, event: tuple[float, tuple[str, Any, bytes]]) -> None:
        run, key, result = event[1]
        if run == self.run:
            self._results[key] = result

    def take(self, futures: list[Any]) -> dict[Any, Any]:
        """Key -> result of those that were told, each once. They were pickled as Dask pickles what it carries."""
        told = {future.key: self._results.pop(future.key) for future in futures if future.key in self._results}
        return {key: pickle.loads(result) for key, result in told.items()}  # noqa: S301


class _Telling(WorkerPlugin):
    """A worker's part of `tell`: what is to be told waits until its call ends, and goes along in that message.

    Told by the call itself it would be a message of its own, and those are what a scheduler's time goes with.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._told: dict[Any, tuple[str, Any, bytes]] = {}

    @classmethod
    def on(cls, worker: Worker, told: tuple[str, Any, bytes]) -> None:
        """In the worker's event loop, ahead of the news that the call has ended."""
        telling = worker.plugins.get(_TOPIC)
        if not isinstance(telling, cls):
            telling = worker.plugins[_TOPIC] = cls(worker)
        telling._told[told[1]] = told

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Dask calls it for every change of a call's state, before it sends what came of it."""
        told = self._told.pop(key, None)
        if told is not None and finish == "memory":
            self._worker.log_event(_TOPIC, told)


def tell(*args: Any, work: Callable[..., R], told_to: str, **same: Any) -> R:
    """Runs `work` on a worker, and tells its result, where it is small, to the run of `Told`."""
    result, worker = work(*args, **same), get_worker()
    told = pickle.dumps(result)
    if len(told) <= _TOLD_BYTES:
        worker.loop.add_callback(_Telling.on, worker, (told_to, worker.get_current_task(), told))
    return result


def watch(client: Any, running: Any, futures: list[Any]) -> None:
    """Adds to Dask's `as_completed` in the client's event loop: from another thread each future would wake it once."""
    client.loop.add_callback(running.update, futures)


def let_go(client: Any, futures: list[Any]) -> None:
    """Releases futures in the client's event loop, as `watch` adds them."""
    client.loop.add_callback(lambda: [future.release() for future in futures])


def forget_keys() -> None:
    """Has this process forget groups of keys: Dask remembers 100,000, some 30 MB, those of ended calls for nothing."""
    if key_split.cache_info().currsize > _KEYS:
        key_split.cache_clear()


def kept_groups(client: Client, names: Iterable[str]) -> list[Any]:
    """A small future for each name of calls, to be held while there are such calls, and released.

    Dask's scheduler forgets a group of calls with the last one it has, makes a new one with the next, and keeps all it
    ever made: a run whose calls come and go would cost it a little more memory, and time, with each round.
    """
    run = uuid4().hex
    return [client.submit(str, name, key=f"{name}-{run}", pure=False, retries=DASK_RETRIES) for name in names]


def finished_of(
    client: Client, running: Any, workers: Workers, in_flight: Mapping[Any, Any], told: Told | None = None
) -> list[tuple[Any, Any]]:
    """Each future that ended meanwhile with its result, or with the error that it ended in.

    One message fetches all that were not told. Empty where none ended for a while. `running` is Dask's `as_completed`;
    keys that are not `in_flight` are left out.
    """
    if not in_flight:
        return []
    with running.thread_condition:
        if not running.thread_condition.wait_for(running.has_ready, _LOOK_S):
            return []
        running.thread_condition.wait_for(lambda: 2 * running.queue.qsize() >= len(in_flight), _MORE_S)
    ended = [future for future in running.next_batch() if future.key in in_flight]
    results = told.take(ended) if told is not None else {}
    asked = [future for future in ended if future.key not in results]
    if asked:
        results.update((future.key, result) for future, result in workers.answered(lambda: _gathered(client, asked)))
    forget_keys()
    return [(future, results[future.key]) for future in ended]


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
        watch(client, running, futures)

    submit()
    while in_flight:
        for future, result in finished_of(client, running, workers, in_flight):
            argument = in_flight.pop(future.key)
            if isinstance(result, Exception):
                raise result
            future.release()
            yield argument, result
        submit()
