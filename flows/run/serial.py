"""A run without Dask: every step in this process, one after the other. For notebooks, debuggers and tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from dsdit.errors import LeaseError
from dsdit.receipts.receipts import Receipt
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.run_step import RETRIES, Places, Step, run_step, try_batch
from flows.run.step_queue import StepQueue

T = TypeVar("T")
R = TypeVar("R")


def run_serially(
    front: Wavefront, hooks: RunHooks | None = None, step: Step | None = None, retries: int = RETRIES
) -> list[Receipt]:
    """Runs every step of `front` along its sweep, as `flows.run.loop.WavefrontRun` does on a cluster.

    Same receipts, checks of the lease, commits and failures. What is not an `Exception`, such as Ctrl-C, ends the run
    at once; what is done by then has its receipt, and the same run goes on from there.
    """
    hooks, step = hooks or RunHooks(), step or run_step
    queue = StepQueue(front, hooks)
    while (work := queue.next_step()) is not None or queue.uncommitted:
        if work is not None:
            result = _run_with_retries(step, work[0], work[1], front.places, retries)
            hooks.check()
            queue.end(work, result)
        queue.take_commits(commit_now=work is None)
    return queue.receipts()


def _run_with_retries(step: Step, name: str, job: Any, places: Places, retries: int) -> object:
    """The result of a step, or the error of its last try."""
    for left in range(retries, -1, -1):
        try:
            return step(name, job, places)
        except LeaseError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the receipt of the step gets the reason
            if not left:
                return error
    raise AssertionError("retries is negative")


class SerialExecutor:
    """See `flows.run.executor.Executor`. Limits do not matter: one step is under way, and there are no workers."""

    def try_batch(self, places: Places, limits: RunLimits) -> None:
        """See `Executor`."""
        try_batch(places)

    def run_wavefront(self, front: Wavefront, limits: RunLimits, hooks: RunHooks) -> list[Receipt]:
        """See `Executor`."""
        return run_serially(front, hooks)

    def map(
        self, call: Callable[..., R], arguments: Iterator[T], limits: RunLimits, step: str = "", **same: Any
    ) -> Iterator[tuple[T, R]]:
        """See `Executor`; without retries."""
        for argument in arguments:
            yield argument, call(argument, **same)
