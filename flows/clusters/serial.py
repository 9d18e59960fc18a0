"""No cluster: every step in the run's own process, one after the other, without Dask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from flows.request.cluster_file import ClusterFile
from flows.request.settings import Compute
from flows.run.executor import Executor
from flows.run.serial import SerialExecutor


class Serial(ClusterFile):
    """For notebooks, debuggers and tests. `compute.workers` and the other limits do not matter."""

    kind: Literal["serial"] = "serial"

    @contextmanager
    def executor(self, compute: Compute) -> Iterator[Executor]:
        """See `flows.run.executor.Cluster`."""
        yield SerialExecutor()
