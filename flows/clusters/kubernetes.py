"""Pods of the Dask operator, made from a DaskCluster manifest."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import ValidationInfo, field_validator

from dsdit.errors import RequestError
from flows.request.cluster_file import DaskClusterFile, read_beside
from flows.request.settings import Compute
from flows.run.dask_cluster import executor_of, let_steps_wait_at_workers, not_installed, refuse_tls
from flows.run.executor import Executor
from flows.run.worker_process import limit_threads, quiet_dask


class Kubernetes(DaskClusterFile):
    """dask-kubernetes' KubeCluster with `compute.workers` pods; `options` go to it."""

    kind: Literal["kubernetes"] = "kubernetes"
    manifest: dict[str, Any]
    """The DaskCluster object. In the file: the path of its manifest, relative to the file."""

    @field_validator("manifest", mode="before")
    @classmethod
    def _read_manifest(cls, value: object, info: ValidationInfo) -> object:
        return read_beside(value, info) if isinstance(value, str) else value

    @contextmanager
    def executor(self, compute: Compute) -> Iterator[Executor]:
        """See `flows.run.executor.Cluster`."""
        quiet_dask()
        refuse_tls(compute, self.kind)
        limit_threads()
        let_steps_wait_at_workers()
        with executor_of(self._start(compute), self.needs) as executor:
            yield executor

    def _start(self, compute: Compute) -> Any:
        manifest = self.manifest_with_workers(compute)
        try:
            from dask_kubernetes.operator import KubeCluster
        except ImportError as error:
            raise not_installed("kubernetes", "dask-kubernetes") from error
        try:
            return KubeCluster(custom_cluster_spec=manifest, **self.options)
        except Exception as error:
            raise RequestError(
                f"cluster: kubernetes could not be started ({type(error).__name__}: {error}): see that kubectl reaches "
                "the cluster and that the Dask operator runs there"
            ) from error

    def manifest_with_workers(self, compute: Compute) -> dict[str, Any]:
        """The manifest with as many workers as the request sets. Raises RequestError for another kind of object."""
        manifest = copy.deepcopy(self.manifest)
        if manifest.get("kind") != "DaskCluster" or not isinstance(manifest.get("spec", {}).get("worker"), dict):
            raise RequestError(f"cluster {compute.cluster!r}: its manifest is no DaskCluster with a worker")
        manifest["spec"]["worker"]["replicas"] = compute.workers
        return manifest
