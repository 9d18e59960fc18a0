"""Items and the candidates of each cell, as columns of numbers. Fits of pairs are in pair_fits.py.

A continent has a million cells: they are looked up in arrays and never listed as objects. Items are a sequence of dicts
and cells a mapping from index to choice, so that readers need not know the columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from dsdit.digest import Digests, text_digests
from dsdit.window import Index, Window

FEW_CANDIDATES = 4
"""Candidates of a cell, of each kind, where one of them covers all of it; digests count candidates in this step."""
MAX_CANDIDATES = 12
"""Most candidates of a cell, of each kind: a bound on what a job may read."""


@dataclass(frozen=True)
class CellChoice:
    """Candidates of one cell, best first, as indices into the plan's items."""

    lr: tuple[int, ...] = ()
    ref: tuple[int, ...] = ()


class Items(Sequence[dict[str, Any]]):
    """Item records in JSON, each parsed when it is read."""

    def __init__(self, records: Any, digests: Digests | None = None) -> None:
        if digests is not None:
            self.digests = digests
        self.records = records
        """Sequence of JSON texts: a list, or a column of a table."""

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> Items:
        """From dicts; each has `id`, `digest` (text) and `when` (ISO time)."""
        texts = [json.dumps(record, sort_keys=True, separators=(",", ":")) for record in records]
        return cls(texts, text_digests([str(record["digest"]) for record in records]))

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, number: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, number: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, number: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        record: dict[str, Any] = json.loads(str(self.records[int(number)]))
        return record

    def take(self, numbers: NDArray[np.int64]) -> Items:
        """The items of these numbers, in their order."""
        return Items([str(self.records[n]) for n in numbers.tolist()], self.digests[numbers])

    @cached_property
    def digests(self) -> Digests:
        """(item, 32) digest of each item's own digest, which is text."""
        return text_digests([str(record["digest"]) for record in self])

    @cached_property
    def days(self) -> NDArray[np.float64]:
        """(item,) days since 1970 of each item's time."""
        return np.array([datetime.fromisoformat(r["when"]).timestamp() / 86400.0 for r in self], np.float64)


