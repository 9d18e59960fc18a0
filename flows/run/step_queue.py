"""The steps of a run that are ready, best first, and the account of those that ended. Every executor has one."""

from __future__ import annotations

import heapq
import time

from dsdit.errors import LeaseError
from dsdit.receipts.receipts import Receipt, write_receipt
from flows.run.frontier import Wavefront, Work
from flows.run.limits_and_hooks import RunHooks
from flows.run.progress import Progress
from flows.run.run_step import Uncommitted, failed_receipt, receipts_of


class StepQueue:
    """Hands out the steps of `front` in the order that frees scratch first, and accounts for their results."""

    def __init__(self, front: Wavefront, hooks: RunHooks) -> None:
        self.front, self._hooks = front, hooks
        self._ready: list[tuple[tuple[int, int, int], Work]] = []
        self._receipts: list[Receipt] = []
        self._keep = hooks.on_receipt or self._receipts.append
        self._staged = self._tiles = self._jobs = 0
        self._sampling_since: float | None = None

    def next_step(self) -> Work | None:
        """The best step that may run now; None where all that are left wait for steps under way.

        A step that reads a failed stage is not handed out: it gets its failed receipt here.
        """
        while True:
            while not self._ready and (opened := self.front.open_next()) is not None:
                self._push(opened)
            if not self._ready:
                return None
            _, work = heapq.heappop(self._ready)
            reason = self.front.blocked(work)
            if reason is None:
                if work[0] == "sample" and self._sampling_since is None:
                    self._sampling_since = time.monotonic()
                return work
            self.fail(work, reason)

    def end(self, work: Work, result: object) -> None:
        """Accounts for the result of a step: its receipt, the changes of a fork, or the error that it raised.

        Raises LeaseError where that is the result: then nothing more may be written, no receipt either.
        """
        if isinstance(result, LeaseError):
            raise result
        if isinstance(result, Receipt):
            self._finish(work, result)
        elif isinstance(result, Uncommitted) and self._hooks.commits is not None:
            self._hooks.commits.add(result)
        else:
            self.fail(work, f"{type(result).__name__}: {result}")

    def fail(self, work: Work, reason: str) -> None:
        """Writes the failed receipt of a step, and goes on."""
        step, job = work
        receipt = failed_receipt(self.front.plan, step, job, self.front.digest(work), reason)
        write_receipt(receipts_of(step, self.front.places), receipt)
        self._hooks.on_failure(f"{step} of job {tuple(job)} failed: {reason}")
        self._finish(work, receipt)

    @property
    def uncommitted(self) -> bool:
        """Whether shards still wait for their commit."""
        return self._hooks.commits is not None and self._hooks.commits.waiting

    def take_commits(self, commit_now: bool) -> None:
        """Accounts for shards that were committed meanwhile; `commit_now` commits all that wait first."""
        commits = self._hooks.commits
        if commits is None:
            return
        if commit_now:
            commits.commit()
        for receipt in commits.finished():
            self._finish(("mosaic", receipt.job), receipt)

    def receipts(self) -> list[Receipt]:
        """Receipts of this run in the order of steps and jobs; none where the hook took them."""
        return sorted(self._receipts, key=lambda receipt: self.front.rank((receipt.step, receipt.job)))

    def _push(self, works: list[Work]) -> None:
        for work in works:
            heapq.heappush(self._ready, (self.front.rank(work), work))

    def _finish(self, work: Work, receipt: Receipt) -> None:
        self._staged += work[0] == "stage"
        self._tiles += self.front.tiles(work)
        self._jobs += work[0] == "mosaic"
        self._keep(receipt)
        self._push(self.front.finish(work, receipt))
        since = self._sampling_since
        seconds = 0.0 if since is None else time.monotonic() - since
        front = self.front
        progress = Progress(self._staged, self._tiles, front.tiles_total, self._jobs, len(front.due), seconds)
        self._hooks.on_progress(progress)
