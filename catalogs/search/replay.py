"""The answer of a search, kept beside the output: a run can be repeated when the catalog has moved on.

`<kind>.parquet` holds the catalog's items as stac-geoparquet, `<kind>.json` the question, the scenes that came of it
and what was left out. Replaying cleans the kept items once more, with the source as it is now; records that were no
STAC items are not in them, so `dropped` may be shorter. The question names the items by their digest: those of another
answer, which a kill between the two files leaves beside it, are not taken for its own.
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
    place = join(folder, f"{kind}.parquet")
    content = pack(map(decompress_item, found.answer)) if found.answer else b""
    if content:
        write_bytes(place, content)
    else:
        remove(place)
    start, end = (when.isoformat() for when in period)
    write_json(
        join(folder, f"{kind}.json"),
        {
            "question": {
                **_asked(source),
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
    """What `search` gave when the answer was kept; no catalog is asked. `period` None takes the kept one.

    Raises CatalogError where no answer is kept below `folder`, or that to another question.
    """
    record = read_json(join(folder, f"{kind}.json")) or {}
    question = record.get("question")
    if question is None:
        raise CatalogError(f"{folder} keeps no answer for {kind}: run once with search: keep")
    start, end = (datetime.fromisoformat(question[key]) for key in ("start", "end"))
    for name, value in _asked(source).items():
        if question.get(name) != value:
            raise _other(folder, kind, name, question.get(name), value)
    if period is not None and period != (start, end):
        raise _other(folder, kind, "period", f"{start} to {end}", f"{period[0]} to {period[1]}")
    if not shape(question["footprint"]).buffer(_EDGE_DEG).covers(footprint):
        raise _other(folder, kind, "area", shape(question["footprint"]).bounds, footprint.bounds)
    content = read_bytes(join(folder, f"{kind}.parquet")) if question["answered"] else None
    if question["answered"] and content is None:
        raise CatalogError(f"{folder} has lost the answer for {kind} ({kind}.parquet): run once with search: keep")
    if content is not None and question.get("sha256", own := _digest(content)) != own:
        raise CatalogError(
            f"{folder} holds items ({kind}.parquet) of another answer for {kind} than {kind}.json: a search was "
            "interrupted; run once with search: keep"
        )
    records = [] if content is None else unpack(content)
    return clean(map(read_item, records), source, footprint, start, end)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _asked(source: Source) -> dict[str, Any]:
    return {"endpoint": source.endpoint, "collection": source.collection, "where": source.where}


def _other(folder: str, kind: str, name: str, kept: object, asked: object) -> CatalogError:
    return CatalogError(
        f"the answer for {kind} in {folder} is to another question: its {name} is {kept}, asked is {asked}; "
        "run once with search: keep"
    )
