"""One GeoJSON footprint in degrees: read from a file or a mapping, checked, and returned as a shapely polygon."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import shapely

from dsdit.errors import RequestError

GeoJson = Mapping[str, Any]
"""A GeoJSON object: a geometry, a feature, or a collection of one feature."""
MAX_BYTES = 16_000_000
"""Largest file that is read: some 500,000 vertices."""
_MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    shapely.errors.ShapelyError,
)
"""What shapely raises on values of other types, lengths and depths than GeoJSON's."""
MAX_DEPTH = 16
"""Deepest nesting of collections of geometries."""


def read_geojson(path: str | PathLike[str]) -> GeoJson:
    """The GeoJSON object in a file. Raises RequestError where the file cannot be read or holds another thing."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes: simplify the outline")
        record = json.loads(text.decode("utf-8-sig"))
    except RecursionError as error:
        raise RequestError(f"geojson {fspath(path)!r} is nested too deep: give one polygon or multipolygon") from error
    except (OSError, ValueError) as error:
        raise RequestError(f"geojson {fspath(path)!r} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise RequestError(f"geojson {fspath(path)!r} holds no geometry")
    return record


def flat_geometry(record: GeoJson, depth: int = 0) -> dict[str, Any]:
    """A GeoJSON geometry without heights and empty parts. Raises what shapely raises for a record that is none."""
    if depth > MAX_DEPTH:
        raise ValueError(f"geometries are nested more than {MAX_DEPTH} deep")
    kind = record["type"]
    if kind == "GeometryCollection":
        return {"type": kind, "geometries": [flat_geometry(part, depth + 1) for part in record["geometries"]]}
    if kind == "Polygon":
        return {"type": kind, "coordinates": _flat_rings(record["coordinates"])}
    if kind == "MultiPolygon":
        parts = [rings for part in record["coordinates"] if (rings := _flat_rings(part))]
        return {"type": kind, "coordinates": parts}
    return dict(record)


def _flat_rings(rings: Any) -> list[Any]:
    return [[position[:2] for position in ring] for ring in rings if len(ring)]


def footprint_of(record: GeoJson, name: str) -> shapely.Geometry:
    """The valid polygon or multipolygon of a GeoJSON object, without heights. `name` is how errors call the object.

    Longitudes must be within -180..180: what crosses the antimeridian has a part on each side.
    Raises RequestError.
    """
    try:
        found = shapely.geometry.shape(flat_geometry(_geometry(record, name)))
    except RequestError:
        raise
    except _MALFORMED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RequestError(f"{name} is not a GeoJSON geometry: {reason}") from error
    if found.geom_type not in ("Polygon", "MultiPolygon"):
        raise RequestError(f"{name} is a {found.geom_type}: give one polygon or multipolygon")
    if found.is_empty:
        raise RequestError(f"{name} is empty: give a polygon with at least three corners")
    west, south, east, north = found.bounds
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise RequestError(f"{name} spans {found.bounds}: not longitudes and latitudes in degrees")
    if not found.is_valid:
        raise RequestError(f"{name} is not a valid polygon: {shapely.is_valid_reason(found)}")
    return found


def _geometry(record: GeoJson, name: str) -> GeoJson:
    """The geometry in a feature, or in a collection of one feature; a geometry is returned as it is."""
    if record.get("type") == "FeatureCollection":
        features = record.get("features") or []
        if len(features) != 1:
            raise RequestError(f"{name} has {len(features)} features: give one, such as a multipolygon")
        record = features[0]
    found = record.get("geometry") if record.get("type") == "Feature" else record
    if not isinstance(found, Mapping):
        raise RequestError(f"{name} holds no geometry")
    return found
