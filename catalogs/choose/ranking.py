"""Ranking of scenes and references for cells: pure arithmetic, the same in whichever order a catalog answered.

A choice is an ordered list of candidates; a pixel takes the first one that is valid there. It is made per cell of the
fixed lattice, from measures of the whole cell, so that it does not depend on the region's outline.

A cell gets few candidates, and more where it takes more to cover all of it; see catalogs/choose/candidates.py. Of a
scene that was processed twice it gets the older one only where the newer covers less, behind all others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalogs.choose.candidates import MAX_SCENES, WHOLE, CoverTable, first_of_cells, without_outdated
from catalogs.choose.overpasses import Overpasses, ranks_of
from catalogs.choose.reference_score import alike, score_us
from dsdit.plan.candidates import MAX_CANDIDATES

CLEAR_ENOUGH = 0.98
"""A scene that is clear over this share of a cell counts as clear; among those only the date decides."""
_THOUSANDTHS = 1000
_DAY_US = 86_400_000_000

COMPOSITES = {"latest_clear": "first", "least_cloudy": "first", "median_clear": "median"}
"""Rules, and what a pixel takes of the candidates that each chooses; see catalogs/staging/composite.py."""


def choose_scenes(
    rows: CoverTable,
    cells: int,
    newest_first: NDArray[np.int64],
    rule: str = "latest_clear",
    overpasses: Overpasses | None = None,
    carried: NDArray[np.bool_] | None = None,
    newer: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """(cells, candidate) LR items of each cell, best first, -1 where there is none.

    `latest_clear`: clear scenes by date, newest first; then the others by clear share, so that a cloudier scene never
    precedes a clear one. `median_clear`: the same, of which a pixel takes the median. `least_cloudy`: clear scenes
    first, each kind by clear share, then by date. `newest_first` is each item's rank by date, ties broken by digest.

    Scenes of one overpass follow each other, at the rank of the best of them: they fill what it does not cover. One
    that is cloudier than the best, each over the ground it covers, is ranked by itself. Behind one that covers the
    whole cell the others add nothing: they are spares, ranked last, for the case that it cannot be read. Four
    overpasses are taken, and more until one scene covers the whole cell. Without `overpasses` each scene is its own.
    `carried` items are from before the period: they count only in cells where nothing of the period is clear. `newer`
    are pairs of processings; see `without_outdated`.

    Raises ValueError for an unknown rule.
    """
    if rule not in COMPOSITES:
        raise ValueError(f"rule {rule!r} is not known: {' or '.join(COMPOSITES)}")
    count = max(len(newest_first), 1)
    rows = _without_unneeded(rows.where(rows.cover > 0), cells, carried)
    rows, superseded = without_outdated(rows, newer, count)
    rows, superseded, group = _group_by_overpass(rows, superseded, newest_first, overpasses)
    score, above = _scene_score(rows, superseded, newest_first, rule)
    lead = _best_of_groups(score, group)
    is_mate = np.ones(len(group), bool)
    is_mate[lead] = False
    spare = (is_mate & (rows.cover[lead] >= WHOLE)[group]) | superseded
    group, lead = _split_cloudier(rows, group, lead, is_mate & ~spare)
    return _take(rows, group, lead, spare, score, above, cells)


def _without_unneeded(rows: CoverTable, cells: int, carried: NDArray[np.bool_] | None) -> CoverTable:
    """Rows without carried items in cells where a scene of the period is clear."""
    if carried is None:
        return rows
    served = np.zeros(cells, bool)
    served[rows.cell[~carried[rows.item] & (rows.clear >= CLEAR_ENOUGH)]] = True
    return rows.where(~(carried[rows.item] & served[rows.cell]))


def _group_by_overpass(
    rows: CoverTable, superseded: NDArray[np.bool_], newest_first: NDArray[np.int64], overpasses: Overpasses | None
) -> tuple[CoverTable, NDArray[np.bool_], NDArray[np.int64]]:
    """Rows sorted by cell and overpass, their flags, and the number of each row's (cell, overpass), from 0 upwards."""
    if overpasses is None:
        overpasses = Overpasses.of(np.zeros(len(newest_first), np.int64))
    rank = overpasses.rank[rows.item]
    order = np.argsort(rows.cell * max(len(newest_first), 1) + rank)
    rows, rank = rows.where(order), rank[order]
    return rows, superseded[order], np.cumsum(overpasses.starts(rows.cell, rank)) - 1


