"""The region: a footprint on the grid. Which pixels, cells and shards it covers.

The footprint is kept in the CRS of the grid. A pixel belongs to the region if its centre lies inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geom import Geometry

from dsdit.errors import RequestError
from dsdit.grid import Grid
from dsdit.window import Window

_DENSIFY_DEG = 0.01


@dataclass(frozen=True)
class Region:
    """A named footprint on a grid."""

    name: str
    """Letters, digits, dash and underscore: it stands in ids and folder names."""
    grid: Grid
    footprint_wkt: str
    """Polygon or multipolygon in the CRS of the grid."""

    @classmethod
    def from_lonlat(cls, name: str, grid: Grid, geometry: dict[str, object]) -> Region:
        """Region of a GeoJSON polygon in degrees, with edges densified before they are projected."""
        try:
            lonlat = shapely.geometry.shape(geometry)
        except (KeyError, TypeError, AttributeError, ValueError, shapely.errors.ShapelyError) as error:
            raise RequestError(f"the footprint of {name!r} is not a GeoJSON geometry: {error}") from error
        if lonlat.geom_type not in ("Polygon", "MultiPolygon") or lonlat.is_empty or not lonlat.is_valid:
            raise RequestError(f"the footprint of {name!r} must be a valid, non-empty polygon")
        west, south, east, north = lonlat.bounds
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise RequestError(f"the footprint of {name!r} spans {lonlat.bounds}: not longitudes and latitudes")
        projected = Geometry(lonlat.segmentize(_DENSIFY_DEG), "EPSG:4326").to_crs(grid.odc_crs).geom
        if not np.isfinite(projected.bounds).all():
            raise RequestError(f"the footprint of {name!r} cannot be projected to {grid.crs}")
        return cls(name, grid, projected.wkt)

    @classmethod
    def from_bounds(cls, name: str, grid: Grid, bounds: tuple[float, float, float, float]) -> Region:
        """Region of a rectangle (x0, y0, x1, y1) in CRS units."""
        x0, y0, x1, y1 = bounds
        if not (x0 < x1 and y0 < y1):
            raise RequestError(f"bounds of {name!r} are {bounds}: they must run from low to high x and y")
        return cls(name, grid, shapely.box(x0, y0, x1, y1).wkt)

    @cached_property
    def footprint(self) -> shapely.Geometry:
        """The footprint in CRS units."""
        geometry = shapely.from_wkt(self.footprint_wkt)
        shapely.prepare(geometry)
        return geometry

    @cached_property
    def window(self) -> Window:
        """Smallest window around the HR pixels whose centres the footprint's bounds hold."""
        return self.grid.centres_in(self.footprint.bounds, self.grid.gsd_m)

    def clip(self, window: Window) -> Window:
        """Smallest window of HR pixels around the part of the footprint inside `window`; empty where there is none."""
        box = shapely.box(*self.grid.bounds_of(window, self.grid.gsd_m))
        if not self.footprint.intersects(box):
            return Window(window.row0, window.col0, window.row0, window.col0)
        if self.footprint.contains(box):
            return window
        part = self.footprint.intersection(box)
        return self.grid.centres_in(part.bounds, self.grid.gsd_m).intersect(window)

    def covers(self, window: Window) -> bool:
        """True where every pixel of the window is inside."""
        return bool(self.footprint.contains(shapely.box(*self.grid.bounds_of(window, self.grid.gsd_m))))

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """(y, x) True where the centre of the HR pixel is inside the footprint."""
        if self.covers(window):
            return np.ones(window.shape, bool)
        gsd = self.grid.gsd_m
        x = (np.arange(window.col0, window.col1) + 0.5) * gsd
        y = -(np.arange(window.row0, window.row1) + 0.5) * gsd
        return shapely.contains_xy(self.footprint, x[None, :], y[:, None])

    def lonlat(self, window: Window | None = None) -> dict[str, object]:
        """GeoJSON in degrees: of the footprint, or of a window of HR pixels."""
        geometry = self.footprint
        if window is not None:
            geometry = shapely.box(*self.grid.bounds_of(window, self.grid.gsd_m))
        step = max(max(geometry.bounds[2] - geometry.bounds[0], geometry.bounds[3] - geometry.bounds[1]) / 64, 1.0)
        lonlat = Geometry(geometry.segmentize(step), self.grid.odc_crs).to_crs("EPSG:4326").geom
        return dict(shapely.geometry.mapping(lonlat))
