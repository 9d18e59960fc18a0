"""Choosing scenes and references for cells: pure, and the same whatever the order in which a catalog answered.

A choice is an ordered list of candidates; a pixel takes the first one that is valid there. It is made per cell of the
fixed lattice, from measures of the whole cell, so that it does not depend on the region's outline. Cells are judged
many at a time, as columns: a row is one item seen from one cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.passes import Passes, places_in
from catalogs.scoring import alike, score_us
from dsdit.choices import MAX_CANDIDATES

CLEAR_ENOUGH = 0.98
"""A scene that is clear over this share of a cell counts as clear; among those only the date decides."""
_WHOLE = 0.999
"""A scene with data over this share of a cell reaches over the whole of it."""
_THOUSANDTHS = 1000
_DAY_US = 86_400_000_000

COMPOSITES = {"latest_clear": "first", "least_cloudy": "first", "median_clear": "median"}
"""Rules, and what a pixel takes of the candidates that each chooses; see catalogs/composite.py."""


@dataclass(frozen=True)
class Seen:
    """Items seen from cells, one row each."""

    cell: NDArray[np.int64]
    """Number of the cell."""
    item: NDArray[np.int32]
    """Number in the table of items."""
    cover: NDArray[np.float32]
    """Share of the cell with data."""
    clear: NDArray[np.float32]
    """Share of the cell with data and without cloud."""

    def where(self, take: NDArray[Any]) -> Seen:
        """The rows of a mask, or rows by their numbers."""
        return Seen(self.cell[take], self.item[take], self.cover[take], self.clear[take])


def choose_scenes(
    seen: Seen,
    cells: int,
    newest_first: NDArray[np.int64],
    rule: str = "latest_clear",
    passes: Passes | None = None,
    carried: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """(cells, candidate) LR items of each cell, best first, -1 where there is none.

    `latest_clear`: clear scenes by date, newest first; then the others by clear share. A cloudier scene never stands
    before a clear one. `median_clear`: the same, of which a pixel takes the median. `least_cloudy`: clear scenes first,
    each kind by clear share, then by date. `newest_first` is each item's place in the order of dates, ties broken by
    digest.

    Scenes of one pass stand together, where the best of them belongs: they fill what it does not reach. Behind one
    that reaches over the whole cell they add nothing, and come last of all, to be read if it cannot be. Without
    `passes` each scene is its own. `carried` items are of before the period: they count only in cells where nothing of
    the period is clear.
    """
    if rule not in COMPOSITES:
        raise ValueError(f"rule {rule!r} is not known: {' or '.join(COMPOSITES)}")
    seen = seen.where(seen.cover > 0)
    if carried is not None:
        served = np.zeros(cells, bool)
        served[seen.cell[~carried[seen.item] & (seen.clear >= CLEAR_ENOUGH)]] = True
        seen = seen.where(~(carried[seen.item] & served[seen.cell]))
    if passes is None:
        passes = Passes.of(np.zeros(len(newest_first), np.int64))
    count = max(len(newest_first), 1)
    place = passes.place[seen.item]
    order = np.argsort(seen.cell * count + place)
    seen, place = seen.where(order), place[order]
    starts = passes.starts(seen.cell, place)
    group, first = np.cumsum(starts) - 1, np.flatnonzero(starts)
    cloudy = seen.clear < CLEAR_ENOUGH
    missing = _THOUSANDTHS - np.rint(seen.clear * _THOUSANDTHS).astype(np.int64)
    if rule != "least_cloudy":
        missing[~cloudy] = 0
    # One number per row, by share and then by date; the smallest of a pass stands for it.
    span = (2 * _THOUSANDTHS + 2) * count
    worth = (cloudy * (_THOUSANDTHS + 1) + missing) * count + newest_first[seen.item]
    best = np.minimum.reduceat(worth, first) if len(first) else worth
    leads = worth == best[group]
    spare = ~leads & (seen.cover[leads] >= _WHOLE)[group]
    order = np.argsort(_behind(seen.cell[first], best, span)[group, spare.astype(np.int64)] + worth)
    return _first(seen.cell[order], seen.item[order], cells)


def _behind(cell: NDArray[np.int64], best: NDArray[np.int64], span: int) -> NDArray[np.int64]:
    """(pass, 2) what is added to the worth of a pass's scenes, and of its spare ones, which come last in their cell."""
    rank = places_in(np.argsort(cell * span + best))
    last = np.searchsorted(cell, cell, "right") - 1
    return np.stack([2 * rank, 2 * last + 1], 1) * span


def choose_references(
    seen: Seen,
    cells: int,
    when_us: NDArray[np.int64],
    newest_first: NDArray[np.int64],
    scene: NDArray[np.int32],
    max_age_days: float | None = None,
    coarse_us: NDArray[np.int64] | None = None,
) -> NDArray[np.int32]:
    """(cells, candidate) references of each cell, best first, -1 where there is none.

    Full cover stands before partial, then the better score against the cell's best `scene` (item, or -1; then dates
    do not count), in steps of what counts as alike, then `newest_first`; see catalogs/scoring.py. Times are
    microseconds since 1970; `coarse_us` is what each item's pixel adds to its scores.
    """
    best = scene[seen.cell]
    age = np.where(best >= 0, np.abs(when_us[best] - when_us[seen.item]), 0)
    take = seen.clear > 0
    if max_age_days is not None:
        take &= age <= max_age_days * _DAY_US
    seen, age = seen.where(take), age[take]
    coarse = np.zeros(len(seen.item), np.int64) if coarse_us is None else coarse_us[seen.item]
    step = alike(score_us(age, seen.cover, seen.clear, coarse))
    order = np.lexsort((newest_first[seen.item], step, seen.clear < CLEAR_ENOUGH, seen.cell))
    return _first(seen.cell[order], seen.item[order], cells)


def _first(cell: NDArray[np.int64], item: NDArray[Any], cells: int) -> NDArray[np.int32]:
    """The first MAX_CANDIDATES rows of each cell; rows are sorted by cell."""
    out = np.full((cells, MAX_CANDIDATES), -1, np.int32)
    start = np.searchsorted(cell, np.arange(cells))
    rank = np.arange(len(cell)) - start[cell]
    keep = rank < MAX_CANDIDATES
    out[cell[keep], rank[keep]] = item[keep]
    return out
