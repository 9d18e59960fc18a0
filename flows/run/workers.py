"""The workers of a run: how many there are, and the end of a run that has none.

Dask itself waits for a worker for ever. A run that did so would hold its lease, and the next ones would wait for it.

A worker that Dask paused counts only while it still runs a step. Dask pauses a worker above 80% of its memory limit and
gives it nothing until it is below; memory that a library does not give back would pause it for ever. To switch the
pause off is no way out: at an address it is somebody else's setting, and in its place the worker would be killed with
the step that it runs, again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from distributed import Client, KilledWorker

from dsdit.errors import RequestError
from flows.run.limits_and_hooks import WORKER_WAIT_S
from flows.run.run_step import Places, read_plan, try_batch

RESTART_S = 60.0
"""Seconds that a worker may take to end and start again."""
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
        self._paused: list[dict[str, Any]] = []
        self._count, self._counted_at, self._complete_at = 0, float("-inf"), time.monotonic()

    def count(self) -> int:
        """Number of workers that may run steps, at most a second old.

        Raises RequestError where a needed one was missing too long.
        """
        now = time.monotonic()
        if now - self._counted_at > _POLL_S:
            found = list(self._described().values())
            useful = [worker for worker in found if not _is_out_of_memory(worker)]
            self._count, self._counted_at = len(useful), now
            self._paused = [worker for worker in found if _is_out_of_memory(worker)]
            self._missing = [needs for needs in self._needs if not any(_offered(needs, worker) for worker in useful)]
            if not self._missing:
                self._complete_at = now
        if now - self._complete_at > self._wait_s:
            raise self._none_left()
        return self._count

    def _none_left(self) -> RequestError:
        """The error for the first need that no worker met."""
        needs = self._missing[0]
        kind = f" that offers {needs}" if needs else ""
        end = "run the same command again, it goes on, or let it wait longer with compute.worker_wait_s"
        paused = [worker for worker in self._paused if _offered(needs, worker)]
        if not paused:
            return RequestError(
                f"the cluster has had no worker{kind} for {self._wait_s:.0f} s: start workers and {end}"
            )
        limit = min(int(worker.get("memory_limit") or 0) for worker in paused)
        return RequestError(
            f"the cluster has had no worker{kind} for {self._wait_s:.0f} s that has memory left: Dask has paused "
            f"{len(paused)} worker{'s' if len(paused) > 1 else ''} that hold most of their memory limit "
            f"({limit / 1e9:.1f} GB) and run no step: restart them, or give each more memory (for cluster: local with "
            f"compute.memory_limit_bytes or fewer compute.workers), and {end}"
        )

    def restart(self, addresses: Collection[str]) -> list[str]:
        """Ends workers with whatever they run, and starts them again; returns those that can be, which have a nanny."""
        found = self._described()
        able = [address for address in addresses if found.get(address, {}).get("nanny")]
        if able:
            with suppress(TimeoutError, OSError):  # a worker that does not come back in time is counted as missing
                self.wait_for_answer(lambda: self._client.restart_workers(able, RESTART_S, raise_for_error=False))
        return able

    def threads(self) -> int:
        """Steps that all workers together can run at a time."""
        return sum(int(worker["nthreads"]) for worker in self._described().values())

    def cpu_percents(self) -> dict[str, float]:
        """Worker -> its CPU use in percent of one core, as it last reported."""
        return {at: float(worker["metrics"].get("cpu", 100.0)) for at, worker in self._described().items()}

    def _described(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

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


def _is_out_of_memory(worker: dict[str, Any]) -> bool:
    """Whether Dask has paused a worker, as the scheduler describes it, and nothing that still runs may free memory."""
    running = (worker.get("metrics") or {}).get("task_counts") or {}
    return worker.get("status") == "paused" and not running.get("executing")


def _offered(needs: dict[str, float], worker: dict[str, Any]) -> bool:
    offer = worker.get("resources") or {}
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
