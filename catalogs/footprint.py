"""Footprint of an item in longitude and latitude, and the CRS that the item states.

Catalogs write a footprint across the antimeridian in three ways: as two parts, with longitudes beyond 180, and as one
ring that jumps from 180 to -180, which as plain coordinates spans the whole world. All become parts within -180..180;
others stay as they are. The split runs along straight lines in degrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyproj
import pystac
import shapely
from pyproj.exceptions import CRSError
from shapely.geometry import mapping, shape

from catalogs.allowed import plain
from catalogs.json_fields import MAX_EPSG, Fields
from dsdit.errors import CatalogError
from dsdit.geojson import flat_geometry
from dsdit.lonlat import bbox_shape, within_180

MAX_VERTICES = 100_000
"""More in one footprint count as a mistake."""
_MAX_CROSSINGS = 1000
_SAMPLED_LINES = 64


def item_footprint(item: pystac.Item) -> shapely.Geometry:
    """The valid, finite footprint of an item within -180..180. Raises CatalogError."""
    return record_footprint(item.geometry, item.bbox)


def record_footprint(geometry: Any, bbox: Any) -> shapely.Geometry:
    """`item_footprint` of the geometry and bbox of a record. Raises CatalogError."""
    try:
        footprint = bbox_shape(bbox or []) if geometry is None else shapely.force_2d(shape(flat_geometry(geometry)))
    except Exception as error:  # a foreign geometry may break shapely in any way
        raise CatalogError(f"its geometry cannot be read: {plain(error, 100)}") from error
    if footprint.is_empty or not all(map(math.isfinite, footprint.bounds)):
        raise CatalogError("its geometry is empty or not finite")
    if shapely.get_num_coordinates(footprint) > MAX_VERTICES:
        raise CatalogError(f"its geometry has more than {MAX_VERTICES} vertices")
    if not _all_finite(footprint):
        raise CatalogError("its geometry is empty or not finite")
    west, south, east, north = footprint.bounds
    if west < -360 or east > 360 or south < -90 or north > 90:
        raise CatalogError("its geometry is not in longitude and latitude")
    try:
        footprint = within_180(footprint)
        return footprint if footprint.is_valid else _repaired(footprint)
    except Exception as error:
        raise CatalogError(f"its geometry cannot be brought within -180..180: {plain(error, 100)}") from error


def geojson(geometry: shapely.Geometry) -> dict[str, Any]:
    """GeoJSON of a geometry in JSON's own types: lists where shapely gives tuples."""

    def plain_types(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain_types(part) for key, part in value.items()}
        return [plain_types(part) for part in value] if isinstance(value, list | tuple) else value

    return dict(plain_types(mapping(geometry)))


def _repaired(footprint: shapely.Geometry) -> shapely.Geometry:
    """The valid area of a footprint; its hull where it crosses itself so often that a repair would take minutes."""
    corners = shapely.get_coordinates(footprint)
    lines = shapely.linestrings(np.stack([corners[:-1], corners[1:]], axis=1))
    sample = lines[:: -(-len(lines) // _SAMPLED_LINES)]
    crossings = shapely.STRtree(lines).query(sample, predicate="crosses").shape[1] / len(sample) * len(lines) / 2
    return shapely.make_valid(footprint) if crossings <= _MAX_CROSSINGS else shapely.convex_hull(footprint)


def _all_finite(footprint: shapely.Geometry) -> bool:
    return bool(all(map(math.isfinite, shapely.get_coordinates(footprint).ravel())))


def stated_crs(*records: Fields) -> str | None:
    """The CRS that the first of these records states, in any version of the projection extension; None without one.

    It only separates scenes of different grids: pixels are placed by the CRS of their file.
    """
    for fields in records:
        if code := fields.crs_code("proj:code"):
            return code
        if epsg := fields.whole("proj:epsg", 1, MAX_EPSG):
            return f"EPSG:{epsg}"
        for key, kind, read in (
            ("proj:projjson", dict, pyproj.CRS.from_json_dict),
            ("proj:wkt2", str, pyproj.CRS.from_wkt),
        ):
            if (definition := fields.get(key, kind)) and (code := _authority(read, definition)) is not None:
                return code
    return None


def _authority(read: Callable[[Any], pyproj.CRS], definition: Any) -> str | None:
    try:
        code = read(definition).to_authority(min_confidence=70)
    except (CRSError, TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return None
    return None if code is None else ":".join(code)
