"""What a cluster is made of, as a YAML file: one that ships in infra/clusters, or one's own."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from dsdit.errors import RequestError
from flows.request.settings import Frozen


class ClusterFile(Frozen):
    """One cluster."""

    kind: Literal["local", "cuda", "kubernetes", "slurm", "address"]
    options: dict[str, Any] = Field(default_factory=dict)
    """Given to the class that makes the cluster: LocalCluster, LocalCUDACluster, KubeCluster, SLURMCluster."""
    needs: dict[Literal["stage", "sample", "mosaic"], dict[str, float]] = Field(default_factory=dict)
    """Dask resources that a step takes of its worker, such as sample: {GPU: 1}; workers must offer them. With more
    threads than that a worker reads and writes other jobs while its device samples one."""
    workers_per_gpu: PositiveInt = 1
    """Of kind cuda: processes that share each GPU, so that it has work while one of them reads and writes."""
    cpu_workers: NonNegativeInt | Literal["auto"] = 0
    """Of kind cuda: processes without a GPU beside those, each offering {CPU: 1}; "auto": one for each core left."""
    manifest: str | None = None
    """Of kind kubernetes: path of a DaskCluster manifest, relative to this file."""


LoadedCluster = tuple[ClusterFile, dict[str, Any] | None]
"""A cluster and its manifest, of those that have one."""


def cluster_names() -> list[str]:
    """Clusters that ship."""
    return sorted(e.name.removesuffix(".yaml") for e in _shipped().iterdir() if e.name.endswith(".yaml"))


def load_cluster(name: str) -> LoadedCluster:
    """A cluster by shipped name or path, and its manifest where it has one. Raises RequestError."""
    place: Traversable = _shipped() / f"{name}.yaml" if name in cluster_names() else Path(name)
    record = _read(place, name)
    try:
        found = ClusterFile.model_validate(record)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise RequestError(f"cluster {name!r} cannot be used: {'; '.join(parts)}") from error
    if (found.manifest is None) == (found.kind == "kubernetes"):
        raise RequestError(f"cluster {name!r}: manifest goes with kind: kubernetes, and with no other")
    beside = found.model_fields_set & {"cpu_workers", "workers_per_gpu"}
    if beside and found.kind != "cuda":
        raise RequestError(f"cluster {name!r}: {' and '.join(sorted(beside))} goes with kind: cuda, and with no other")
    if found.manifest is None:
        return found, None
    folder = _shipped() if name in cluster_names() else Path(name).parent
    return found, _read(folder / found.manifest, name)


def _shipped() -> Traversable:
    return resources.files("infra") / "clusters"


def _read(place: Traversable, name: str) -> dict[str, Any]:
    try:
        record = yaml.safe_load(place.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(
            f"cluster {name!r} is neither one of {cluster_names()} nor a YAML file that can be read: "
            f"{' '.join(str(error).split())}"
        ) from error
    if not isinstance(record, dict):
        raise RequestError(f"cluster {name!r}: {place} holds no mapping")
    return record
