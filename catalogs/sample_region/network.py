"""Lines that divide the land: a river with bends and banks, country roads, and junctions with villages.

Coordinates are landscape metres, x to the east and y to the south.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import LineString, Polygon


@dataclass(frozen=True)
class Road:
    """A carriageway, lane or farm track."""

    line: LineString
    """Its middle."""
    width_m: float
    paved: bool = True


def river_course(
    extent_m: tuple[float, float], start_y: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(middle (n, 2), width (n,)): two sines and a ribbon wider in the bends, from the west to the east edge."""
    x = np.arange(-60.0, extent_m[0] + 60.0, 6.0)
    p = rng.uniform(0, 2 * math.pi, 3)
    reach = min(95.0, 0.035 * extent_m[1])
    y = start_y + reach * np.sin(2 * math.pi * x / 930 + p[0]) + 0.45 * reach * np.sin(2 * math.pi * x / 390 + p[1])
    y += 0.02 * (x - extent_m[0] / 2)
    bend = np.abs(np.gradient(np.gradient(y, x), x))
    width = 17.0 + 9.0 * np.clip(bend / (bend.max() + 1e-9), 0, 1) + 2.5 * np.sin(x / 71 + p[2])
    return np.stack([x, y], 1), width


def _offset(middle: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.gradient(middle, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.linalg.norm(step, axis=1, keepdims=True)
    moved: NDArray[np.float64] = middle + normal * distance[:, None]
    return moved


def ribbon(middle: NDArray[np.float64], half: NDArray[np.float64], other: NDArray[np.float64] | None = None) -> Polygon:
    left, right = _offset(middle, half), _offset(middle, -(half if other is None else other))
    return Polygon(np.concatenate([left, right[::-1]])).buffer(0)


def banks(middle: NDArray[np.float64], width: NDArray[np.float64]) -> Polygon:
    """Gravel is inside the bends: each side reaches out where the river turns towards it."""
    slope = np.gradient(middle[:, 1], middle[:, 0])
    turn = np.gradient(slope, middle[:, 0])
    turn = turn / (np.abs(turn).max() + 1e-9)
    half = width / 2
    return ribbon(middle, half + 1.5 + 11 * np.clip(turn - 0.25, 0, 1), half + 1.5 + 11 * np.clip(-turn - 0.25, 0, 1))


def main_roads(extent_m: tuple[float, float], main: tuple[float, float], rng: np.random.Generator) -> list[Road]:
    """Country roads from edge to edge, one family each way; the first of each passes `main`, the village's place."""
    roads = []
    x0, y0 = main
    for along, across in ((0, 1), (1, 0)):
        length, breadth = extent_m[along], extent_m[across]
        first = (y0, x0)[along]
        spacing = rng.uniform(1350, 1600)
        for number, offset in enumerate(
            sorted(np.arange(first % spacing, breadth, spacing), key=lambda o: abs(o - first))
        ):
            s = np.linspace(-40, length + 40, int(length / 12) + 8)
            bend = rng.uniform(20, 75) * np.sin(2 * math.pi * s / rng.uniform(1100, 2200) + rng.uniform(0, 6))
            tilt = rng.uniform(-0.2, 0.2)
            here = (x0, y0)[along]
            line = offset + tilt * (s - here) + bend - np.interp(here, s, bend)
            points = np.stack([s, line] if along == 0 else [line, s], 1)
            roads.append(Road(LineString(points), 7.5 if number == 0 else 6.0))
    return roads


def junctions(
    lines: list[LineString], main: tuple[float, float], rng: np.random.Generator
) -> list[tuple[tuple[float, float], float]]:
    """[((x, y), radius)]: a village where main roads meet, and hamlets at some of the other junctions."""
    points = [
        p
        for i, a in enumerate(lines)
        for b in lines[i + 1 :]
        for p in getattr(a.intersection(b), "geoms", [a.intersection(b)])
        if p.geom_type == "Point"
    ]
    points.sort(key=lambda p: math.dist((p.x, p.y), main))
    centres: list[tuple[tuple[float, float], float]] = []
    for p in points:
        if all(math.dist((p.x, p.y), c) > 700 for c, _ in centres):
            size = 270.0 if not centres else rng.choice([0.0, 110.0, 190.0])
            if size:
                centres.append(((p.x, p.y), float(size)))
    return centres
