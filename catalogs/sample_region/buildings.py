"""Buildings: roofs on walls, of four materials, each with the year in which it was built.

The year lets a reference be older than a house.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

TILES, SLATE, CONCRETE, SHEET = range(4)
"""Roof materials: red tiles, dark slate, grey concrete tiles, bright sheet metal (flat)."""


@dataclass(frozen=True)
class Buildings:
    """Arrays of one length; a roof has its ridge along `angle`."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    angle: NDArray[np.float64]
    length_m: NDArray[np.float64]
    width_m: NDArray[np.float64]
    eaves_m: NDArray[np.float64]
    pitch: NDArray[np.float64]
    """Slope of the roof, rise over run; 0 is flat."""
    roof: NDArray[np.float64]
    tone: NDArray[np.float64]
    built: NDArray[np.float64]
    """Year in which it was built."""

    @staticmethod
    def joined(parts: list[Buildings]) -> Buildings:
        return Buildings(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Buildings)))

    def built_by(self, year: int) -> Buildings:
        """Those built by `year`."""
        return Buildings(*(getattr(self, f.name)[self.built <= year] for f in fields(self)))

    def footprints(self, margin_m: float = 0.0) -> list[Polygon]:
        return [
            rectangle(x, y, a, length + 2 * margin_m, w + 2 * margin_m)
            for x, y, a, length, w in zip(self.x, self.y, self.angle, self.length_m, self.width_m, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.x)


def rectangle(x: float, y: float, angle: float, length: float, width: float) -> Polygon:
    c, s = math.cos(angle), math.sin(angle)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (length / 2, width / 2)
    return Polygon(corners @ np.array([[c, s], [-s, c]]) + (x, y))


def table(rows: list[tuple[float, ...]]) -> Buildings:
    columns = np.asarray(rows, np.float64).reshape(-1, len(fields(Buildings))).T
    return Buildings(*columns)


def is_free(
    rows: list[tuple[float, ...]], x: float, y: float, reach: float, roads: BaseGeometry, area: BaseGeometry
) -> bool:
    point = Point(x, y)
    if roads.distance(point) < reach + 2.0 or not area.contains(point):
        return False
    return all(math.hypot(x - r[0], y - r[1]) > reach + 0.5 * math.hypot(r[3], r[4]) for r in rows)


def farmsteads(
    roads: list[LineString], keep_off: BaseGeometry, rng: np.random.Generator
) -> tuple[Buildings, list[Polygon]]:
    """(barns and dwellings, their yards), about one farmstead every 900 m of country road."""
    rows: list[tuple[float, ...]] = []
    yards: list[Polygon] = []
    around = unary_union(roads)
    for line in roads:
        for at in np.arange(rng.uniform(150, 700), line.length, 900.0):
            a, b = line.interpolate(at), line.interpolate(at + 1)
            heading = math.atan2(b.y - a.y, b.x - a.x)
            side = rng.choice([-1.0, 1.0])
            x, y = a.x - side * 48 * math.sin(heading), a.y + side * 48 * math.cos(heading)
            yard = rectangle(x, y, heading, 70, 52)
            if yard.buffer(15).intersects(keep_off) or yard.distance(around) < 8:
                continue
            yards.append(yard)
            yards.append(LineString([(a.x, a.y), (x, y)]).buffer(2.5))
            for dx, dy, length, width, turn, roof in (
                (-17, 12, 38, 15, 0, CONCRETE), (20, 6, 30, 13, 1, TILES), (-14, -13, 15, 11, 0, TILES),
                (8, -19, 12, 7, 0, SHEET),
            ):  # fmt: skip
                c, s = math.cos(heading), math.sin(heading)
                rows.append((x + dx * c - dy * s, y + dx * s + dy * c, heading + turn * math.pi / 2, length, width,
                             5.0, 0.45 if roof != SHEET else 0.0, roof, rng.uniform(0.85, 1.15), 1960))  # fmt: skip
    return table(rows), yards
