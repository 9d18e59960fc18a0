"""A run on the workers of a Dask client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from distributed import Client

from dsdit.receipts.receipts import Receipt
from flows.run.frontier import Wavefront
from flows.run.futures import run_bounded
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.loop import WavefrontRun
from flows.run.run_step import Places
from flows.run.workers import Needs, try_batch_on

T = TypeVar("T")
R = TypeVar("R")


class DaskExecutor:
    """See `flows.run.executor.Executor`. `needs` are the Dask resources that each step takes of its worker."""

    def __init__(self, client: Client, needs: Needs | None = None) -> None:
        self.client = client
        self._needs: Needs = needs or {}

    def try_batch(self, places: Places, limits: RunLimits) -> None:
        """See `Executor`."""
        try_batch_on(self.client, places, limits.worker_wait_s, self._needs)

    def run_wavefront(self, front: Wavefront, limits: RunLimits, hooks: RunHooks) -> list[Receipt]:
        """See `Executor`."""
        return WavefrontRun(self.client, front, limits, hooks, self._needs).run()

    def map(
        self, call: Callable[..., R], arguments: Iterator[T], limits: RunLimits, step: str = "", **same: Any
    ) -> Iterator[tuple[T, R]]:
        """See `Executor`; at most `limits.futures_per_worker` calls a worker are under way."""
        resources = self._needs.get(step)
        more = same if resources is None else {**same, "resources": resources}
        return run_bounded(self.client, call, arguments, limits.futures_per_worker, limits.worker_wait_s, **more)
