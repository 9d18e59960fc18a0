"""Workers on this machine: forked processes, or threads with `options: {processes: false}`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import dask
from distributed import LocalCluster
from distributed.utils import get_mp_context

from flows.request.cluster_file import DaskClusterFile
from flows.request.settings import Compute
from flows.run.dask_cluster import executor_of, let_steps_wait_at_workers, not_started, refuse_tls
from flows.run.executor import Executor
from flows.run.worker_process import ONE_THREAD, limit_threads, quiet_dask


class Local(DaskClusterFile):
    """Dask's LocalCluster with `compute.workers` workers; `options` go to it."""

    kind: Literal["local"] = "local"

    @contextmanager
    def executor(self, compute: Compute) -> Iterator[Executor]:
        """See `flows.run.executor.Cluster`."""
        quiet_dask()
        refuse_tls(compute, self.kind)
        limit_threads()
        let_steps_wait_at_workers()
        with executor_of(self._start(compute), self.needs) as executor:
            yield executor

    def _start(self, compute: Compute) -> LocalCluster:
        processes: dict[str, Any] = {}
        if self.options.get("processes", True):
            _fork_workers()
            processes["env"] = {**os.environ, **ONE_THREAD}  # the process they are forked from may have another
        try:
            return LocalCluster(
                n_workers=compute.workers,
                memory_limit=compute.memory_limit_bytes or "auto",
                silence_logs=logging.ERROR,
                **processes,
                **self.options,
            )
        except (TypeError, ValueError, OSError, RuntimeError) as error:
            raise not_started(compute, error) from error


def _fork_workers() -> None:
    """From now on Dask forks workers from a process that has imported what they need, and runs nothing.

    They share that memory, some 200 MB a worker, and one that was killed is there again within a second. Not for GPUs:
    dask-cuda makes a context in each process.
    """
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    context = get_mp_context()  # which lists its own modules to be imported, once
    main = getattr(sys.modules["__main__"].__spec__, "name", None)
    command = "flows.cli.main" if "flows.cli.main" in sys.modules else None  # workers import the main module again
    context.set_forkserver_preload(["distributed", "flows.run.run_step", *filter(None, (main, command))])
