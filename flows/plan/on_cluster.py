"""Measures on the run's cluster: the first run over a continent reads millions of pairs, too many for one process.

The cluster is opened for the first block and closed with the plan. Workers store what they measure: after a run that
was killed only the blocks in progress are measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from catalogs.measure.cache import Job, JobResult, Spread, run_jobs
from flows.plan.prepared import Prepared
from flows.run.executor import Executor, open_executor
from flows.run.limits_and_hooks import RunLimits
from flows.run.worker_process import set_up_worker


def measure_block(block: tuple[int, list[Job]], storage: dict[str, Any] | None = None) -> list[JobResult]:
    """Takes and stores one block of measures, on a worker."""
    with set_up_worker(storage):
        return run_jobs(block[1])


@contextmanager
def measuring_on_cluster(prepared: Prepared, log: Callable[[str], None]) -> Iterator[Spread]:
    """What takes many measures on the cluster of the request."""
    compute, opened = prepared.request.compute, list[Executor]()
    with ExitStack() as stack:

        def spread(blocks: Iterator[tuple[int, list[Job]]]) -> Iterator[tuple[int, list[JobResult]]]:
            if not opened:
                log("measure: many are missing: they are taken on the cluster")
                opened.append(stack.enter_context(open_executor(prepared.cluster, compute)))
            storage = prepared.request.storage_options
            ended = opened[0].map(measure_block, blocks, RunLimits.of(compute), "stage", storage=storage)
            for (number, _), made in ended:
                yield number, made

        yield spread
