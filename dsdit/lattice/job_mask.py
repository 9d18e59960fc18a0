"""Jobs of a region as masks over the job lattice: which jobs write, sample and stage, and how many tiles each owns.

Nothing here grows with the number of tiles: they are counted a band of rows at a time. A block of jobs that is wholly
inside or outside the footprint is decided by one test, so that the work grows with the length of the outline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, overload

import numpy as np
import shapely
from numpy.typing import NDArray

from dsdit.lattice.tiling import Lattice
from dsdit.region import Region
from dsdit.window import Index, Window

_BLOCK = 64
"""Jobs per side of the largest blocks that are tested against the footprint at once; a power of two."""
_BAND = 16
"""Rows of jobs whose tiles are counted at once."""


class Jobs(Sequence[Index]):
    """Indices of jobs in row-major order, stored as one mask."""

    def __init__(self, window: Window, mask: NDArray[np.bool_]) -> None:
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            mask = mask[int(rows[0]) : int(rows[-1]) + 1, int(cols[0]) : int(cols[-1]) + 1]
            row, col = window.row0 + int(rows[0]), window.col0 + int(cols[0])
            window = Window(row, col, row + mask.shape[0], col + mask.shape[1])
        else:
            window, mask = Window(0, 0, 0, 0), np.zeros((0, 0), bool)
        self.window = window
        """Smallest window that holds them all."""
        self.mask = mask
        """(row, col) on `window`."""
        self._flat: NDArray[np.int64] = np.flatnonzero(mask)

    def __len__(self) -> int:
        return len(self._flat)

    @overload
    def __getitem__(self, number: int) -> Index: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Index]: ...
    def __getitem__(self, number: int | slice) -> Index | Sequence[Index]:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        row, col = divmod(int(self._flat[number]), self.mask.shape[1])
        return Index(row + self.window.row0, col + self.window.col0)

    def __iter__(self) -> Iterator[Index]:
        width, row0, col0 = self.mask.shape[1], self.window.row0, self.window.col0
        for start in range(0, len(self._flat), 4096):
            for flat in self._flat[start : start + 4096].tolist():
                yield Index(flat // width + row0, flat % width + col0)

    def __contains__(self, job: object) -> bool:
        if not isinstance(job, tuple):
            return False
        row, col = job[0] - self.window.row0, job[1] - self.window.col0
        rows, cols = self.mask.shape
        return 0 <= row < rows and 0 <= col < cols and bool(self.mask[row, col])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, jobs: Sequence[Index]) -> Jobs:
        """From indices in any order."""
        if not jobs:
            return cls(Window(0, 0, 0, 0), np.zeros((0, 0), bool))
        rows, cols = np.array(jobs, np.int64).T
        window = Window(int(rows.min()), int(cols.min()), int(rows.max()) + 1, int(cols.max()) + 1)
        mask = np.zeros(window.shape, bool)
        mask[rows - window.row0, cols - window.col0] = True
        return cls(window, mask)

    def by_columns(self) -> Iterator[Index]:
        """The same indices, column by column."""
        for col in range(self.mask.shape[1]):
            for row in np.flatnonzero(self.mask[:, col]).tolist():
                yield Index(row + self.window.row0, col + self.window.col0)

    def near(self) -> NDArray[np.bool_]:
        """(row, col) on `window` grown by one: True for every job of the set and its eight neighbours."""
        rows, cols = self.mask.shape
        out = np.zeros((rows + 2, cols + 2), bool)
        for r in range(3):
            for c in range(3):
                out[r : r + rows, c : c + cols] |= self.mask
        return out

    def on(self, window: Window) -> NDArray[np.bool_]:
        """(row, col) mask on another window."""
        out = np.zeros(window.shape, bool)
        have = window.intersect(self.window)
        if not have.empty:
            out[have.within(window)] = self.mask[have.within(self.window)]
        return out

    def indices(self) -> NDArray[np.int32]:
        """(job, 2) rows and columns."""
        width = max(self.mask.shape[1], 1)
        rows = self._flat // width + self.window.row0
        return np.stack([rows, self._flat % width + self.window.col0], 1).astype(np.int32)


@dataclass(frozen=True)
class JobMap:
    """A region's jobs."""

    mosaic: Jobs
    """Jobs that write a shard."""
    whole: NDArray[np.bool_]
    """On `mosaic.window`: True where the shard is wholly inside the region."""
    sample: Jobs
    """Jobs that own a tile to be sampled."""
    stage: Jobs
    """Jobs whose stage is read by a sample or mosaic step."""
    tiles: NDArray[np.int32]
    """On `sample.window`: numbers of tiles to be sampled."""
    off_land: Jobs
    """Jobs whose shards the land mask leaves out."""
    extent: Window
    """Window of all shards of the region, those off land too."""

    def covered(self, margin: int, region: Region, lattice: Lattice) -> NDArray[np.bool_]:
        """On `mosaic.window`: True where the shard and `margin` HR pixels around it are wholly inside the region.

        `margin` is at most a shard.
        """
        # Whole neighbours prove it without a test of polygons.
        near = np.pad(self.whole, 1)
        out = np.ones(self.whole.shape, bool)
        for r in range(3):
            for c in range(3):
                rows, cols = self.whole.shape
                out &= near[r : r + rows, c : c + cols]
        first = self.mosaic.window
        for row, col in np.argwhere(self.whole & ~out).tolist():
            job = Index(row + first.row0, col + first.col0)
            out[row, col] = region.covers(lattice.shard_window(job).expand(margin))
        return out


