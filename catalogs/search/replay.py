"""Saved answers of searches beside the output: a run can be repeated after the catalog has changed.

`<kind>.parquet` holds the catalog's items as stac-geoparquet, `<kind>.json` the query, the scenes that were found and
what was left out. A replay cleans the saved items once more, with the source as it is now; records that were not STAC
items are not among them, so `dropped` may be shorter. The query has the digest of the items: those of another answer,
which a kill between the two files leaves beside it, are refused.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import shapely
from shapely.geometry import mapping, shape

from catalogs.search.geoparquet import decompress_item, pack, unpack
from catalogs.search.parsing import read_item
from catalogs.search.usable_scenes import SearchResult, clean
from catalogs.source import Source
from dsdit.errors import CatalogError
from dsdit.store.objects import join, read_bytes, read_json, remove, write_bytes, write_json

_EDGE_DEG = 1e-9


def save_answer(
    folder: str,
    kind: str,
    source: Source,
    footprint: shapely.Geometry,
    period: tuple[datetime, datetime],
    found: SearchResult,
) -> None:
    """Writes the answer below `folder`. Raises CatalogError, StoreError."""
    table = join(folder, f"{kind}.parquet")
    content = pack(map(decompress_item, found.answer)) if found.answer else b""
    if content:
        write_bytes(table, content)
    else:
        remove(table)
    start, end = (when.isoformat() for when in period)
    write_json(
        join(folder, f"{kind}.json"),
        {
            "question": {
                **_query(source),
                "start": start,
                "end": end,
                "footprint": mapping(footprint),
                "answered": len(found.answer),
                "sha256": _digest(content),
            },
            "items": [item.to_dict() for item in found.items],
            "dropped": [list(pair) for pair in found.dropped],
            "notes": list(found.notes),
        },
    )


def replay_answer(
    folder: str, kind: str, source: Source, footprint: shapely.Geometry, period: tuple[datetime, datetime] | None
) -> SearchResult:
    """The result of the search whose answer was saved, without a request. `period` None takes the saved one.

    Raises CatalogError where no answer is saved below `folder`, or one to another query.
    """
    record = read_json(join(folder, f"{kind}.json")) or {}
    query = record.get("question")
    if query is None:
        raise CatalogError(f"{folder} holds no saved answer for {kind}: run once with search: keep")
    start, end = (datetime.fromisoformat(query[key]) for key in ("start", "end"))
    for name, value in _query(source).items():
        if query.get(name) != value:
            raise _other(folder, kind, name, query.get(name), value)
    if period is not None and period != (start, end):
        raise _other(folder, kind, "period", f"{start} to {end}", f"{period[0]} to {period[1]}")
    if not shape(query["footprint"]).buffer(_EDGE_DEG).covers(footprint):
        raise _other(folder, kind, "area", shape(query["footprint"]).bounds, footprint.bounds)
    content = read_bytes(join(folder, f"{kind}.parquet")) if query["answered"] else None
    if query["answered"] and content is None:
        raise CatalogError(f"{folder} has lost the answer for {kind} ({kind}.parquet): run once with search: keep")
    if content is not None and query.get("sha256", own := _digest(content)) != own:
        raise CatalogError(
            f"{folder} holds items ({kind}.parquet) of another answer for {kind} than {kind}.json: a search was "
            "interrupted; run once with search: keep"
        )
    records = [] if content is None else unpack(content)
    return clean(map(read_item, records), source, footprint, start, end)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _query(source: Source) -> dict[str, Any]:
    return {"endpoint": source.endpoint, "collection": source.collection, "where": source.where}


def _other(folder: str, kind: str, name: str, saved: object, requested: object) -> CatalogError:
    return CatalogError(
        f"the answer for {kind} in {folder} is to another query: its {name} is {saved}, requested is {requested}; "
        "run once with search: keep"
    )
