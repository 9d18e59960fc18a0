"""Search of a source: from a footprint and a period to the scenes that can be used, and reasons for the others.

The answer of a server is filtered again here, since some servers ignore parts of the query. The result does not depend
on the order of the answer: newest first, then by id. Reprocessed duplicates stay in, and so do two halves of one
overpass (split downlinks): which of them is used is chosen cell by cell (catalogs/choose/ranking.py), where the choice
does not depend on what else the region touches. The items of the answer are returned too, so that they can be saved:
`clean` on them gives the same result when the catalog has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pystac
import shapely
from urllib3 import Retry

from catalogs.allowed import plain
from catalogs.footprint import geojson, item_footprint
from catalogs.item import SceneItem, scene_item, until
from catalogs.search.api import stac_items
from catalogs.search.geoparquet import compress_item
from catalogs.search.http import RETRY
from catalogs.search.parsing import BadItem
from catalogs.source import Source
from dsdit.errors import CatalogError


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    items: tuple[SceneItem, ...]
    """Usable scenes, newest first, then by id."""
    dropped: tuple[tuple[str, str], ...]
    """(id, reason) of each scene that touches footprint and period and is not used, by id."""
    notes: tuple[str, ...] = ()
    """Where the catalog's answer was not used as received."""
    answer: tuple[bytes, ...] = field(default=(), compare=False, repr=False)
    """Items of the catalog behind `items` and `dropped`, as `compress_item` gives them: a continent's fit in memory."""


def search_items(
    source: Source,
    footprint_lonlat: shapely.Geometry,
    start: datetime,
    end: datetime,
    max_items: int | None = None,
    retry: Retry = RETRY,
) -> SearchResult:
    """Scenes of `source` that touch `footprint_lonlat` (degrees) between `start` and `end` (aware, both included).

    `max_items` limits them to the newest. Raises CatalogError where the catalog cannot be queried, ValueError on naive
    times.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end must be aware times")
    notes: list[str] = []
    answer = stac_items(source, footprint_lonlat, start, end, notes.append, retry)
    found = clean(answer, source, footprint_lonlat, start, end, max_items)
    return replace(found, notes=(*notes, *found.notes))


search = search_items
"""The same function, for imports of `catalogs.search.search`."""


def clean(
    answer: Iterable[pystac.Item | BadItem],
    source: Source,
    footprint_lonlat: shapely.Geometry,
    start: datetime,
    end: datetime,
    max_items: int | None = None,
) -> SearchResult:
    """`search_items` on an answer that was received before."""
    items: dict[str, SceneItem] = {}
    answered: list[bytes] = []
    dropped: set[tuple[str, str]] = set()
    ignored: dict[str, dict[str, str]] = {}
    shapely.prepare(footprint_lonlat)
    for record in answer:
        if isinstance(record, BadItem):
            dropped.add((record.id, record.reason))
            continue
        if source.collection is not None and record.collection_id != source.collection:
            continue
        if record.datetime is not None and not _within(record.datetime, start, end):
            continue
        ignored_here: dict[str, str] = {}
        try:
            item = scene_item(record, source, ignored_here.__setitem__)
            touches = (
                item.when <= end and until(record, item.when) >= start and footprint_lonlat.intersects(item.geometry)
            )
        except Exception as error:  # noqa: BLE001 - one foreign record, however odd, does not end a run
            if not _elsewhere(record, footprint_lonlat):
                dropped.add((plain(record.id, 120), _reason(error)))
                answered.append(compress_item(record, source.assets))
            continue
        if touches:
            answered.append(compress_item(record, source.assets))
            for name, reason in ignored_here.items():
                ignored.setdefault(name, {})[item.id] = reason
            items[item.digest] = _merged(items.get(item.digest, item), item)
    ordered = sorted(sorted(items.values(), key=lambda i: (i.id, i.digest)), key=lambda i: i.when, reverse=True)
    return SearchResult(tuple(ordered[:max_items]), tuple(sorted(dropped)), _notes(ignored), answer=tuple(answered))


def _reason(error: Exception) -> str:
    if isinstance(error, CatalogError):
        return str(error)
    return f"it cannot be used ({type(error).__name__}: {plain(error, 160)})"


def _merged(a: SceneItem, b: SceneItem) -> SceneItem:
    """Two records of the same files as one scene with the union of their footprints, in whichever order they came."""
    first = min(a, b, key=repr)
    if a.footprint == b.footprint:
        return first
    union = a.geometry.union(b.geometry).normalize()
    return replace(first, footprint=geojson(union), bbox=union.bounds)


def _notes(ignored: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """A line for each field that was left out: the first item by its id, and how many more there are."""
    lines = []
    for _, reasons in sorted(ignored.items()):
        first = min(reasons)
        more = f" (so in {len(reasons) - 1} more items)" if len(reasons) > 1 else ""
        lines.append(f"item {plain(first, 120)}: {reasons[first]}{more}")
    return tuple(lines)


def _within(when: datetime, start: datetime, end: datetime) -> bool:
    aware = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return start <= aware <= end


def _elsewhere(record: pystac.Item, footprint: shapely.Geometry) -> bool:
    """Whether an unusable item certainly does not touch the footprint."""
    try:
        return not footprint.intersects(item_footprint(record))
    except Exception:  # noqa: BLE001 - a foreign geometry may break shapely in any way; then it is reported
        return False
