"""Measures on the run's cluster: the first run over a continent reads millions of pairs, too many for one process.

The cluster is opened for the first block and closed with the plan. Workers store what they measure: after a run that
was killed only the blocks in progress are measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from catalogs.measure.cache import Job, JobResult, Spread, run_jobs
from dsdit.malloc import keep_freed_memory
from dsdit.store.options import use_storage
from flows.plan.prepared import Prepared
from flows.run.cluster import open_cluster
from flows.run.futures import run_bounded


def measure_block(block: tuple[int, list[Job]], storage: dict[str, Any] | None = None) -> list[JobResult]:
    """Takes and stores one block of measures, on a worker."""
    keep_freed_memory()
    use_storage(storage or {})
    return run_jobs(block[1])


@contextmanager
def measuring_on_cluster(prepared: Prepared, log: Callable[[str], None]) -> Iterator[Spread]:
    """What takes many measures on the cluster of the request."""
    compute, opened = prepared.request.compute, list[Any]()
    with ExitStack() as stack:

        def spread(blocks: Iterator[tuple[int, list[Job]]]) -> Iterator[tuple[int, list[JobResult]]]:
            if not opened:
                log("measure: many are missing: they are taken on the cluster")
                opened.append(stack.enter_context(open_cluster(compute, prepared.cluster)))
            ended = run_bounded(
                opened[0],
                measure_block,
                blocks,
                compute.futures_per_worker,
                compute.worker_wait_s,
                storage=prepared.request.storage_options,
                resources=prepared.cluster[0].needs.get("stage"),
            )
            for (number, _), made in ended:
                yield number, made

        yield spread
