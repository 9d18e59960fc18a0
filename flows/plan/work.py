"""Jobs, tiles and network calls behind the due shards of a plan, counted on masks of the job lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsdit.lattice.job_mask import Jobs
from dsdit.plan.plan import Plan
from dsdit.sampling.passes import network_passes
from dsdit.window import Window

STAGES_OPEN, SAMPLES_OPEN = 3, 2
"""Rows of stages and of samples whose results are in scratch at the same time; see `flows.run.frontier`."""


@dataclass(frozen=True)
class Work:
    """Steps of a run, and what the network has to do in them."""

    shards: int
    """Of the whole plan."""
    due: int
    """Shards that the run writes, one mosaic step each."""
    off_land: int
    without_scene: int
    """Of the due shards."""
    cells_with_scene: int
    """Of the whole plan."""
    cells_with_reference: int
    """Of those with a scene."""
    stages: int
    stages_with_scene: int
    """Stages that read files; the others have nothing to read."""
    samples: int
    tiles: int
    """Of all samples."""
    tiles_without_scene: int
    """Tiles that are not given to the network."""
    passes: int
    """Network passes a tile, with all steps, guidance and ensemble."""
    network_calls: int
    """Calls of the network, each on one batch of tiles."""
    stages_open: int
    samples_open: int
    """Stages and samples in scratch at the same time, at most."""

    def rows(self) -> dict[str, int]:
        """Figures that are shown, by name."""
        return {
            "shards": self.shards,
            "shards_due": self.due,
            "shards_off_land": self.off_land,
            "shards_without_scene": self.without_scene,
            "cells_with_scene": self.cells_with_scene,
            "cells_with_reference": self.cells_with_reference,
            "tiles": self.tiles,
            "tiles_without_scene": self.tiles_without_scene,
            "network_calls": self.network_calls,
        }


def count_work(plan: Plan, due: Jobs) -> Work:
    """The work that writing the `due` shards takes."""
    layout, settings = plan.layout, plan.sampler
    samples, stages = steps_behind(plan, due)
    tiles = layout.map.tiles[samples.on(layout.sample_jobs.window)].astype(np.int64)
    scene = _scene_on(plan, samples, plan.lattice.overlap_px)
    passes = network_passes(settings)
    # A sample fills its last batch up: batches are counted job by job, with -(-a // b) rounding up.
    batches = int((-(-tiles[scene] // settings.batch)).sum())
    row = min(due.window.shape) + 2  # the run goes along the shorter side, with a job of the fringe at each end
    scenes = plan.cells.lr[..., 0] >= 0
    return Work(
        shards=len(layout.mosaic_jobs),
        due=len(due),
        off_land=len(layout.map.off_land),
        without_scene=int((~_scene_on(plan, due)).sum()),
        cells_with_scene=int(scenes.sum()),
        cells_with_reference=int((scenes & (plan.cells.ref[..., 0] >= 0)).sum()),
        stages=len(stages),
        stages_with_scene=int(_scene_on(plan, stages).sum()),
        samples=len(samples),
        tiles=int(tiles.sum()),
        tiles_without_scene=int(tiles[~scene].sum()),
        passes=passes,
        network_calls=batches * passes,
        stages_open=min(len(stages), STAGES_OPEN * row),
        samples_open=min(len(samples), SAMPLES_OPEN * row),
    )


def steps_behind(plan: Plan, due: Jobs) -> tuple[Jobs, Jobs]:
    """Jobs that must sample, and those that must stage, so that the `due` shards can be written."""
    if not len(due):
        return due, due
    samples = plan.layout.samples_for(due)
    grown = Jobs(samples.window, samples.mask | due.on(samples.window))
    around = grown.window.expand(1)
    return samples, Jobs(around, grown.near() & plan.layout.stage_jobs.on(around))


def with_scene(plan: Plan, window: Window, overhang_px: int = 0) -> NDArray[np.bool_]:
    """(row, col) on a window of jobs: True where some cell under the shard and its overhang has a scene.

    `overhang_px` widens each shard to the south and east, as tiles reach beyond the shard that samples them.
    """
    cells, side = plan.cells, plan.lattice.cell_px
    # Summed-area table: the number of cells with a scene in a rectangle is a sum of its four corners, so that each job
    # takes four look-ups however many cells it has.
    total = np.zeros((cells.lr.shape[0] + 1, cells.lr.shape[1] + 1), np.int64)
    total[1:, 1:] = (cells.lr[..., 0] >= 0).cumsum(0).cumsum(1)

    def ends(first: int, last: int, start: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last cell (exclusive) under each job of a row or column, counted from the first planned cell."""
        low = np.arange(first, last, dtype=np.int64) * plan.lattice.shard_px
        high = low + plan.lattice.shard_px + overhang_px
        return np.clip(low // side - start, 0, count), np.clip(-(-high // side) - start, 0, count)

    row0, row1 = ends(window.row0, window.row1, cells.window.row0, cells.lr.shape[0])
    col0, col1 = ends(window.col0, window.col1, cells.window.col0, cells.lr.shape[1])
    count = (
        total[np.ix_(row1, col1)] - total[np.ix_(row0, col1)] - total[np.ix_(row1, col0)] + total[np.ix_(row0, col0)]
    )
    return count > 0


def _scene_on(plan: Plan, jobs: Jobs, overhang_px: int = 0) -> NDArray[np.bool_]:
    """(n,) of the jobs in row-major order: whether they have a scene."""
    if not len(jobs):
        return np.zeros(0, bool)
    return with_scene(plan, jobs.window, overhang_px)[jobs.mask]
