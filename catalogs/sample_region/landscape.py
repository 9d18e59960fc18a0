"""Landscape of the sample region: parcels, woods, a river, roads, villages, trees, and since when.

Geometry only, drawn once from a seed; `painting` gives it a season and a sun. Coordinates are metres from the
landscape's north-west corner, x to the east and y to the south, so that a pixel is a coordinate divided by the GSD.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import rotate
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import nearest_points, polygonize, unary_union

from catalogs.sample_region.buildings import Buildings, farmsteads
from catalogs.sample_region.network import Road, banks, junctions, main_roads, ribbon, river_course
from catalogs.sample_region.parcels import FIELD, GARDEN, MEADOW, WOOD, Parcel, split_block, split_evenly
from catalogs.sample_region.trees import Trees, hedges, lone_trees, orchard, river_trees, wood_trees
from catalogs.sample_region.village import plan_village

_VILLAGE, _WOOD, _RIVER = (0.56, 0.62), (0.3, 0.3), 0.3
"""Where the region shows them: (u, v) or v, 0 to 1 from its north-west corner."""
FELLED_YEAR = 2024
"""Year in which the clearing was cut."""


@dataclass(frozen=True)
class Landscape:
    """Everything that `painting` draws, in landscape metres."""

    extent_m: tuple[float, float]
    """Extent to the east and to the south."""
    parcels: list[Parcel]
    roads: list[Road]
    river: Polygon
    banks: Polygon
    clearing: Polygon
    """Wood in the references, felled since `FELLED_YEAR`."""
    trees: Trees
    buildings: Buildings
    yards: list[Polygon]
    beds: list[Polygon]
    """Vegetable gardens."""
    bright_points: list[tuple[float, float]] = field(default_factory=list)


def draw_landscape(
    extent_m: tuple[float, float], inner: tuple[float, float, float, float], rng: np.random.Generator
) -> Landscape:
    """Landscape of `extent_m`; `inner` (x0, y0, x1, y1) is where a village, a wood and the river must appear."""
    extent = box(0, 0, *extent_m)
    x0, y0, x1, y1 = inner
    village_at, wood_at = ((x0 + u * (x1 - x0), y0 + v * (y1 - y0)) for u, v in (_VILLAGE, _WOOD))
    middle, width = river_course(extent_m, y0 + _RIVER * (y1 - y0), rng)
    river = ribbon(middle, width / 2)
    roads = main_roads(extent_m, village_at, rng)
    lines = [road.line for road in roads]
    centres = junctions(lines, village_at, rng)
    villages = [plan_village(c, size, lines, river, rng) for c, size in centres]
    streets = [Road(s, 5.0) for v in villages for s in v.streets]
    settled = unary_union([v.area for v in villages]).buffer(0)
    buildings = Buildings.joined([v.buildings for v in villages])
    farms, yards = farmsteads(lines, settled.union(river.buffer(40)), rng)
    buildings = Buildings.joined([buildings, farms])

    parcels, tracks = _parcels(extent, lines, middle, settled, Point(wood_at), rng)
    parcels += [Parcel(p, GARDEN, rng.uniform(0, math.pi)) for v in villages for p in split_evenly(v.area, 1100.0, rng)]
    clearing = _clearing(parcels, Point(wood_at), (x1 - x0, y1 - y0), rng)
    woods = [p for p in parcels if p.kind == WOOD]
    meadows = [p.shape for p in parcels if p.kind == MEADOW]
    keep_off = unary_union(
        [r.line.buffer(r.width_m / 2 + 2.5) for r in roads + streets] + [river.buffer(1)] + [y.buffer(1) for y in yards]
    )
    trees = Trees.joined(
        [wood_trees(p.shape, clearing, FELLED_YEAR, rng) for p in woods]
        + [hedges([p.shape for p in parcels if p.kind in (FIELD, MEADOW)], rng)]
        + [river_trees(middle, width, rng)]
        + [lone_trees([p.shape for p in parcels if p.kind == GARDEN], 0.0045, rng)]
        + [lone_trees(meadows, 0.00016, rng)]
        + [orchard(shape, rng) for shape in meadows if shape.distance(settled) < 60 and shape.area < 25_000]
    )
    trees = trees.outside(keep_off).outside(shapely.union_all(buildings.footprints(1.5)))
    yards += [y for v in villages for y in [v.place, *v.drives]]
    return Landscape(
        extent_m,
        parcels,
        roads + streets + tracks,
        river,
        banks(middle, width),
        clearing,
        trees,
        buildings,
        yards,
        [b for v in villages for b in v.beds],
    )


def _parcels(
    extent: Polygon,
    lines: list[LineString],
    middle: NDArray[np.float64],
    settled: BaseGeometry,
    wood_at: Point,
    rng: np.random.Generator,
) -> tuple[list[Parcel], list[Road]]:
    """Fields, meadows and woods between roads, river and villages, and the farm tracks between them."""
    river_line = LineString(middle)
    cuts = unary_union([extent.exterior, *lines, river_line])
    parcels: list[Parcel] = []
    tracks: list[Road] = []
    for block in polygonize(cuts):
        inside = block.buffer(-7.0).difference(settled.buffer(1.5, join_style="mitre")).intersection(extent)
        pieces, borders = split_block(inside, rng)
        tracks += [Road(b, 3.2, paved=False) for b in borders]
        for piece in pieces:
            forced = piece.buffer(5).contains(wood_at) and piece.shape.area > 8_000
            parcels += piece.as_wood(rng) if forced else piece.divide(river_line, settled, rng)
    if not any(p.kind == WOOD and p.shape.distance(wood_at) < 30 for p in parcels):
        near = min(range(len(parcels)), key=lambda i: parcels[i].shape.distance(wood_at))
        parcels[near] = Parcel(parcels[near].shape, WOOD, parcels[near].angle)
    return parcels, tracks


def _clearing(parcels: list[Parcel], at: Point, region_m: tuple[float, float], rng: np.random.Generator) -> Polygon:
    """A slanted piece of the wood nearest to `at`, cut out of its edge; smaller in a small region."""
    wood = min((p.shape for p in parcels if p.kind == WOOD), key=lambda s: s.distance(at))
    centre = nearest_points(wood, at)[0]
    half = min(95.0, 0.15 * region_m[0]), min(70.0, 0.15 * region_m[1])
    cut = box(centre.x - half[0], centre.y - half[1], centre.x + half[0], centre.y + half[1])
    return wood.intersection(rotate(cut, rng.uniform(10, 40)))
