"""Choice of candidates for every cell of a plan, from items and their measured covers: pure arithmetic on tables.

Nothing is read here: the same items and covers give the same plan, in whichever order they came. Cells are chosen a
band of rows at a time, so that memory depends on one band's covers and not on the region's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from catalogs.choose.candidates import CoverTable
from catalogs.choose.overpasses import Overpasses, ranks_of
from catalogs.choose.ranking import choose_references, choose_scenes
from catalogs.choose.reprocessed import newer_processings
from catalogs.item import SceneItem
from catalogs.measure.cover_and_fit import COVER_ROW
from dsdit.plan.candidates import FEW_CANDIDATES, Cells
from dsdit.window import Window

_BAND = 64
"""Rows of cells that are chosen at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Covers(Protocol):
    """Measured cover of items over cells."""

    def over(self, window: Window) -> CoverTable:
        """Rows of the cells of a window, numbered within it row by row."""


@dataclass(frozen=True)
class MeasuredCovers:
    """Covers in memory, one row per (item, cell)."""

    row: NDArray[np.int32]
    """Sorted; within a row by column, then by item."""
    col: NDArray[np.int32]
    item: NDArray[np.int32]
    cover: NDArray[np.float32]
    clear: NDArray[np.float32]

    @classmethod
    def of(cls, covers: Mapping[int, NDArray[np.void]]) -> MeasuredCovers:
        """From a table of `COVER_ROW` per item."""
        rows = np.concatenate([np.empty(0, COVER_ROW), *covers.values()])
        item = np.repeat(np.fromiter(covers, np.int32, len(covers)), [len(table) for table in covers.values()])
        order = np.lexsort((item, rows["col"], rows["row"]))
        row, col, cover, clear = (rows[name][order] for name in COVER_ROW.names or ())
        return cls(row, col, item[order], cover, clear)

    def over(self, window: Window) -> CoverTable:
        start, stop = np.searchsorted(self.row, (window.row0, window.row1))
        part = slice(start, stop)
        inside = (self.col[part] >= window.col0) & (self.col[part] < window.col1)
        cell = (self.row[part].astype(np.int64) - window.row0) * window.shape[1] + self.col[part] - window.col0
        return CoverTable(cell, self.item[part], self.cover[part], self.clear[part]).where(inside)


@dataclass(frozen=True)
class Dates:
    """When each item of a table was acquired, and which processings are newer ones of the same scene."""

    when_us: NDArray[np.int64]
    """Microseconds since 1970."""
    newest_first: NDArray[np.int64]
    """Rank of each item by date, newest first, ties by digest."""
    overpasses: Overpasses
    """Which items are of one overpass of a satellite."""
    newer: NDArray[np.int32] | None = None
    """(n, 2) pairs (item, newer processing of it), sorted."""

    @classmethod
    def of(
        cls,
        when_us: NDArray[np.int64],
        digests: Sequence[str] | NDArray[np.str_],
        platforms: Sequence[str | None] | None = None,
    ) -> Dates:
        """From columns of a table of items."""
        order = np.lexsort((np.asarray(digests), -when_us))
        return cls(when_us, ranks_of(order), Overpasses.of(when_us, platforms))

    @classmethod
    def of_items(cls, items: Sequence[SceneItem]) -> Dates:
        """From items."""
        when = [(i.when - _EPOCH) // timedelta(microseconds=1) for i in items]
        digests = np.array([i.digest for i in items], str)
        dates = cls.of(np.array(when, np.int64), digests, [i.platform for i in items])
        return replace(dates, newer=newer_processings(items))


def sort_items(lr: Sequence[SceneItem], ref: Sequence[SceneItem]) -> tuple[list[SceneItem], range, range]:
    """One table in a fixed order, LR first, and the numbers of the two kinds."""
    table = sorted(lr, key=lambda i: (i.when, i.id, i.digest)) + sorted(ref, key=lambda i: (i.when, i.id, i.digest))
    return table, range(len(lr)), range(len(lr), len(table))


def choose_cells(
    dates: Dates,
    lr_count: int,
    covers: Covers,
    cells: Window,
    rule: str,
    max_ref_age_days: float | None,
    coarse_us: NDArray[np.int64] | None = None,
    carried: NDArray[np.bool_] | None = None,
) -> Cells:
    """Candidates of every cell. Items below `lr_count` are scenes, the others references.

    `coarse_us` is what each item's pixel size adds to its scores as a reference; `carried` marks scenes from before
    the period, which count where the period has no clear one.
    """
    lr, ref = [], []
    for row in range(cells.row0, cells.row1, _BAND):
        band = Window(row, cells.col0, min(row + _BAND, cells.row1), cells.col1)
        rows, count = covers.over(band), band.shape[0] * band.shape[1]
        is_scene = rows.item < lr_count
        scenes = choose_scenes(
            rows.where(is_scene), count, dates.newest_first, rule, dates.overpasses, carried, dates.newer
        )
        references = choose_references(
            rows.where(~is_scene),
            count,
            dates.when_us,
            dates.newest_first,
            scenes[:, 0],
            max_ref_age_days,
            coarse_us,
            dates.newer,
        )
        lr.append(scenes.reshape(*band.shape, -1))
        ref.append(references.reshape(*band.shape, -1))
    return Cells(cells, _joined(cells, lr), _joined(cells, ref))


def _joined(cells: Window, tables: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """(row, col, candidate) of bands of rows, as wide as the widest."""
    out = np.full((*cells.shape, max((table.shape[2] for table in tables), default=FEW_CANDIDATES)), -1, np.int32)
    row = 0
    for table in tables:
        out[row : row + len(table), :, : table.shape[2]] = table
        row += len(table)
    return out
