"""The wavefront: jobs move on when the 3 x 3 they read has arrived.

Dask holds a bounded number of futures at a time, each a step's name, a job's index and locations, never an array. The
order prefers what frees scratch: mosaic before sample before stage, along the sweep of `flows.run.frontier`. A step
that takes far too long is given to another worker once more; see `flows.run.stragglers`.

What Dask has goes to workers in another order, mosaic before stage before sample: a stage is given only where samples
run short, and behind the many samples that wait for a worker it would come too late for the next.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import dask
from distributed import Client, as_completed

from dsdit.errors import LeaseError
from dsdit.receipts.receipts import Receipt, write_receipt
from dsdit.window import Index
from flows.run.commits import Commits
from flows.run.frontier import RANK, Wavefront, Work
from flows.run.futures import DASK_RETRIES, Told, finished_of, kept_groups, let_go, tell, watch
from flows.run.gc_freeze import settled_heap
from flows.run.progress import Progress
from flows.run.run_step import Places, Uncommitted, failed_receipt, receipts_of, run_step
from flows.run.scratch_removal import Removals
from flows.run.stragglers import LEAST_S, Pace
from flows.run.workers import WAIT_S, Needs, Workers

__all__ = ["DASK_RETRIES", "Progress", "Wavefront", "run_wavefront"]
Run = Callable[[str, Index, Places], Receipt | Uncommitted]
_LOOK_S = 1.0
"""How often a run looks for stragglers."""
_PRIORITY = {"mosaic": 2, "stage": 1, "sample": 0}
"""Dask's: the largest goes first to a worker."""


def priority_of(key: str) -> int:
    """Dask's priority of a step, for the scheduler, which has its key."""
    return _PRIORITY[key.partition("-")[0]]


class Flight(NamedTuple):
    """A step that Dask has."""

    work: Work
    future: Any
    since: float