def touched(region: Region, lattice: Lattice, footprint: Any = None) -> tuple[Window, NDArray[np.uint8]]:
    """Window of the job lattice, and 0 where a shard is outside the footprint, 1 where it touches it, 2 where inside.

    `footprint` replaces the region's own; both are prepared polygons in CRS units.
    """
    window = lattice.jobs_touching(region.window)
    out = np.zeros(window.shape, np.uint8)
    shape = region.footprint if footprint is None else footprint
    side, gsd = lattice.shard_px, region.grid.gsd_m
    rows, cols = (a.ravel() for a in np.mgrid[0 : out.shape[0] : _BLOCK, 0 : out.shape[1] : _BLOCK])
    size = _BLOCK
    # Blocks (rows, cols: their first jobs) are halved until each is inside or outside, or is one job.
    while len(rows):
        row1, col1 = np.minimum(rows + size, out.shape[0]), np.minimum(cols + size, out.shape[1])
        x0, x1 = ((k + window.col0) * side * gsd for k in (cols, col1))
        y0, y1 = (-(k + window.row0) * side * gsd for k in (row1, rows))
        boxes: NDArray[Any] = np.atleast_1d(shapely.box(x0, y0, x1, y1))
        inside = shapely.contains(shape, boxes)
        undecided = ~inside
        undecided[undecided] = shapely.intersects(shape, boxes[undecided])
        for k in np.flatnonzero(inside):
            out[rows[k] : row1[k], cols[k] : col1[k]] = 2
        if size == 1:
            out[rows[undecided], cols[undecided]] = 1
            break
        size //= 2
        rows, cols = (
            np.concatenate([a[undecided] + d for d in steps])
            for a, steps in ((rows, (0, 0, size, size)), (cols, (0, size, 0, size)))
        )
        have = (rows < out.shape[0]) & (cols < out.shape[1])
        rows, cols = rows[have], cols[have]
    return window, out


@lru_cache(maxsize=8)
def map_jobs(region: Region, lattice: Lattice, land_wkt: str | None = None) -> JobMap:
    """All jobs of a region; those whose shard touches nothing of `land_wkt` (CRS units) are left out."""
    window, state = touched(region, lattice)
    # A shard may touch the footprint and hold no pixel centre of it: then it is none of the region's.
    cut: dict[Index, Window] = {}
    for row, col in np.argwhere(state == 1).tolist():
        job = Index(row + window.row0, col + window.col0)
        part = region.clip(lattice.shard_window(job))
        if part.empty:
            state[row, col] = 0
        else:
            cut[job] = part
    extent = Jobs(window, state > 0).window
    off = np.zeros(state.shape, bool)
    if land_wkt is not None:
        land = shapely.from_wkt(land_wkt)
        shapely.prepare(land)
        off = (state > 0) & (touched(region, lattice, land)[1] == 0)
        state[off] = 0
    mosaic, off_land = Jobs(window, state > 0), Jobs(window, off)
    # Jobs of the fringe own tiles that reach into the region: one job further on each side, stages one more.
    window = window.expand(1)
    state = np.pad(state, 1)
    tiles, stage = np.zeros(window.shape, np.int32), np.zeros(window.expand(1).shape, bool)
    for row in range(0, window.shape[0], _BAND):
        _count_band(lattice, window, state, cut, row, tiles, stage)
    _spread(stage, np.argwhere(state > 0), 2 * lattice.halo_px, lattice)
    whole = (state == 2)[mosaic.window.within(window)] if len(mosaic) else np.zeros((0, 0), bool)
    sample = Jobs(window, tiles > 0)
    counts = tiles[sample.window.within(window)] if len(sample) else tiles[:0, :0]
    return JobMap(mosaic, whole, sample, Jobs(window.expand(1), stage), counts, off_land, extent)


