"""What a cluster is made of, as a YAML file: one that ships in infra/clusters, or one's own."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from dsdit.errors import RequestError
from flows.settings import Frozen


class ClusterFile(Frozen):
    """One cluster."""

    kind: Literal["local", "cuda", "kubernetes", "slurm", "address"]
    options: dict[str, Any] = Field(default_factory=dict)
    """Given to the class that makes the cluster: LocalCluster, LocalCUDACluster, KubeCluster, SLURMCluster."""
    sample_needs: dict[str, float] = Field(default_factory=dict)
    """Dask resources that a sample takes of its worker, such as {GPU: 1}; the workers must offer them. With a second
    thread a worker then reads and writes other jobs while its device samples one."""
    manifest: str | None = None
    """Of kind kubernetes: path of a DaskCluster manifest, relative to this file."""


def cluster_names() -> list[str]:
    """Clusters that ship."""
    return sorted(e.name.removesuffix(".yaml") for e in _shipped().iterdir() if e.name.endswith(".yaml"))


def load_cluster(name: str) -> tuple[ClusterFile, dict[str, Any] | None]:
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