def _scene_score(
    rows: CoverTable, superseded: NDArray[np.bool_], newest_first: NDArray[np.int64], rule: str
) -> tuple[NDArray[np.int64], int]:
    """(n,) whole numbers, the smaller the better, no two of a cell equal; and a number above all of them.

    They order by: superseded or not, cloudy or not, what is missing of the clear share (in thousandths), date. The
    four are digits of one number, so that one sort does it.
    """
    count = max(len(newest_first), 1)
    cloudy = rows.clear < CLEAR_ENOUGH
    missing = _THOUSANDTHS - np.rint(rows.clear * _THOUSANDTHS).astype(np.int64)
    if rule != "least_cloudy":
        missing[~cloudy] = 0  # among clear scenes only the date decides
    above_current = (2 * _THOUSANDTHS + 2) * count
    current = (cloudy * (_THOUSANDTHS + 1) + missing) * count + newest_first[rows.item]
    return current + superseded * above_current, 2 * above_current


def _best_of_groups(score: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """(group,) row with the smallest score of each group; rows are sorted by group."""
    if not len(group):
        return np.empty(0, np.int64)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.flatnonzero(score == np.minimum.reduceat(score, starts)[group])


def _split_cloudier(
    rows: CoverTable, group: NDArray[np.int64], lead: NDArray[np.int64], mate: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups and their leading rows, where each mate that is cloudier than its lead becomes a group of its own.

    Compared are clear shares of the ground that each covers: a sliver without cloud fills well behind its lead.
    """
    share = np.rint(rows.clear / rows.cover * _THOUSANDTHS)
    cloudier = share < np.minimum(share[lead], CLEAR_ENOUGH * _THOUSANDTHS)[group]
    alone = np.flatnonzero(mate & cloudier)
    group = group.copy()
    group[alone] = len(lead) + np.arange(len(alone))
    return group, np.concatenate([lead, alone])


def _take(
    rows: CoverTable,
    group: NDArray[np.int64],
    lead: NDArray[np.int64],
    spare: NDArray[np.bool_],
    score: NDArray[np.int64],
    above: int,
    cells: int,
) -> NDArray[np.int32]:
    """(cells, candidate) items: groups by the score of their lead, rows of a group by their own, spares last."""
    by_score = np.argsort(rows.cell[lead] * above + score[lead])
    rank, cell = ranks_of(by_score), rows.cell[lead][by_score]
    # Ranks run on from cell to cell. Groups get even numbers; the odd one after a cell's last group is for its spares.
    last = np.searchsorted(cell, rows.cell, "right") - 1
    order = np.argsort(np.where(spare, 2 * last + 1, 2 * rank[group]) * above + score)
    rows, spare, group = rows.where(order), spare[order], group[order]
    # A unit is a group, numbered from 0 in its cell; each spare is a unit by itself, numbered by its row in the cell.
    unit = rank[group] - np.searchsorted(cell, rows.cell)
    unit[spare] = (np.arange(len(order)) - np.searchsorted(rows.cell, rows.cell))[spare]
    return first_of_cells(rows.cell, rows.item, unit, rows.cover >= WHOLE, cells, MAX_SCENES)


def choose_references(
    rows: CoverTable,
    cells: int,
    when_us: NDArray[np.int64],
    newest_first: NDArray[np.int64],
    scene: NDArray[np.int32],
    max_age_days: float | None = None,
    coarse_us: NDArray[np.int64] | None = None,
    newer: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """(cells, candidate) references of each cell, best first, -1 where there is none.

    Full cover precedes partial, then the better score against the cell's best `scene` (item, or -1; then dates do not
    count), in steps of what counts as alike, then `newest_first`; see catalogs/choose/reference_score.py. Four are
    taken, and more until one covers the whole cell: at a corner of quads it takes one of each. Times are microseconds
    since 1970; `coarse_us` is what each item's pixel size adds to its scores; `newer` are pairs of processings.
    """
    age = _age_us(rows, when_us, scene)
    take = rows.clear > 0
    if max_age_days is not None:
        take &= age <= max_age_days * _DAY_US
    rows, superseded = without_outdated(rows.where(take), newer, len(when_us))
    age = _age_us(rows, when_us, scene)
    coarse = np.zeros(len(rows.item), np.int64) if coarse_us is None else coarse_us[rows.item]
    step = alike(score_us(age, rows.cover, rows.clear, coarse))
    # lexsort takes the last key first: cell, superseded, partial, step of scores, date.
    order = np.lexsort((newest_first[rows.item], step, rows.clear < CLEAR_ENOUGH, superseded, rows.cell))
    rows = rows.where(order)
    unit = np.arange(len(order)) - np.searchsorted(rows.cell, rows.cell)
    return first_of_cells(rows.cell, rows.item, unit, rows.clear >= WHOLE, cells, MAX_CANDIDATES)


def _age_us(rows: CoverTable, when_us: NDArray[np.int64], scene: NDArray[np.int32]) -> NDArray[np.int64]:
    """Time between each row's item and its cell's scene; 0 where there is no scene."""
    best = scene[rows.cell]
    return np.where(best >= 0, np.abs(when_us[best] - when_us[rows.item]), 0)
