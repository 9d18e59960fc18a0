"""Items in stac-geoparquet: a catalog as one file, and the saved answer of a search.

Owner of rustac. A row holds what any tool expects of an item. Columns cannot hold every record without loss (times
lose their spelling, properties of different types do not fit one column), so the rows that we write also contain the
item as JSON, in the property `dsdit:item`, which is what we read back. Neither contains a query or a signature.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import rustac
from shapely.geometry import box, mapping

from catalogs.allowed import plain, without_query
from catalogs.footprint import record_footprint
from catalogs.json_fields import number_of
from dsdit.errors import CatalogError
from dsdit.store.parquet import count_rows

WHOLE = "dsdit:item"
"""Property that holds the whole item as JSON."""
MAX_FILE_BYTES = 512 * 2**20
"""Largest stac-geoparquet file that is read."""
MAX_ROWS = 1_000_000
"""Most items that one file may hold."""
_TEXTS = ("platform", "grid:code", "proj:code", "s2:processing_baseline")
_TIMES = ("start_datetime", "end_datetime")
_ANYWHERE = (-180.0, -90.0, 180.0, 90.0)
_NUMBERS = ("gsd", "eo:cloud_cover")


def is_geoparquet(path: Path) -> bool:
    """Whether a file calls itself parquet."""
    return path.suffix.lower() in (".parquet", ".geoparquet")


def item_json(item: pystac.Item, assets: Iterable[str]) -> str:
    """An item as JSON for the saved answer: without links, only these assets, hrefs without query, null for NaN."""
    record = item.to_dict(include_self_link=False, transform_hrefs=False)
    record |= {"links": [], "bbox": item.bbox}
    wanted = {key: record["assets"][key] for key in assets if key in record["assets"]}
    record["assets"] = {key: _clean(asset) for key, asset in wanted.items()}
    try:
        return json.dumps(record, sort_keys=True, allow_nan=False)
    except ValueError:  # NaN or infinity, which JSON does not have
        return json.dumps(json.loads(json.dumps(record), parse_constant=lambda _: None), sort_keys=True)


def compress_item(item: pystac.Item, assets: Iterable[str]) -> bytes:
    """`item_json` of an item, compressed."""
    return zlib.compress(item_json(item, assets).encode(), 1)


def decompress_item(content: bytes) -> str:
    """Inverse of `compress_item`."""
    return zlib.decompress(content).decode()


def pack(texts: Iterable[str]) -> bytes:
    """A stac-geoparquet file of items, each the JSON of `item_json`, at least one. Raises CatalogError."""
    rows = [_row(text) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        try:
            rustac.write_sync(str(path), rows)
        except rustac.RustacError as error:
            raise CatalogError(f"the answer cannot be saved as stac-geoparquet: {plain(error)}") from error
        return path.read_bytes()


def _row(text: str) -> dict[str, Any]:
    """What every tool expects of an item, in columns of one type each whatever the record holds."""
    record = json.loads(text)
    properties = record["properties"]
    known: dict[str, Any] = {k: str(properties[k]) for k in _TEXTS if isinstance(properties.get(k), str)}
    known |= {k: time for k in _TIMES if (time := _time(properties.get(k))) is not None}
    known |= {k: number for k in _NUMBERS if (number := number_of(properties, k)) is not None}
    assets = {}
    for key, asset in record["assets"].items():
        assets[key] = {"href": str(asset["href"]), "roles": ["data"]}
        if isinstance(kind := asset.get("type"), str):
            assets[key]["type"] = kind
    row = {
        "type": "Feature",
        "stac_version": pystac.get_stac_version(),
        "stac_extensions": [],
        "id": str(record["id"]),
        "collection": record.get("collection"),
        "properties": {**known, "datetime": properties.get("datetime"), WHOLE: text},
        "links": [],
        "assets": assets,
        "geometry": mapping(box(*_ANYWHERE)),
        "bbox": list(_ANYWHERE),
    }
    with suppress(CatalogError):
        footprint = record_footprint(record.get("geometry"), record.get("bbox"))
        row |= {"geometry": mapping(footprint), "bbox": list(footprint.bounds)}
    return row


def _time(value: object) -> str | None:
    """A time in ISO 8601 with its zone; None for anything else."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if when is None else (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat()


def unpack(content: bytes, name: str | None = None) -> list[dict[str, Any]]:
    """Records of a file's content; errors call it `name`. Raises CatalogError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        path.write_bytes(content)
        return read_geoparquet(path, name)


def read_geoparquet(path: Path, name: str | None = None) -> list[dict[str, Any]]:
    """Item records of a stac-geoparquet file; empty columns are left out. Raises CatalogError."""
    name = name or str(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CatalogError(f"{name} is larger than {MAX_FILE_BYTES} bytes")
        if (rows := count_rows(path)) > MAX_ROWS:
            raise CatalogError(f"{name} holds {rows} items: more than {MAX_ROWS} are not read")
        features = rustac.read_sync(str(path))["features"]
    except (rustac.RustacError, OSError, KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"{name} cannot be read as stac-geoparquet: {plain(error)}") from error
    return [_whole(feature) for feature in features]


def _whole(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties") or {}
    text = properties.get(WHOLE)
    if isinstance(text, str):
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if isinstance(record, dict):
            return record
    stated = {key: value for key, value in properties.items() if value is not None or key == "datetime"}
    assets = {key: asset for key, asset in (feature.get("assets") or {}).items() if asset is not None}
    return {**feature, "properties": stated, "assets": assets, "links": []}


def _clean(asset: dict[str, Any]) -> dict[str, Any]:
    cleaned = {**asset, "href": _bare(asset["href"])}
    if isinstance(alternates := asset.get("alternate"), dict):
        cleaned["alternate"] = {
            name: {**other, "href": _bare(other["href"])}
            for name, other in alternates.items()
            if isinstance(other, dict) and isinstance(other.get("href"), str)
        }
    return cleaned


def _bare(href: str) -> str:
    """An href without query, though it may be no URL."""
    try:
        return without_query(href)
    except CatalogError:
        return href.partition("?")[0].partition("#")[0]
