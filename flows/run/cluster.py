"""The Dask cluster behind a run, made from its YAML file. Jobs know nothing of which one it is.

The owner of distributed, dask-cuda, dask-kubernetes and dask-jobqueue.
"""

from __future__ import annotations

import copy
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster
from distributed.security import Security
from distributed.utils import get_mp_context

from dsdit.errors import RequestError
from flows.request.cluster_file import ClusterFile, LoadedCluster, load_cluster
from flows.request.settings import Compute, Tls

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""One thread a process: OpenMP barriers of several would spin against each other."""

_AHEAD = {"worker-saturation": 8.0, "work-stealing-interval": "100ms"}
"""Steps that a worker may have waiting, and how often Dask looks for one that has none."""

CONNECT_S = 20.0
"""How long a scheduler at an address may take to answer."""


@contextmanager
def open_cluster(compute: Compute, loaded: LoadedCluster | None = None) -> Iterator[Client]:
    """A client of the cluster that `compute` names; one that was started here is closed with it.

    `loaded` is its file, where it has been read already.

    Raises RequestError where the cluster cannot be had.
    """
    quiet()
    file, manifest = loaded or load_cluster(compute.cluster)
    if file.kind == "address":
        with _connect(compute, file) as client:
            yield client
        return
    os.environ.update(_ENVIRONMENT)
    with closed_at_the_end(_start(compute, file, manifest)) as cluster, client_of(cluster) as client:
        yield client


def client_of(cluster: Any) -> Client:
    """A client of a cluster that was started here. Beside its scheduler, in one process, it needs no sockets.

    Of the messages that a run's scheduler and client send, some four tenths go between the two.
    """
    scheduler = getattr(cluster, "scheduler", None)
    if not isinstance(scheduler, Scheduler):
        return Client(cluster, set_as_default=False)
    cluster.sync(scheduler.listen, "inproc://")
    return Client(scheduler.listeners[-1].contact_address, loop=cluster.loop, set_as_default=False)


@contextmanager
def closed_at_the_end(cluster: Any) -> Iterator[Any]:
    """The cluster, closed after the block. A worker that does not end in time is killed, and costs the run nothing."""
    cluster.__enter__()
    try:
        yield cluster
    finally:
        try:
            cluster.__exit__(None, None, None)
        except TimeoutError:
            logging.getLogger(__name__).warning("a Dask worker did not end in time: it was killed")


def _connect(compute: Compute, file: ClusterFile) -> Client:
    address = compute.address or file.options.get("address")
    if address is None:
        raise RequestError(f"cluster {compute.cluster!r} has no address: give compute.address")
    security = None if compute.tls is None else tls_security(compute.tls)
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False, security=security)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        way_out = ": give compute.tls" if address.startswith("tls:") and security is None else ""
        raise RequestError(f"no Dask scheduler answers at {address!r}: {error}{way_out}") from error


def tls_security(tls: Tls) -> Security:
    """Encrypted connections alone, both ends proving who they are. Raises RequestError for a file that is not there."""
    for path in (tls.ca, tls.cert, tls.key):
        if not os.access(path, os.R_OK):
            raise RequestError(f"compute.tls: {path!r} cannot be read: give the path of a PEM file")
    parts = {f"tls_{role}_{kind}": path for role in _ROLES for kind, path in (("cert", tls.cert), ("key", tls.key))}
    return Security(tls_ca_file=tls.ca, require_encryption=True, **parts)


_ROLES = ("client", "scheduler", "worker")


def _start(compute: Compute, file: ClusterFile, manifest: dict[str, Any] | None) -> Any:
    options = dict(file.options)
    hand_out_ahead()
    if compute.tls is not None and file.kind != "slurm":
        raise RequestError(
            f"compute.tls: a cluster of kind {file.kind!r} that the run starts itself does not take it: leave it out, "
            "or start the cluster with its certificates and give its address with cluster: address"
        )
    if file.kind == "cuda":
        return _cuda(file)
    if file.kind == "slurm":
        cluster = slurm_cluster(compute, options)
        if shutil.which("sbatch") is None:
            cluster.close()
            raise RequestError("cluster: slurm needs Slurm's command sbatch, which is not on this machine")
        cluster.scale(compute.workers)
        return cluster
    if file.kind == "kubernetes":
        return _kubernetes(compute, options, manifest or {})
    processes: dict[str, Any] = {}
    if options.get("processes", True):
        fork_workers()
        processes["env"] = {**os.environ, **_ENVIRONMENT}  # the process they are forked from may have another
    try:
        return LocalCluster(
            n_workers=compute.workers,
            memory_limit=compute.memory_limit_bytes or "auto",
            silence_logs=logging.ERROR,
            **processes,
            **options,
        )
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise _refused(compute, error) from error


def hand_out_ahead() -> None:
    """From now on schedulers that start here let a run's steps wait with the workers, where the user has not set it.

    A run bounds what waits by itself. Workers that have the next step go on without asking, and one that has none is
    given what others have waiting.
    """
    dask.config.update_defaults({"distributed": {"scheduler": _AHEAD}})


def fork_workers() -> None:
    """From now on Dask forks workers of this machine from a process that has imported what they need, and runs nothing.

    They share that memory, some 200 MB a worker, and one that was killed is there again within a second. Not for GPUs:
    dask-cuda makes a context in each process.
    """
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    context = get_mp_context()  # which names its own modules to be imported, once
    main = getattr(sys.modules["__main__"].__spec__, "name", None)
    said = "flows.cli.main" if "flows.cli.main" in sys.modules else None  # each worker imports the main module again
    context.set_forkserver_preload(["distributed", "flows.run.run_step", *filter(None, (main, said))])


def _cuda(file: ClusterFile) -> LocalCluster:
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise _missing("cuda", "dask-cuda") from error
    dask.config.set({"distributed.worker.multiprocessing-method": "spawn"})
    try:
        cluster = LocalCUDACluster(**file.options)
    except Exception as error:
        raise RequestError(
            f"cluster: cuda found no GPU that it can use ({type(error).__name__}): take cluster: local on this machine"
        ) from error
    add_workers(cluster, file)
    return cluster


def add_workers(cluster: SpecCluster, file: ClusterFile) -> None:
    """Adds to a worker a GPU the others that share it, and the workers without one; they come when they are ready."""
    for name, spec in list(cluster.worker_spec.items()):
        for number in range(1, file.workers_per_gpu):
            cluster.worker_spec[f"{name}-{number}"] = spec
    left = max(1, len(os.sched_getaffinity(0)) - len(cluster.worker_spec))
    spec = {"nthreads": 1, "resources": {"CPU": 1}, "dashboard": False, "silence_logs": logging.ERROR}
    environment = {**_ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""}
    for number in range(left if file.cpu_workers == "auto" else file.cpu_workers):
        cluster.worker_spec[f"cpu-{number}"] = {"cls": Nanny, "options": {**spec, "env": environment}}
    cluster.scale(len(cluster.worker_spec))


def slurm_cluster(compute: Compute, options: dict[str, Any]) -> Any:
    """A scheduler in this process whose workers are Slurm jobs; it has none yet. Raises RequestError.

    Without `compute.tls` it makes certificates of its own, which the jobs find in a folder that all nodes share.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise _missing("slurm", "dask-jobqueue") from error
    security = True if compute.tls is None else tls_security(compute.tls)
    try:
        return SLURMCluster(n_workers=0, security=security, silence_logs="error", **options)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise _refused(compute, error) from error


