"""What a run computes on, as a YAML file: one that ships in infra/clusters, or one's own.

    kind: local
    options: {threads_per_worker: 2}

The kind names the class: `kind: local` is `flows.clusters.local.Local`, whose fields are the file's keys.
"""

from __future__ import annotations

from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo

from dsdit.errors import RequestError
from dsdit.yaml_text import parse_yaml
from flows.request.settings import Frozen

_KINDS = "flows.clusters"
"""Package of the kinds: found by name, since they are built on the executors of `flows.run`."""


class ClusterFile(Frozen):
    """A cluster. Each kind is a class of its own, with the keys of its file as fields."""

    kind: str


class DaskClusterFile(ClusterFile):
    """Keys of every kind of Dask cluster."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Given to the class that makes the cluster: LocalCluster, LocalCUDACluster, KubeCluster, SLURMCluster."""
    needs: dict[Literal["stage", "sample", "mosaic"], dict[str, float]] = Field(default_factory=dict)
    """Dask resources that a step takes of its worker, such as sample: {GPU: 1}; workers must offer them. With more
    threads than that a worker reads and writes other jobs while its device samples one."""


def kinds() -> list[str]:
    """Kinds of clusters."""
    return sorted(module.name for module in iter_modules(import_module(_KINDS).__path__))


def class_of(kind: str) -> type[ClusterFile]:
    """The class of a kind."""
    found: type[ClusterFile] = getattr(import_module(f"{_KINDS}.{kind}"), kind.capitalize())
    return found


def cluster_names() -> list[str]:
    """Clusters that ship."""
    return sorted(e.name.removesuffix(".yaml") for e in _shipped().iterdir() if e.name.endswith(".yaml"))


def load_cluster(name: str) -> ClusterFile:
    """A cluster by shipped name or path. Raises RequestError."""
    shipped = name in cluster_names()
    place: Traversable = _shipped() / f"{name}.yaml" if shipped else Path(name)
    record = _read(place, name)
    kind = record.get("kind")
    if kind not in kinds():
        raise RequestError(f"cluster {name!r} cannot be used: kind: {kind!r} is none of {', '.join(kinds())}")
    try:
        return class_of(kind).model_validate(record, context=(name, _shipped() if shipped else Path(name).parent))
    except ValidationError as error:
        raise RequestError(f"cluster {name!r}: {'; '.join(_sentence(e, kind) for e in error.errors())}") from error


def read_beside(path: str, info: ValidationInfo) -> dict[str, Any]:
    """The YAML file at a path relative to the cluster file that is being loaded. Raises RequestError."""
    name, folder = info.context or (path, Path())
    return _read(folder / path, name)


def _sentence(error: Any, kind: str) -> str:
    """What is wrong with one key of a file of this kind."""
    key = ".".join(map(str, error["loc"])) or "file"
    if error["type"] == "missing":
        return f"kind: {kind} needs {key}"
    if error["type"] != "extra_forbidden":
        return f"{key}: {error['msg']}"
    others = [other for other in kinds() if key in class_of(other).model_fields]
    return (
        f"{key} goes with kind: {' or '.join(others)}, and with no other" if others else f"{key}: no such key is known"
    )


def _shipped() -> Traversable:
    return resources.files("infra") / "clusters"


def _read(place: Traversable, name: str) -> dict[str, Any]:
    try:
        record = parse_yaml(place.read_text())
    except (OSError, ValueError) as error:
        raise RequestError(
            f"cluster {name!r} is neither one of {cluster_names()} nor a YAML file that can be read: "
            f"{' '.join(str(error).split())}"
        ) from error
    if not isinstance(record, dict):
        raise RequestError(f"cluster {name!r}: {place} holds no mapping")
    return record
