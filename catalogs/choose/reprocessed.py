"""Pairs of scenes of the same overpass over the same ground, of which one was processed later.

The pairs do not depend on a region: whether the older scene is still of use is decided for each cell.

A scene is compared only with those that could be the same: of one satellite, tile, grid and time, and, where no tile
code limits its extent, of the same part of the world. So a continent's scenes take seconds, and the result is that of
comparing all with all.

Records of two processings may be spelled differently: names of satellites and codes of tiles are compared in one
spelling. Where a footprint was drawn otherwise, as the tile's square in one record and as the area with data in the
other, the two cannot be told from two parts of a split downlink. They then both stay, and a pixel takes them in the
order of every other two scenes of one overpass: no ground is lost, and the older one may show where the newer has data.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

import numpy as np
import shapely
from numpy.typing import NDArray

from catalogs.choose.overpasses import SAME_OVERPASS, satellite_of
from catalogs.item import SceneItem

SAME_AREA = 0.8
"""Shared part of the union of two footprints above which they are the same scene, processed twice."""
_SAME_AREA_UNTILED = 0.99
_CELL_DEG = 0.25
_MOST_CELLS = 64
"""A footprint over more cells is compared with all of its satellite, grid and time."""
_WIDE = "over many cells"
_ROUNDING = 1 - 1e-6
_MOST_VERTICES, _DETAIL = 1000, 1e-3
_MGRS = "MGRS-"
_MGRS_TILE = re.compile(r"(?:MGRS-)?T?(\d{1,2})([A-Z]{3})", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MAX_NEWER = 8
"""Newer processings of one scene that are listed, the newest ones."""

Known = tuple[int, SceneItem, shapely.Geometry]
"""Rank of a scene among all, latest processed first, the scene, and its footprint."""


def newer_processings(items: Sequence[SceneItem]) -> NDArray[np.int32]:
    """(n, 2) sorted pairs of numbers: a scene, and one of the same overpass and ground that was processed later.

    Of several with one id, all but the last processed are older ones too.
    """
    pairs: list[tuple[int, int]] = []
    near: defaultdict[Hashable, list[Known]] = defaultdict(list)
    latest_first = sorted(range(len(items)), key=lambda n: processed(items[n]), reverse=True)
    for rank, number in enumerate(latest_first):
        item = items[number]
        ground = _ground(item)
        others = {other[0]: other for key in _looked_up(item) for other in near.get(key, ())}
        same = (n for n, other, there in map(others.__getitem__, sorted(others)) if _newer(item, ground, other, there))
        pairs.extend((number, latest_first[n]) for n in islice(same, MAX_NEWER))
        for key in _stored(item):
            near[key].append((rank, item, ground))
    return np.array(sorted(pairs), np.int32).reshape(-1, 2)


def _ground(item: SceneItem) -> shapely.Geometry:
    """The footprint, without details that cost minutes and decide nothing."""
    if shapely.get_num_coordinates(item.geometry) <= _MOST_VERTICES:
        return item.geometry
    west, south, east, north = item.bbox
    return shapely.make_valid(shapely.simplify(item.geometry, max(east - west, north - south) * _DETAIL))


def _newer(item: SceneItem, ground: shapely.Geometry, other: SceneItem, there: shapely.Geometry) -> bool:
    """Whether `other`, which was processed later or at the same time, is a newer processing and not the same record."""
    if processed(item) == processed(other):
        return False
    return _same_id(item, other) or (_may_share(item, ground, other, there) and _same_scene(item, ground, other, there))


def _same_id(a: SceneItem, b: SceneItem) -> bool:
    return (a.source, a.collection, a.id) == (b.source, b.collection, b.id)


def processed(item: SceneItem) -> tuple[str, str, str]:
    """Sort key of scenes by the time of their processing."""
    return item.updated or "", item.id, item.digest


def _group(item: SceneItem) -> tuple[Hashable, ...]:
    """What scenes that could be the same have in common. A tile of MGRS has one grid, whatever a record states."""
    tile = _tile(item)
    crs = None if tile is not None and tile.startswith(_MGRS) else item.crs
    return item.source, item.collection, satellite_of(item.platform), tile, crs


def _tile(item: SceneItem) -> str | None:
    """One spelling of a tile's code: MGRS-9VWK, 9vwk and T09VWK are MGRS-09VWK."""
    found = _MGRS_TILE.fullmatch(item.tile or "")
    return item.tile if found is None else f"{_MGRS}{int(found[1]):02d}{found[2].upper()}"


def _stored(item: SceneItem) -> Iterator[Hashable]:
    """Keys below which a scene is found by all that could be the same."""
    yield item.source, item.collection, item.id
    if item.tile is not None:
        yield _group(item), (item.when - _EPOCH) // SAME_OVERPASS
        return
    yield from ((_group(item), item.when, cell) for cell in _cells(item) or (_WIDE,))
    yield _group(item), item.when


def _looked_up(item: SceneItem) -> Iterator[Hashable]:
    """Keys below which all that could be the same are found."""
    yield item.source, item.collection, item.id
    if item.tile is not None:
        slot = (item.when - _EPOCH) // SAME_OVERPASS
        yield from ((_group(item), near) for near in (slot - 1, slot, slot + 1))
        return
    if cells := _cells(item):
        yield from ((_group(item), item.when, cell) for cell in (*cells, _WIDE))
    else:
        yield _group(item), item.when


def _cells(item: SceneItem) -> list[tuple[int, int]]:
    """Cells that the bbox touches; none where they are many."""
    west, south, east, north = (math.floor(edge / _CELL_DEG) for edge in item.bbox)
    if (east - west + 1) * (north - south + 1) > _MOST_CELLS:
        return []
    return [(row, col) for row in range(south, north + 1) for col in range(west, east + 1)]


def _may_share(a: SceneItem, ground_a: shapely.Geometry, b: SceneItem, ground_b: shapely.Geometry) -> bool:
    """Whether the boxes of two footprints leave room for the shared part: what they share is an upper bound of it."""
    width = min(a.bbox[2], b.bbox[2]) - max(a.bbox[0], b.bbox[0])
    height = min(a.bbox[3], b.bbox[3]) - max(a.bbox[1], b.bbox[1])
    least = _least_shared(a) * max(ground_a.area, ground_b.area)
    return width >= 0 and height >= 0 and width * height >= least * _ROUNDING


def _least_shared(item: SceneItem) -> float:
    return SAME_AREA if item.tile else _SAME_AREA_UNTILED


def _same_scene(a: SceneItem, ground_a: shapely.Geometry, b: SceneItem, ground_b: shapely.Geometry) -> bool:
    """Same satellite, tile, grid and overpass, and mostly the same area; without a tile code equal in time and area."""
    if _group(a) != _group(b):
        return False
    if a.tile is None:
        if a.when != b.when or a.updated is None or a.updated == b.updated:
            return False
    elif abs(a.when - b.when) > SAME_OVERPASS:
        return False
    union = ground_a.union(ground_b).area
    shared = ground_a.intersection(ground_b).area / union if union else 0.0
    return shared >= _least_shared(a)