def _count_band(
    lattice: Lattice,
    window: Window,
    state: NDArray[np.uint8],
    cut: dict[Index, Window],
    row: int,
    tiles: NDArray[np.int32],
    stage: NDArray[np.bool_],
) -> None:
    """Counts the tiles that `_BAND` rows of jobs own and sample, and marks the stages that those read.

    `state` (0, 1, 2) and `tiles` are on `window`; `stage` is on `window` grown by one.
    """
    n, halo = lattice.shard_strides, lattice.halo_px
    rows = min(row + _BAND, window.shape[0]) - row
    own = Window(window.row0 + row, window.col0, window.row0 + row + rows, window.col1).refine(n)
    paint = np.zeros(own.shape, bool)
    near = slice(max(row - 1, 0), row + rows + 1)
    # Whole shards all need the same window of tiles. They are painted as a sum of rectangles: +1 and -1 at the corners,
    # then cumulative sums along both axes.
    one = lattice.tiles_touching(lattice.shard_window(Index(0, 0)).expand(halo))
    at_row, at_col = np.nonzero(state[near] == 2)
    top = (at_row + near.start + window.row0) * n - own.row0
    left = (at_col + window.col0) * n - own.col0
    edges = np.zeros((own.shape[0] + 1, own.shape[1] + 1), np.int32)
    r0, r1 = (np.clip(top + k, 0, own.shape[0]) for k in (one.row0, one.row1))
    c0, c1 = (np.clip(left + k, 0, own.shape[1]) for k in (one.col0, one.col1))
    for r, c, sign in ((r0, c0, 1), (r0, c1, -1), (r1, c0, -1), (r1, c1, 1)):
        np.add.at(edges, (r, c), sign)
    paint |= edges.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)[:-1, :-1] > 0
    # Cut shards need the tiles around their own part of the region.
    for job_row, job_col in np.argwhere(state[near] == 1).tolist():
        part = cut[Index(job_row + near.start + window.row0, job_col + window.col0)]
        reach = lattice.tiles_touching(part.expand(halo)).intersect(own)
        if not reach.empty:
            paint[reach.within(own)] = True
    # (job row, tile row in job, job col, tile col in job)
    blocks = paint.reshape(rows, n, -1, n)
    counts = blocks.sum((1, 3), dtype=np.int32)
    tiles[row : row + rows] = counts
    have = counts > 0
    by_row, by_col = np.any(blocks, axis=3).swapaxes(1, 2)[have], np.any(blocks, axis=1)[have]
    # First and last tile of each job along both axes, then the shards that their pixels and margins reach.
    first = np.stack([by_row.argmax(1), by_col.argmax(1)], 1)
    last = n - 1 - np.stack([by_row[:, ::-1].argmax(1), by_col[:, ::-1].argmax(1)], 1)
    low = (first * lattice.stride_px - 2 * halo) // lattice.shard_px
    high = (last * lattice.stride_px + lattice.tile_px + 2 * halo - 1) // lattice.shard_px
    _mark(stage, np.argwhere(have) + np.array([row, 0]), low, high)


def _spread(stage: NDArray[np.bool_], jobs: NDArray[np.int64], margin: int, lattice: Lattice) -> None:
    """Marks the stages within `margin` HR pixels of the shards of jobs."""
    reach = -(-margin // lattice.shard_px)
    _mark(stage, jobs, np.full(jobs.shape, -reach), np.full(jobs.shape, reach))


def _mark(stage: NDArray[np.bool_], jobs: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]) -> None:
    """Marks the jobs from `low` to `high` around each, both within -1 to 1; `stage` has a margin of one job."""
    for r in (-1, 0, 1):
        for c in (-1, 0, 1):
            take = (low[:, 0] <= r) & (r <= high[:, 0]) & (low[:, 1] <= c) & (c <= high[:, 1])
            stage[jobs[take, 0] + 1 + r, jobs[take, 1] + 1 + c] = True
