"""The region: a named footprint on the grid, and which pixels it covers.

The footprint is in the CRS of the grid. A pixel belongs to the region if its centre is inside. Regions are built
from a bbox or GeoJSON in degrees, from bounds in CRS units, or from the YAML file of a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from dsdit.errors import RequestError
from dsdit.geojson import GeoJson, footprint_of, read_geojson
from dsdit.grid import Grid
from dsdit.lonlat import bbox_shape, check_bbox, to_lonlat, to_plane
from dsdit.window import Window
from dsdit.yaml_text import read_yaml

_DENSIFY_DEG = 0.01
"""Longest edge that is projected by its ends alone: edges in degrees are not straight in another CRS."""
_MAX_VERTICES = 1_000_000
"""Of a footprint whose edges are densified."""
_FARTHEST_M = 1e8
"""Coordinates of projected CRSs are within this, false origins too."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SHAPES = ("bbox", "bounds", "geojson")
"""Keys of a YAML file of which one gives the footprint."""


@dataclass(frozen=True)
class Region:
    """A named footprint on a grid. Equal regions have equal names, grids and footprints."""

    name: str
    """Letters, digits, dash and underscore, 64 at most: it becomes part of ids and folder names."""
    grid: Grid
    footprint_wkt: str
    """Polygon or multipolygon in the CRS of the grid."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RequestError(
                f"region name {self.name!r} cannot be used: take up to 64 letters, digits, dashes and underscores, "
                "a letter or digit first"
            )

    @classmethod
    def from_bbox(cls, name: str, grid: Grid, bbox: Sequence[float]) -> Region:
        """Region of a rectangle (west, south, east, north) in degrees; west over east crosses the antimeridian.

        Raises RequestError where these are not longitudes and latitudes in that order.
        """
        try:
            check_bbox(bbox)
        except (TypeError, ValueError) as error:
            raise RequestError(f"region {name!r}: {error}") from error
        west, south, east, north = bbox
        if west > east:
            return cls._from_degrees(name, grid, bbox_shape(bbox))
        ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        return cls._from_degrees(name, grid, shapely.Polygon(ring))

    @classmethod
    def from_bounds(cls, name: str, grid: Grid, bounds: Sequence[float]) -> Region:
        """Region of a rectangle (x0, y0, x1, y1) in CRS units. Raises RequestError where it is none."""
        if len(bounds) != 4 or not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
            raise RequestError(f"bounds of {name!r} are {tuple(bounds)}: they must run from low to high x and y")
        if max(abs(value) for value in bounds) > _FARTHEST_M:
            raise RequestError(
                f"bounds of {name!r} are {tuple(bounds)}: no place is farther than {_FARTHEST_M:g} m from the origin "
                f"of {grid.crs}, give metres of that CRS"
            )
        return cls(name, grid, shapely.box(*bounds).wkt)

    @classmethod
    def from_geojson(cls, name: str, grid: Grid, geojson: str | PathLike[str] | GeoJson) -> Region:
        """Region of a polygon in degrees: a path, or a mapping; a geometry, a feature or a collection of one feature.

        Heights are dropped, edges are densified before they are projected. What crosses the antimeridian has a part on
        each side. Raises RequestError where the file cannot be read or holds no such polygon.
        """
        if isinstance(geojson, Mapping):
            return cls._from_degrees(name, grid, footprint_of(geojson, f"the footprint of {name!r}"))
        footprint = footprint_of(read_geojson(geojson), f"geojson {fspath(geojson)!r}")
        return cls._from_degrees(name, grid, footprint)

    @classmethod
    def from_yaml(cls, path: str | PathLike[str]) -> Region:
        """Region of a request file, by its keys name, crs, gsd_m, scale, and one of bbox, bounds and geojson.

        A relative path of a GeoJSON file is relative to the YAML file. Other keys are not read. Raises RequestError.
        """
        file = Path(path)
        try:
            record = read_yaml(file)
        except (OSError, ValueError) as error:
            raise RequestError(f"region file {str(file)!r} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(record, dict):
            raise RequestError(f"region file {str(file)!r} does not hold a mapping of settings")
        try:
            return cls._from_record(record, file.parent)
        except RequestError as error:
            raise RequestError(f"{file}: {error}") from error

    @classmethod
    def _from_record(cls, record: Mapping[str, Any], folder: Path) -> Region:
        name, crs = (_value(record, key, str) for key in ("name", "crs"))
        grid = Grid(crs, _value(record, "gsd_m", int, float), _value(record, "scale", int))
        given = [key for key in _SHAPES if record.get(key) is not None]
        if len(given) != 1:
            raise RequestError(f"give one of bbox, bounds and geojson; given are {given or 'none'}")
        value = record[given[0]]
        if given == ["geojson"]:
            return cls.from_geojson(name, grid, folder / _value(record, "geojson", str))
        if not isinstance(value, list) or not all(isinstance(v, int | float) for v in value):
            raise RequestError(f"{given[0]} is {value!r}: give a list of four numbers")
        return (cls.from_bbox if given == ["bbox"] else cls.from_bounds)(name, grid, value)

    @classmethod
    def _from_degrees(cls, name: str, grid: Grid, lonlat: shapely.Geometry) -> Region:
        vertices = lonlat.length / _DENSIFY_DEG + shapely.get_num_coordinates(lonlat)
        if not vertices <= _MAX_VERTICES:
            raise RequestError(
                f"the outline of {name!r} is {lonlat.length:,.0f} degrees long with "
                f"{shapely.get_num_coordinates(lonlat):,} vertices: simplify it"
            )
        projected = to_plane(lonlat, grid.odc_crs, _DENSIFY_DEG)
        if not np.isfinite(projected.bounds).all():
            raise RequestError(f"the footprint of {name!r} cannot be projected to {grid.crs}")
        return cls(name, grid, projected.wkt)

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
        inside: NDArray[np.bool_] = shapely.contains_xy(self.footprint, x[None, :], y[:, None])
        return inside

    def lonlat(self, window: Window | None = None) -> dict[str, object]:
        """GeoJSON in degrees: of the footprint, or of a window of HR pixels."""
        geometry = self.footprint
        if window is not None:
            geometry = shapely.box(*self.grid.bounds_of(window, self.grid.gsd_m))
        step = max(max(geometry.bounds[2] - geometry.bounds[0], geometry.bounds[3] - geometry.bounds[1]) / 64, 1.0)
        lonlat = to_lonlat(geometry, self.grid.odc_crs, step)
        return dict(shapely.geometry.mapping(lonlat))


def _value(record: Mapping[str, Any], key: str, *kinds: type) -> Any:
    """The value of a key that must be there, of one of `kinds`. Raises RequestError."""
    value = record.get(key)
    if value is None:
        raise RequestError(f"{key} is missing")
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise RequestError(f"{key} is {value!r}: it must be a {' or '.join(kind.__name__ for kind in kinds)}")
    return value
