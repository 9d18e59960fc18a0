"""Footprints in longitude and latitude: split at the antimeridian, with a bbox that says so, and as short as asked.

The owner of antimeridian.
"""

from __future__ import annotations

from itertools import pairwise

import antimeridian
import numpy as np
import shapely
from shapely.geometry import shape


def within_180(footprint: shapely.Geometry) -> shapely.Geometry:
    """A polygon or multipolygon in degrees with what crosses the antimeridian split there; others as they are."""
    if footprint.geom_type not in ("Polygon", "MultiPolygon") or not _crosses(footprint):
        return footprint
    split = antimeridian.fix_shape(footprint, great_circle=False, fix_winding=True)
    return shapely.make_valid(shape(split))


def _crosses(footprint: shapely.Geometry) -> bool:
    west, _, east, _ = footprint.bounds
    if west < -180 or east > 180:
        return True
    return any(
        180 < abs(a - b) < 360
        for part in getattr(footprint, "geoms", [footprint])
        for (a, *_), (b, *_) in pairwise(part.exterior.coords)
    )


def lonlat_bbox(footprint: shapely.Geometry) -> list[float]:
    """west, south, east, north of a footprint within -180..180, as RFC 7946, 5.2, has it.

    Where parts lie on both sides of the antimeridian and the way across it is the shorter one, west is over east.
    """
    west, south, east, north = footprint.bounds
    if east - west > 180:
        spans = shapely.bounds(shapely.get_parts(footprint))[:, [0, 2]]
        spans = spans[np.argsort(spans[:, 0])]
        reached = np.maximum.accumulate(spans[:, 1])
        gaps = spans[1:, 0] - reached[:-1]
        if len(gaps) and gaps.max() > 360 - (east - west):
            widest = int(gaps.argmax())
            west, east = spans[widest + 1, 0], reached[widest]
    return [float(v) for v in (west, south, east, north)]


def shorten_outline(footprint: shapely.Geometry, most: int) -> shapely.Geometry:
    """A valid polygon or multipolygon of at most `most` vertices that lies near the footprint; itself if it is short.

    Lines are straightened more and more; where small parts alone are too many, what is left is the hull around all.
    """
    if shapely.get_num_coordinates(footprint) <= most:
        return footprint
    west, south, east, north = footprint.bounds
    size = max(east - west, north - south)
    tolerance = size / 4096
    while tolerance < size / 8:
        found = _polygons(shapely.make_valid(shapely.simplify(footprint, tolerance)))
        if not found.is_empty and shapely.get_num_coordinates(found) <= most:
            return found
        tolerance *= 2
    halves = [shapely.box(-180, -90, 0, 90), shapely.box(0, -90, 180, 90)] if crosses_180(footprint) else [None]
    hulls = [shapely.convex_hull(footprint if half is None else footprint.intersection(half)) for half in halves]
    return _polygons(shapely.make_valid(shapely.simplify(shapely.union_all(hulls), size / 512)))


def crosses_180(footprint: shapely.Geometry) -> bool:
    """Whether a footprint within -180..180 has parts on both sides of the antimeridian."""
    west, _, east, _ = lonlat_bbox(footprint)
    return west > east


def _polygons(geometry: shapely.Geometry) -> shapely.Geometry:
    """The areas of a geometry, as one polygon or multipolygon."""
    areas = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    areas += [p for part in shapely.get_parts(geometry) if part.geom_type == "MultiPolygon" for p in part.geoms]
    return areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas)
