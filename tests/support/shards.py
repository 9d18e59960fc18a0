"""Mosaics of made-up shards, without a run: what a publish makes of them follows from what was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import shapely

from dsdit.grid import Grid
from dsdit.lattice.job_mask import Jobs
from dsdit.lattice.tiling import Lattice
from dsdit.mosaic.template import create_mosaic
from dsdit.plan.candidates import Cells, Items
from dsdit.plan.plan import ModelChoice, Plan
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.receipts.receipts import Receipt, write_receipt
from dsdit.region import Region
from dsdit.status import JobState, PixelStatus
from dsdit.steps.scratch import mosaic_origin
from dsdit.store.arrays import forget_arrays, write_shard
from dsdit.store.objects import join
from dsdit.window import Index, Window

LATTICE = Lattice(scale=8, token_px=8, tile_px=16, overlap_px=8, chunk_strides=4, shard_chunks=2, halo_px=8)
"""Shards of 64 px, 8 LR pixels, in four chunks."""
SHARDS = Window(-7, -19, 13, 10)
"""20 x 29 of them around the origin: three levels."""


def plan_of(lattice: Lattice = LATTICE, shards: Window = SHARDS, footprint: shapely.Geometry | None = None) -> Plan:
    """A plan without items over whole shards, or over a footprint in EPSG:32632."""
    grid = Grid("EPSG:32632", 1.25, lattice.scale)
    shape = footprint or shapely.box(*grid.bounds_of(shards.refine(lattice.shard_px), grid.gsd_m))
    region = Region("made", grid, shape.wkt)
    return Plan(region, lattice, SamplerSettings(), ModelChoice("none", "0" * 64), 0.3, {}, Items.of([]), Cells.of({}))


def write_shards(plan: Plan, mosaic: str, seeds: Mapping[Index, int]) -> None:
    """What a publish reads of the shards of some jobs, each from its seed; a third of its pixels has no value."""
    forget_arrays()
    side, lr_side, at = plan.lattice.shard_px, plan.lattice.shard_px // plan.lattice.scale, mosaic_origin(plan)
    for job, seed in seeds.items():
        random = np.random.default_rng([seed, abs(job.row), abs(job.col)])
        status = random.choice(np.array([PixelStatus.DONE, PixelStatus.NO_REFERENCE, PixelStatus.CLOUDY]), (side, side))
        clear = status != PixelStatus.CLOUDY
        sr = random.integers(500 * seed, 500 * seed + 900, (3, side, side)).astype(np.uint16)
        write_shard(join(mosaic, "0"), "sr", at, job, np.where(clear, sr, np.uint16(65535)))
        write_shard(join(mosaic, "0"), "status", at, job, status.astype(np.uint8))
        lr = random.integers(0, 900, (2, 3, lr_side, lr_side))
        residual = np.where(lr[1] > 600, np.nan, lr[1] / 3e4 - 0.01).astype(np.float32)
        for name, values in (("lr", lr[0].astype(np.uint16)), ("residual", residual)):
            write_shard(join(mosaic, "lr"), name, at, job, values)


def make_mosaic(plan: Plan, mosaic: str, seeds: Mapping[Index, int]) -> None:
    """The template, with those shards."""
    create_mosaic(plan, mosaic)
    write_shards(plan, mosaic, seeds)


def keep_receipts(plan: Plan, receipts: str, jobs: Iterable[Index], state: JobState = JobState.DONE) -> None:
    """A receipt of each."""
    for job in jobs:
        pixels = {"done" if state is JobState.DONE else "failed": plan.lattice.shard_px**2}
        write_receipt(receipts, Receipt("mosaic", job, state, plan.job_digest(job), 1.0, pixels=pixels))


def some_jobs(plan: Plan, share: float = 0.03, seed: int = 0) -> Jobs:
    """Jobs picked at random, so few that a test takes seconds."""
    jobs = plan.layout.mosaic_jobs
    return Jobs(jobs.window, jobs.mask & (np.random.default_rng(seed).random(jobs.mask.shape) < share))


def objects(mosaic: Path) -> dict[str, bytes]:
    """Every object of the arrays below a folder, by its name."""
    found = [path for path in mosaic.glob("**/c/**/*") if path.is_file()]
    return {str(path.relative_to(mosaic)): path.read_bytes() for path in found}
