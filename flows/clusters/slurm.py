"""Workers that are Slurm jobs; the scheduler is in the process of the run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from dsdit.errors import RequestError
from flows.request.cluster_file import DaskClusterFile
from flows.request.settings import Compute
from flows.run.dask_cluster import (
    executor_of,
    let_steps_wait_at_workers,
    not_installed,
    not_started,
    tls_security,
)
from flows.run.executor import Executor
from flows.run.worker_process import limit_threads, quiet_dask


class Slurm(DaskClusterFile):
    """dask-jobqueue's SLURMCluster with `compute.workers` jobs; `options` go to it."""

    kind: Literal["slurm"] = "slurm"

    @contextmanager
    def executor(self, compute: Compute) -> Iterator[Executor]:
        """See `flows.run.executor.Cluster`."""
        quiet_dask()
        limit_threads()
        let_steps_wait_at_workers()
        cluster = self.start(compute)
        if shutil.which("sbatch") is None:
            cluster.close()
            raise RequestError("cluster: slurm needs Slurm's command sbatch, which is not on this machine")
        cluster.scale(compute.workers)
        with executor_of(cluster, self.needs) as executor:
            yield executor

    def start(self, compute: Compute) -> Any:
        """The scheduler, which has no worker yet. Raises RequestError.

        Without `compute.tls` it makes certificates of its own, which the jobs find in a folder that all nodes share.
        """
        try:
            from dask_jobqueue import SLURMCluster
        except ImportError as error:
            raise not_installed("slurm", "dask-jobqueue") from error
        security = True if compute.tls is None else tls_security(compute.tls)
        try:
            return SLURMCluster(n_workers=0, security=security, silence_logs="error", **self.options)
        except (TypeError, ValueError, OSError, RuntimeError) as error:
            raise not_started(compute, error) from error
