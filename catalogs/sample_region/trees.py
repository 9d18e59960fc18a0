"""Trees of the sample region: woods of both kinds, hedges, river banks, orchards, gardens and trees alone.

A tree is a place, a crown radius, a height and a tone; what it looks like is `relief` and `painting`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

STANDING = 9999
"""`until` of a tree that is never felled."""


@dataclass(frozen=True)
class Trees:
    """Arrays of one length."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius_m: NDArray[np.float64]
    height_m: NDArray[np.float64]
    tone: NDArray[np.float64]
    """Brightness of the crown, about 1."""
    conifer: NDArray[np.bool_]
    until: NDArray[np.float64]
    """Year in which it is gone."""

    @staticmethod
    def joined(parts: list[Trees]) -> Trees:
        return Trees(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Trees)))

    def where(self, chosen: NDArray[np.bool_]) -> Trees:
        return Trees(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def outside(self, shape: BaseGeometry) -> Trees:
        """Those whose stem is not in `shape`."""
        shapely.prepare(shape)
        return self.where(~shapely.contains_xy(shape, self.x, self.y))

    def __len__(self) -> int:
        return len(self.x)


def _grow(xy: NDArray[np.float64], radius: tuple[float, float], rng: np.random.Generator, slim: float = 2.6) -> Trees:
    n = len(xy)
    r = rng.uniform(*radius, n)
    height = slim * r * rng.uniform(0.85, 1.25, n) + 2.0
    tone = np.clip(rng.normal(1.0, 0.17, n), 0.6, 1.5)
    return Trees(xy[:, 0], xy[:, 1], r, height, tone, np.zeros(n, bool), np.full(n, STANDING))


def wood_trees(shape: Polygon, clearing: BaseGeometry, felled: int, rng: np.random.Generator) -> Trees:
    """A wood of mixed leaf trees, or a plantation of conifers in rows, or both side by side."""
    x0, y0, x1, y1 = shape.bounds
    conifers = rng.random() < 0.45
    spacing = 5.2 if conifers else 6.4
    extent = 0.75 * math.hypot(x1 - x0, y1 - y0)
    u, v = np.meshgrid(*[np.arange(-extent, extent, spacing)] * 2)
    v[:, ::2] += spacing / 2
    jitter = 0.14 if conifers else 0.36
    u, v = (w + rng.normal(0, jitter * spacing, w.shape) for w in (u, v))
    angle = rng.uniform(0, math.pi)
    x = (x0 + x1) / 2 + u * math.cos(angle) - v * math.sin(angle)
    y = (y0 + y1) / 2 + u * math.sin(angle) + v * math.cos(angle)
    shapely.prepare(shape)
    chosen = shapely.contains_xy(shape, x, y) & (rng.random(x.shape) < 0.96)
    xy = np.stack([x[chosen], y[chosen]], 1)
    trees = _grow(xy, (2.3, 3.6) if conifers else (2.8, 5.6), rng, 4.6 if conifers else 3.2)
    stand = np.clip(rng.normal(1.0, 0.12), 0.8, 1.2)
    patch = 1 + 0.1 * np.sin(trees.x / 41 + angle) * np.sin(trees.y / 57)
    evergreen = np.full(len(trees), conifers)
    seam = (trees.x - (x0 + x1) / 2) * math.cos(angle) + (trees.y - (y0 + y1) / 2) * math.sin(angle)
    mixed = rng.random(len(trees)) < np.where(seam > 0.2 * (x1 - x0), 0.75, 0.05)
    until = np.where(shapely.contains_xy(clearing, trees.x, trees.y), felled, STANDING)
    return Trees(trees.x, trees.y, trees.radius_m, trees.height_m, trees.tone * stand * patch, evergreen ^ mixed, until)


def _along(points: NDArray[np.float64], spacing: float, wander: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 2) points every `spacing` metres along a polyline, off it by about `wander`."""
    line = shapely.LineString(points)
    at = np.arange(rng.uniform(0, spacing), line.length, spacing)
    at = at + rng.normal(0, 0.2 * spacing, at.shape)
    found: NDArray[np.float64] = shapely.get_coordinates(shapely.line_interpolate_point(line, at))
    return found + rng.normal(0, wander, (len(at), 2))


def hedges(shapes: list[Polygon], rng: np.random.Generator) -> Trees:
    """Bushes and trees along one long side of some parcels."""
    parts = []
    for shape in shapes:
        if rng.random() > 0.16:
            continue
        ring = np.asarray(shape.exterior.coords)
        side = int(np.argmax(np.hypot(*np.diff(ring, axis=0).T)))
        places = _along(ring[side : side + 2], rng.choice([3.2, 4.2, 9.0]), 0.8, rng)
        parts.append(_grow(places, (1.2, 3.4), rng, 2.0))
    return Trees.joined([*parts, _grow(np.zeros((0, 2)), (1, 2), rng)])


def river_trees(middle: NDArray[np.float64], width: NDArray[np.float64], rng: np.random.Generator) -> Trees:
    """Willows and alders in groups along both banks."""
    n = int(len(middle) * 1.3)
    at = rng.integers(1, len(middle) - 1, n)
    group = np.sin(middle[at, 0] / 67 + 1) + np.sin(middle[at, 0] / 149)
    side = rng.choice([-1.0, 1.0], n)
    chosen = group * side > rng.normal(0.25, 0.35, n)
    at, side = at[chosen], side[chosen]
    step = middle[at + 1] - middle[at - 1]
    normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.hypot(*step.T)[:, None]
    off = width[at] / 2 + rng.gamma(2.0, 2.2, len(at)) + 2.5
    places = middle[at] + normal * (side * off)[:, None] + rng.normal(0, 1.0, (len(at), 2))
    return _grow(places, (1.8, 5.2), rng, 2.4)


def lone_trees(shapes: list[Polygon], density_m2: float, rng: np.random.Generator) -> Trees:
    """Trees alone, `density_m2` a square metre of the shapes' bounding boxes."""
    parts = []
    for shape in shapes:
        x0, y0, x1, y1 = shape.bounds
        xy = rng.uniform((x0, y0), (x1, y1), (rng.poisson(density_m2 * (x1 - x0) * (y1 - y0)), 2))
        parts.append(xy[shapely.contains_xy(shape, xy)] if len(xy) else xy)
    return _grow(np.concatenate([*parts, np.zeros((0, 2))]), (1.4, 4.4), rng, 2.0)


def orchard(shape: Polygon, rng: np.random.Generator) -> Trees:
    """Fruit trees on a grid of 9 m; half of the meadows offered get none."""
    x0, y0, x1, y1 = shape.bounds
    x, y = np.meshgrid(np.arange(x0, x1, 9.0), np.arange(y0, y1, 9.0))
    xy = np.stack([x.ravel(), y.ravel()], 1) + rng.normal(0, 0.5, (x.size, 2))
    if rng.random() < 0.5:
        xy = xy[:0]
    inside = shapely.contains_xy(shape.buffer(-5), xy) if len(xy) else np.zeros(0, bool)
    return _grow(xy[inside], (1.7, 2.9), rng, 1.4)
