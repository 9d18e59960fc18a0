"""The wavefront of a run: the steps between the first shard that is not written and the last pixel that was staged.

Due shards are opened one after the other in a sweep along the longer side of the region, and with each the steps that
it reads. Only what is open has a state, and what has been read by all is forgotten and removed from scratch, the
receipt before the data it proves. Across a region of n jobs on its shorter side about 3 n staged and 2 n sampled jobs
are in scratch, which is as few as the rule of 3 x 3 neighbours allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dsdit.digest import Digest
from dsdit.lattice.job_mask import Jobs
from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, iterate_receipts, remove_receipts
from dsdit.status import JobState
from dsdit.window import Index
from flows.run.run_step import Places
from flows.run.scratch_removal import remove_scratch

Work = tuple[str, Index]
RANK = {"mosaic": 0, "sample": 1, "stage": 2}
"""Steps, and which goes first of those that may run."""


@dataclass
class Wavefront:
    """The steps that a set of due mosaic jobs still needs, opened as they come."""

    plan: Plan
    places: Places
    due: Sequence[Index]
    keep_scratch: bool = False
    repeated: set[Work] = field(default_factory=set)
    """Steps that two workers may have. Their scratch stays, so that a late copy leaves no data without its receipt."""
    waits: dict[Work, set[Work]] = field(default_factory=dict)
    """Open steps -> open steps they wait for."""
    readers: dict[Work, list[Work]] = field(default_factory=dict)
    """Open steps -> open steps that wait for them."""
    left: dict[Work, int] = field(default_factory=dict)
    """Stages and samples in scratch or open -> steps of this run, open or not, that have still to read them."""
    done: dict[Work, JobState] = field(default_factory=dict)
    """Steps whose output is in scratch -> how they ended."""
    failures: dict[Work, tuple[str, ...]] = field(default_factory=dict)
    """Those that failed -> the reasons in their receipts."""
    remove: Callable[[str, Index, JobState], None] | None = None
    """Called with a step whose output no step reads any more, to remove it; None removes it at once."""

    def __post_init__(self) -> None:
        jobs = self.due if isinstance(self.due, Jobs) else Jobs.of(self.due)
        self.due = self._due = jobs
        layout = self.plan.layout
        self._needed = layout.samples_for(jobs)
        self._finished_samples = self._finished("sample", self.plan.sample_digest)
        self._finished_stages = self._finished("stage", self.plan.stage_digest)
        rows, cols = layout.mosaic_jobs.window.shape
        self._by_rows = cols <= rows
        self._sweep: Iterator[Index] = iter(jobs if self._by_rows else jobs.by_columns())
        sample, tiles = layout.sample_jobs, layout.map.tiles
        needed = self._needed.on(sample.window) if len(sample) else np.zeros((0, 0), bool)
        self.tiles_total = int(tiles[needed].sum(dtype=np.int64))
        self.tiles_total -= sum(self.tiles(("sample", job)) for job in self._finished_samples & set(self._needed))

    def _finished(self, step: str, digest: Callable[[Index], Digest]) -> set[Index]:
        """Jobs whose output of exactly these inputs is in scratch; receipts of other inputs are removed."""
        url = self.places.scratch_receipts
        finished, others = set(), []
        for receipt in iterate_receipts(url, step):
            if receipt.state is JobState.DONE and receipt.digest == digest(receipt.job):
                finished.add(receipt.job)
            else:
                others.append(receipt.job)
        remove_receipts(url, step, others)
        return finished

    def rank(self, work: Work) -> tuple[int, int, int]:
        """Place in the order of what is ready."""
        step, job = work
        return (RANK[step], *job) if self._by_rows else (RANK[step], job.col, job.row)

    def digest(self, work: Work) -> Digest:
        """Digest of a step's inputs."""
        step, job = work
        return {
            "stage": self.plan.stage_digest,
            "sample": self.plan.sample_digest,
            "mosaic": self.plan.job_digest,
        }[step](job)

    def tiles(self, work: Work) -> int:
        """Tiles that a step samples."""
        step, job = work
        first = self.plan.layout.sample_jobs.window
        if step != "sample" or job not in first:
            return 0
        return int(self.plan.layout.map.tiles[job.row - first.row0, job.col - first.col0])

    def open_next(self) -> list[Work] | None:
        """Opens the next due shard with all that it reads; returns the steps that may run at once, None at the end."""
        job = next(self._sweep, None)
        if job is None:
            return None
        ready: list[Work] = []
        self._open(("mosaic", job), ready)
        return ready

    def _open(self, work: Work, ready: list[Work]) -> None:
        waits: set[Work] = set()
        self.waits[work] = waits
        for source in self.plan.layout.inputs_of(*work):
            if source not in self.left:
                self.left[source] = sum(1 for _ in self._readers_of(source))
                if self._is_finished(source):
                    self.done[source] = JobState.DONE
                else:
                    self._open(source, ready)
            if source not in self.done:
                waits.add(source)
                self.readers.setdefault(source, []).append(work)
        if not waits:
            ready.append(work)

    def _is_finished(self, work: Work) -> bool:
        step, job = work
        return job in (self._finished_samples if step == "sample" else self._finished_stages)

    def _readers_of(self, work: Work) -> Iterable[Work]:
        """Steps of this run that read what a stage or sample writes."""
        step, job = work
        layout = self.plan.layout
        for near in job.neighbours():
            if near in self._due and (step == "sample" or job in layout.stages_of_mosaic(near)):
                yield "mosaic", near
            sampled = step == "stage" and near in self._needed and near not in self._finished_samples
            if sampled and job in layout.stages_of_sample(near):
                yield "sample", near

    def finish(self, work: Work, receipt: Receipt) -> list[Work]:
        """Records a step as done; frees what no step reads any more; returns the steps that became ready."""
        del self.waits[work]
        if work[0] != "mosaic":
            self.done[work] = receipt.state
            if receipt.state is JobState.FAILED:
                self.failures[work] = receipt.errors
        ready = []
        for other in self.readers.pop(work, ()):
            self.waits[other].discard(work)
            if not self.waits[other]:
                ready.append(other)
        for source in self.plan.layout.inputs_of(*work):
            self.left[source] -= 1
            if not self.left[source]:
                self._release(source)
        return ready

    def _release(self, work: Work) -> None:
        del self.left[work]
        state = self.done.pop(work)
        self.failures.pop(work, None)
        if self.keep_scratch or work in self.repeated:
            return
        if self.remove is None:
            remove_scratch(self.plan, self.places, [(*work, state)])
        else:
            self.remove(*work, state)

    def blocked(self, work: Work) -> str | None:
        """Why a step must not run: a stage that it reads failed. Missing pixels must not count as "no data"."""
        step, job = work
        for need in self.plan.layout.stages_of_sample(job).indices() if step == "sample" else ():
            errors = self.failures.get(("stage", need))
            if errors is not None:
                return f"stage of job {tuple(need)} failed: {'; '.join(errors)}"
        return None
