"""Paths in a request's file, which are relative to the folder of that file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from catalogs.source import known_sources
from dsdit.model.header import SHIPPED
from flows.request.cluster_file import cluster_names

_PATHS = (
    "geojson",
    "land",
    "output",
    "scratch",
    "lr.endpoint",
    "ref.endpoint",
    "compute.tls.ca",
    "compute.tls.cert",
    "compute.tls.key",
    "sample_region.folder",
)
"""Keys whose values are paths or URLs."""
_YAML = (".yaml", ".yml")


def resolve_paths(record: dict[str, Any], base: Path) -> dict[str, Any]:
    """The record of a request's file with its relative paths taken from `base`, the folder of the file.

    The paths become absolute, so that a plan is the same from any working folder. URLs, names that ship and values of
    a wrong type stay as they are: the request's checks report them.
    """
    for key in _PATHS:
        record = _replaced(record, key, partial(_joined, base))
    for key in ("lr.source", "ref.source"):
        record = _replaced(record, key, partial(_file, base, known_sources()))
    record = _replaced(record, "compute.cluster", partial(_file, base, cluster_names()))
    return _replaced(record, "model.weights", partial(_folder, base))


def _replaced(record: dict[str, Any], key: str, change: Callable[[str], str]) -> dict[str, Any]:
    """The record with the text at a dotted key changed; unchanged where there is no text."""
    first, _, rest = key.partition(".")
    value = record.get(first)
    if rest:
        return {**record, first: _replaced(value, rest, change)} if isinstance(value, dict) else record
    return {**record, first: change(value)} if isinstance(value, str) and value else record


def _joined(base: Path, value: str) -> str:
    return value if "://" in value else os.path.normpath(base.resolve() / value)


def _file(base: Path, names: Sequence[str], value: str) -> str:
    """A shipped name, or the path of a YAML file; a word that is neither is refused where it is opened."""
    if value in names or not (value.endswith(_YAML) or "/" in value):
        return value
    return _joined(base, value)


def _folder(base: Path, value: str) -> str:
    """Weights: a folder beside the request's file comes before a shipped name."""
    shipped = "/" not in value and (SHIPPED / value).is_dir()
    return value if shipped and not (base / value).is_dir() else _joined(base, value)
