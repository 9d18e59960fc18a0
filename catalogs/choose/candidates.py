"""Items seen from cells, as columns: a row is one item seen from one cell, and cells are judged many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.plan.candidates import FEW_CANDIDATES

MAX_SCENES = 8
"""Most scenes that a cell keeps: two of each of four passes."""
WHOLE = 0.999
"""A share of a cell from which on it counts as the whole of it."""


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


def without_outdated(seen: Seen, newer: NDArray[np.int32] | None, count: int) -> tuple[Seen, NDArray[np.bool_]]:
    """Rows without those whose newer processing reaches as far over the cell, and which of them reach further than it.

    `newer` has pairs (item, newer processing of it) of `count` items, sorted. Each cell is judged by what is seen from
    it, so that the outline of a region has no say.
    """
    behind = np.zeros(len(seen.item), bool)
    if newer is None or not len(newer) or not len(seen.item):
        return seen, behind
    start, stop = (np.searchsorted(newer[:, 0], seen.item, side) for side in ("left", "right"))
    pairs = stop - start
    row = np.repeat(np.arange(len(pairs)), pairs)
    pair = np.arange(len(row)) - np.repeat(np.cumsum(pairs) - pairs, pairs) + start[row]
    key = seen.cell * count + seen.item
    order = np.argsort(key)
    wanted = seen.cell[row] * count + newer[pair, 1]
    place = order[np.minimum(np.searchsorted(key[order], wanted), len(order) - 1)]
    met = key[place] == wanted
    row, place = row[met], place[met]
    behind[row] = True
    outdated = np.zeros(len(behind), bool)
    outdated[row[seen.cover[place] >= seen.cover[row]]] = True
    return seen.where(~outdated), behind[~outdated]


def first_of_cells(
    cell: NDArray[np.int64],
    item: NDArray[Any],
    unit: NDArray[np.int64],
    whole: NDArray[np.bool_],
    cells: int,
    most: int,
) -> NDArray[np.int32]:
    """(cells, candidate) items that a cell keeps, of rows sorted by cell and rank; -1 where there is none.

    Those of the first `FEW_CANDIDATES` units of each cell (`unit` counts from 0 in each), and further ones until one is
    `whole`, since none before them is known to leave no ground; never more than `most`. As wide as the
    fullest cell, and at least `FEW_CANDIDATES`.
    """
    start = np.searchsorted(cell, np.arange(cells))
    rank = np.arange(len(cell)) - start[cell]
    before: NDArray[np.int64] = np.cumsum(whole) - whole
    filled = before - before[start[cell]] > 0
    keep = (rank < most) & ((unit < FEW_CANDIDATES) | ~filled)
    cell, item = cell[keep], item[keep]
    column = np.arange(len(cell)) - np.searchsorted(cell, np.arange(cells))[cell]
    out = np.full((cells, max(FEW_CANDIDATES, int(column.max(initial=-1)) + 1)), -1, np.int32)
    out[cell, column] = item
    return out
