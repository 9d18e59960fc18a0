"""Small local catalogs, files and all, for the tests of situations from the field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds
from shapely.geometry import box

from catalogs.search.usable_scenes import SearchResult, search_items
from catalogs.source import Source
from tests.support.stac import make_item, make_source

UTM32 = "EPSG:32632"
NORTH_UP = Affine(10, 0, 600_000, 0, -10, 5_400_000)
ONE_FILE: dict[str, Any] = {
    "bands": {name: {"asset": "image", "index": k} for k, name in enumerate(("red", "green", "blue"), 1)},
    "rule": {"kind": "fixed", "scale": 1.0},
    "mask": {"kind": "none"},
    "nodata": None,
}
"""Changes of `make_source` for items with one file of three bands, whose reflectance is its dn."""


def write_tif(
    path: Path, values: NDArray[Any], transform: Affine | None = NORTH_UP, crs: str | None = UTM32, **profile: Any
) -> Path:
    """A GeoTIFF of (band, y, x) or (y, x)."""
    values = values[None] if values.ndim == 2 else values
    count, height, width = values.shape
    place = {} if transform is None else {"transform": transform}
    size = {"count": count, "height": height, "width": width, "dtype": values.dtype.name, "crs": crs}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", **size, **place, **profile) as file:
        file.write(values)
    return path


def lonlat(shape: tuple[int, int] = (64, 64), transform: Affine = NORTH_UP, crs: str = UTM32) -> Any:
    """West, south, east, north of a grid."""
    x0, y0 = transform @ (0, 0)
    x1, y1 = transform @ (shape[1], shape[0])
    return transform_bounds(crs, "EPSG:4326", min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def item_of(
    name: str = "a",
    bounds: tuple[float, float, float, float] | None = None,
    assets: Sequence[str] = ("image",),
    hrefs: dict[str, str] | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """A record of an item whose assets are `<key>.tif` beside it."""
    record = make_item(name, bounds=bounds or lonlat(), **properties)
    record["assets"] = {key: {"href": (hrefs or {}).get(key, f"{key}.tif")} for key in assets}
    return record


def catalog_of(folder: Path, *items: dict[str, Any]) -> Path:
    """items.json of the items in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


def found_in(source: Source, start: str = "2024-01-01", end: str = "2024-12-31") -> SearchResult:
    """What a search of the whole world finds."""
    first, last = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (start, end))
    return search_items(source, box(-180, -90, 180, 90), first, last)


def one_scene(folder: Path, record: dict[str, Any] | None = None, **changes: Any) -> tuple[Any, Source]:
    """The one usable scene of a catalog, and its source."""
    source = make_source(catalog_of(folder, record or item_of()), **(ONE_FILE | changes))
    (item,) = found_in(source).items
    return item, source


def geobox(shape: tuple[int, int] = (64, 64), transform: Affine = NORTH_UP, crs: str = UTM32) -> GeoBox:
    """A grid; by default that of `write_tif`."""
    return GeoBox(shape, transform, crs)


def flat(value: float = 2000, dtype: str = "uint16", shape: tuple[int, int, int] = (3, 64, 64)) -> NDArray[Any]:
    """Pixels of one value."""
    return np.full(shape, value, dtype)
