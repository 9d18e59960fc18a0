"""The land mask: polygons of the user's file, clipped to the region and projected to its CRS.

It selects jobs, not pixels: a shard that touches land is made whole.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import shapely

from dsdit.errors import RequestError
from dsdit.lattice.tiling import Lattice
from dsdit.lonlat import to_plane, within_180
from dsdit.region import Region

_DENSIFY_DEG = 0.01
_MAX_BYTES = 200_000_000
_MAX_DEPTH = 64
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_MARGIN_DEG = 0.5
"""Land this far around the region is used: edges that are straight in degrees are curved in its CRS."""


def read_land(path: Path, region: Region, lattice: Lattice) -> str:
    """WKT in CRS units of the land around the region, from a GeoJSON file in degrees with any number of polygons.

    Raises RequestError where the file cannot be read, holds no polygon, or none that comes near the region.
    """
    try:
        found = shapely.force_2d(shapely.from_geojson(_read_text(path)))
    except (OSError, ValueError, shapely.errors.ShapelyError) as error:
        raise RequestError(f"land {str(path)!r} cannot be read as GeoJSON: {error}") from error
    parts = shapely.get_parts(found, return_index=False)
    polygons = [p for p in shapely.get_parts(parts) if p.geom_type in ("Polygon", "MultiPolygon") and not p.is_empty]
    if not polygons:
        raise RequestError(f"land {str(path)!r} holds no polygon")
    if not np.isfinite(shapely.bounds(polygons)).all() or (np.abs(shapely.bounds(polygons)) > [360, 90, 360, 90]).any():
        raise RequestError(f"land {str(path)!r} is not in longitude and latitude: give GeoJSON in degrees")
    shards = lattice.jobs_touching(region.window).refine(lattice.shard_px)
    near = within_180(shapely.geometry.shape(region.lonlat(shards))).buffer(_MARGIN_DEG, join_style="mitre")
    land = shapely.union_all([within_180(shapely.make_valid(p)).intersection(near) for p in polygons])
    pieces = [p for p in shapely.get_parts(land) if p.geom_type in ("Polygon", "MultiPolygon")]
    if not pieces:
        raise RequestError(f"land {str(path)!r} has nothing near region {region.name!r}: give another file, or none")
    whole = shapely.MultiPolygon([q for p in pieces for q in shapely.get_parts(p)])
    projected = shapely.make_valid(to_plane(whole, region.grid.odc_crs, _DENSIFY_DEG))
    x0, y0, x1, y1 = region.grid.bounds_of(shards, region.grid.gsd_m)
    return str(shapely.clip_by_rect(projected, x0, y0, x1, y1).wkt)


def _read_text(path: Path) -> str:
    """The file's text. Raises ValueError where it is too large, or so deep that GEOS would overflow its stack."""
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes: cut it to the region")
    marks = _STRING.sub(b"", text).translate(None, bytes(set(range(256)) - set(b"[]{}")))
    opens = np.isin(np.frombuffer(marks, np.uint8), np.frombuffer(b"[{", np.uint8))
    if len(marks) and np.cumsum(np.where(opens, 1, -1), dtype=np.int32).max() > _MAX_DEPTH:
        raise ValueError(f"its values are more than {_MAX_DEPTH} deep: give polygons alone")
    return text.decode("utf-8-sig")
