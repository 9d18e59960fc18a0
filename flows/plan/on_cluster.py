"""Measures on the run's cluster: a continent's first night reads millions of pairs, more than one process can.

The cluster is opened for the first block and closed with the plan. Workers keep what they measure: of a run that is
killed nothing is measured again but what was under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from catalogs.measure.cache import Job, Made, Spread, make_jobs
from dsdit.malloc import keep_freed_memory
from dsdit.store.options import use_storage
from flows.request.cluster_file import load_cluster
from flows.request.request import Request
from flows.run.cluster import open_cluster
from flows.run.futures import run_bounded


def measure_block(block: tuple[int, list[Job]], storage: dict[str, Any] | None = None) -> list[Made]:
    """Makes and keeps one block of measures, on a worker."""
    keep_freed_memory()
    use_storage(storage or {})
    return make_jobs(block[1])


@contextmanager
def measuring_on_cluster(request: Request, say: Callable[[str], None]) -> Iterator[Spread]:
    """What makes many measures on the cluster that the request asks for."""
    asked, opened = request.compute, list[Any]()
    with ExitStack() as stack:

        def spread(blocks: Iterator[tuple[int, list[Job]]]) -> Iterator[tuple[int, list[Made]]]:
            if not opened:
                say("measure: many are missing: they are made on the cluster")
                opened.append(stack.enter_context(open_cluster(asked)))
            needs = load_cluster(asked.cluster)[0].needs.get("stage")
            ended = run_bounded(
                opened[0],
                measure_block,
                blocks,
                asked.futures_per_worker,
                asked.worker_wait_s,
                storage=request.storage_options,
                resources=needs,
            )
            for (number, _), made in ended:
                yield number, made

        yield spread
