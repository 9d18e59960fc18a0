"""SceneItem: the parts of a STAC item that decide pixels, in plain numbers, without anything secret.

A `SceneItem` goes into the plan file, so it converts to JSON and back without loss. Hrefs have no query or signature;
those of a local catalog are relative to its folder. The calibration rule is resolved here, once, to a scale and an
offset per band.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pystac
import shapely
from shapely.geometry import shape

from catalogs.allowed import accepted_href, plain, source_file
from catalogs.calibration import OnIgnored
from catalogs.footprint import geojson, item_footprint, stated_crs
from catalogs.json_fields import Fields
from catalogs.source import Source
from dsdit.errors import CatalogError

_UPDATED = ("s2:generation_time", "processing:datetime", "updated", "created")
_HEAD_BYTES = 65536
GSD_M = 1e-3, 1e6
"""Smallest and largest pixel size that is accepted from a catalog, metres."""


@dataclass(frozen=True)
class SceneItem:
    """One scene of one source. Equal items have equal digests."""

    source: str
    """Name of its source."""
    id: str
    """Id in the catalog; shown, never used in a path."""
    collection: str | None
    """Collection in the catalog."""
    when: datetime
    """Time of acquisition, aware, UTC."""
    footprint: Mapping[str, Any]
    """GeoJSON geometry, longitude and latitude."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north of the footprint, degrees."""
    hrefs: Mapping[str, str]
    """Asset key to URL without query, or to a path relative to the local catalog's folder."""
    scale: tuple[float, float, float]
    """Per band: reflectance = dn * scale + offset."""
    offset: tuple[float, float, float]
    """Per band, in reflectance."""
    crs: str | None
    """Code of the assets' CRS, where the item states one; pixels are placed by the CRS of their file."""
    cloud_cover: float | None
    """Percent of the whole scene, by the catalog."""
    gsd_m: float | None
    """Pixel size in metres, by the catalog."""
    updated: str | None
    """Time when the product was processed, by the catalog."""
    platform: str | None
    """Satellite or aircraft, by the catalog."""
    tile: str | None
    """Code of the catalog's own tiling grid, such as MGRS-31TEJ."""
    digest: str
    """sha256 of id, collection, time, hrefs, product time, rule, the source's digest, and the head of local files."""

    def __hash__(self) -> int:
        return hash(self.digest)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: another process builds the geometry from the footprint, once it needs it."""
        return {name: value for name, value in vars(self).items() if name != "geometry"}

    @cached_property
    def geometry(self) -> shapely.Geometry:
        """The footprint as a shapely geometry, built once."""
        return shape(self.footprint)

    def to_dict(self) -> dict[str, Any]:
        """A record of JSON's own types; `footprint` is shared with the item."""
        record: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        record |= {key: list(record[key]) for key in ("bbox", "scale", "offset")}
        return record | {"when": self.when.isoformat(), "hrefs": dict(self.hrefs)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SceneItem:
        """The item of a record of `to_dict`."""
        values = dict(record)
        values["when"] = datetime.fromisoformat(values["when"])
        for key in ("bbox", "scale", "offset"):
            values[key] = tuple(values[key])
        return cls(**values)


def scene_item(item: pystac.Item, source: Source, on_ignored: OnIgnored = lambda field, reason: None) -> SceneItem:
    """The scene that a STAC item describes. Raises CatalogError with the reason why it cannot be used.

    `on_ignored` is called for each field that is left out since its value is of the wrong type.
    """
    missing = [key for key in source.assets if key not in item.assets]
    if missing:
        raise CatalogError(f"asset {', '.join(missing)} is missing")
    properties = Fields(item.properties)
    assets = {key: Fields(item.assets[key].extra_fields) for key in source.assets}
    hrefs = {key: accepted_href(_href(item, key, source), source) for key in source.assets}
    footprint = item_footprint(item)
    bands = [source.bands[name] for name in source.band_names]
    rules = (source.rule.scale_and_offset(item, b.asset, b.index, on_ignored) for b in bands)
    scale, offset = zip(*rules, strict=True)
    when = _acquired(item, properties)
    updated = next((text for key in _UPDATED if (text := properties.text(key))), None)
    content = {
        "id": item.id,
        "collection": item.collection_id,
        "when": when.isoformat(),
        "hrefs": hrefs,
        "updated": updated,
        "rule": [scale, offset],
        "source": source.digest,
        "files": {k: _fingerprint(source_file(h, source)) for k, h in hrefs.items() if "://" not in h},
        "checksums": {key: asset.text("file:checksum") for key, asset in assets.items()},
    }
    scene = SceneItem(
        source=source.name,
        id=item.id,
        collection=item.collection_id,
        when=when,
        footprint=geojson(footprint),
        bbox=footprint.bounds,
        hrefs=hrefs,
        scale=scale,
        offset=offset,
        crs=stated_crs(properties, assets[source.assets[0]]),
        cloud_cover=properties.number("eo:cloud_cover"),
        gsd_m=properties.number("gsd", *GSD_M),
        updated=updated,
        platform=properties.text("platform"),
        tile=_tile(properties),
        digest=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
    )
    vars(scene)["geometry"] = footprint  # what the cached property would build again from its own GeoJSON
    for part in (properties, *assets.values()):
        for name, (value, expected) in part.left.items():
            on_ignored(name, f"{name} is {plain(ascii(value), 80)}, not {expected}: left out")
    return scene


def _href(item: pystac.Item, key: str, source: Source) -> str:
    asset = item.assets[key]
    alternates = asset.extra_fields.get("alternate")
    if source.alternate is not None and isinstance(alternates, Mapping):
        other = alternates.get(source.alternate)
        if isinstance(other, Mapping) and isinstance(other.get("href"), str):
            return str(other["href"])
    href = asset.href
    if "://" in href or href.startswith("/"):
        return href
    return asset.get_absolute_href() or href


def _acquired(item: pystac.Item, properties: Fields) -> datetime:
    """Time of acquisition, UTC. Raises CatalogError."""
    try:
        when = item.datetime or datetime.fromisoformat(properties.text("start_datetime") or "")
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CatalogError("it has no time of acquisition") from error


def until(item: pystac.Item, when: datetime) -> datetime:
    """Last moment of an item's interval, UTC; `when` for an item of one moment, or where no end can be read."""
    text = None if item.datetime is not None else Fields(item.properties).text("end_datetime")
    try:
        end = datetime.fromisoformat(text or "")
        return max(when, end.replace(tzinfo=UTC) if end.tzinfo is None else end.astimezone(UTC))
    except (ValueError, OverflowError):
        return when


def _tile(properties: Fields) -> str | None:
    if code := properties.text("grid:code"):
        return code
    if code := properties.text("s2:mgrs_tile"):
        return f"MGRS-{code}"
    zone = properties.whole("mgrs:utm_zone", 1, 60)
    band, square = (properties.text(f"mgrs:{key}") for key in ("latitude_band", "grid_square"))
    if zone and band and square:
        return f"MGRS-{zone:02d}{band}{square}"
    path, row = (properties.whole(f"landsat:wrs_{key}", 1, 999) for key in ("path", "row"))
    return f"WRS-{path:03d}{row:03d}" if path and row else None


def _fingerprint(path: Path) -> str | None:
    """Size and hash of both ends of a file (a COG's head lists the size of every block); None where it is missing."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            size = file.seek(0, 2)
            file.seek(max(size - _HEAD_BYTES, 0))
            return f"{size}:{hashlib.sha256(head + file.read(_HEAD_BYTES)).hexdigest()}"
    except OSError:
        return None
