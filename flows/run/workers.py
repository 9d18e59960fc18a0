"""The workers of a run: how many there are, and the end of a run that has none.

Dask itself waits for a worker for ever. A run that did so would hold its lease, and the next ones would wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

from distributed import Client, KilledWorker

from dsdit.errors import RequestError
from flows.run.limits_and_hooks import WORKER_WAIT_S
from flows.run.run_step import Places, read_plan, try_batch

_POLL_S = 1.0
"""How often the workers are counted."""
Needs = Mapping[Any, dict[str, float]]
"""Step -> Dask resources that it takes of its worker."""
T = TypeVar("T")


def _in_thread(call: Callable[[], T]) -> Future[T]:
    """What `call` will return or raise, in a thread that does not outlive the process.

    Dask waits for ever for an answer whose event loop has stopped; at exit Python waits for the threads of an executor.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
            answer.set_exception(error)

    Thread(target=run, name="answers", daemon=True).start()
    return answer


class Workers:
    """The workers of one client's cluster, and the Dask resources that steps need of them."""

    def __init__(self, client: Client, wait_s: float = WORKER_WAIT_S, *needs: dict[str, float]) -> None:
        self._client, self._wait_s, self._needs = client, wait_s, [{}, *needs]
        self._missing = self._needs
        self._count, self._counted_at, self._complete_at = 0, float("-inf"), time.monotonic()

    def count(self) -> int:
        """Number of workers, at most a second old. Raises RequestError where a needed one was missing too long."""
        now = time.monotonic()
        if now - self._counted_at > _POLL_S:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._count, self._counted_at = len(workers), now
            offers = [worker.get("resources") or {} for worker in workers]
            self._missing = [needs for needs in self._needs if not any(_offered(needs, offer) for offer in offers)]
            if not self._missing:
                self._complete_at = now
        if now - self._complete_at > self._wait_s:
            kind = f" that offers {self._missing[0]}" if self._count and self._missing else ""
            raise RequestError(
                f"the cluster has had no worker{kind} for {self._wait_s:.0f} s: start workers and run the same command "
                "again, it goes on, or let it wait longer with compute.worker_wait_s"
            )
        return self._count

    def wait_for_answer(self, call: Callable[[], T]) -> T:
        """What `call` gets from the workers: a result that was lost with its worker may have to be computed again.

        Raises RequestError as `count` does.
        """
        answer = _in_thread(call)
        while True:
            try:
                return answer.result(_POLL_S)
            except TimeoutError:
                if answer.done():
                    return answer.result()
            self.count()


def _offered(needs: dict[str, float], offer: dict[str, float]) -> bool:
    return all(offer.get(name, 0) >= amount for name, amount in needs.items())


def try_batch_on(client: Client, places: Places, wait_s: float = WORKER_WAIT_S, needs: Needs | None = None) -> None:
    """Lets one worker that samples run the run's batch once, before anything is spent.

    Raises RequestError where its memory does not hold it, also where the worker was killed for what it took, and
    where there is no worker that offers what a sample needs for `wait_s`.
    """
    needs = needs or {}
    key, resources = f"batch-{time.monotonic_ns()}", needs.get("sample") or None
    future: Any = client.submit(try_batch, places, key=key, pure=False, resources=resources)
    try:
        Workers(client, wait_s, *needs.values()).wait_for_answer(future.result)
    except KilledWorker as error:
        plan = read_plan(places.plan)
        from dsdit.sampling.fitting import batch_refused

        raise batch_refused(plan.sampler.batch, plan.lattice.tile_px, "a Dask worker", error) from error
