"""What runs the steps of a run: workers of a Dask cluster, or a plain loop in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

from dsdit.errors import RequestError
from dsdit.receipts.receipts import Receipt
from flows.request.cluster_file import ClusterFile
from flows.request.settings import Compute
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.run_step import Places

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Runs steps and other calls, where they run being its own business."""

    def try_batch(self, places: Places, limits: RunLimits) -> None:
        """Runs one network pass of the run's batch. Raises RequestError where the memory does not hold it."""

    def run_wavefront(self, front: Wavefront, limits: RunLimits, hooks: RunHooks) -> list[Receipt]:
        """Runs every step of `front`; returns the receipts of this run where no hook takes them.

        A step that raises is retried, and then gets a receipt with the reason, and the rest goes on.
        """
        ...

    def map(
        self, call: Callable[..., R], arguments: Iterator[T], limits: RunLimits, step: str = "", **same: Any
    ) -> Iterator[tuple[T, R]]:
        """`call(argument, **same)` of each argument, with the argument, in the order in which they end.

        The calls need of their worker what `step` needs. Raises what a call still raises after retries.
        """
        ...


@runtime_checkable
class Cluster(Protocol):
    """What each kind in `flows.clusters` is, beside a `ClusterFile`."""

    def executor(self, compute: Compute) -> AbstractContextManager[Executor]:
        """What runs the steps; workers that were started for it end with the block.

        Raises RequestError where the cluster cannot be had.
        """
        ...


def open_executor(cluster: ClusterFile, compute: Compute) -> AbstractContextManager[Executor]:
    """The executor of a cluster file, to be entered. Raises RequestError where the cluster cannot be had."""
    if not isinstance(cluster, Cluster):
        raise RequestError(f"cluster {compute.cluster!r}: kind {cluster.kind!r} has no executor")
    return cluster.executor(compute)