class Cells(Mapping[Index, CellChoice]):
    """Index -> candidates, for the cells of a window. A cell without candidates is not in the mapping."""

    def __init__(self, window: Window, lr: NDArray[np.int32], ref: NDArray[np.int32]) -> None:
        self.window = window
        self.lr = lr
        """(row, col, candidate) numbers of items, best first, -1 where there is none."""
        self.ref = ref

    @classmethod
    def of(cls, choices: Mapping[Index, CellChoice]) -> Cells:
        """From a choice per cell."""
        window = Window(0, 0, 0, 0)
        for cell in choices:
            window = window.union(Window(cell.row, cell.col, cell.row + 1, cell.col + 1))
        lr, ref = (
            np.full((*window.shape, max([FEW_CANDIDATES, *map(len, kind)])), -1, np.int32)
            for kind in ([choice.lr for choice in choices.values()], [choice.ref for choice in choices.values()])
        )
        for cell, choice in choices.items():
            row, col = cell.row - window.row0, cell.col - window.col0
            lr[row, col, : len(choice.lr)] = choice.lr
            ref[row, col, : len(choice.ref)] = choice.ref
        return cls(window, lr, ref)

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        """(row, col) True where there is any candidate."""
        return (self.lr[..., 0] >= 0) | (self.ref[..., 0] >= 0)

    def __getitem__(self, cell: Index) -> CellChoice:
        if cell not in self:
            raise KeyError(cell)
        row, col = cell[0] - self.window.row0, cell[1] - self.window.col0
        lr, ref = (tuple(int(n) for n in table[row, col] if n >= 0) for table in (self.lr, self.ref))
        return CellChoice(lr, ref)

    def __contains__(self, cell: object) -> bool:
        if cell not in self.window:
            return False
        assert isinstance(cell, tuple)
        return bool(self.chosen[cell[0] - self.window.row0, cell[1] - self.window.col0])

    def __iter__(self) -> Iterator[Index]:
        for row, col in np.argwhere(self.chosen).tolist():
            yield Index(row + self.window.row0, col + self.window.col0)

    def __len__(self) -> int:
        return int(self.chosen.sum())

    def part(self, window: Window) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """`lr` and `ref` on a window of cells, always `MAX_CANDIDATES` wide; -1 outside the table."""
        common = window.intersect(self.window)
        found = []
        for table in (self.lr, self.ref):
            out = np.full((*window.shape, MAX_CANDIDATES), -1, np.int32)
            if not common.empty:
                out[(*common.within(window), slice(table.shape[2]))] = table[common.within(self.window)]
            found.append(out)
        return found[0], found[1]

    def columns(self) -> dict[str, NDArray[Any]]:
        """One row for each cell with candidates: row, col, lr0, lr1, ..., ref0, ref1, ..."""
        rows, cols = np.nonzero(self.chosen)
        index = {"row": rows + self.window.row0, "col": cols + self.window.col0}
        columns: dict[str, NDArray[Any]] = {name: axis.astype(np.int32) for name, axis in index.items()}
        for kind, table in (("lr", self.lr), ("ref", self.ref)):
            for k in range(table.shape[2]):
                columns[f"{kind}{k}"] = table[rows, cols, k]
        return columns

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Cells:
        """Inverse of `columns`."""
        rows, cols = columns["row"], columns["col"]
        if not len(rows):
            return cls.of({})
        window = Window(int(rows.min()), int(cols.min()), int(rows.max()) + 1, int(cols.max()) + 1)
        tables = []
        for kind in ("lr", "ref"):
            width = sum(f"{kind}{k}" in columns for k in range(MAX_CANDIDATES))
            tables.append(np.full((*window.shape, width), -1, np.int32))
            for k in range(width):
                tables[-1][rows - window.row0, cols - window.col0, k] = columns[f"{kind}{k}"]
        return cls(window, *tables)

    def pairs(self) -> NDArray[np.int64]:
        """Sorted keys of the (reference, LR) pairs that meet in some cell; see `pair_keys`."""
        found = [np.empty(0, np.int64)]
        # A band of 64 rows at a time: keys of all pairs of all cells of a continent would be gigabytes.
        for r in range(0, self.window.shape[0], 64):
            lr, ref = self.lr[r : r + 64], self.ref[r : r + 64]
            keys = [pair_keys(ref[..., i], lr[..., k]) for i in range(ref.shape[2]) for k in range(lr.shape[2])]
            found.append(_distinct(np.concatenate([key[key >= 0] for key in keys])))
        return _distinct(np.concatenate(found))

    def only_used(self, count: int) -> tuple[NDArray[np.int64], Cells]:
        """Numbers, of `count` items, that some cell may read; and the same choices with those items renumbered."""
        # The last entry of both tables is where -1, no item, is looked up.
        is_used = np.zeros(count + 1, bool)
        is_used[self.lr] = is_used[self.ref] = True
        used = np.flatnonzero(is_used[:count])
        number = np.full(count + 1, -1, np.int32)
        number[used] = np.arange(len(used))
        return used, Cells(self.window, number[self.lr], number[self.ref])


def _distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted, each key (none is negative) once."""
    keys = np.sort(keys)
    first: NDArray[np.bool_] = np.diff(keys, prepend=-1) != 0
    return keys[first]


def pair_keys(ref: NDArray[np.int32], lr: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number for each (reference, LR) pair; -1 where either is missing.

    The reference is in the upper 32 bits and the scene in the lower ones, so keys are ordered as pairs are.
    """
    keys = (ref.astype(np.int64) << 32) | lr.astype(np.int64)
    return np.where((ref >= 0) & (lr >= 0), keys, -1)


def pair_of(key: int) -> tuple[int, int]:
    """(reference, LR) of a key; inverse of `pair_keys`."""
    return key >> 32, key & 0xFFFFFFFF
