"""Polygons between degrees and the plane of a CRS; where the plane is around a pole, without a cut at the antimeridian.

In degrees a footprint around a pole has an edge along each side of +-180 and one along +-90, where the plane has none.
"""

from __future__ import annotations

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geom import Geometry

_SECTOR_DEG = 90
_JOIN_M = 1e-3
"""Grid on which sectors are joined in the plane: their common edges differ by rounding alone."""
_JOIN_DEG = 1e-9
_FAR_M = 1e8
"""Length of the rays along which a polygon is cut; no coordinate is as far from the pole."""


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
