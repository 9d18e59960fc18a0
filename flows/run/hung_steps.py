"""Steps of which no copy ends: their workers are restarted, the step is given again once, and then it fails.

A read or a library that waits for ever would keep the run, its lease and a thread of a worker for ever. What hangs
cannot be ended from outside its process: the worker's process is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from dsdit.errors import RequestError
from flows.run.frontier import Work
from flows.run.stragglers import IDLE_PERCENT, Pace, is_hung
from flows.run.workers import Workers


class Flight(NamedTuple):
    """A step that was submitted and has not ended."""

    work: Work
    future: Any
    since: float
    """Time of submission on the monotonic clock, in seconds."""


class Ended(NamedTuple):
    """A step that hung and was ended."""

    work: Work
    reason: str
    give_again: bool


class HungSteps:
    """Finds the steps that hang in `in_flight`, takes them out of it, and frees their workers."""

    def __init__(self, client: Any, workers: Workers, in_flight: dict[Any, Flight]) -> None:
        self._client, self._workers, self._in_flight = client, workers, in_flight
        self._given_again: set[Work] = set()
        self._idle_since: dict[str, float] = {}
        self._lost_threads = 0

    def end(self, pace: Pace) -> list[Ended]:
        """Ends the steps that hang, all copies of them.

        Raises RequestError where steps hang on every thread of the cluster and no worker of theirs can be restarted.
        """
        now, ages_s = time.monotonic(), self._late(pace)
        running = self._running({key for key, flight in self._in_flight.items() if flight.work in ages_s})
        self._note_idle(running, now)
        hung = {
            work
            for worker, keys in running.items()
            for work in (self._in_flight[key].work for key in keys)
            if is_hung(ages_s[work], pace.limit_s(work[0]), now - self._idle_since.get(worker, now))
        }
        if not hung:
            return []
        theirs = {key for key, flight in self._in_flight.items() if flight.work in hung}
        running = {worker: theirs & keys for worker, keys in running.items() if theirs & keys}
        for key in theirs:
            self._in_flight.pop(key).future.cancel()
        restarted = self._restart(running)
        if self._lost_threads and self._lost_threads >= self._workers.threads():
            work = min(hung)
            raise RequestError(
                f"{_reason(work, ages_s[work])}, and its worker has no nanny that could restart it: restart the "
                "workers and run the same command again, it goes on"
            )
        given = [work for work in sorted(hung) if restarted and work not in self._given_again]
        self._given_again |= hung
        return [Ended(work, _reason(work, ages_s[work]), work in given) for work in sorted(hung)]

    def _late(self, pace: Pace) -> dict[Work, float]:
        """Steps of which every copy is a straggler -> age of the newest copy in seconds."""
        newest: dict[Work, float] = {}
        for flight in self._in_flight.values():
            newest[flight.work] = max(flight.since, newest.get(flight.work, flight.since))
        now = time.monotonic()
        return {work: now - since for work, since in newest.items() if now - since > pace.limit_s(work[0])}

    def _running(self, keys: set[Any]) -> dict[str, set[Any]]:
        """Worker -> those of the keys that a thread of it runs. What waits behind a hung step does not hang itself."""
        if not keys:
            return {}
        stacks: Mapping[str, Any] = {}
        with suppress(KeyError):  # one of them has just ended: looked at again a second later
            stacks = self._workers.wait_for_answer(lambda: self._client.call_stack(keys=list(keys)))
        return {worker: keys & set(found) for worker, found in stacks.items() if found}

    def _note_idle(self, running: Mapping[str, Any], now: float) -> None:
        """Since when each of the workers has used no CPU, as it last reported."""
        loads = self._workers.cpu_percents() if running else {}
        idle = {worker for worker in running if loads.get(worker, 100.0) < IDLE_PERCENT}
        self._idle_since = {worker: self._idle_since.get(worker, now) for worker in idle}

    def _restart(self, running: Mapping[str, set[Any]]) -> list[str]:
        """Restarts the workers that can be restarted, and counts the threads of the others as lost.

        Steps that waited at a restarted worker are as young as if they were submitted now.
        """
        assigned = self._client.processing()
        restarted, now = self._workers.restart(running), time.monotonic()
        for key in {key for worker in restarted for key in assigned.get(worker, ())} & set(self._in_flight):
            self._in_flight[key] = self._in_flight[key]._replace(since=now)
        self._lost_threads += sum(len(keys) for worker, keys in running.items() if worker not in restarted)
        return restarted


def _reason(work: Work, age_s: float) -> str:
    step, job = work
    return f"{step} of job {tuple(job)} has not ended for {age_s:.0f} s on any worker"
