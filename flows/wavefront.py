"""The wavefront: jobs move on when the 3 x 3 they read has arrived.

Dask holds a bounded number of futures at a time, each a step's name, a job's index and locations, never an array. The
order prefers what frees scratch: mosaic before sample before stage. Staged pixels and tiles are removed as soon as
their last reader is done, the receipt before the data it proves.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, as_completed

from dsdit.plan import Plan
from dsdit.receipts import Receipt, read_receipts, remove_receipt, write_receipt
from dsdit.status import JobState
from dsdit.steps.scratch import origin
from dsdit.store import SCRATCH, remove_shard
from dsdit.window import Index
from flows.jobs import Places, failed_receipt, receipts_of, run_step

Work = tuple[str, Index]
_RANK = {"mosaic": 0, "sample": 1, "stage": 2}
_ARRAYS = {"stage": tuple(SCRATCH), "sample": ("tiles", "weighting")}
DASK_RETRIES = 2
"""Times that Dask gives a raised step to a worker again."""


@dataclass(frozen=True)
class Progress:
    """What is done at one moment."""

    tiles: int
    tiles_total: int
    jobs: int
    jobs_total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tiles per second since the start."""
        return self.tiles / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate; None while nothing is known."""
        return (self.tiles_total - self.tiles) / self.rate if self.tiles else None

    def __str__(self) -> str:
        left = "" if self.left_s is None else f", {self.left_s:.0f} s left"
        return (
            f"{self.tiles}/{self.tiles_total} tiles, {self.rate:.1f} tiles/s{left}; "
            f"{self.jobs}/{self.jobs_total} shards"
        )


@dataclass
class Wavefront:
    """The steps that a set of due mosaic jobs still needs, and what waits for what."""

    plan: Plan
    places: Places
    due: tuple[Index, ...]
    keep_scratch: bool = False
    waits: dict[Work, set[Work]] = field(default_factory=dict)
    """Steps to run -> steps they wait for."""
    readers: dict[Work, set[Work]] = field(default_factory=dict)
    """Steps whose output is in scratch -> steps of this run that read it."""
    reads: dict[Work, set[Work]] = field(default_factory=dict)
    """Steps to run -> all that they read."""
    receipts: dict[Work, Receipt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layout = self.plan.layout
        samples = {job for m in self.due for job in layout.samples_of_mosaic(m)}
        have = self._standing("sample", samples, self.plan.sample_digest)
        todo = samples - have
        reads: dict[Work, set[Work]] = {}
        for job in self.due:
            wanted: set[Work] = {("sample", n) for n in layout.samples_of_mosaic(job)}
            reads["mosaic", job] = wanted | {("stage", n) for n in layout.stages_of_mosaic(job)}
        for job in todo:
            reads["sample", job] = {("stage", n) for n in layout.stages_of_sample(job)}
        stages = {job for works in reads.values() for step, job in works if step == "stage"}
        for job in stages - self._standing("stage", stages, self.plan.stage_digest):
            reads["stage", job] = set()
        self.reads = reads
        self.waits = {work: {w for w in needs if w in reads} for work, needs in reads.items()}
        for work, needs in reads.items():
            for need in needs:
                self.readers.setdefault(need, set()).add(work)
        self._left = {source: set(readers) for source, readers in self.readers.items()}

    def _standing(self, step: str, jobs: Iterable[Index], digest: Callable[[Index], str]) -> set[Index]:
        """Jobs whose output of these very inputs lies in scratch."""
        known = read_receipts(self.places.scratch_receipts, step, jobs)
        return {job for job, r in known.items() if r.state is JobState.DONE and r.digest == digest(job)}

    def digest(self, work: Work) -> str:
        """Digest of a step's inputs."""
        step, job = work
        return {
            "stage": self.plan.stage_digest,
            "sample": self.plan.sample_digest,
            "mosaic": self.plan.job_digest,
        }[step](job)

    def finish(self, work: Work, receipt: Receipt) -> list[Work]:
        """Notes a step as done; frees what nobody reads any more; returns the steps that became ready."""
        self.receipts[work] = receipt
        ready = []
        for other in self.readers.get(work, ()):
            self.waits[other].discard(work)
            if not self.waits[other] and other not in self.receipts:
                ready.append(other)
        for source in self.reads[work]:
            self._left[source].discard(work)
            if not self._left[source] and not self.keep_scratch:
                self._release(source)
        return ready

    def _release(self, work: Work) -> None:
        step, job = work
        remove_receipt(self.places.scratch_receipts, step, job)
        for name in _ARRAYS[step]:
            remove_shard(self.places.scratch, name, origin(self.plan), job)

    def blocked(self, work: Work) -> str | None:
        """Why a step must not run: a stage that it reads failed. Nobody may take its absence for no data."""
        step, job = work
        needs = {"sample": self.plan.layout.stages_of_sample, "stage": lambda _: (), "mosaic": lambda _: ()}[step](job)
        for need in needs:
            receipt = self.receipts.get(("stage", need))
            if receipt is not None and receipt.state is JobState.FAILED:
                return f"stage of job {tuple(need)} failed: {'; '.join(receipt.errors)}"
        return None


