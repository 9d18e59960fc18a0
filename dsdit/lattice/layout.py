"""Which jobs, tiles and cells a region needs, computed from a job's index; no list of tiles is stored.

A tile that touches the region or its halo is sampled whole. Jobs just outside the region stage and sample, and write no
shard. A land mask leaves whole jobs out, as if the region ended there: it changes no pixel of the other jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce

import numpy as np

from dsdit.lattice.job_mask import JobMap, Jobs, map_jobs
from dsdit.lattice.tiling import Lattice
from dsdit.region import Region
from dsdit.window import Index, Window

_NOTHING = Window(0, 0, 0, 0)


@dataclass(frozen=True)
class Layout:
    """A region on a lattice."""

    region: Region
    lattice: Lattice
    land_wkt: str | None = None
    """Polygons in CRS units: a job whose shard touches none of them is left out. None leaves out none."""

    @cached_property
    def map(self) -> JobMap:
        """All jobs, as arrays."""
        return map_jobs(self.region, self.lattice, self.land_wkt)

    @property
    def mosaic_jobs(self) -> Jobs:
        """Jobs that write a shard, in row-major order."""
        return self.map.mosaic

    @property
    def sample_jobs(self) -> Jobs:
        """Jobs that own a tile to be sampled, in row-major order."""
        return self.map.sample

    @property
    def stage_jobs(self) -> Jobs:
        """Jobs whose pixels are read by a sample or mosaic step, in row-major order."""
        return self.map.stage

    @cached_property
    def tile_count(self) -> int:
        """Tiles to be sampled."""
        return int(self.map.tiles.sum(dtype=np.int64))

    @property
    def jobs_window(self) -> Window:
        """Window of the job lattice that holds every job: the extent of scratch arrays."""
        return self.stage_jobs.window

    @property
    def mosaic_jobs_window(self) -> Window:
        """Window of the job lattice that holds every shard, off land too: the extent of the mosaic's arrays."""
        return self.map.extent

    @cached_property
    def cells(self) -> Window:
        """Window of the cell lattice whose choices the run needs."""
        staged = self.jobs_window.refine(self.lattice.shard_px)
        return self.lattice.cells_touching(staged.expand(self.lattice.fill_px))

    def clip(self, job: Index) -> Window:
        """HR pixels of the region within the job's shard; empty where the job is left out."""
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
        tiles = reduce(Window.union, _sampled_parts(self, job), _NOTHING)
        if tiles.empty:
            return _NOTHING
        first = self.lattice.tile_window(Index(tiles.row0, tiles.col0))
        last = self.lattice.tile_window(Index(tiles.row1 - 1, tiles.col1 - 1))
        return first.union(last).expand(2 * self.lattice.halo_px)

    def stages_of_sample(self, job: Index) -> Window:
        """Window of the stage jobs that sample(job) reads."""
        return _stages_of_sample(self, job)

    def stages_of_mosaic(self, job: Index) -> Window:
        """Window of the stage jobs that mosaic(job) reads."""
        return _stages_of_mosaic(self, job)

    def samples_for(self, due: Jobs) -> Jobs:
        """Sample jobs that the mosaics of `due` read."""
        near = due.window.expand(1)
        return Jobs(near, due.near() & self.sample_jobs.on(near))

    def samples_of_mosaic(self, job: Index) -> tuple[Index, ...]:
        """Sample jobs that mosaic(job) reads."""
        return tuple(n for n in job.neighbours() if n in self.sample_jobs)

    def inputs_of(self, step: str, job: Index) -> Iterator[tuple[str, Index]]:
        """Steps whose output in scratch a step of `job` reads."""
        if step == "mosaic":
            yield from (("sample", n) for n in self.samples_of_mosaic(job))
        if step != "stage":
            stages = self.stages_of_sample if step == "sample" else self.stages_of_mosaic
            yield from (("stage", n) for n in stages(job).indices())


_CACHED_JOBS = 4096
"""Jobs whose windows are cached, some 0.4 KB each: more than are in a wavefront across 700 shards."""
_CACHED_TILES = 256
"""Jobs whose tiles are cached, some 7 KB each: those around the jobs that a worker has at a time."""


@lru_cache(maxsize=_CACHED_JOBS)
def _clip(layout: Layout, job: Index) -> Window:
    if job in layout.map.off_land:
        return _NOTHING
    return layout.region.clip(layout.lattice.shard_window(job))


@lru_cache(maxsize=_CACHED_JOBS)
def _stages_of_sample(layout: Layout, job: Index) -> Window:
    return layout.lattice.jobs_touching(layout.sample_context(job))


@lru_cache(maxsize=_CACHED_JOBS)
def _stages_of_mosaic(layout: Layout, job: Index) -> Window:
    return layout.lattice.jobs_touching(layout.lattice.mosaic_context(job))


@lru_cache(maxsize=_CACHED_TILES)
def _sample_tiles(layout: Layout, job: Index) -> tuple[Index, ...]:
    return tuple(sorted({tile for part in _sampled_parts(layout, job) for tile in part.indices()}))


def _sampled_parts(layout: Layout, job: Index) -> Iterator[Window]:
    """Windows of the job's tiles that touch a shard near it, and its halo."""
    own = layout.lattice.tiles_of(job)
    for neighbour in job.neighbours():
        part = _clip(layout, neighbour)
        if not part.empty:
            yield layout.lattice.tiles_touching(part.expand(layout.lattice.halo_px)).intersect(own)
