"""Limits of a run, and the functions that a run calls while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsdit.receipts.receipts import Receipt
from flows.request.settings import Compute
from flows.run.commits import Commits
from flows.run.progress import Progress

WORKER_WAIT_S = 1800.0
"""How long a run does without any worker: the queue of a shared cluster may be that long."""
STRAGGLER_S = 600.0
"""No step counts as a straggler before this many seconds."""


@dataclass(frozen=True)
class RunLimits:
    """Bounds on what is under way, and on how long the run waits."""

    futures_per_worker: int = 4
    worker_wait_s: float = WORKER_WAIT_S
    """Seconds without any worker after which the run ends."""
    straggler_s: float = STRAGGLER_S
    """Least age, in seconds, of a step that gets a backup copy."""

    @classmethod
    def of(cls, compute: Compute) -> RunLimits:
        """The limits that a request sets."""
        return cls(compute.futures_per_worker, compute.worker_wait_s, compute.straggler_s)


def ignore(_: object) -> None:
    """A hook that does nothing."""


def unchecked() -> None:
    """A check that always passes."""


@dataclass(frozen=True)
class RunHooks:
    """What a run calls; all of it in the run's own thread."""

    on_progress: Callable[[Progress], None] = ignore
    """After each finished step."""
    on_failure: Callable[[str], None] = ignore
    """With one sentence for each step that failed."""
    on_receipt: Callable[[Receipt], None] | None = None
    """Takes each receipt; without it the run returns all of them, and its memory grows with the region."""
    check: Callable[[], None] = unchecked
    """Raises LeaseError where this run must write nothing more; called before a finished step counts."""
    commits: Commits | None = None
    """Commits shards that were written in forks; None where workers write in place."""
    on_warning: Callable[[str], None] = ignore
    """With one sentence where the run had to help itself, such as by a restart of workers."""
