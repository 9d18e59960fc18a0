"""The workers behind a run: how many there are, and the end of a run that has none.

Dask itself waits for a worker for ever. A run that did so would hold its lease and its place among the nights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

from distributed import Client, KilledWorker

from dsdit.errors import RequestError
from flows.jobs import Places, read_plan, try_batch

WAIT_S = 1800.0
"""How long a run does without any worker: a queue of a shared cluster may be that long."""
_ASKED_S = 1.0
"""How often the scheduler is asked for its workers."""
T = TypeVar("T")


def _asked(ask: Callable[[], T]) -> Future[T]:
    """What `ask` will return or raise, from a thread that does not outlive the process.

    Dask waits for ever for an answer whose event loop has stopped; the threads of an executor are waited for at exit.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the answer gets it
            answer.set_exception(error)

    Thread(target=run, name="answers", daemon=True).start()
    return answer


class Workers:
    """Those of one client's cluster."""

    def __init__(self, client: Client, wait_s: float = WAIT_S) -> None:
        self._client, self._wait_s = client, wait_s
        self._count, self._asked_at, self._seen_at = 0, float("-inf"), time.monotonic()

    def count(self) -> int:
        """Workers there are, a second ago at most. Raises RequestError where there was none for too long."""
        now = time.monotonic()
        if now - self._asked_at > _ASKED_S:
            self._count, self._asked_at = len(self._client.scheduler_info(n_workers=-1)["workers"]), now
            if self._count:
                self._seen_at = now
        if now - self._seen_at > self._wait_s:
            raise RequestError(
                f"the cluster has had no worker for {self._wait_s:.0f} s: start workers and run the same command "
                "again, it goes on, or let it wait longer with compute.worker_wait_s"
            )
        return self._count

    def answered(self, ask: Callable[[], T]) -> T:
        """What `ask` gets from the workers: a result that was lost with its worker may have to be computed again.

        Raises RequestError as `count` does.
        """
        answer = _asked(ask)
        while True:
            try:
                return answer.result(_ASKED_S)
            except TimeoutError:
                if answer.done():
                    return answer.result()
            self.count()


def try_batch_on(client: Client, places: Places, wait_s: float = WAIT_S) -> None:
    """Has one worker draw the run's batch once, before anything is spent.

    Raises RequestError where its memory does not hold it, also where the worker was killed for what it took, and
    where there is no worker for `wait_s`.
    """
    future: Any = client.submit(try_batch, places, key=f"batch-{time.monotonic_ns()}", pure=False)
    try:
        Workers(client, wait_s).answered(future.result)
    except KilledWorker as error:
        plan = read_plan(places.plan)
        from dsdit.sampling.fitting import batch_refused

        raise batch_refused(plan.sampler.batch, plan.lattice.tile_px, "a Dask worker", error) from error
