"""The wavefront: jobs move on when the 3 x 3 they read has arrived.

Dask holds a bounded number of futures at a time, each a step's name, a job's index and locations, never an array. The
order prefers what frees scratch: mosaic before sample before stage, along the sweep of `flows.front`.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distributed import Client, KilledWorker, as_completed

from dsdit.errors import LeaseError
from dsdit.receipts import Receipt, write_receipt
from dsdit.window import Index
from flows.commits import Commits
from flows.front import Wavefront, Work
from flows.futures import DASK_RETRIES, Bound, gathered
from flows.jobs import Places, Uncommitted, failed_receipt, read_plan, receipts_of, run_step, try_batch
from flows.removals import Removals

__all__ = ["DASK_RETRIES", "Progress", "Wavefront", "run_wavefront", "try_batch_on"]
Run = Callable[[str, Index, Places], Receipt | Uncommitted]
_TELLS = 20
"""A run says how long it takes from one in so many tiles on."""


@dataclass(frozen=True)
class Progress:
    """What is done at one moment."""

    staged: int
    """Jobs staged by this run."""
    tiles: int
    tiles_total: int
    jobs: int
    jobs_total: int
    seconds: float
    """Since the first job was given to be sampled."""

    @property
    def rate(self) -> float:
        """Tiles per second since sampling began."""
        return self.tiles / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate; None while too little is sampled to tell."""
        known = self.rate > 0 and self.tiles * _TELLS >= self.tiles_total
        return (self.tiles_total - self.tiles) / self.rate if known else None

    def __str__(self) -> str:
        left = "" if self.left_s is None else f", {self.left_s:.0f} s left"
        speed = f", {self.rate:.1f} tiles/s{left}" if self.tiles else ""
        return (
            f"{self.staged} jobs staged; {self.tiles}/{self.tiles_total} tiles{speed}; "
            f"{self.jobs}/{self.jobs_total} shards"
        )


def try_batch_on(client: Client, plan_url: str) -> None:
    """Has one worker draw the run's batch once, before anything is spent.

    Raises RequestError where its memory does not hold it, also where the worker was killed for what it took.
    """
    try:
        client.submit(try_batch, plan_url, key=f"batch-{time.monotonic_ns()}", pure=False).result()
    except KilledWorker as error:
        plan = read_plan(plan_url)
        from dsdit.sampling.fitting import batch_refused

        raise batch_refused(plan.sampler.batch, plan.lattice.tile_px, "a Dask worker", error) from error


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
) -> list[Receipt]:
    """Runs every step of `front`; returns the receipts of this run, or gives each to `on_receipt` and keeps none.

    `check` raises where this run must write nothing more; it is asked before anything is made of a finished step.
    A step that raises is tried again by Dask, then gets a receipt with the reason, and the rest goes on. `run` is what
    a worker does for a step: `run_step` by default. A shard that was written in a fork is done with its commit.
    """
    sampling: float | None = None
    staged = tiles = jobs = 0
    bound = Bound(client, futures_per_worker)
    kept: list[Receipt] = []
    keep = kept.append if on_receipt is None else on_receipt
    ready: list[tuple[tuple[int, int, int], Work]] = []
    running = as_completed(loop=client.loop)
    in_flight: dict[Any, Work] = {}

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

    def submit() -> None:
        nonlocal sampling
        limit = bound.most()
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
        if not given:
            return
        # One message to the scheduler gives it all that may run now.
        futures = client.map(
            run or run_step,
            [step for step, _ in given],
            [job for _, job in given],
            key=[f"{step}-{job}-{time.monotonic_ns()}" for step, job in given],
            places=front.places,
            pure=False,
            retries=DASK_RETRIES,
        )
        in_flight.update(zip((future.key for future in futures), given, strict=True))
        running.update(futures)

    def settle() -> None:
        if commits is not None:
            if not in_flight:
                commits.commit()
            for receipt in commits.finished():
                done(("mosaic", receipt.job), receipt)

    with Removals(front.plan, front.places, check).running() as removals:
        front.remove = removals.add
        submit()
        while in_flight or (commits is not None and commits.waiting):
            # One message fetches the results of all that finished meanwhile.
            for future, result in gathered(client, running.next_batch() if in_flight else []):
                check()
                work = in_flight.pop(future.key)
                if isinstance(result, LeaseError):
                    raise result  # a worker saw it first: nothing more may be written, no receipt either
                if isinstance(result, Receipt):
                    done(work, result)
                elif isinstance(result, Uncommitted) and commits is not None:
                    commits.add(result)
                else:
                    fail(work, f"{type(result).__name__}: {result}")
                future.release()
            settle()
            submit()
    return sorted(kept, key=lambda receipt: front.rank((receipt.step, receipt.job)))
