"""STAC items as plain records, and sources that find them."""

from __future__ import annotations

from typing import Any

from shapely.geometry import box, mapping

from catalogs.source import Source

ASSETS = ("red", "green", "blue", "scl")


def make_item(
    name: str,
    when: str = "2024-06-01T10:00:00Z",
    bounds: tuple[float, float, float, float] = (10.0, 48.0, 10.5, 48.4),
    *,
    host: str = "https://data.example",
    without: str | None = None,
    collection: str = "scenes",
    **properties: Any,
) -> dict[str, Any]:
    """One item with assets red, green, blue and scl; `properties` with `__` for `:`."""
    assets: dict[str, Any] = {
        key: {"href": f"{host}/{name}/{key}.tif", "type": "image/tiff", "roles": ["data"]}
        for key in ASSETS
        if key != without
    }
    known = {"datetime": when, "s2:processing_baseline": "05.10", "platform": "sentinel-2a", "proj:epsg": 32632}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": mapping(box(*bounds)),
        "bbox": list(bounds),
        "properties": {**known, **{key.replace("__", ":"): value for key, value in properties.items()}},
        "links": [],
        "assets": assets,
    }


def make_source(endpoint: object = None, **changes: Any) -> Source:
    """A source of Sentinel-2's kind for items of `make_item`."""
    record = {
        "name": "scenes",
        "role": "lr",
        "endpoint": None if endpoint is None else str(endpoint),
        "collection": "scenes",
        "bands": {band: {"asset": band} for band in ("red", "green", "blue")},
        "rule": {"kind": "sentinel2"},
        "mask": {"kind": "scl"},
        "nodata": 0,
        "gsd_m": 10,
        "schemes": ["https", "http"],
        "hosts": ["data.example"],
        "licence": "none",
        "attribution": "none",
        "derivatives": "yes",
    }
    return Source.model_validate(record | changes)
