"""Items of a catalog on disk: an ItemCollection, a single item, a static catalog, a folder, or a stac-geoparquet file.

Nothing outside the catalog's folder is read, symbolic links followed. Hrefs of assets become relative to that folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pystac

from catalogs.allowed import file_path, local_path, plain
from catalogs.search.geoparquet import is_geoparquet, read_geoparquet
from catalogs.search.http import MAX_JSON_BYTES
from catalogs.search.parsing import BadItem, features_of, links_of, read_item
from catalogs.source import Source
from dsdit.errors import CatalogError

MAX_DEPTH = 32
"""Longest chain of child links that is followed."""


def local_items(source: Source) -> Iterator[pystac.Item | BadItem]:
    """Every item of a local catalog that is of the source's collection. Raises CatalogError."""
    root = source.root
    path = Path(source.endpoint or "")
    if not path.exists():
        raise CatalogError(f"catalog {path} is not there")
    found: Iterator[tuple[Path, Any]]
    if path.is_dir():
        found = _features(path)
    elif is_geoparquet(path):
        found = ((path, record) for record in read_geoparquet(path))
    else:
        found = _walk(path, root, set())
    for file, record in found:
        item = record if isinstance(record, BadItem) else read_item(record)
        if isinstance(item, BadItem):
            yield item
        elif source.collection is None or item.collection_id == source.collection:
            item.set_self_href(None)
            folder = file.parent.resolve().relative_to(root.resolve())
            for asset in item.assets.values():
                if not asset.href.lower().startswith(("/", "file:")) and "://" not in asset.href:
                    asset.href = Path(*_joined(folder, asset.href)).as_posix()
            yield item


def _features(folder: Path) -> Iterator[tuple[Path, dict[str, Any] | BadItem]]:
    """Items of all files below a folder; a file that holds no STAC object is left out as a bad item is."""
    for path in sorted(folder.glob("**/*.json")):
        if path.resolve().is_relative_to(folder.resolve()):
            try:
                record = _read(path)
            except CatalogError as error:
                yield path, BadItem(plain(path.relative_to(folder), 120), plain(error))
                continue
            if record.get("type") == "Feature":
                yield path, record


def _walk(path: Path, root: Path, visited: set[Path], depth: int = 0) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Items of an ItemCollection, of an Item, or below a Catalog by its child and item links."""
    if path in visited:
        return
    if depth > MAX_DEPTH:
        raise CatalogError(f"{path} is more than {MAX_DEPTH} catalogs deep")
    visited.add(path)
    record = _read(path)
    if record.get("type") == "Feature":
        yield path, record
    elif record.get("type") == "FeatureCollection":
        yield from ((path, feature) for feature in features_of(record))
    elif record.get("type") in ("Catalog", "Collection"):
        for href in links_of(record, "child", "item", "items"):
            if "://" not in href or href.lower().startswith("file:"):
                here = path.parent.resolve().relative_to(root.resolve())
                yield from _walk(_linked(here, file_path(href), root), root, visited, depth + 1)
    else:
        raise CatalogError(f"{path} is neither a STAC catalog, an item nor a collection of items")


def _linked(folder: Path, href: str, root: Path) -> Path:
    """The file of a link, percent-encoded or not. Raises CatalogError where it is not below `root`."""
    found = [local_path(Path(*_joined(folder, name)).as_posix(), root) for name in (href, unquote(href))]
    return found[0] if found[0].exists() else found[1]


def _joined(folder: Path, href: str) -> list[str]:
    """Parts of folder/href with `..` resolved, so that a file in a sibling folder is still a path below the root."""
    parts: list[str] = []
    for part in (folder / href).parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return parts


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CatalogError(f"{path} is larger than {MAX_JSON_BYTES} bytes")
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CatalogError(f"{path} cannot be read: {plain(error)}") from error
    if not isinstance(record, dict):
        raise CatalogError(f"{path} holds no STAC object")
    return record
