"""Choosing scenes and references for cells: pure, and the same whatever the order in which a catalog answered.

A choice is an ordered list of candidates; a pixel takes the first one that is valid there. It is made per cell of the
fixed lattice, from measures of the whole cell, so that it does not depend on the region's outline.

A cell keeps few candidates, and more where it takes more to reach over all of it; see catalogs/choose/candidates.py. Of
a scene that was processed twice it keeps the older one only where the newer does not reach as far, behind all others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.choose.candidates import MAX_SCENES, WHOLE, Seen, first_of_cells, without_outdated
from catalogs.choose.overpasses import Passes, places_in
from catalogs.choose.reference_score import alike, score_us
from dsdit.plan.candidates import MAX_CANDIDATES

CLEAR_ENOUGH = 0.98
"""A scene that is clear over this share of a cell counts as clear; among those only the date decides."""
_THOUSANDTHS = 1000
_DAY_US = 86_400_000_000

COMPOSITES = {"latest_clear": "first", "least_cloudy": "first", "median_clear": "median"}
"""Rules, and what a pixel takes of the candidates that each chooses; see catalogs/staging/composite.py."""


def choose_scenes(
    seen: Seen,
    cells: int,
    newest_first: NDArray[np.int64],
    rule: str = "latest_clear",
    passes: Passes | None = None,
    carried: NDArray[np.bool_] | None = None,
    newer: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """(cells, candidate) LR items of each cell, best first, -1 where there is none.

    `latest_clear`: clear scenes by date, newest first; then the others by clear share. A cloudier scene never stands
    before a clear one. `median_clear`: the same, of which a pixel takes the median. `least_cloudy`: clear scenes first,
    each kind by clear share, then by date. `newest_first` is each item's place in the order of dates, ties broken by
    digest.

    Scenes of one pass stand together, where the best of them belongs: they fill what it does not reach. One that is
    cloudier than the best, each as far as it reaches, stands for itself. Behind one that reaches over the whole cell
    the others add nothing, and come last of all, to be read if it cannot be. Four passes are kept, and more until one
    scene reaches over the whole cell. Without `passes` each scene is its own. `carried` items are of before the period:
    they count only in cells where nothing of the period is clear. `newer` are pairs of processings; see
    `without_outdated`.
    """
    if rule not in COMPOSITES:
        raise ValueError(f"rule {rule!r} is not known: {' or '.join(COMPOSITES)}")
    count = max(len(newest_first), 1)
    seen = seen.where(seen.cover > 0)
    if carried is not None:
        served = np.zeros(cells, bool)
        served[seen.cell[~carried[seen.item] & (seen.clear >= CLEAR_ENOUGH)]] = True
        seen = seen.where(~(carried[seen.item] & served[seen.cell]))
    seen, behind = without_outdated(seen, newer, count)
    if passes is None:
        passes = Passes.of(np.zeros(len(newest_first), np.int64))
    place = passes.place[seen.item]
    order = np.argsort(seen.cell * count + place)
    seen, place, behind = seen.where(order), place[order], behind[order]
    starts = passes.starts(seen.cell, place)
    group, first = np.cumsum(starts) - 1, np.flatnonzero(starts)
    cloudy = seen.clear < CLEAR_ENOUGH
    missing = _THOUSANDTHS - np.rint(seen.clear * _THOUSANDTHS).astype(np.int64)
    if rule != "least_cloudy":
        missing[~cloudy] = 0
    # One number per row, by share and then by date; the smallest of a pass stands for it.
    span = 2 * (2 * _THOUSANDTHS + 2) * count
    worth = (cloudy * (_THOUSANDTHS + 1) + missing) * count + newest_first[seen.item] + behind * (span // 2)
    best = np.minimum.reduceat(worth, first) if len(first) else worth
    leads = np.flatnonzero(worth == best[group])
    mate = np.ones(len(worth), bool)
    mate[leads] = False
    spare = (mate & (seen.cover[leads] >= WHOLE)[group]) | behind
    share = np.rint(seen.clear / seen.cover * _THOUSANDTHS)
    alone = np.flatnonzero(mate & ~spare & (share < np.minimum(share[leads], CLEAR_ENOUGH * _THOUSANDTHS)[group]))
    group[alone] = len(leads) + np.arange(len(alone))
    heads = np.concatenate([leads, alone])
    order = np.argsort(seen.cell[heads] * span + worth[heads])
    rank, cell = places_in(order), seen.cell[heads][order]
    last = np.searchsorted(cell, seen.cell, "right") - 1
    order = np.argsort(np.where(spare, 2 * last + 1, 2 * rank[group]) * span + worth)
    seen, spare = seen.where(order), spare[order]
    unit = rank[group][order] - np.searchsorted(cell, seen.cell)
    unit[spare] = (np.arange(len(order)) - np.searchsorted(seen.cell, seen.cell))[spare]
    return first_of_cells(seen.cell, seen.item, unit, seen.cover >= WHOLE, cells, MAX_SCENES)


def choose_references(
    seen: Seen,
    cells: int,
    when_us: NDArray[np.int64],
    newest_first: NDArray[np.int64],
    scene: NDArray[np.int32],
    max_age_days: float | None = None,
    coarse_us: NDArray[np.int64] | None = None,
    newer: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """(cells, candidate) references of each cell, best first, -1 where there is none.

    Full cover stands before partial, then the better score against the cell's best `scene` (item, or -1; then dates
    do not count), in steps of what counts as alike, then `newest_first`; see catalogs/choose/reference_score.py. Four
    are kept, and more until one reaches over the whole cell: at a corner of quads it takes one of each. Times are
    microseconds since 1970; `coarse_us` is what each item's pixel adds to its scores; `newer` are pairs of processings.
    """
    age = _age_us(seen, when_us, scene)
    take = seen.clear > 0
    if max_age_days is not None:
        take &= age <= max_age_days * _DAY_US
    seen, behind = without_outdated(seen.where(take), newer, len(when_us))
    age = _age_us(seen, when_us, scene)
    coarse = np.zeros(len(seen.item), np.int64) if coarse_us is None else coarse_us[seen.item]
    step = alike(score_us(age, seen.cover, seen.clear, coarse))
    order = np.lexsort((newest_first[seen.item], step, seen.clear < CLEAR_ENOUGH, behind, seen.cell))
    seen = seen.where(order)
    unit = np.arange(len(order)) - np.searchsorted(seen.cell, seen.cell)
    return first_of_cells(seen.cell, seen.item, unit, seen.clear >= WHOLE, cells, MAX_CANDIDATES)


def _age_us(seen: Seen, when_us: NDArray[np.int64], scene: NDArray[np.int32]) -> NDArray[np.int64]:
    """Time between each row's item and its cell's scene; 0 where there is no scene."""
    best = scene[seen.cell]
    return np.where(best >= 0, np.abs(when_us[best] - when_us[seen.item]), 0)
