"""The GPUs of this machine: processes that share them, and others without a GPU beside them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import dask
from distributed import Nanny, SpecCluster
from pydantic import NonNegativeInt, PositiveInt

from dsdit.errors import RequestError
from flows.request.cluster_file import DaskClusterFile
from flows.request.settings import Compute
from flows.run.dask_cluster import executor_of, let_steps_wait_at_workers, not_installed, refuse_tls
from flows.run.executor import Executor
from flows.run.worker_process import ONE_THREAD, limit_threads, quiet_dask


class Cuda(DaskClusterFile):
    """dask-cuda's LocalCUDACluster; `options` go to it."""

    kind: Literal["cuda"] = "cuda"
    workers_per_gpu: PositiveInt = 1
    """Processes that share each GPU, so that it has work while one of them reads and writes."""
    cpu_workers: NonNegativeInt | Literal["auto"] = 0
    """Processes without a GPU beside those, each offering {CPU: 1}; "auto": one for each core that is left."""

    @contextmanager
    def executor(self, compute: Compute) -> Iterator[Executor]:
        """See `flows.run.executor.Cluster`."""
        quiet_dask()
        refuse_tls(compute, self.kind)
        limit_threads()
        let_steps_wait_at_workers()
        with executor_of(self._start(), self.needs) as executor:
            yield executor

    def _start(self) -> Any:
        try:
            from dask_cuda import LocalCUDACluster
        except ImportError as error:
            raise not_installed("cuda", "dask-cuda") from error
        dask.config.set({"distributed.worker.multiprocessing-method": "spawn"})
        try:
            cluster = LocalCUDACluster(**self.options)
        except Exception as error:
            raise RequestError(
                f"cluster: cuda found no GPU that it can use ({type(error).__name__}): take cluster: local on this "
                "machine"
            ) from error
        self.add_workers(cluster)
        return cluster

    def add_workers(self, cluster: SpecCluster) -> None:
        """Adds to a worker a GPU the others that share it, and the workers without one; it does not wait for them."""
        for name, spec in list(cluster.worker_spec.items()):
            for number in range(1, self.workers_per_gpu):
                cluster.worker_spec[f"{name}-{number}"] = spec
        left = max(1, len(os.sched_getaffinity(0)) - len(cluster.worker_spec))
        options = {"nthreads": 1, "resources": {"CPU": 1}, "dashboard": False, "silence_logs": logging.ERROR}
        environment = {**ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""}
        for number in range(left if self.cpu_workers == "auto" else self.cpu_workers):
            cluster.worker_spec[f"cpu-{number}"] = {"cls": Nanny, "options": {**options, "env": environment}}
        cluster.scale(len(cluster.worker_spec))
