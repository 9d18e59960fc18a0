"""Division of the land between roads: blocks into pieces along tracks, pieces into fields, meadows and woods.

Everything is cut by straight lines across or along the longest side, as land consolidation left it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from shapely.affinity import rotate
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import split, unary_union

FIELD, MEADOW, WOOD, GARDEN = range(4)
"""Kinds of parcels."""
_PIECE_M2 = 130_000.0
_SLIVER_M2 = 250.0


@dataclass(frozen=True)
class Parcel:
    """A piece of land under one use."""

    shape: Polygon
    kind: int
    angle: float
    """Direction of its rows, radians from x towards y."""


@dataclass(frozen=True)
class Piece:
    """Land between tracks, still undivided."""

    shape: Polygon

    def contains(self, other: BaseGeometry) -> bool:
        return bool(self.shape.contains(other))

    def buffer(self, distance: float) -> BaseGeometry:
        return self.shape.buffer(distance)

    def as_wood(self, rng: np.random.Generator) -> list[Parcel]:
        """The whole piece as one wood, its edge ragged by bays and the corners lost; meadow around it."""
        ring = self.shape.exterior
        places = [ring.interpolate(d) for d in np.arange(0, ring.length, 26.0)]
        bays = [p.buffer(r) for p, r in zip(places, rng.gamma(2.2, 5.5, len(places)) + 3, strict=True)]
        corners = [Point(c).buffer(rng.uniform(15, 70)) for c in ring.coords if rng.random() < 0.5]
        shape = self.shape.buffer(-8).difference(unary_union(bays + corners)).buffer(-5).buffer(4)
        around = [Parcel(p, MEADOW, 0.0) for p in polygons(self.shape.buffer(-0.8))]
        return around + [Parcel(p, WOOD, 0.0) for p in polygons(shape)]

    def divide(self, river: LineString, settled: BaseGeometry, rng: np.random.Generator) -> list[Parcel]:
        """Fields of one size class and direction a piece; meadows where it is wet, woods away from villages."""
        far = self.shape.distance(settled) > 150
        if far and self.shape.area > 15_000 and rng.random() < 0.24:
            return self.as_wood(rng)
        area = float(rng.choice([9_000.0, 18_000.0, 30_000.0, 55_000.0]))
        strips = rng.random() < 0.45
        gap = float(rng.choice([0.6, 1.0, 2.0]))
        parcels = []
        for part in _divide(self.shape, area, strips, rng):
            near = part.distance(river) < 25 and rng.random() < 0.75
            kind = MEADOW if near or rng.random() < 0.17 else FIELD
            for shape in polygons(part.buffer(-gap, join_style="mitre")):
                along, _ = _axes(shape)
                parcels.append(Parcel(shape, kind, along + (math.pi / 2 if rng.random() < 0.08 else 0.0)))
        return parcels


def polygons(shape: BaseGeometry) -> list[Polygon]:
    """The polygons of any geometry that are larger than a sliver."""
    parts = getattr(shape, "geoms", [shape])
    return [p for p in parts if isinstance(p, Polygon) and p.area > _SLIVER_M2]


def split_block(block: BaseGeometry, rng: np.random.Generator) -> tuple[list[Piece], list[LineString]]:
    """(pieces, tracks) of a block between roads: cut across until a piece is about 13 ha."""
    pieces: list[Piece] = []
    tracks: list[LineString] = []
    stack = polygons(block)
    while stack:
        part = stack.pop()
        if part.area < _PIECE_M2 * rng.uniform(0.7, 1.5):
            pieces.append(Piece(part))
            continue
        parts, cut = _cut(part, rng.uniform(0.38, 0.62), rng.normal(0, 0.13), across=True)
        if len(parts) < 2:
            pieces.append(Piece(part))
            continue
        track = cut.intersection(part.buffer(7))
        tracks += [t for t in getattr(track, "geoms", [track]) if isinstance(t, LineString)]
        stack += [p for half in parts for p in polygons(half.buffer(-2.6, join_style="mitre"))]
    return pieces, tracks


def split_evenly(shape: BaseGeometry, area_m2: float, rng: np.random.Generator) -> list[Polygon]:
    """Plots of about `area_m2`."""
    return [p for part in polygons(shape) for p in _divide(part, area_m2, False, rng)]


def _divide(shape: Polygon, area_m2: float, strips: bool, rng: np.random.Generator) -> list[Polygon]:
    if shape.area < area_m2 * rng.uniform(0.8, 1.7):
        return [shape]
    _, (length, breadth) = _axes(shape)
    across = not (strips and breadth > 55 and length / breadth < 9)
    parts, _ = _cut(shape, rng.uniform(0.36, 0.64), rng.normal(0, 0.03), across)
    if len(parts) < 2:
        return [shape]
    return [q for p in parts for q in _divide(p, area_m2, strips, rng)]


def _axes(shape: Polygon) -> tuple[float, tuple[float, float]]:
    """(direction of the longest side, (length, breadth)) of the smallest rectangle around `shape`."""
    corners = np.asarray(shape.minimum_rotated_rectangle.exterior.coords)[:3]
    first, second = corners[1] - corners[0], corners[2] - corners[1]
    a, b = float(np.hypot(*first)), float(np.hypot(*second))
    side = first if a >= b else second
    return math.atan2(side[1], side[0]), (max(a, b), max(min(a, b), 1e-6))


def _cut(shape: Polygon, share: float, tilt: float, across: bool) -> tuple[list[Polygon], LineString]:
    """Cuts at `share` of the long axis (across) or of the short one, tilted by `tilt` radians."""
    along, (length, breadth) = _axes(shape)
    centre = shape.minimum_rotated_rectangle.centroid
    direction = along if across else along + math.pi / 2
    reach = (length if across else breadth) * (share - 0.5)
    x, y = centre.x + reach * math.cos(direction), centre.y + reach * math.sin(direction)
    line = LineString([(x - 2 * length, y), (x + 2 * length, y)])
    cut = rotate(line, direction + math.pi / 2 + tilt, origin=(x, y), use_radians=True)
    return polygons(split(shape, cut)), cut
