"""A run on Dask: every step of a wavefront is submitted as soon as the 3 x 3 that it reads has arrived.

Dask holds a bounded number of futures at a time, each a step's name, a job's index and locations, never an array.
Steps are submitted in the order that frees scratch: mosaic before sample before stage, along the sweep of
`flows.run.frontier`. A step that takes far too long gets one backup copy on another worker, see `flows.run.stragglers`;
one of which no copy ends is given again to workers that were restarted, and then fails, see `flows.run.hung_steps`.

Workers get what was submitted in another order, mosaic before stage before sample. A stage is submitted only where
samples run short; behind the many samples that wait for a worker it would come too late for the next ones.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from dask.base import annotate
from distributed import Client, as_completed

from dsdit.receipts.receipts import Receipt
from flows.run.frontier import RANK, Wavefront, Work
from flows.run.futures import ended_futures, hold_groups, release_futures, watch_futures
from flows.run.gc_freeze import frozen_heap
from flows.run.hung_steps import Flight, HungSteps
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.result_channel import ResultChannel, run_and_publish
from flows.run.run_step import RETRIES, Step, Uncommitted, run_step
from flows.run.scratch_removal import Removals
from flows.run.step_queue import StepQueue
from flows.run.stragglers import Pace, should_launch_backup
from flows.run.workers import Needs, Workers

_LOOK_S = 1.0
"""How often a run looks for stragglers."""
_PRIORITY = {"mosaic": 2, "stage": 1, "sample": 0}
"""Dask's: a worker gets the largest first."""


def priority_of(key: str) -> int:
    """Dask's priority of a step, from the step's key."""
    return _PRIORITY[key.partition("-")[0]]


class WavefrontRun:
    """One run of all steps of `front` on the workers of `client`.

    Args:
        client: of the cluster.
        front: the steps.
        limits: how much is under way, and how long the run waits.
        hooks: what is called as the run goes on.
        needs: Dask resources that each step takes of its worker.
        step: what a worker does for a step; `run_step` by default.
    """

    def __init__(
        self,
        client: Client,
        front: Wavefront,
        limits: RunLimits | None = None,
        hooks: RunHooks | None = None,
        needs: Needs | None = None,
        step: Step | None = None,
    ) -> None:
        self._client, self._front = client, front
        self._limits, self._hooks = limits or RunLimits(), hooks or RunHooks()
        self._needs: Needs = needs or {}
        self._step = step or run_step
        self._queue = StepQueue(front, self._hooks)
        self._workers = Workers(client, self._limits.worker_wait_s, *self._needs.values())
        self._pace = Pace(self._limits.straggler_s)
        self._channel = ResultChannel()
        self._looked = time.monotonic()
        self._running: Any = None
        self.in_flight: dict[Any, Flight] = {}
        self._hung = HungSteps(client, self._workers, self.in_flight)

    def run(self) -> list[Receipt]:
        """Runs every step; returns the receipts of this run where no hook takes them.

        Dask retries a step that raises. If it still fails, it gets a receipt with the reason, and the rest goes on. A
        shard that was written in a fork is done with its commit. Raises RequestError where no worker, or none that
        offers what a step needs, was there for `limits.worker_wait_s`.
        """
        client, removals = self._client, Removals(self._front.plan, self._front.places, self._hooks.check)
        with frozen_heap(), self._channel.subscribed(client), removals.running():
            self._running = as_completed(loop=client.loop)
            self._front.remove = removals.add
            groups = hold_groups(client, RANK)
            self._submit()
            while self.in_flight or self._queue.uncommitted:
                self._take_ended()
                self._queue.take_commits(commit_now=not self.in_flight)
                self._submit()
            for group in groups:
                group.release()
        return self._queue.receipts()

    def _take_ended(self) -> None:
        ended = ended_futures(self._client, self._running, self._workers, self.in_flight, self._channel)
        for future, result in ended:
            self._hooks.check()
            work = self.land(future.key, result)
            if work is not None:
                self._queue.end(work, result)
        release_futures(self._client, [future for future, _ in ended])

    def _submit(self) -> None:
        """Submits steps, backup copies first, up to the bound on futures."""
        limit = self._limits.futures_per_worker * max(1, self._workers.count())
        if time.monotonic() - self._looked >= _LOOK_S:
            self._looked = time.monotonic()
            self._end_hung_steps()
            self._submit_backups(limit)
        new: list[Work] = []
        while len(self.in_flight) + len(new) < limit and (work := self._queue.next_step()) is not None:
            new.append(work)
        if new:
            self._launch(new)

    def _end_hung_steps(self) -> None:
        for work, reason, give_again in self._hung.end(self._pace):
            self._front.repeated.add(work)  # a copy that could not be ended may still write
            if give_again:
                self._hooks.on_warning(f"{reason}: its workers were restarted, and it is given again")
                self._launch([work])
            else:
                self._queue.fail(work, reason)

    def _submit_backups(self, limit: int) -> None:
        now = time.monotonic()
        late = [
            (key, flight, limit_s)
            for key, flight in self.in_flight.items()
            if now - flight.since > (limit_s := self._pace.limit_s(flight.work[0]))
        ]
        waiting = any(flight.work not in self._front.repeated for _, flight, _ in late)
        tasks_of: Mapping[str, Any] = self._client.processing() if waiting else {}
        for key, flight, limit_s in late:
            idle = [worker for worker, keys in tasks_of.items() if key not in keys]
            repeated, free = flight.work in self._front.repeated, limit - len(self.in_flight)
            if should_launch_backup(now - flight.since, limit_s, repeated, free, len(tasks_of), len(idle)):
                self._front.repeated.add(flight.work)
                self._launch([flight.work], workers=idle, allow_other_workers=True)

    def _launch(self, works: list[Work], **where: Any) -> None:
        """Submits steps: one message to the scheduler for all that need the same resources of their worker."""
        groups: dict[tuple[tuple[str, float], ...], list[Work]] = {}
        for work in works:
            groups.setdefault(tuple(sorted(self._needs.get(work[0], {}).items())), []).append(work)
        for resources, group in groups.items():
            with annotate(priority=priority_of):
                futures = self._client.map(
                    run_and_publish,
                    [step for step, _ in group],
                    [job for _, job in group],
                    key=[f"{step}-{job}-{time.monotonic_ns()}" for step, job in group],
                    places=self._front.places,
                    call=self._step,
                    channel=self._channel.name,
                    pure=False,
                    retries=RETRIES,
                    resources=dict(resources) or None,
                    **where,
                )
            now = time.monotonic()
            self.in_flight.update({f.key: Flight(work, f, now) for f, work in zip(futures, group, strict=True)})
            watch_futures(self._client, self._running, futures)

    def land(self, key: Any, result: object) -> Work | None:
        """The step of a future that ended with `result`; None where its other copy was first, or may still succeed."""
        flight = self.in_flight.pop(key, None)
        if flight is None:
            return None
        succeeded = isinstance(result, Receipt | Uncommitted)
        if succeeded:
            self._pace.add(flight.work[0], time.monotonic() - flight.since)
        if flight.work in self._front.repeated:
            for twin in [k for k, other in self.in_flight.items() if other.work == flight.work]:
                if not succeeded:
                    return None
                self.in_flight.pop(twin).future.cancel()
        return flight.work
