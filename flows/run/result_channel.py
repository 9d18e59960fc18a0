"""Small results of Dask calls, sent in the same message that reports the end of the call."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

from distributed import Client, Worker, WorkerPlugin, get_worker

_TOPIC = "dsdit-results"
"""Dask's scheduler keeps the last thousand messages of each topic for ever: one topic serves all runs."""
_LARGEST_BYTES = 2**16
"""Larger results are gathered instead: the scheduler keeps each published one until a thousand others followed."""
R = TypeVar("R")
Published = tuple[str, Any, bytes]
"""Channel, key of the call, pickled result."""


class ResultChannel:
    """The client's end: results of one run, as its workers publish them.

    Gathering a result costs scheduler and worker a request and a response each. A result that was not published is
    still gathered.
    """

    def __init__(self) -> None:
        self.name = uuid4().hex
        self._results: dict[Any, bytes] = {}

    @contextmanager
    def subscribed(self, client: Client) -> Iterator[None]:
        """While open, keeps the results that are published on this channel."""
        client.subscribe_topic(_TOPIC, self._receive)
        try:
            yield
        finally:
            if client.status == "running":
                client.unsubscribe_topic(_TOPIC)

    def _receive(self, event: tuple[float, Published]) -> None:
        channel, key, result = event[1]
        if channel == self.name:
            self._results[key] = result

    def take(self, futures: list[Any]) -> dict[Any, Any]:
        """Key -> result of those that were published, each once. Dask pickles what it carries in the same way."""
        found = {future.key: self._results.pop(future.key) for future in futures if future.key in self._results}
        return {key: pickle.loads(result) for key, result in found.items()}  # noqa: S301


class _ResultPublisher(WorkerPlugin):
    """The worker's end: a result waits until its call ends, and goes along in that message.

    Published by the call itself it would be a message of its own, and most of a scheduler's time goes into messages.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waiting: dict[Any, Published] = {}

    @classmethod
    def add(cls, worker: Worker, result: Published) -> None:
        """Runs in the worker's event loop, ahead of the report that the call has ended."""
        publisher = worker.plugins.get(_TOPIC)
        if not isinstance(publisher, cls):
            publisher = worker.plugins[_TOPIC] = cls(worker)
        publisher._waiting[result[1]] = result

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Dask calls it for every change of a call's state, before it sends the change."""
        result = self._waiting.pop(key, None)
        if result is not None and finish == "memory":
            self._worker.log_event(_TOPIC, result)


def run_and_publish(*args: Any, call: Callable[..., R], channel: str, **same: Any) -> R:
    """Runs `call` on a worker, and publishes its result on `channel` where it is small."""
    result, worker = call(*args, **same), get_worker()
    pickled = pickle.dumps(result)
    if len(pickled) <= _LARGEST_BYTES:
        worker.loop.add_callback(_ResultPublisher.add, worker, (channel, worker.get_current_task(), pickled))
    return result
