"""Which jobs, tiles and cells a region needs: everything is recomputed from a job's index, nothing is listed.

A tile that touches region + halo is sampled whole. Jobs of the fringe stage and sample, and write no shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from dsdit.region import Region
from dsdit.tiling import Lattice
from dsdit.window import Index, Window

_NOTHING = Window(0, 0, 0, 0)


@dataclass(frozen=True)
class Layout:
    """A region on a lattice."""

    region: Region
    lattice: Lattice

    @cached_property
    def mosaic_jobs(self) -> tuple[Index, ...]:
        """Jobs that write a shard, in row-major order."""
        jobs = self.lattice.jobs_touching(self.region.window)
        return tuple(job for job in jobs.indices() if not _clip(self, job).empty)

    @cached_property
    def sample_jobs(self) -> tuple[Index, ...]:
        """Jobs that own a tile to be sampled, in row-major order."""
        around = {n for job in self.mosaic_jobs for n in job.neighbours()}
        return tuple(job for job in sorted(around) if self.sample_tiles(job))

    @cached_property
    def stage_jobs(self) -> tuple[Index, ...]:
        """Jobs whose pixels are read by a sample or mosaic step, in row-major order."""
        needed: set[Index] = set()
        for job in self.sample_jobs:
            needed.update(self.stages_of_sample(job))
        for job in self.mosaic_jobs:
            needed.update(self.stages_of_mosaic(job))
        return tuple(sorted(needed))

    @cached_property
    def tile_count(self) -> int:
        """Tiles to be sampled."""
        return sum(len(self.sample_tiles(job)) for job in self.sample_jobs)

    @cached_property
    def jobs_window(self) -> Window:
        """Window of the job lattice that holds every job: the extent of scratch arrays."""
        return _bounding(self.stage_jobs)

    @cached_property
    def mosaic_jobs_window(self) -> Window:
        """Window of the job lattice that holds every shard: the extent of the mosaic's arrays."""
        return _bounding(self.mosaic_jobs)

    @cached_property
    def cells(self) -> Window:
        """Window of the cell lattice whose choices the run needs."""
        window = _NOTHING
        for job in self.stage_jobs:
            window = window.union(self.lattice.cells_touching(self.lattice.shard_window(job)))
        return window

    def clip(self, job: Index) -> Window:
        """HR pixels of the region within the job's shard."""
        return _clip(self, job)

    def sample_tiles(self, job: Index) -> tuple[Index, ...]:
        """Tiles that the job samples, in row-major order."""
        return _sample_tiles(self, job)

    def tiles_of_mosaic(self, job: Index) -> tuple[Index, ...]:
        """Sampled tiles that reach shard + halo, in row-major order."""
        reach = self.lattice.tiles_touching(self.lattice.mosaic_window(job))
        tiles = (t for n in job.neighbours() for t in _sample_tiles(self, n) if t in reach)
        return tuple(sorted(tiles))

    def sample_context(self, job: Index) -> Window:
        """HR pixels that the sample step reads: around the tiles it samples."""
        window = _NOTHING
        for tile in self.sample_tiles(job):
            window = window.union(self.lattice.tile_window(tile))
        return window if window.empty else window.expand(2 * self.lattice.halo_px)

    def stages_of_sample(self, job: Index) -> tuple[Index, ...]:
        """Stage jobs that sample(job) reads."""
        return tuple(self.lattice.jobs_touching(self.sample_context(job)).indices())

    def stages_of_mosaic(self, job: Index) -> tuple[Index, ...]:
        """Stage jobs that mosaic(job) reads."""
        return tuple(self.lattice.jobs_touching(self.lattice.mosaic_context(job)).indices())

    def samples_of_mosaic(self, job: Index) -> tuple[Index, ...]:
        """Sample jobs that mosaic(job) reads."""
        return tuple(n for n in job.neighbours() if _sample_tiles(self, n))


def _bounding(jobs: tuple[Index, ...]) -> Window:
    if not jobs:
        return _NOTHING
    rows, cols = [j.row for j in jobs], [j.col for j in jobs]
    return Window(min(rows), min(cols), max(rows) + 1, max(cols) + 1)


@lru_cache(maxsize=100_000)
def _clip(layout: Layout, job: Index) -> Window:
    return layout.region.clip(layout.lattice.shard_window(job))


@lru_cache(maxsize=100_000)
def _sample_tiles(layout: Layout, job: Index) -> tuple[Index, ...]:
    own = layout.lattice.tiles_of(job)
    needed: set[Index] = set()
    for neighbour in job.neighbours():
        part = _clip(layout, neighbour)
        if not part.empty:
            reach = layout.lattice.tiles_touching(part.expand(layout.lattice.halo_px))
            needed.update(reach.intersect(own).indices())
    return tuple(sorted(needed))