def worker_manifest(compute: Compute, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with as many workers as the request asks for. Raises RequestError for another kind of object."""
    made = copy.deepcopy(manifest)
    if made.get("kind") != "DaskCluster" or not isinstance(made.get("spec", {}).get("worker"), dict):
        raise RequestError(f"cluster {compute.cluster!r}: its manifest is no DaskCluster with a worker")
    made["spec"]["worker"]["replicas"] = compute.workers
    return made


def _kubernetes(compute: Compute, options: dict[str, Any], manifest: dict[str, Any]) -> Any:
    made = worker_manifest(compute, manifest)
    try:
        from dask_kubernetes.operator import KubeCluster
    except ImportError as error:
        raise _missing("kubernetes", "dask-kubernetes") from error
    try:
        return KubeCluster(custom_cluster_spec=made, **options)
    except Exception as error:
        raise RequestError(
            f"cluster: kubernetes could not be started ({type(error).__name__}: {error}): see that kubectl reaches "
            "the cluster and that the Dask operator runs there"
        ) from error


def _refused(compute: Compute, error: Exception) -> RequestError:
    words = " ".join(str(error).split())
    return RequestError(
        f"cluster {compute.cluster!r} could not be started ({type(error).__name__}: {words}): look at its options"
    )


def _missing(kind: str, package: str) -> RequestError:
    return RequestError(
        f"cluster: {kind} needs {package}: install the extra with `pip install '.[{kind}]'`, or take cluster: local"
    )


def quiet() -> None:
    """Sets distributed's loggers back to errors; importing Prefect raises them to INFO."""
    for name in (
        "distributed",
        "distributed.worker",
        "distributed.scheduler",
        "distributed.nanny",
        "distributed.core",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
