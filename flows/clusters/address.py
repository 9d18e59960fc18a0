"""A scheduler that runs already, at `compute.address`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from distributed import Client

from dsdit.errors import RequestError
from flows.request.cluster_file import DaskClusterFile
from flows.request.settings import Compute
from flows.run.dask_cluster import RunClient, tls_security
from flows.run.dask_executor import DaskExecutor
from flows.run.executor import Executor
from flows.run.worker_process import quiet_dask

CONNECT_S = 20.0
"""Seconds that a scheduler at an address may take to answer."""


class Address(DaskClusterFile):
    """Somebody else starts and ends the scheduler and its workers. The only option is `address`."""

    kind: Literal["address"] = "address"

    @contextmanager
    def executor(self, compute: Compute) -> Iterator[Executor]:
        """See `flows.run.executor.Cluster`."""
        quiet_dask()
        with self._client(compute) as client:
            yield DaskExecutor(client, self.needs)

    def _client(self, compute: Compute) -> Client:
        address = compute.address or self.options.get("address")
        if address is None:
            raise RequestError(f"cluster {compute.cluster!r} has no address: give compute.address")
        security = None if compute.tls is None else tls_security(compute.tls)
        try:
            return RunClient(address, timeout=CONNECT_S, set_as_default=False, security=security)
        except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
            way_out = ": give compute.tls" if address.startswith("tls:") and security is None else ""
            raise RequestError(f"no Dask scheduler answers at {address!r}: {error}{way_out}") from error
