"""Digests of jobs: of everything that the output of a step depends on.

Each cell has a digest of its position, its candidates and their fits. A job's digest joins those of the cells within
its reach to the digest of the settings and, where the region's outline cuts its shard, to that of the outline. A region
that goes on elsewhere changes nothing in it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.digest import NO_DIGEST, Digest, Digests, json_digest, row_digests, stack_digests
from dsdit.lattice.layout import Layout
from dsdit.plan.candidates import FEW_CANDIDATES, Cells, Items, pair_keys
from dsdit.plan.pair_fits import Fits
from dsdit.plan.seams import first_scenes
from dsdit.window import Index, Window

_BLOCK = 8
"""Cells per side of the blocks in which digests of cells are cached."""
_MAX_BLOCKS = 4096
"""Blocks that are cached at most, 2 KB each."""


@dataclass(frozen=True, eq=False)
class JobDigests:
    """Digests of a plan's cells and jobs; each is computed once."""

    settings: Digest
    layout: Layout
    items: Items
    cells: Cells
    fits: Fits
    seams: Fits
    _blocks: dict[Index, Digests] = field(default_factory=dict, init=False, repr=False)

    def of_stage(self, job: Index) -> Digest:
        """Of what stage(job) writes."""
        lattice = self.layout.lattice
        return self._join(self.of_cells(lattice.cells_touching(lattice.shard_window(job).expand(lattice.fill_px))))

    def of_sample(self, job: Index) -> Digest:
        """Of what sample(job) writes."""
        stages = [self.of_stage(stage).hex() for stage in self.layout.stages_of_sample(job).indices()]
        return json_digest({"stages": stages, "tiles": self.layout.sample_tiles(job)})

    def of_mosaic(self, job: Index) -> Digest:
        """Of a job's shard."""
        whole = self.layout.region.covers(self.layout.lattice.mosaic_window(job))
        return self._join(self.of_cells(self.reached_cells(job)), b"" if whole else self._outline)

    def reached_cells(self, job: Index) -> Window:
        """Cells on which a job's shard may depend."""
        lattice = self.layout.lattice
        margin = lattice.tile_px + 2 * lattice.halo_px + lattice.fill_px
        return lattice.cells_touching(lattice.mosaic_window(job).expand(margin))

    @cached_property
    def of_mosaics(self) -> Digests:
        """(job, 32) `of_mosaic` of every mosaic job, in row-major order."""
        jobs, region, lattice = self.layout.mosaic_jobs, self.layout.region, self.layout.lattice
        whole = self.layout.map.covered(lattice.halo_px, region, lattice)
        columns = self._reached_columns()
        found = []
        for row, cells in enumerate(self._cells_by_job_row()):
            for col in np.flatnonzero(jobs.mask[row]).tolist():
                found.append(self._join(cells[:, columns[col]], b"" if whole[row, col] else self._outline))
        return stack_digests(found)

    def _reached_columns(self) -> list[slice]:
        """Columns of cells that each column of mosaic jobs reaches, counted from the first that any job reaches."""
        jobs = self.layout.mosaic_jobs.window
        reach = [self.reached_cells(Index(jobs.row0, col)) for col in range(jobs.col0, jobs.col1)]
        return [slice(window.col0 - reach[0].col0, window.col1 - reach[0].col0) for window in reach]

    def _cells_by_job_row(self) -> Iterator[Digests]:
        """For each row of mosaic jobs the (row, col, 32) digests of all cells that it reaches."""
        jobs = self.layout.mosaic_jobs.window
        cells, top = np.empty((0, 0, 32), np.uint8), 0
        for row in range(jobs.row0, jobs.row1):
            need = self.reached_cells(Index(row, jobs.col0)).union(self.reached_cells(Index(row, jobs.col1 - 1)))
            # Rows of cells that the row of jobs before reached too are taken over, only those below are computed.
            cells, top = cells[need.row0 - top :], need.row0
            below = Window(top + len(cells), need.col0, need.row1, need.col1)
            if not below.empty:
                computed = self._compute_cells(below)
                cells = np.concatenate([cells, computed]) if len(cells) else computed
            yield cells

    def of_cells(self, window: Window) -> Digests:
        """(row, col, 32) digest of each cell's position, candidates, fits and, where seams are balanced, neighbours."""
        out = np.empty((*window.shape, 32), np.uint8)
        for block in window.coarsen(_BLOCK).indices():
            cells = Window(block.row, block.col, block.row + 1, block.col + 1).refine(_BLOCK)
            if block not in self._blocks:
                if len(self._blocks) >= _MAX_BLOCKS:
                    self._blocks.clear()
                self._blocks[block] = self._compute_cells(cells)
            part = cells.intersect(window)
            out[part.within(window)] = self._blocks[block][part.within(cells)]
        return out

    def _compute_cells(self, window: Window) -> Digests:
        lr, ref = self.cells.part(window)
        rows, cols = np.arange(window.row0, window.row1), np.arange(window.col0, window.col1)
        position = np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).astype("<i8")
        near = first_scenes(self.cells, window).reshape(*window.shape, 9) if len(self.seams) else position[..., :0]
        found = np.empty((*window.shape, 32), np.uint8)
        # Tables are as wide as the cell with most candidates. A digest must not depend on that: candidates are counted
        # in steps of FEW_CANDIDATES, and cells with equal numbers of steps for both kinds are computed together.
        steps = [-(-np.maximum((kind >= 0).sum(-1), 1) // FEW_CANDIDATES) for kind in (lr, ref)]
        for a in np.unique(steps[0]).tolist():
            for b in np.unique(steps[1]).tolist():
                some = (steps[0] == a) & (steps[1] == b)
                if some.any():
                    scenes, references = lr[some, : a * FEW_CANDIDATES], ref[some, : b * FEW_CANDIDATES]
                    found[some] = self._compute(position[some], scenes, references, near[some])
        return found

    def _compute(
        self, position: NDArray[np.int64], lr: NDArray[np.int32], ref: NDArray[np.int32], near: NDArray[np.int32]
    ) -> Digests:
        """(cell, 32) of cells whose candidates are (cell, n): another n gives other digests."""
        rows = self.fits.row_numbers(pair_keys(ref[..., :, None], lr[..., None, :]))
        found = _joined_rows(position, self._item_digests[lr], self._item_digests[ref], self.fits.deciding[rows])
        if not len(self.seams):
            return found
        rows = self.seams.measured(pair_keys(lr[..., :, None], near[..., None, :]))
        # A cell without a measured pair does not depend on its neighbours; see `dsdit.plan.seams.balance`.
        met = (rows >= 0).any((-2, -1))
        if met.any():
            found[met] = _joined_rows(found[met], self._item_digests[near[met]], self.seams.deciding[rows[met]])
        return found

    @cached_property
    def _item_digests(self) -> Digests:
        """(item + 1, 32); the last row, at index -1, stands for no item."""
        return np.concatenate([self.items.digests, stack_digests([NO_DIGEST])])

    @cached_property
    def _outline(self) -> Digest:
        return hashlib.sha256(self.layout.region.footprint_wkt.encode()).digest()

    def _join(self, cells: Digests, outline: bytes = b"") -> Digest:
        return hashlib.sha256(self.settings + cells.tobytes() + outline).digest()


def _joined_rows(first: NDArray[Any], *more: NDArray[Any]) -> Digests:
    """(..., 32) digests of rows; the last axis of the first, and all further axes of the others, belong to a row."""
    lead = first.shape[:-1]
    parts = [np.ascontiguousarray(c).view(np.uint8).reshape(math.prod(lead), -1) for c in (first, *more)]
    return row_digests(np.concatenate(parts, 1)).reshape(*lead, 32).copy()
