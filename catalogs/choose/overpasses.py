"""One pass of one satellite: scenes of neighbouring tiles, or of parts of one downlink, that show the same moment.

Over one place two scenes of a satellite lie either minutes or an orbit apart, so that the limit needs no care. A scene
whose platform is not stated is a pass of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from catalogs.item import SceneItem

SAME_PASS = timedelta(minutes=10)
SAME_PASS_US = SAME_PASS // timedelta(microseconds=1)


@dataclass(frozen=True)
class Passes:
    """The items of a table by satellite and time."""

    place: NDArray[np.int64]
    """Place of each item in the order of satellites and, of each, of times."""
    satellite: NDArray[np.int64]
    """A number for each item's satellite, in that order; an item without one has a number of its own."""
    when_us: NDArray[np.int64]
    """Microseconds since 1970, in that order."""

    @classmethod
    def of(cls, when_us: NDArray[np.int64], platforms: Sequence[str | None] | None = None) -> Passes:
        """From columns of a table of items; without platforms each item is a pass of its own."""
        count = len(when_us)
        names = sorted({name for name in platforms or () if name is not None})
        number = {name: k for k, name in enumerate(names)}
        own = range(len(names), len(names) + count)
        codes = np.array(
            [k if p is None else number[p] for p, k in zip(platforms or [None] * count, own, strict=True)], np.int64
        )
        order = np.lexsort((np.arange(count), when_us, codes))
        return cls(places_in(order), codes[order], when_us[order])

    def starts(self, cell: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows begin a pass, of rows sorted by cell and, in each, by place."""
        first = np.ones(len(cell), bool)
        first[1:] = (
            (cell[1:] != cell[:-1])
            | (self.satellite[place[1:]] != self.satellite[place[:-1]])
            | (self.when_us[place[1:]] - self.when_us[place[:-1]] > SAME_PASS_US)
        )
        return first


def places_in(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each row in an order of rows: its inverse."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place


def group_passes(items: Sequence[SceneItem]) -> tuple[int, ...]:
    """For each of a few items the number of the first among them that is of the same pass."""
    found: list[int] = []
    for k, item in enumerate(items):
        found.append(next((n for n in range(k) if found[n] == n and _same(items[n], item)), k))
    return tuple(found)


def _same(a: SceneItem, b: SceneItem) -> bool:
    return a.platform is not None and a.platform == b.platform and abs(a.when - b.when) <= SAME_PASS
