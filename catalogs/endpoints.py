"""Where STAC items come from: an API over HTTP, or files on disk. Both are one iterator of pystac Items.

Owner of pystac-client. Every request, redirects and `next` links included, goes to the endpoint's own host or nowhere;
a local catalog reads nothing outside its folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pystac
import requests
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.adapters import HTTPAdapter
from shapely import Geometry
from shapely.geometry import mapping
from urllib3 import Retry

from catalogs.source import Source
from catalogs.trust import local_path, plain
from dsdit.errors import CatalogError

PAGE = 100
"""Items a page."""
MAX_ITEMS = 20_000
"""More in one answer is taken for a mistake."""
MAX_JSON_BYTES = 64 * 2**20
"""Largest file of a local catalog, and largest page of an API, that is read."""
_TIMEOUT_S = (10.0, 60.0)
_RETRY = Retry(
    total=5,
    backoff_factor=0.5,
    backoff_jitter=0.2,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=("GET", "POST"),
    respect_retry_after_header=True,
)


@dataclass(frozen=True)
class BadItem:
    """A record that is no STAC item; the rest of the answer is still of use."""

    id: str
    """Its id, as far as it has one."""
    reason: str


class _OwnHostSession(requests.Session):
    """Sends nothing to another host or under a weaker scheme than the endpoint's; requests' redirects come here too."""

    def __init__(self, endpoint: str, retry: Retry) -> None:
        super().__init__()
        self._own = urlsplit(endpoint)
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        secure = parts.scheme == "https" or parts.scheme == self._own.scheme
        if not secure or (parts.hostname, parts.port) != (self._own.hostname, self._own.port):
            raise CatalogError(
                f"the catalog on {self._own.netloc} sends us to {plain(parts.netloc, 80)!r}: not followed"
            )
        response = super().send(request, **kwargs)
        if len(response.content) > MAX_JSON_BYTES:
            raise CatalogError(f"the catalog on {self._own.netloc} answers {len(response.content)} bytes at once")
        return response


def stac_items(source: Source, footprint: Geometry, start: datetime, end: datetime) -> Iterator[pystac.Item | BadItem]:
    """Items of the source's collection; of an API those it says touch footprint and period. Raises CatalogError."""
    if source.is_local:
        yield from _local_items(source)
    else:
        yield from _api_items(source, footprint, start, end)


def _api_items(
    source: Source, footprint: Geometry, start: datetime, end: datetime, retry: Retry = _RETRY
) -> Iterator[pystac.Item | BadItem]:
    endpoint = source.endpoint or ""
    io = StacApiIO(timeout=_TIMEOUT_S)
    io.session = _OwnHostSession(endpoint, retry)
    try:
        client = Client.open(endpoint, stac_io=io)
        search = client.search(
            collections=[source.collection or ""],
            intersects=mapping(footprint),
            datetime=(start, end),
            limit=PAGE,
            max_items=MAX_ITEMS + 1,
            method="POST",
        )
        count = 0
        for page in search.pages_as_dicts():
            for record in page.get("features", ()):
                count += 1
                if count > MAX_ITEMS:
                    raise CatalogError(f"{endpoint} offers more than {MAX_ITEMS} items: narrow the period")
                yield _item(record)
    except (APIError, requests.RequestException) as error:
        raise CatalogError(f"catalog {endpoint} cannot be asked: {_cause(error)}") from error
    except (pystac.STACError, NotImplementedError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CatalogError(f"catalog {endpoint} answers no STAC: {plain(error)}") from error


def _cause(error: Exception) -> str:
    """What went wrong, without the layers of libraries around it."""
    status = getattr(error, "status_code", None)
    return f"HTTP status {status}" if status else plain(error)


def _local_items(source: Source) -> Iterator[pystac.Item | BadItem]:
    root = source.root
    path = Path(source.endpoint or "")
    if not path.exists():
        raise CatalogError(f"catalog {path} is not there")
    if path.is_dir():
        records = [(p, _read(p)) for p in sorted(path.glob("**/*.json")) if p.resolve().is_relative_to(root.resolve())]
        found: Iterator[tuple[Path, dict[str, Any]]] = ((p, r) for p, r in records if r.get("type") == "Feature")
    else:
        found = _walk(path, root, set())
    for place, record in found:
        item = _item(record)
        if isinstance(item, BadItem):
            yield item
        elif source.collection is None or item.collection_id == source.collection:
            item.set_self_href(None)
            folder = place.parent.resolve().relative_to(root.resolve())
            for asset in item.assets.values():
                if "://" not in asset.href and not asset.href.startswith("/"):
                    asset.href = (folder / asset.href).as_posix()
            yield item


def _walk(path: Path, root: Path, seen: set[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Items of an ItemCollection, of an Item, or below a Catalog by its child and item links."""
    if path in seen:
        return
    seen.add(path)
    record = _read(path)
    if record.get("type") == "Feature":
        yield path, record
    elif record.get("type") == "FeatureCollection":
        yield from ((path, feature) for feature in record.get("features", ()))
    elif record.get("type") in ("Catalog", "Collection"):
        for link in record.get("links", ()):
            if link.get("rel") in ("child", "item", "items") and "://" not in str(link.get("href")):
                here = path.parent.resolve().relative_to(root.resolve())
                target = Path(*_joined(here, str(link["href"])))
                yield from _walk(local_path(target.as_posix(), root), root, seen)
    else:
        raise CatalogError(f"{path} is neither a STAC catalog, an item nor a collection of items")


def _joined(folder: Path, href: str) -> list[str]:
    """Parts of folder/href with `..` taken up, so that a link to a sibling folder stays a path below the root."""
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
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {plain(error)}") from error
    if not isinstance(record, dict):
        raise CatalogError(f"{path} holds no STAC object")
    return record


def _item(record: Any) -> pystac.Item | BadItem:
    try:
        return pystac.Item.from_dict(record, migrate=True, preserve_dict=False)
    except Exception as error:  # noqa: BLE001 - a foreign record may break pystac in any way
        name = record.get("id") if isinstance(record, dict) else None
        return BadItem(plain(name or "without id", 120), f"it is no STAC item: {plain(error, 160)}")
