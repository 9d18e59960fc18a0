"""A window: half-open ranges of rows and columns on a lattice of pixels, cells or jobs. Plain integers, signed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Index(NamedTuple):
    """(row, col) on a lattice of jobs, tiles or cells; rows grow southwards, both may be negative."""

    row: int
    col: int

    def neighbours(self) -> list[Index]:
        """The 3 x 3 indices around this one, itself included, in row-major order."""
        return [Index(self.row + r, self.col + c) for r in (-1, 0, 1) for c in (-1, 0, 1)]

    def __str__(self) -> str:
        return f"{self.row:+07d}{self.col:+07d}"


@dataclass(frozen=True, order=True, slots=True)
class Window:
    """[row0, row1) x [col0, col1)."""

    row0: int
    col0: int
    row1: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x); zero where the window is empty."""
        return max(self.row1 - self.row0, 0), max(self.col1 - self.col0, 0)

    @property
    def corner(self) -> tuple[int, int]:
        """First row and column."""
        return self.row0, self.col0

    @property
    def empty(self) -> bool:
        """True where there is no pixel inside."""
        return self.row1 <= self.row0 or self.col1 <= self.col0

    def expand(self, margin: int) -> Window:
        """Grown by `margin` on each side."""
        return Window(self.row0 - margin, self.col0 - margin, self.row1 + margin, self.col1 + margin)

    def intersect(self, other: Window) -> Window:
        """Common part; may be empty."""
        return Window(
            max(self.row0, other.row0),
            max(self.col0, other.col0),
            min(self.row1, other.row1),
            min(self.col1, other.col1),
        )

    def union(self, other: Window) -> Window:
        """Smallest window that holds both; an empty one adds nothing."""
        if self.empty:
            return other
        if other.empty:
            return self
        return Window(
            min(self.row0, other.row0),
            min(self.col0, other.col0),
            max(self.row1, other.row1),
            max(self.col1, other.col1),
        )

    def without(self, other: Window) -> list[Window]:
        """The part of this window outside another, as windows that do not overlap."""
        both = self.intersect(other)
        if both.empty:
            return [self]
        return [
            part
            for part in (
                Window(self.row0, self.col0, both.row0, self.col1),
                Window(both.row0, self.col0, both.row1, both.col0),
                Window(both.row0, both.col1, both.row1, self.col1),
                Window(both.row1, self.col0, self.row1, self.col1),
            )
            if not part.empty
        ]

    def coarsen(self, factor: int) -> Window:
        """The window of blocks of `factor` pixels that holds this one."""
        return Window(self.row0 // factor, self.col0 // factor, -(-self.row1 // factor), -(-self.col1 // factor))

    def refine(self, factor: int) -> Window:
        """The same area in pixels `factor` times smaller."""
        return Window(self.row0 * factor, self.col0 * factor, self.row1 * factor, self.col1 * factor)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Slices (y, x) of this window in an array whose first pixel is that of `outer`."""
        return (
            slice(self.row0 - outer.row0, self.row1 - outer.row0),
            slice(self.col0 - outer.col0, self.col1 - outer.col0),
        )

    def indices(self) -> Iterator[Index]:
        """Every index, row by row."""
        for row in range(self.row0, self.row1):
            for col in range(self.col0, self.col1):
                yield Index(row, col)

    def __contains__(self, index: object) -> bool:
        if not isinstance(index, tuple):
            return False
        row, col = index
        return bool(self.row0 <= row < self.row1 and self.col0 <= col < self.col1)