def run_wavefront(
    client: Client,
    front: Wavefront,
    futures_per_worker: int,
    on_progress: Callable[[Progress], None],
    on_failure: Callable[[str], None],
    on_receipt: Callable[[Receipt], None] | None = None,
    run: Run | None = None,
    check: Callable[[], None] = lambda: None,
    commits: Commits | None = None,
    wait_s: float = WAIT_S,
    straggler_s: float = LEAST_S,
    needs: Needs | None = None,
) -> list[Receipt]:
    """Runs every step of `front`; returns the receipts of this run, or gives each to `on_receipt` and keeps none.

    `check` raises where this run must write nothing more; it is asked before anything is made of a finished step.
    A step that raises is tried again by Dask, then gets a receipt with the reason, and the rest goes on. `run` is what
    a worker does for a step: `run_step` by default. A shard that was written in a fork is done with its commit.
    `needs` are the Dask resources that each step takes of its worker. Raises RequestError where there is no worker for
    `wait_s`, or none that offers them.
    """
    sampling: float | None = None
    staged = tiles = jobs = 0
    needs = needs or {}
    workers, pace, looked = Workers(client, wait_s, *needs.values()), Pace(straggler_s), time.monotonic()
    kept: list[Receipt] = []
    keep = kept.append if on_receipt is None else on_receipt
    ready: list[tuple[tuple[int, int, int], Work]] = []
    running = as_completed(loop=client.loop)
    in_flight: dict[Any, Flight] = {}
    told = Told()

    def needed(work: Work) -> dict[str, float]:
        return needs.get(work[0], {})

    def push(works: list[Work]) -> None:
        for work in works:
            heapq.heappush(ready, (front.rank(work), work))

    def done(work: Work, receipt: Receipt) -> None:
        nonlocal staged, tiles, jobs
        staged += work[0] == "stage"
        tiles += front.tiles(work)
        jobs += work[0] == "mosaic"
        keep(receipt)
        push(front.finish(work, receipt))
        seconds = 0.0 if sampling is None else time.monotonic() - sampling
        on_progress(Progress(staged, tiles, front.tiles_total, jobs, len(front.due), seconds))

    def fail(work: Work, reason: str) -> None:
        step, job = work
        receipt = failed_receipt(front.plan, step, job, front.digest(work), reason)
        write_receipt(receipts_of(step, front.places), receipt)
        on_failure(f"{step} of job {tuple(job)} failed: {reason}")
        done(work, receipt)

    def give(works: list[Work], **where: Any) -> None:
        """One message to the scheduler gives it all that may run now and needs the same of its worker."""
        for resources in {tuple(sorted(needed(work).items())): needed(work) for work in works}.values():
            part = [work for work in works if needed(work) == resources]
            with dask.annotate(priority=priority_of):
                futures = client.map(
                    tell,
                    [step for step, _ in part],
                    [job for _, job in part],
                    key=[f"{step}-{job}-{time.monotonic_ns()}" for step, job in part],
                    places=front.places,
                    work=run or run_step,
                    told_to=told.run,
                    pure=False,
                    retries=DASK_RETRIES,
                    resources=resources or None,
                    **where,
                )
            now = time.monotonic()
            in_flight.update({f.key: Flight(work, f, now) for f, work in zip(futures, part, strict=True)})
            watch(client, running, futures)

    def repeat(limit: int) -> None:
        """Gives stragglers to workers that do not have them, each once."""
        nonlocal looked
        now = time.monotonic()
        if now - looked < _LOOK_S:
            return
        looked = now
        late = [
            (key, flight.work)
            for key, flight in in_flight.items()
            if now - flight.since > pace.limit_s(flight.work[0]) and flight.work not in front.repeated
        ]
        having = client.processing() if late else {}
        for key, work in late:
            others = [worker for worker, keys in having.items() if key not in keys]
            if len(in_flight) < limit and 0 < len(others) < len(having):
                front.repeated.add(work)
                give([work], workers=others, allow_other_workers=True)

    def submit() -> None:
        nonlocal sampling
        limit = futures_per_worker * max(1, workers.count())
        repeat(limit)
        given: list[Work] = []
        while len(in_flight) + len(given) < limit:
            while not ready and (opened := front.open_next()) is not None:
                push(opened)
            if not ready:
                break
            _, work = heapq.heappop(ready)
            reason = front.blocked(work)
            if reason is not None:
                fail(work, reason)
                continue
            if work[0] == "sample" and sampling is None:
                sampling = time.monotonic()
            given.append(work)
        if given:
            give(given)

    def land(key: Any, result: Any) -> Work | None:
        """The step that ended so; None where its other copy was first, or may still do it."""
        flight = in_flight.pop(key, None)
        if flight is None:
            return None
        well = isinstance(result, Receipt | Uncommitted)
        if well:
            pace.took(flight.work[0], time.monotonic() - flight.since)
        if flight.work in front.repeated:
            for twin in [k for k, other in in_flight.items() if other.work == flight.work]:
                if not well:
                    return None
                in_flight.pop(twin).future.cancel()
        return flight.work

    def settle() -> None:
        if commits is not None:
            if not in_flight:
                commits.commit()
            for receipt in commits.finished():
                done(("mosaic", receipt.job), receipt)

    with settled_heap(), told.heard(client), Removals(front.plan, front.places, check).running() as removals:
        front.remove = removals.add
        groups = kept_groups(client, RANK)
        submit()
        while in_flight or (commits is not None and commits.waiting):
            ended = finished_of(client, running, workers, in_flight, told)
            for future, result in ended:
                check()
                if isinstance(result, LeaseError):
                    raise result  # a worker saw it first: nothing more may be written, no receipt either
                work = land(future.key, result)
                if work is None:
                    pass
                elif isinstance(result, Receipt):
                    done(work, result)
                elif isinstance(result, Uncommitted) and commits is not None:
                    commits.add(result)
                else:
                    fail(work, f"{type(result).__name__}: {result}")
            let_go(client, [future for future, _ in ended])
            settle()
            submit()
        for group in groups:
            group.release()
    return sorted(kept, key=lambda receipt: front.rank((receipt.step, receipt.job)))
