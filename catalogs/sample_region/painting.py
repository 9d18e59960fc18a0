"""Reflectance of a landscape on a date: ground, rows and wheel tracks, crowns and roofs, in the light of one sun.

Textures are toroidal and taken at the pixel's place, so that what lasts (soil, patches, crowns) is the same on every
date and what does not (rows, mown passes) comes with the crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from catalogs.sample_region import seasons
from catalogs.sample_region.buildings import Buildings
from catalogs.sample_region.landscape import FELLED_YEAR, Landscape
from catalogs.sample_region.relief import Array, Relief, Sun, build_relief, light
from catalogs.sample_region.textures import Textures
from catalogs.sample_region.trees import Trees

GSD_M = 1.25
_TRAMLINE_M = 24.0
_STRIP_PX = 64
"""Rows painted at once: few enough to stay in the processor's cache."""
_OPTICS_PX = 0.55
"""Blur of the camera, so that no edge is sharper than a real one."""


@dataclass(frozen=True)
class Moment:
    """A date and its sun."""

    when: datetime
    sun: Sun


class Painter:
    """Paints one landscape; what is the same on every date is drawn once."""

    def __init__(self, landscape: Landscape, seed: int) -> None:
        self.landscape, self.seed = landscape, seed
        self.shape = round(landscape.extent_m[1] / GSD_M), round(landscape.extent_m[0] / GSD_M)
        self.textures = Textures(seed, self.shape)
        labels = _draw([(p.shape, n + 1) for n, p in enumerate(landscape.parcels)], self.shape, "int32")
        self.labels = labels.astype(np.intp)
        self.rim, self.headland = _margins(labels)

    def paint(self, moment: Moment) -> Array:
        """Reflectance (red, green, blue, nir; rows; columns), float32."""
        year = moment.when.year
        trees = self.landscape.trees.where(self.landscape.trees.until > year)
        buildings = self.landscape.buildings.built_by(year)
        relief = build_relief(self.shape, GSD_M, trees, buildings)
        picture = self._fields(moment)
        _lay_surfaces(picture, self.landscape, year, self.textures)
        _grow_crowns(picture, relief, trees, self.textures)
        _cover_roofs(picture, relief, buildings, self.textures)
        picture *= light(relief, moment.sun, GSD_M)
        for x, y in self.landscape.bright_points:
            row, column = int(y / GSD_M), int(x / GSD_M)
            picture[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 0.75
        for band in picture:
            gaussian_filter(band, _OPTICS_PX, output=band, truncate=3.0)
        return picture

    def _fields(self, moment: Moment) -> Array:
        parcels = self.landscape.parcels
        covers, tint = seasons.covers(parcels, moment.when, self.seed)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, 10_000 + moment.when.year]))
        table = _Rows.of(np.array([p.angle for p in parcels]), rng.uniform(0, 2000, len(parcels)), covers)
        colour = np.concatenate([[seasons.VERGE], np.array([c.colour for c in covers]) * tint]).astype(np.float32)
        picture = np.empty((4, *self.shape), np.float32)
        for top in range(0, self.shape[0], _STRIP_PX):
            strip = slice(top, min(top + _STRIP_PX, self.shape[0]))
            factor = 1 + _crop_pattern(self.labels, table, self.textures, strip)
            factor += np.float32(0.03) * self.textures.grain[strip] + np.float32(0.035) * self.textures.tufts[strip]
            factor[self.rim[strip]] *= np.float32(0.93)
            headland = self.headland[strip]
            factor[headland] -= table.tram[self.labels[strip][headland]] * np.float32(0.6)
            for band in range(4):
                np.multiply(np.take(colour[:, band], self.labels[strip]), factor, out=picture[band, strip])
        return picture


@dataclass(frozen=True)
class _Rows:
    """Cover along the rows, by parcel; entry 0 is land outside parcels."""

    cos: Array
    sin: Array
    phase_m: Array
    contrast: Array
    tram: Array
    patches: Array
    turns: Array
    """Radians of alternating passes a metre; 0 is none."""

    @staticmethod
    def of(angle: NDArray[Any], phase_m: NDArray[Any], covers: list[seasons.Cover]) -> _Rows:
        columns = (
            (1.0, np.cos(angle)),
            (0.0, np.sin(angle)),
            (0.0, phase_m),
            (0.0, [c.rows for c in covers]),
            (0.0, [c.tram for c in covers]),
            (0.12, [c.patches for c in covers]),
            (0.0, [math.pi / c.swath_m if c.swath_m else 0.0 for c in covers]),
        )
        return _Rows(*(np.array([first, *rest], np.float32) for first, rest in columns))


