"""Items in stac-geoparquet: a catalog as one file, and the answer of a search as it is kept beside the output.

Owner of rustac. A row holds what any tool expects of an item. Since columns cannot hold every record without loss
(times lose their spelling, properties of unlike types do not fit one column), the rows that we write also carry the
item as JSON, in the property `dsdit:item`; it is what we read back. Neither holds a query or a signature.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pystac
import rustac

from catalogs.trust import plain, without_query
from dsdit.errors import CatalogError

WHOLE = "dsdit:item"
"""Property that holds the whole item as JSON."""
MAX_FILE_BYTES = 512 * 2**20
"""Largest stac-geoparquet file that is read."""
MAX_ROWS = 200_000
"""Most items that one file may hold."""
_PLAIN = ("datetime", "platform", "gsd", "eo:cloud_cover", "grid:code", "proj:code", "s2:processing_baseline")


def is_geoparquet(path: Path) -> bool:
    """Whether a file calls itself parquet."""
    return path.suffix.lower() in (".parquet", ".geoparquet")


def item_record(item: pystac.Item, assets: Iterable[str]) -> dict[str, Any]:
    """An item as it is kept: without links, with these assets alone, hrefs without query, and null for NaN."""
    record = item.to_dict(include_self_link=False, transform_hrefs=False)
    record["links"] = []
    kept = {key: record["assets"][key] for key in assets if key in record["assets"]}
    record["assets"] = {key: _clean(asset) for key, asset in kept.items()}
    return dict(json.loads(json.dumps(record), parse_constant=lambda _: None))


def pack(records: Iterable[Mapping[str, Any]]) -> bytes:
    """A stac-geoparquet file of records of `item_record`, at least one. Raises CatalogError."""
    rows = []
    for record in records:
        plain_values = {k: v for k in _PLAIN if isinstance(v := record["properties"].get(k), str | int | float)}
        row = {**record, "properties": {**plain_values, "datetime": record["properties"].get("datetime")}}
        row["properties"][WHOLE] = json.dumps(record, sort_keys=True, allow_nan=False)
        row["stac_extensions"] = []
        row["assets"] = {k: {f: a[f] for f in ("href", "type", "roles") if f in a} for k, a in row["assets"].items()}
        rows.append(row)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        try:
            rustac.write_sync(str(path), rows)
        except rustac.RustacError as error:
            raise CatalogError(f"the answer cannot be kept as stac-geoparquet: {plain(error)}") from error
        return path.read_bytes()


def unpack(content: bytes) -> list[dict[str, Any]]:
    """Records of a file made by `pack`. Raises CatalogError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        path.write_bytes(content)
        return read_geoparquet(path)


def read_geoparquet(path: Path) -> list[dict[str, Any]]:
    """Item records of a stac-geoparquet file; empty columns are left out. Raises CatalogError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CatalogError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        features = rustac.read_sync(str(path))["features"]
    except (rustac.RustacError, OSError, KeyError, TypeError) as error:
        raise CatalogError(f"{path} cannot be read as stac-geoparquet: {plain(error)}") from error
    if len(features) > MAX_ROWS:
        raise CatalogError(f"{path} holds {len(features)} items: more than {MAX_ROWS} are not read")
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
    kept = {key: value for key, value in properties.items() if value is not None or key == "datetime"}
    assets = {key: asset for key, asset in (feature.get("assets") or {}).items() if asset is not None}
    return {**feature, "properties": kept, "assets": assets, "links": []}


def _clean(asset: dict[str, Any]) -> dict[str, Any]:
    cleaned = {**asset, "href": without_query(asset["href"])}
    if isinstance(alternates := asset.get("alternate"), dict):
        cleaned["alternate"] = {
            name: {**other, "href": without_query(other["href"])}
            for name, other in alternates.items()
            if isinstance(other, dict) and isinstance(other.get("href"), str)
        }
    return cleaned
