"""References of the sample region: two flights each of two earlier dates, as 8-bit images for display.

Every date has its own season, sun, buildings and woods, since it is painted anew; every flight has its own light and
camera. One corner of the region is in no reference, and its west only in the older one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from shapely.geometry import Polygon, box

from catalogs.sample_region.frame import GSD_M, LR_GSD_M, Frame
from catalogs.sample_region.painting import Moment
from catalogs.sample_region.relief import Array, Sun

UNCOVERED = 2 - math.sqrt(0.3)
"""No reference where u + v is larger, in the south-east: 15 percent of the region."""
_CORNER = 0.45
"""The uncovered corner reaches no further north and west than this (u, v), within the region and beyond it."""
_DISPLAY = np.array([0.4, 0.4, 0.4, 0.65], np.float32)
"""Reflectance of dn 255 per band; in red, green and blue the upper end of the model's curve."""
_FAR = 99.0


@dataclass(frozen=True)
class Light:
    """dn = 255 * (gain * reflectance + haze) / the band's upper end."""

    gain: tuple[float, float, float, float]
    haze: tuple[float, float, float, float]


@dataclass(frozen=True)
class FlightDate:
    """One date of flights."""

    moment: Moment
    western: Light
    eastern: Light
    shift_px: tuple[float, float]
    """Error of registration, (right, down)."""
    west_edge: float | None
    """Not flown where u + v / 4 is smaller."""


DATES = (
    FlightDate(
        Moment(datetime(2023, 7, 4, 9, 12, tzinfo=UTC), Sun(118.0, 50.0)),
        Light((1.06, 1.03, 1.05, 1.0), (0.004, 0.006, 0.011, 0.0)),
        Light((1.13, 1.08, 1.04, 1.05), (0.002, 0.004, 0.008, 0.0)),
        (0.0, 0.0),
        0.25,
    ),
    FlightDate(
        Moment(datetime(2021, 8, 12, 13, 41, tzinfo=UTC), Sun(231.0, 44.0)),
        Light((0.94, 0.98, 0.97, 0.95), (0.007, 0.008, 0.016, 0.0)),
        Light((0.90, 0.93, 0.96, 0.90), (0.010, 0.011, 0.020, 0.0)),
        (0.3, 0.2),
        None,
    ),
)
"""The newer first."""


@dataclass(frozen=True)
class Flight:
    """One aerial image, like a NAIP quarter quad."""

    id: str
    when: datetime
    grid: Affine
    """Transform of its pixels in the region's CRS."""
    dn: NDArray[np.uint8]
    """Red, green, blue, near infrared for display; 0 is no data."""
    valid: Polygon
    """Where it has data, in landscape metres."""


def flights(date: FlightDate, painted: Array, frame: Frame) -> list[Flight]:
    """Both flights of a date, a western and an eastern one that overlap, of `painted` (4, rows, columns)."""
    width, depth = frame.landscape_m
    middle = round(frame.place(0.5, 0)[0] / LR_GSD_M) * LR_GSD_M
    lap = 10 * LR_GSD_M
    unflown = _corner(frame)
    if date.west_edge is not None:
        unflown = unflown.union(_west(frame, date.west_edge))
    when = date.moment.when
    found = []
    for side, left, right, light in (
        ("w", 0.0, middle + lap, date.western),
        ("e", middle - lap, width, date.eastern),
    ):
        flown = box(left, 0, right, depth).difference(unflown)
        valid = max(getattr(flown, "geoms", [flown]), key=lambda part: part.area)
        columns = slice(round(left / GSD_M), round(right / GSD_M))
        dn = _expose(_shifted(painted[:, :, columns], *date.shift_px), light)
        grid = Affine(GSD_M, 0, left, 0, GSD_M, 0)
        dn[:, geometry_mask([valid], dn.shape[1:], grid)] = 0
        found.append(Flight(f"ref-{when:%Y%m%d}-{side}", when, frame.affine(GSD_M, left), dn, valid))
    return found


def _corner(frame: Frame) -> Polygon:
    edge = UNCOVERED - _CORNER
    corners = ((_CORNER, edge), (edge, _CORNER), (_FAR, _CORNER), (_FAR, _FAR), (_CORNER, _FAR))
    return Polygon([frame.place(u, v) for u, v in corners])


def _west(frame: Frame, edge: float) -> Polygon:
    corners = ((-_FAR, -_FAR), (edge + _FAR / 4, -_FAR), (edge - _FAR / 4, _FAR), (-_FAR, _FAR))
    return Polygon([frame.place(u, v) for u, v in corners])


def _expose(bands: Array, light: Light) -> NDArray[np.uint8]:
    dn = np.empty(bands.shape, np.uint8)
    for band in range(len(bands)):
        slope = np.float32(255 * light.gain[band] / _DISPLAY[band])
        haze = np.float32(255 * light.haze[band] / _DISPLAY[band])
        dn[band] = np.clip(np.rint(bands[band] * slope + haze), 1, 255)
    return dn


def _shifted(bands: Array, right: float, down: float) -> Array:
    """Moved by a part of a pixel, as an image that is registered a little off."""
    if not (right or down):
        return bands
    moved = bands.copy()
    moved[:, :, 1:] += np.float32(right) * (bands[:, :, :-1] - bands[:, :, 1:])
    result = moved.copy()
    result[:, 1:] += np.float32(down) * (moved[:, :-1] - moved[:, 1:])
    return result