def _draw(shapes: list[Any], shape: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    """Rasterized (geometry, value) pairs, later ones above earlier ones; 0 elsewhere."""
    shapes = [(g, v) for g, v in shapes if not g.is_empty]
    transform = Affine(GSD_M, 0, 0, 0, GSD_M, 0)
    if not shapes:
        return np.zeros(shape, dtype)
    drawn: NDArray[Any] = rasterize(shapes, shape, transform=transform, dtype=dtype)
    return drawn


def _crop_pattern(labels: NDArray[Any], table: _Rows, textures: Textures, strip: slice) -> Array:
    """Relative brightness of rows, wheel tracks, passes and soil in a strip of pixel rows."""
    here = labels[strip]
    y = (np.arange(strip.start, strip.stop, dtype=np.float32)[:, None] + np.float32(0.5)) * np.float32(GSD_M)
    x = (np.arange(labels.shape[1], dtype=np.float32) + np.float32(0.5)) * np.float32(GSD_M)
    across = y * np.take(table.cos, here) - x * np.take(table.sin, here) + np.take(table.phase_m, here)
    pattern = np.take(table.patches, here) * textures.patches[strip]
    rows = np.take(textures.rows, (across * np.float32(2.4)).astype(np.intp) & 8191)
    pattern += np.take(table.contrast, here) * rows
    middle = np.abs(np.mod(across, np.float32(_TRAMLINE_M)) - np.float32(_TRAMLINE_M / 2))
    wheel = np.clip(1 - np.abs(middle - np.float32(0.9)) / np.float32(1.3), 0, 1)
    pattern -= np.take(table.tram, here) * wheel
    passes = np.sin(across * np.take(table.turns, here))
    pattern += np.clip(3 * passes, -1, 1) * np.float32(0.045)
    return pattern


def _margins(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """True on (the rim of each parcel, the wheel track all around it 10 m inside)."""
    rim = (minimum_filter(labels, 3) != labels) & (labels > 0)
    return rim, _inside(labels, 15) & ~_inside(labels, 19)


def _inside(labels: NDArray[Any], size: int) -> NDArray[np.bool_]:
    """True where all pixels of the square of `size` around have one label."""
    inside: NDArray[np.bool_] = (minimum_filter(labels, size) == labels) & (maximum_filter(labels, size) == labels)
    return inside


def _lay_surfaces(picture: Array, landscape: Landscape, year: int, textures: Textures) -> None:
    """Clearing, river, yards, tracks and roads over the fields, later ones above earlier ones."""
    tracks = [r for r in landscape.roads if not r.paved]
    paved = [r for r in landscape.roads if r.paved]
    marked = [r for r in paved if r.width_m > 5.5]
    bright = tuple(1.22 * c for c in seasons.ASPHALT)
    deep = tuple(0.86 * c for c in seasons.WATER)
    layers: list[tuple[list[Any], tuple[float, ...], float]] = [
        ([landscape.clearing] if year >= FELLED_YEAR else [], seasons.CLEARING, 0.16),
        ([landscape.banks.buffer(5)], seasons.VERGE, 0.10),
        ([landscape.banks], seasons.PEBBLES, 0.10),
        ([landscape.river], seasons.WATER, 0.03),
        ([landscape.river.buffer(-3)], deep, 0.03),
        (landscape.beds, seasons.SOIL_BED, 0.12),
        (landscape.yards, seasons.YARD, 0.06),
        ([r.line.buffer(r.width_m / 2 + 2.2, cap_style="flat") for r in paved], seasons.VERGE, 0.10),
        ([r.line.buffer(r.width_m / 2) for r in tracks], seasons.GRAVEL, 0.08),
        ([r.line.buffer(0.5) for r in tracks], seasons.VERGE, 0.10),
        ([r.line.buffer(r.width_m / 2) for r in paved], seasons.ASPHALT, 0.04),
        ([r.line.parallel_offset(o * (r.width_m - 0.8)) for r in marked for o in (-0.5, 0, 0.5)], bright, 0.04),
    ]  # fmt: skip
    shapes = [(g, n + 1) for n, (geometries, _, _) in enumerate(layers) for g in geometries]
    drawn = _draw(shapes, picture.shape[1:]).ravel()
    at = np.flatnonzero(drawn)
    layer = drawn[at] - 1
    rough = np.float32(0.6) * textures.tufts.ravel()[at] + np.float32(0.4) * textures.grain.ravel()[at]
    rough = 1 + np.array([contrast for _, _, contrast in layers], np.float32)[layer] * rough
    colours = np.array([colour for _, colour, _ in layers], np.float32)
    for band in range(4):
        picture[band].ravel()[at] = colours[layer, band] * rough


def _grow_crowns(picture: Array, relief: Relief, trees: Trees, textures: Textures) -> None:
    where = relief.crown >= 0
    tree = relief.crown[where]
    tone = trees.tone[tree].astype(np.float32)
    tone *= 1 + np.float32(0.10) * textures.grain[where] + np.float32(0.05) * textures.tufts[where]
    conifer = trees.conifer[tree]
    for band in range(4):
        base = np.where(conifer, seasons.CONIFER_CROWN[band], seasons.LEAF_CROWN[band]).astype(np.float32)
        picture[band][where] = base * tone


def _cover_roofs(picture: Array, relief: Relief, buildings: Buildings, textures: Textures) -> None:
    where = relief.roof >= 0
    number = relief.roof[where]
    tone = buildings.tone[number].astype(np.float32) * (1 + np.float32(0.025) * textures.grain[where])
    material = buildings.roof[number].astype(int)
    palette = np.array([seasons.ROOFS[m] for m in range(4)], np.float32)
    for band in range(4):
        picture[band][where] = palette[material, band] * tone
