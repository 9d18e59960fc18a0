"""Villages: streets off the main roads, houses and their grounds along both, a place in the middle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import nearest_points, unary_union

from catalogs.sample_region.buildings import CONCRETE, SHEET, SLATE, TILES, Buildings, is_free, rectangle, table


@dataclass(frozen=True)
class Village:
    """One settlement."""

    area: BaseGeometry
    streets: list[LineString]
    buildings: Buildings
    place: Polygon
    drives: list[Polygon]
    """Paved ways from the street to each house."""
    beds: list[Polygon]
    """Vegetable gardens."""


def plan_village(
    centre: tuple[float, float],
    radius_m: float,
    main: list[LineString],
    river: BaseGeometry,
    rng: np.random.Generator,
) -> Village:
    """Streets leave the main roads at about right angles; houses stand on both sides of both."""
    reach = Point(centre).buffer(radius_m)
    through = [p for line in main for p in _lines(line.intersection(reach))]
    streets: list[LineString] = []
    for line in through:
        for at in np.arange(rng.uniform(45, 75), line.length - 40, 88.0):
            side = rng.choice([-1.0, 1.0])
            street = _street(line, float(at), side * rng.uniform(0.8, 1.2), rng.uniform(0.45, 0.85) * radius_m, rng)
            clear = all(street.distance(other) > 38 for other in streets)
            if clear and not street.intersects(river.buffer(30)) and street.within(reach.buffer(60)):
                streets.append(street)
    lanes = through + streets
    depth = rng.uniform(34, 46, len(lanes))
    plots = [w.buffer(d, cap_style="square", join_style="mitre") for w, d in zip(lanes, depth, strict=True)]
    area = unary_union(plots)
    area = area.difference(river.buffer(16)).simplify(6)
    buildings = _houses(through, streets, area, rng)
    roads = unary_union(lanes)
    place = rectangle(centre[0] + 24, centre[1] + 20, rng.uniform(0, 0.5), 42, 28)
    drives, beds = _grounds(buildings, roads, area, rng)
    return Village(area, streets, buildings, place, drives, beds)


def _grounds(
    b: Buildings, roads: BaseGeometry, area: BaseGeometry, rng: np.random.Generator
) -> tuple[list[Polygon], list[Polygon]]:
    """(drives, beds): a way from each house to the street, and a bed or two behind some."""
    drives, beds = [], []
    for n in range(len(b)):
        if b.built[n] > 2000 or b.length_m[n] < 10:
            continue
        house = Point(b.x[n], b.y[n])
        gate = nearest_points(roads, house)[0]
        dx, dy = house.x - gate.x, house.y - gate.y
        off = rng.choice([-1.0, 1.0]) * 0.45 * b.length_m[n] / math.hypot(dx, dy)
        start = (gate.x - off * dy, gate.y + off * dx)
        drives.append(
            LineString([start, (start[0] + 1.1 * dx, start[1] + 1.1 * dy)]).buffer(
                rng.uniform(1.5, 3.2), cap_style="flat"
            )
        )
        if rng.random() < 0.5:
            x, y = gate.x + 1.9 * dx + rng.normal(0, 3), gate.y + 1.9 * dy + rng.normal(0, 3)
            bed = rectangle(x, y, b.angle[n], rng.uniform(5, 14), rng.uniform(4, 8))
            if area.contains(bed) and roads.distance(bed) > 12:
                beds.append(bed)
    return drives, beds


def _lines(shape: BaseGeometry) -> list[LineString]:
    return [g for g in getattr(shape, "geoms", [shape]) if isinstance(g, LineString) and g.length > 30]


def _street(line: LineString, at: float, turn: float, length: float, rng: np.random.Generator) -> LineString:
    a, b = line.interpolate(at), line.interpolate(at + 1)
    heading = math.atan2(b.y - a.y, b.x - a.x) + turn * math.pi / 2
    curl = rng.normal(0, 0.0022)
    points = [(a.x, a.y)]
    for _ in range(max(3, int(length / 8))):
        heading += curl * 8
        points.append((points[-1][0] + 8 * math.cos(heading), points[-1][1] + 8 * math.sin(heading)))
    return LineString(points)


def _houses(
    through: list[LineString], streets: list[LineString], area: BaseGeometry, rng: np.random.Generator
) -> Buildings:
    """Houses and their sheds; the last street is younger than the references, and so is one house in nine."""
    roads = unary_union(through + streets)
    rows: list[tuple[float, ...]] = []
    for number, line in enumerate(through + streets):
        young = bool(streets) and number == len(through) + len(streets) - 1
        for side in (-1.0, 1.0):
            for at in np.arange(rng.uniform(8, 24), line.length, 23.0):
                if rng.random() < 0.1:
                    continue
                a = line.interpolate(at + rng.normal(0, 2))
                b = line.interpolate(min(at + 2.0, line.length))
                heading = math.atan2(b.y - a.y, b.x - a.x) if a != b else 0.0
                length, width = rng.uniform(11.5, 17), rng.uniform(8.5, 11.5)
                off = rng.uniform(14, 18)
                x, y = a.x - side * off * math.sin(heading), a.y + side * off * math.cos(heading)
                angle = heading + (math.pi / 2 if rng.random() < 0.3 else 0.0) + rng.normal(0, 0.03)
                built = 2024 if young or len(rows) % 9 == 4 else 2022 if len(rows) % 13 == 6 else 1970
                roof = float(rng.choice([TILES, TILES, TILES, TILES, SLATE, CONCRETE]))
                if is_free(rows, x, y, 0.5 * math.hypot(length, width) + 1, roads, area):
                    rows.append((x, y, angle, length, width, rng.uniform(4, 6), rng.uniform(0.6, 1), roof,
                                 rng.uniform(0.8, 1.2), built))  # fmt: skip
                shed_x, shed_y = x - side * 15 * math.sin(heading), y + side * 15 * math.cos(heading)
                if rng.random() < 0.45 and is_free(rows, shed_x, shed_y, 5.0, roads, area):
                    roof = float(rng.choice([CONCRETE, SLATE, SHEET]))
                    rows.append((shed_x, shed_y, angle, rng.uniform(5, 8), rng.uniform(4, 5.5), 2.6, 0.25, roof,
                                 rng.uniform(0.8, 1.2), built))  # fmt: skip
    return table(rows)
