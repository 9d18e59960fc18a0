"""Items of a static catalog on the web: files of JSON that link to each other, without a server that can search.

Links are followed on the catalog's own host alone; what they lead to is bounded in number and depth, and each file in
size by the session. Collections whose stated extent is elsewhere, or at other times, are skipped. Hrefs of
assets become URLs, which are checked like those of any remote item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

import pystac
from shapely import Geometry

from catalogs.allowed import followed_href, plain
from catalogs.footprint import record_footprint
from catalogs.json_fields import Fields
from catalogs.search.parsing import BadItem, features_of, links_of, read_item
from catalogs.source import Source
from dsdit.errors import CatalogError

MAX_FILES = 20_000
"""More files of one catalog are not read: each is a request."""
MAX_ITEMS = 600_000
"""More items of one catalog are not read."""
MAX_DEPTH = 32
"""Longest chain of links that is followed."""

Read = Callable[[str], dict[str, Any]]


def static_items(
    root: dict[str, Any],
    read: Read,
    source: Source,
    footprint: Geometry | None,
    period: tuple[datetime, datetime] | None,
    note: Callable[[str], None],
) -> Iterator[pystac.Item | BadItem]:
    """Items of the source's collection below `root`, the record at its endpoint. Raises CatalogError."""
    found = _features(root, read, source.endpoint or "", footprint, period, note)
    for number, item in enumerate(placed_items(found, source)):
        if number >= MAX_ITEMS:
            raise CatalogError(f"{source.endpoint} holds more than {MAX_ITEMS} items: name a catalog below it")
        yield item


def placed_items(found: Iterable[tuple[str, Any]], source: Source) -> Iterator[pystac.Item | BadItem]:
    """Items of the source's collection among (URL of its file, record), their hrefs relative to that URL."""
    for url, record in found:
        item = read_item(record)
        if isinstance(item, pystac.Item):
            if item.collection_id != source.collection:
                continue
            item.set_self_href(None)
            for asset in item.assets.values():
                asset.href = urljoin(url, asset.href)
        yield item


def _features(
    root: dict[str, Any],
    read: Read,
    endpoint: str,
    footprint: Geometry | None,
    period: tuple[datetime, datetime] | None,
    note: Callable[[str], None],
) -> Iterator[tuple[str, Any]]:
    """(URL of its file, record) of every item. The walk is depth-first, in the order of the links."""
    left, known = [(endpoint, 0)], {endpoint}
    while left:
        url, depth = left.pop()
        if depth > MAX_DEPTH:
            raise CatalogError(f"{plain(url, 120)} is more than {MAX_DEPTH} catalogs deep")
        record = root if url == endpoint else read(url)
        kind = record.get("type") if isinstance(record, dict) else None
        if kind == "Feature":
            yield url, record
        elif kind == "FeatureCollection":
            yield from ((url, feature) for feature in features_of(record))
        elif kind in ("Catalog", "Collection"):
            if not _may_hold(record, footprint, period):
                continue
            found = []
            for href in links_of(record, "child", "item", "items"):
                try:
                    target = followed_href(href, url, endpoint)
                except CatalogError as error:
                    note(f"{plain(url, 120)}: {error}")
                    continue
                if target not in known:
                    known.add(target)
                    found.append((target, depth + 1))
            left += reversed(found)
            if len(known) > MAX_FILES:
                raise CatalogError(
                    f"{endpoint} links to more than {MAX_FILES} files: name a catalog below it, or an API that searches"
                )
        else:
            raise CatalogError(f"{plain(url, 120)} is neither a STAC catalog, an item nor a collection of items")


def _may_hold(record: dict[str, Any], footprint: Geometry | None, period: tuple[datetime, datetime] | None) -> bool:
    """Whether a collection's stated extent meets footprint and period; True where it states none."""
    extent = record.get("extent") if record.get("type") == "Collection" else None
    boxes, intervals = (Fields(Fields(extent).get(kind, dict)).get(key, list) for kind, key in _EXTENTS)
    if footprint is not None and boxes:
        try:
            if not record_footprint(None, boxes[0]).intersects(footprint):
                return False
        except CatalogError:
            return True
    if period is not None and intervals and isinstance(intervals[0], list) and len(intervals[0]) == 2:
        first, last = map(_time, intervals[0])
        return not ((first is not None and first > period[1]) or (last is not None and last < period[0]))
    return True


_EXTENTS = (("spatial", "bbox"), ("temporal", "interval"))


def _time(value: object) -> datetime | None:
    """A time with its zone; None for anything else, an open end included."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return when if when is not None and when.tzinfo is not None else None
