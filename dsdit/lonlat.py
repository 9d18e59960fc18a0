"""Footprints in longitude and latitude: bounding boxes, the split at the antimeridian, and outlines of few vertices.

The owner of antimeridian. Polygons go between degrees and the plane of a CRS here: around a pole those in degrees have
edges along +-180 and +-90, where the plane of a polar CRS has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import antimeridian
import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from shapely.geometry import box, shape

MAX_CROSSING_DEG = 90.0
"""Widest bbox across the antimeridian; a wider one is taken for two swapped numbers."""
_SECTOR_DEG = 90
_JOIN_M = 1e-3
"""Grid on which sectors are joined in the plane: their common edges differ by rounding alone."""
_JOIN_DEG = 1e-9
_FAR_M = 1e8
"""Length of the rays along which a polygon is cut; no coordinate is as far from the pole."""


def check_bbox(bbox: Sequence[float]) -> None:
    """Raises ValueError unless these are west, south, east, north in degrees; across the antimeridian west > east."""
    if len(bbox) != 4:
        raise ValueError(f"bbox {list(bbox)} has {len(bbox)} numbers: give west, south, east, north in degrees")
    west, south, east, north = bbox
    longitudes = -180 <= west <= 180 and -180 <= east <= 180
    in_order = west < east or (west > east and east + 360 - west <= MAX_CROSSING_DEG)
    if not (longitudes and in_order and -90 <= south < north <= 90):
        raise ValueError(f"bbox {list(bbox)} is not west, south, east, north in degrees: are two swapped?")


def bbox_shape(bbox: Sequence[float]) -> shapely.Geometry:
    """The area of a STAC bbox of 4 or 6 numbers; west over east means that it crosses the antimeridian."""
    if len(bbox) not in (4, 6):
        raise ValueError("neither a geometry nor a bbox of four numbers")
    west, south, east, north = bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1]
    if west > east:
        return shapely.MultiPolygon([box(west, south, 180.0, north), box(-180.0, south, east, north)])
    return box(west, south, east, north)


def within_180(footprint: shapely.Geometry) -> shapely.Geometry:
    """A polygon or multipolygon in degrees with what crosses the antimeridian split there; others as they are."""
    if footprint.geom_type not in ("Polygon", "MultiPolygon") or not _crosses(footprint):
        return footprint
    if any(abs(_turn(part.exterior)) > 180 for part in shapely.get_parts(footprint)):
        return shapely.union_all([_around_pole(part) for part in shapely.get_parts(footprint)])
    split = antimeridian.fix_shape(footprint, great_circle=False, fix_winding=True)
    return shapely.make_valid(shape(split))


def _turn(ring: shapely.LinearRing) -> float:
    """Longitudes that a ring runs through: 360 or -360 around a pole, otherwise 0."""
    steps = np.diff(np.asarray(ring.coords)[:, 0])
    return float((steps - 360 * np.round(steps / 360)).sum())


def _around_pole(part: shapely.Polygon) -> shapely.Geometry:
    """A polygon with the pole that its ring runs around, the one on the side of its latitudes."""
    if abs(_turn(part.exterior)) <= 180:
        return within_180(part)
    corners = np.asarray(part.exterior.coords)[:, :2]
    steps = np.diff(corners[:, 0])
    lon = corners[0, 0] + np.append(0, (steps - 360 * np.round(steps / 360)).cumsum())
    pole = 90.0 if corners[:, 1].mean() > 0 else -90.0
    ring = np.vstack([np.column_stack([lon, corners[:, 1]]), [lon[-1], pole], [lon[0], pole]])
    whole, world = shapely.make_valid(shapely.Polygon(ring)), box(-180, -90, 180, 90)
    turns = [shapely.transform(whole, partial(np.add, [by, 0.0])) for by in (-720, -360, 0, 360, 720)]
    outside = shapely.union_all([turned.intersection(world) for turned in turns])
    return outside.difference(shapely.union_all([within_180(shapely.Polygon(h)) for h in part.interiors]))


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

    Where parts are on both sides of the antimeridian and the span across it is the shorter one, west is over east.
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
    """A valid polygon or multipolygon of at most `most` vertices near the footprint; itself if it is short.

    Lines are simplified more and more; where small parts alone have too many vertices, the hull of all is returned.
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


