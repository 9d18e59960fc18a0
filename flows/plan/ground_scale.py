"""How long a metre of a CRS is on the ground of a region."""

from __future__ import annotations

import numpy as np
import pyproj
import shapely

from dsdit.errors import RequestError
from dsdit.region import Region

REPORTED, REFUSED = 0.002, 0.1
"""Shares by which metres of the CRS may differ from those of the ground: reported from the first, refused from the
second. UTM differs by up to 0.001 within its zone."""
_POINTS = 9
_STEP_M = 50.0


def ground_scale(region: Region) -> tuple[float, float]:
    """Ground metres per metre of the CRS, (least, most) over points and directions of the footprint.

    Not finite where the footprint has points that are not on Earth.
    """
    crs = region.grid.odc_crs.proj
    geod, geodetic = crs.get_geod(), crs.geodetic_crs
    if geod is None or geodetic is None:
        return 1.0, 1.0
    x0, y0, x1, y1 = region.footprint.bounds
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(x0, x1, _POINTS), np.linspace(y0, y1, _POINTS)))
    inside = shapely.intersects_xy(region.footprint, x, y)
    centre = shapely.get_coordinates(region.footprint.representative_point())
    x, y = np.append(x[inside], centre[:, 0]), np.append(y[inside], centre[:, 1])
    back = pyproj.Transformer.from_crs(crs, geodetic, always_xy=True)
    lon, lat = back.transform(x, y)
    scales = []
    for dx, dy in ((1, 0), (0, 1), (0.5**0.5, 0.5**0.5), (0.5**0.5, -(0.5**0.5))):
        end = back.transform(x + dx * _STEP_M, y + dy * _STEP_M)
        if not np.isfinite([lon, lat, *end]).all():
            return float("nan"), float("nan")
        scales.append(geod.inv(lon, lat, *end)[2] / _STEP_M)
    return float(np.min(scales)), float(np.max(scales))


def check_ground_scale(region: Region) -> str | None:
    """A sentence where metres of the CRS are off in the region. Raises RequestError where they are far off."""
    low, high = ground_scale(region)
    crs = region.grid.crs[:60]
    if not np.isfinite([low, high]).all():
        raise RequestError(f"region {region.name!r} has places that are not on Earth in {crs}: check its bounds")
    off = max(abs(low - 1), abs(high - 1))
    text = f"1 m of {crs} is {low:.4g} to {high:.4g} m on the ground of region {region.name!r}"
    if off >= REFUSED:
        raise RequestError(f"{text}: take a CRS made for the place, such as its UTM zone")
    return f"{text}: pixels are that much smaller or larger than gsd_m" if off >= REPORTED else None
