"""States of the tiles of one step, one byte a tile: as Python objects those of a continent would not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from dsdit.window import Window

ABSENT = 255
"""State of an index in the window that is not among the tiles."""


class TileStates(Mapping[str, int]):
    """Tile "row,col" -> TileState, as states on a window of the tile lattice. Equal to a dict of the same."""

    __slots__ = ("states", "window")

    def __init__(self, window: Window, states: NDArray[np.uint8]) -> None:
        self.window, self.states = window, states

    @classmethod
    def of(cls, tiles: Mapping[str, int]) -> TileStates:
        """The same tiles as an array of states on a window."""
        if isinstance(tiles, TileStates):
            return tiles
        indices = np.array([name.split(",") for name in tiles], np.int64).reshape(-1, 2)
        if not len(indices):
            return cls(Window(0, 0, 0, 0), np.zeros((0, 0), np.uint8))
        (row0, col0), (row1, col1) = indices.min(0).tolist(), (indices.max(0) + 1).tolist()
        states = np.full((row1 - row0, col1 - col0), ABSENT, np.uint8)
        states[indices[:, 0] - row0, indices[:, 1] - col0] = list(tiles.values())
        return cls(Window(row0, col0, row1, col1), states)

    @classmethod
    def from_bytes(cls, packed: bytes) -> TileStates:
        """Inverse of `to_bytes`."""
        if not packed:
            return cls.of({})
        row0, col0, rows, cols = np.frombuffer(packed, "<i4", 4).tolist()
        states = np.frombuffer(packed, np.uint8, offset=16).reshape(rows, cols)
        return cls(Window(row0, col0, row0 + rows, col0 + cols), states)

    def to_bytes(self) -> bytes:
        """First row and column, rows and columns as little-endian int32, then the states; empty without tiles."""
        if not self.states.size:
            return b""
        return np.array([*self.window.corner, *self.states.shape], "<i4").tobytes() + self.states.tobytes()

    def __getitem__(self, name: str) -> int:
        row, col = (int(part) for part in name.split(","))
        if (row, col) not in self.window:
            raise KeyError(name)
        state = int(self.states[row - self.window.row0, col - self.window.col0])
        if state == ABSENT:
            raise KeyError(name)
        return state

    def __iter__(self) -> Iterator[str]:
        for row, col in zip(*np.nonzero(self.states != ABSENT), strict=True):
            yield f"{int(row) + self.window.row0},{int(col) + self.window.col0}"

    def __len__(self) -> int:
        return int((self.states != ABSENT).sum())