def is_polar(crs: CRS) -> bool:
    """True where the plane's centre is a pole: both axes run north or both run south."""
    first, second = (axis.direction for axis in crs.proj.axis_info)
    return bool(first == second)


def to_plane(lonlat: shapely.Geometry, crs: CRS, step_deg: float) -> shapely.Geometry:
    """Polygons within -180..180 degrees in a CRS, whose edges are densified to `step_deg`."""
    if not is_polar(crs):
        return Geometry(lonlat.segmentize(step_deg), "EPSG:4326").to_crs(crs).geom
    sectors = [shapely.box(west, -90, west + _SECTOR_DEG, 90) for west in range(-180, 180, _SECTOR_DEG)]
    parts = [shapely.intersection(lonlat, sector) for sector in sectors]
    cut = [Geometry(p.segmentize(step_deg), "EPSG:4326").to_crs(crs).geom for p in parts if p.area > 0]
    if not np.isfinite(shapely.bounds(cut)).all():
        return shapely.GeometryCollection(cut)
    return shapely.union_all([shapely.make_valid(part) for part in cut], grid_size=_JOIN_M)


def to_lonlat(plane: shapely.Geometry, crs: CRS, step_m: float) -> shapely.Geometry:
    """Polygons of a CRS in degrees, whose edges are densified to `step_m`; around a pole they are cut at +-180."""
    if not is_polar(crs):
        return Geometry(plane.segmentize(step_m), crs).to_crs("EPSG:4326").geom
    back = pyproj.Transformer.from_crs(crs.proj, 4326, always_xy=True)
    north = 90.0 if crs.proj.axis_info[0].direction == "south" else -90.0
    out = pyproj.Transformer.from_crs(4326, crs.proj, always_xy=True)
    pole = np.array(out.transform(0.0, north))
    parts = []
    for west in range(-180, 180, _SECTOR_DEG):
        rays = [_ray(out, pole, float(lon), north) for lon in (west, west + _SECTOR_DEG)]
        wedge = shapely.Polygon([pole, pole + rays[0], pole + rays[0] + rays[1], pole + rays[1]])
        for part in shapely.get_parts(shapely.intersection(plane, wedge)):
            if part.geom_type == "Polygon" and part.area > 0:
                holes = [_ring(hole, back, pole, west, north) for hole in part.segmentize(step_m).interiors]
                parts.append(shapely.Polygon(_ring(part.segmentize(step_m).exterior, back, pole, west, north), holes))
    return shapely.union_all([shapely.make_valid(part) for part in parts], grid_size=_JOIN_DEG)


def _ray(out: pyproj.Transformer, pole: NDArray[np.float64], lon: float, north: float) -> NDArray[np.float64]:
    """A long vector from the pole along a meridian."""
    vector = np.array(out.transform(lon, north * 80 / 90)) - pole
    ray: NDArray[np.float64] = vector / np.hypot(*vector) * _FAR_M
    return ray


def _ring(
    ring: shapely.LinearRing, back: pyproj.Transformer, pole: NDArray[np.float64], west: int, north: float
) -> list[tuple[float, float]]:
    """A ring of one sector in degrees: the pole, which has every longitude, becomes an edge along +-90."""
    xy = np.asarray(ring.coords)[:-1, :2]
    at_pole = np.hypot(*(xy - pole).T) < _JOIN_M
    lon, lat = back.transform(xy[:, 0], xy[:, 1])
    lon = np.clip(west + (lon - west + _SECTOR_DEG) % 360 - _SECTOR_DEG, west, west + _SECTOR_DEG)
    corners: list[tuple[float, float]] = []
    for k, (one, other) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
        if at_pole[k]:
            corners += [(float(lon[k - 1]), north), (float(lon[(k + 1) % len(lon)]), north)]
        else:
            corners.append((one, other))
    return corners
