"""What the kinds of Dask clusters share: the client, the end of a cluster, defaults of schedulers, errors."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, Scheduler
from distributed.security import Security

from dsdit.errors import RequestError
from flows.request.settings import Compute, Tls
from flows.run.dask_executor import DaskExecutor
from flows.run.workers import Needs

_SCHEDULER = {"worker-saturation": 8.0, "work-stealing-interval": "100ms"}
"""Steps that may wait at a worker, and how often Dask takes some of them for a worker that has none."""


class RunClient(Client):
    """A client that is closed where it cannot connect.

    Dask leaves it to the garbage collector, which may run while the next client starts its event loop: closing then
    waits for a lock that the same thread holds, for ever.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Client.__init__(self, *args, **kwargs)

    def start(self, **kwargs: Any) -> None:
        """Connects, as `Client` does. Raises what `Client` raises."""
        try:
            Client.start(self, **kwargs)
        except BaseException:
            Client.close(self)
            self._loop_runner.stop()  # `close` leaves it running where Dask has closed the connections itself
            raise


@contextmanager
def executor_of(cluster: Any, needs: Needs) -> Iterator[DaskExecutor]:
    """An executor on a cluster that was started here; the cluster is closed after the block."""
    with close_at_the_end(cluster), client_of(cluster) as client:
        yield DaskExecutor(client, needs)


def client_of(cluster: Any) -> Client:
    """A client of a cluster that was started here. Beside its scheduler, in one process, it needs no sockets.

    Of the messages that a run's scheduler and client send, some four tenths go between the two.
    """
    scheduler = getattr(cluster, "scheduler", None)
    if not isinstance(scheduler, Scheduler):
        return RunClient(cluster, set_as_default=False)
    cluster.sync(scheduler.listen, "inproc://")
    return RunClient(scheduler.listeners[-1].contact_address, loop=cluster.loop, set_as_default=False)


@contextmanager
def close_at_the_end(cluster: Any) -> Iterator[Any]:
    """The cluster, closed after the block. A worker that does not end in time is killed, and costs the run nothing."""
    cluster.__enter__()
    try:
        yield cluster
    finally:
        try:
            cluster.__exit__(None, None, None)
        except TimeoutError:
            logging.getLogger(__name__).warning("a Dask worker did not end in time: it was killed")


def let_steps_wait_at_workers() -> None:
    """Schedulers that start here from now on let steps wait at the workers, where the user has not set it otherwise.

    A run bounds by itself what waits. A worker that has its next step goes on without a request, and one that has none
    gets what waits at others.
    """
    dask.config.update_defaults({"distributed": {"scheduler": _SCHEDULER}})


def tls_security(tls: Tls) -> Security:
    """Encrypted connections only, with both ends authenticated. Raises RequestError for a file that is not there."""
    for path in (tls.ca, tls.cert, tls.key):
        if not os.access(path, os.R_OK):
            raise RequestError(f"compute.tls: {path!r} cannot be read: give the path of a PEM file")
    roles = ("client", "scheduler", "worker")
    parts = {f"tls_{role}_{part}": path for role in roles for part, path in (("cert", tls.cert), ("key", tls.key))}
    return Security(tls_ca_file=tls.ca, require_encryption=True, **parts)


def refuse_tls(compute: Compute, kind: str) -> None:
    """Raises RequestError where the request gives certificates to a kind that does not use them."""
    if compute.tls is not None:
        raise RequestError(
            f"compute.tls: a cluster of kind {kind!r} that the run starts itself does not take it: leave it out, "
            "or start the cluster with its certificates and give its address with cluster: address"
        )


def not_started(compute: Compute, error: Exception) -> RequestError:
    """The error for a cluster whose options its library refuses."""
    message = " ".join(str(error).split())
    return RequestError(
        f"cluster {compute.cluster!r} could not be started ({type(error).__name__}: {message}): look at its options"
    )


def not_installed(kind: str, package: str) -> RequestError:
    """The error for a kind whose library is not installed."""
    return RequestError(
        f"cluster: {kind} needs {package}: install the extra with `pip install '.[{kind}]'`, or take cluster: local"
    )