def run_wavefront(
    client: Client,
    front: Wavefront,
    futures_per_worker: int,
    on_progress: Callable[[Progress], None],
    on_failure: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
) -> list[Receipt]:
    """Runs every step of `front`; returns the receipts of this run.

    `check` raises where this run must write nothing more; it is asked before anything is made of a finished step.
    A step that raises is tried again by Dask, then gets a receipt with the reason, and the rest goes on.
    """
    started = time.monotonic()
    total = sum(len(front.plan.layout.sample_tiles(job)) for step, job in front.waits if step == "sample")
    jobs_total = len(front.due)
    tiles = jobs = 0
    ready = [(_RANK[step], job, step) for (step, job), needs in front.waits.items() if not needs]
    heapq.heapify(ready)
    running = as_completed(loop=client.loop, with_results=False, raise_errors=False)
    in_flight: dict[Any, Work] = {}

    def push(works: list[Work]) -> None:
        for step, job in works:
            heapq.heappush(ready, (_RANK[step], job, step))

    def done(work: Work, receipt: Receipt) -> None:
        nonlocal tiles, jobs
        tiles += len(front.plan.layout.sample_tiles(work[1])) if work[0] == "sample" else 0
        jobs += work[0] == "mosaic"
        push(front.finish(work, receipt))
        on_progress(Progress(tiles, total, jobs, jobs_total, time.monotonic() - started))

    def fail(work: Work, reason: str) -> None:
        step, job = work
        receipt = failed_receipt(front.plan, step, job, front.digest(work), reason)
        write_receipt(receipts_of(step, front.places), receipt)
        on_failure(f"{step} of job {tuple(job)} failed: {reason}")
        done(work, receipt)

    def submit() -> None:
        limit = futures_per_worker * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        while ready and len(in_flight) < limit:
            _, job, step = heapq.heappop(ready)
            reason = front.blocked((step, job))
            if reason is not None:
                fail((step, job), reason)
                continue
            future = client.submit(
                run_step,
                step,
                job,
                front.places,
                key=f"{step}-{job}-{time.monotonic_ns()}",
                pure=False,
                retries=DASK_RETRIES,
            )
            in_flight[future.key] = (step, job)
            running.add(future)

    submit()
    while in_flight:
        future = next(running)
        check()
        work = in_flight.pop(future.key)
        if future.status == "finished":
            done(work, future.result())
        else:
            error = future.exception()
            fail(work, f"{type(error).__name__}: {error}")
        future.release()
        submit()
    return [front.receipts[work] for work in sorted(front.receipts, key=lambda w: (_RANK[w[0]], w[1]))]
