"""Cover of cells by items, as columns with one row per (cell, item), and how many rows of a cell become candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.plan.candidates import FEW_CANDIDATES

MAX_SCENES = 8
"""Most scenes that a cell gets: two of each of four overpasses."""
WHOLE = 0.999
"""Share of a cell from which on it counts as the whole of it."""


@dataclass(frozen=True)
class CoverTable:
    """Cover of cells by items, one row per (cell, item)."""

    cell: NDArray[np.int64]
    """Number of the cell."""
    item: NDArray[np.int32]
    """Number in the table of items."""
    cover: NDArray[np.float32]
    """Share of the cell with data."""
    clear: NDArray[np.float32]
    """Share of the cell with data and without cloud."""

    def where(self, take: NDArray[Any]) -> CoverTable:
        """The rows of a mask, or rows by their numbers."""
        return CoverTable(self.cell[take], self.item[take], self.cover[take], self.clear[take])


def without_outdated(
    rows: CoverTable, newer: NDArray[np.int32] | None, count: int
) -> tuple[CoverTable, NDArray[np.bool_]]:
    """Rows without those whose newer processing covers at least as much of the cell, and which others have one.

    `newer` has pairs (item, newer processing of it) of `count` items, sorted. Each cell is judged by its own rows, so
    that the outline of a region has no influence.
    """
    superseded = np.zeros(len(rows.item), bool)
    if newer is None or not len(newer) or not len(rows.item):
        return rows, superseded
    # The pairs of each row are a slice of `newer`: repeat the row once per pair, and number the pairs in the slice.
    start, stop = (np.searchsorted(newer[:, 0], rows.item, side) for side in ("left", "right"))
    pairs = stop - start
    row = np.repeat(np.arange(len(pairs)), pairs)
    pair = np.arange(len(row)) - np.repeat(np.cumsum(pairs) - pairs, pairs) + start[row]
    # Look for the row of the newer item in the same cell, by one number per (cell, item).
    key = rows.cell * count + rows.item
    order = np.argsort(key)
    wanted = rows.cell[row] * count + newer[pair, 1]
    other = order[np.minimum(np.searchsorted(key[order], wanted), len(order) - 1)]
    found = key[other] == wanted
    row, other = row[found], other[found]
    superseded[row] = True
    outdated = np.zeros(len(superseded), bool)
    outdated[row[rows.cover[other] >= rows.cover[row]]] = True
    return rows.where(~outdated), superseded[~outdated]


def first_of_cells(
    cell: NDArray[np.int64],
    item: NDArray[Any],
    unit: NDArray[np.int64],
    whole: NDArray[np.bool_],
    cells: int,
    most: int,
) -> NDArray[np.int32]:
    """(cells, candidate) items of each cell, of rows sorted by cell and rank; -1 where there is none.

    Those of the first `FEW_CANDIDATES` units of each cell (`unit` counts from 0 in each), and further ones until one is
    `whole`, since without one some ground may be left uncovered; never more than `most`. The table is as wide as the
    fullest cell needs, and at least `FEW_CANDIDATES`.
    """
    start = np.searchsorted(cell, np.arange(cells))
    rank = np.arange(len(cell)) - start[cell]
    # Number of whole rows before each row: of all cells, less those before the row's cell.
    before: NDArray[np.int64] = np.cumsum(whole) - whole
    filled = before - before[start[cell]] > 0
    take = (rank < most) & ((unit < FEW_CANDIDATES) | ~filled)
    cell, item = cell[take], item[take]
    column = np.arange(len(cell)) - np.searchsorted(cell, np.arange(cells))[cell]
    out = np.full((cells, max(FEW_CANDIDATES, int(column.max(initial=-1)) + 1)), -1, np.int32)
    out[cell, column] = item
    return out
