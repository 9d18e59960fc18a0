"""Overpasses: scenes of one satellite, of neighbouring tiles or parts of one downlink, taken at the same moment.

Over one place two scenes of a satellite are either minutes or an orbit apart, so the limit between them is not
critical. A scene whose platform is not stated is an overpass of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from catalogs.item import SceneItem

SAME_OVERPASS = timedelta(minutes=10)
"""Longest time between two successive scenes of one overpass."""
_SAME_OVERPASS_US = SAME_OVERPASS // timedelta(microseconds=1)


@dataclass(frozen=True)
class Overpasses:
    """The items of a table, ordered by satellite and time."""

    rank: NDArray[np.int64]
    """Rank of each item in the order of satellites and, of each satellite, of times."""
    satellite: NDArray[np.int64]
    """A number for each item's satellite, in that order; an item without one has a number of its own."""
    when_us: NDArray[np.int64]
    """Microseconds since 1970, in that order."""

    @classmethod
    def of(cls, when_us: NDArray[np.int64], platforms: Sequence[str | None] | None = None) -> Overpasses:
        """From columns of a table of items; without platforms each item is an overpass of its own."""
        count = len(when_us)
        platforms = None if platforms is None else [satellite_of(name) for name in platforms]
        names = sorted({name for name in platforms or () if name is not None})
        number = {name: k for k, name in enumerate(names)}
        own = range(len(names), len(names) + count)
        codes = np.array(
            [k if p is None else number[p] for p, k in zip(platforms or [None] * count, own, strict=True)], np.int64
        )
        order = np.lexsort((np.arange(count), when_us, codes))
        return cls(ranks_of(order), codes[order], when_us[order])

    def starts(self, cell: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows begin an overpass, of rows sorted by cell and, in each cell, by `rank`."""
        first = np.ones(len(cell), bool)
        first[1:] = (
            (cell[1:] != cell[:-1])
            | (self.satellite[rank[1:]] != self.satellite[rank[:-1]])
            | (self.when_us[rank[1:]] - self.when_us[rank[:-1]] > _SAME_OVERPASS_US)
        )
        return first


def satellite_of(platform: str | None) -> str | None:
    """One spelling of a platform's name: Sentinel-2A, SENTINEL_2A, sentinel-2a and S2A are one satellite."""
    if platform is None:
        return None
    name = "".join(c for c in platform.casefold() if c.isalnum()) or platform
    return re.sub(r"^s(\d[a-z])$", r"sentinel\1", name)


def ranks_of(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of each row in an order of rows: the inverse permutation."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def group_overpasses(items: Sequence[SceneItem]) -> tuple[int, ...]:
    """For each of a few items the number of the first among them that is of the same overpass."""
    found: list[int] = []
    for k, item in enumerate(items):
        found.append(next((n for n in range(k) if found[n] == n and _same(items[n], item)), k))
    return tuple(found)


def _same(a: SceneItem, b: SceneItem) -> bool:
    satellite = satellite_of(a.platform)
    return satellite is not None and satellite == satellite_of(b.platform) and abs(a.when - b.when) <= SAME_OVERPASS
