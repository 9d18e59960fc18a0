"""Publishing a continent of which a few shards are written: time and memory go with what changed, not with the region.

Arrays have the continent's shape and hold no more than the shards of two runs; the second publish finds the first.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from dsdit.mosaic.template import create_mosaic, level_count
from dsdit.plan.candidates import Cells, Items
from dsdit.plan.plan import ModelChoice, Plan
from dsdit.plan.sampler_settings import SamplerSettings
from dsdit.receipts.receipts import compact_receipts
from dsdit.status import PixelStatus
from dsdit.steps.publish.parts import changed_jobs, due_batches
from dsdit.steps.publish.publish import publish
from dsdit.steps.publish.report import Report
from dsdit.steps.scratch import mosaic_origin
from dsdit.store.arrays import forget_arrays, write_shard
from dsdit.store.objects import join, read_json
from dsdit.window import Index
from tests.benchmarks.continent import LATTICE, OUTLINE, region
from tests.support.running import NOW
from tests.support.shards import keep_receipts


def plan_of(outline: list[tuple[float, float]] = OUTLINE) -> Plan:
    """The continent without items."""
    model = ModelChoice("published", "0" * 64)
    return Plan(region(outline), LATTICE, SamplerSettings(), model, 0.3, {}, Items.of([]), Cells.of({}))


def write_land(plan: Plan, mosaic: str, job: Index) -> None:
    """A shard of smooth land with some grain."""
    side, lr_side, at = plan.lattice.shard_px, plan.lattice.shard_px // plan.lattice.scale, mosaic_origin(plan)
    random = np.random.default_rng([abs(job.row), abs(job.col)])
    grain = random.integers(0, 60, (3, side, side), np.uint16)
    write_shard(join(mosaic, "0"), "sr", at, job, grain + (1500 + np.arange(side) // 4).astype(np.uint16))
    write_shard(join(mosaic, "0"), "status", at, job, np.full((side, side), PixelStatus.DONE, np.uint8))
    lr = random.integers(1500, 2300, (3, lr_side, lr_side)).astype(np.uint16)
    write_shard(join(mosaic, "lr"), "lr", at, job, lr)
    residual = random.normal(0, 0.002, (3, lr_side, lr_side)).astype(np.float32)
    write_shard(join(mosaic, "lr"), "residual", at, job, residual)


def neighbours(plan: Plan, count: int) -> list[Index]:
    """So many jobs side by side in the middle of the region."""
    jobs = plan.layout.mosaic_jobs
    row = jobs.window.row0 + jobs.mask.shape[0] // 2
    cols = np.flatnonzero(jobs.mask[row - jobs.window.row0])
    return [Index(row, int(col) + jobs.window.col0) for col in cols[len(cols) // 2 :][:count]]


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def publish_runs(folder: Path, plan: Plan, runs: list[list[Index]]) -> list[dict[str, Any]]:
    """Each run writes its shards and publishes; returns parts, seconds and growth of memory of each publish."""
    mosaic, receipts = str(folder / "mosaic.zarr"), str(folder / "receipts")
    create_mosaic(plan, mosaic)
    found = []
    for jobs in runs:
        forget_arrays()
        for job in jobs:
            write_land(plan, mosaic, job)
        keep_receipts(plan, receipts, jobs)
        before, started, cpu = peak_bytes(), time.monotonic(), time.process_time()
        changed = changed_jobs(plan, mosaic, receipts)
        parts = sum(batch.size for batch in due_batches(plan, changed))
        publish(plan, str(folder), _REPORT, NOW, changed=changed)
        spent = {"s": time.monotonic() - started, "cpu_s": time.process_time() - cpu}
        found.append({"shards": len(changed), "parts": parts, "grown": peak_bytes() - before, **spent})
        compact_receipts(receipts, "mosaic")
    return found


_REPORT = Report("continent", "0" * 64, {}, {}, {}, {}, 0, {})


def measure() -> dict[str, str]:
    """The whole benchmark: what was measured, against what."""
    plan = plan_of()
    jobs, shape = len(plan.layout.mosaic_jobs), plan.region.window.shape
    picked = neighbours(plan, 5)
    with tempfile.TemporaryDirectory() as folder:
        runs = publish_runs(Path(folder), plan, [picked[:4], picked[4:]])
        cog, item = (Path(folder) / "sr.tif").exists(), read_json(join(folder, "item.json"))
        picture = (Path(folder) / "picture.png").stat().st_size
    assert not cog and "sr" not in item["assets"]
    figures = {"region": f"{shape[0]:,} x {shape[1]:,} px, {jobs:,} shards, {level_count(plan)} levels; no COG"}
    for name, run in zip(("first publish", "next run"), runs, strict=True):
        figures[name] = (
            f"{run['shards']} shards written, {run['parts']} parts made, {run['s']:.1f} s "
            f"({run['cpu_s']:.1f} s of CPU); grown by {run['grown'] / 2**20:.0f} MiB"
        )
    figures["picture"] = f"{picture / 1024:.0f} KiB"
    figures["peak resident"] = f"{peak_bytes() / 2**30:.2f} GiB with plan and libraries (bound 1 GiB)"
    return figures


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name}: {value}")
