"""What a plan costs, before anything is spent: counts, bytes, objects, requests, hours, and money if a price is given.

Bytes are upper bounds, before compression. Everything is a sum over masks of jobs: nothing is listed, so that it takes
a moment for a continent too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsdit.lattice.job_mask import Jobs
from dsdit.mosaic.mosaic_arrays import LEVEL_ARRAYS, shard_specs
from dsdit.mosaic.template import level_count
from dsdit.plan.licences import strictest
from dsdit.plan.plan import Plan
from dsdit.sampling.passes import network_passes
from dsdit.status import JobState
from dsdit.steps.publish.report import registration_notes
from dsdit.steps.publish.shard_map import draw_shards
from dsdit.steps.scratch import SCRATCH
from dsdit.store.array_spec import shard_bytes
from dsdit.store.objects import join, read_json
from dsdit.window import Window
from flows.report import read_report
from flows.request.settings import Cost

SECONDS_PER_TILE = 0.08
"""One network pass on one CPU core for one tile of 128 px of `dsdit-tiny`: taken where nothing was measured."""
STAGES_OPEN, SAMPLES_OPEN = 3, 2
"""Rows of jobs that lie in scratch at once, each as long as the region's shorter side; see `flows.run.frontier`."""
_BLOCK_PX = 512
"""Side of a block of a COG: what one request reads."""
WRITE_REQUESTS, _READ_REQUESTS = 3, 2.5
"""Requests that Zarr takes to write a shard (it looks for the one before) and to read parts of one (size, index and
chunks); a test counts them."""
_SAMPLE_READS, _MOSAIC_READS = 4, 5
"""Arrays that a sample reads of each stage around it, and a mosaic of each stage and sample around it together."""


def with_scene(plan: Plan, window: Window, overhang_px: int = 0) -> NDArray[np.bool_]:
    """(row, col) on a window of jobs: True where some cell under the shard and its overhang has a scene."""
    cells, side = plan.cells, plan.lattice.cell_px
    total = np.zeros((cells.lr.shape[0] + 1, cells.lr.shape[1] + 1), np.int64)
    total[1:, 1:] = (cells.lr[..., 0] >= 0).cumsum(0).cumsum(1)

    def ends(first: int, last: int, start: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        low = np.arange(first, last, dtype=np.int64) * plan.lattice.shard_px
        high = low + plan.lattice.shard_px + overhang_px
        return np.clip(low // side - start, 0, count), np.clip(-(-high // side) - start, 0, count)

    row0, row1 = ends(window.row0, window.row1, cells.window.row0, cells.lr.shape[0])
    col0, col1 = ends(window.col0, window.col1, cells.window.col0, cells.lr.shape[1])
    seen = total[np.ix_(row1, col1)] - total[np.ix_(row0, col1)] - total[np.ix_(row1, col0)] + total[np.ix_(row0, col0)]
    return seen > 0


def _reach(plan: Plan, due: Jobs) -> tuple[Jobs, Jobs]:
    """Jobs that sample, and those that stage, so that `due` can be written."""
    if not len(due):
        return due, due
    samples = plan.layout.samples_for(due)
    grown = Jobs(samples.window, samples.mask | due.on(samples.window))
    around = grown.window.expand(1)
    return samples, Jobs(around, grown.near() & plan.layout.stage_jobs.on(around))


def requests_of_scratch(stages: int, samples: int, mosaics: int, around: int = 9) -> int:
    """Requests of so many steps where scratch lies in an object store; `around` are the neighbours that each reads."""
    around = min(around, stages)
    written = stages * len(SCRATCH["stage"]) + samples * len(SCRATCH["sample"])
    read = around * (_SAMPLE_READS * samples + _MOSAIC_READS * mosaics)
    receipts = 2 * around * (samples + 2 * mosaics) + 2 * (stages + samples)
    return int(WRITE_REQUESTS * written + _READ_REQUESTS * read) + receipts


def price(
    plan: Plan, due: Jobs | None = None, cost: Cost | None = None, speed: tuple[float, str] | None = None
) -> dict[str, Any]:
    """What doing the `due` jobs takes (all by default); `speed` is (seconds a network call, where from)."""
    cost, lattice, layout = cost or Cost(), plan.lattice, plan.layout
    due = layout.mosaic_jobs if due is None else due
    samples, stages = _reach(plan, due)
    tiles = layout.map.tiles[samples.on(layout.sample_jobs.window)].astype(np.int64)
    seen = with_scene(plan, samples.window, lattice.overlap_px)[samples.mask] if len(samples) else tiles > 0
    sampled = tiles[seen]
    passes = network_passes(plan.sampler)
    calls = int((-(-sampled // plan.sampler.batch)).sum()) * passes
    hr, lr = lattice.shard_px**2, (lattice.shard_px // lattice.scale) ** 2
    staged = int(with_scene(plan, stages.window)[stages.mask].sum()) if len(stages) else 0
    has_ref = bool((plan.cells.ref[..., 0] >= 0).any())
    bands = len(plan.bands)
    per_stage, per_sample = (shard_bytes(SCRATCH[step], lattice, bands) for step in ("stage", "sample"))
    short = min(due.window.shape) + 2
    open_stages, open_samples = min(len(stages), STAGES_OPEN * short), min(len(samples), SAMPLES_OPEN * short)
    arrays = len(shard_specs(plan))
    coarse = sum(2 * -(-len(due) // 4**level) for level in range(1, level_count(plan))) if len(due) else 0
    objects = len(due) * arrays + coarse
    blocks = {px: -(-px // _BLOCK_PX) + 1 for px in (lattice.shard_px, lattice.shard_px // lattice.scale)}
    reads = staged * (4 * (blocks[lattice.shard_px // lattice.scale] ** 2 + 1))
    reads += staged * (blocks[lattice.shard_px] ** 2 + 1) * has_ref
    per_level = shard_bytes(LEVEL_ARRAYS, lattice, bands)
    written = int(len(due) * (shard_bytes(shard_specs(plan), lattice, bands) + per_level / 3))
    if cost.seconds_per_tile is not None:
        hours, words = int(sampled.sum()) * cost.seconds_per_tile / 3600, f"{cost.seconds_per_tile:g} s a tile, as set"
    elif speed is not None:
        hours, words = calls * speed[0] / 3600, f"{speed[0]:.3g} s a network call, {speed[1]}"
    else:
        hours = int(sampled.sum()) * passes * SECONDS_PER_TILE / 3600
        words = f"{SECONDS_PER_TILE:g} s a tile and pass, assumed: set cost.seconds_per_tile, or run once"
    requests = reads + WRITE_REQUESTS * objects + coarse * 4 + 2 * len(due)
    scratch_requests = requests_of_scratch(len(stages), len(samples), len(due))
    found: dict[str, Any] = {
        "shards": len(layout.mosaic_jobs),
        "shards_due": len(due),
        "shards_off_land": len(layout.map.off_land),
        "shards_without_scene": int((~with_scene(plan, due.window)[due.mask]).sum()) if len(due) else 0,
        "tiles": int(tiles.sum()),
        "tiles_without_scene": int(tiles[~seen].sum()),
        "network_calls": calls,
        "bytes_read": staged * (hr * bands * has_ref + lr * (2 * bands + 2)),
        "bytes_written": written,
        "bytes_scratch_peak": open_stages * per_stage + open_samples * per_sample,
        "bytes_scratch": len(stages) * per_stage + len(samples) * per_sample,
        "objects": objects,
        "requests": requests,
        "requests_of_scratch": scratch_requests,
        "device_hours": hours,
        "speed": words,
        "items": len(plan.items),
    }
    found.update(_money(cost, hours, requests, written))
    if notes := registration_notes(plan):
        found["registration"] = list(notes)
    found["licences"] = sorted(
        {f"{n}: {s.get('licence')} (derivatives: {s.get('derivatives')})" for n, s in plan.sources.items()}
    )
    if (terms := strictest(plan)) is not None:
        found["derivatives"] = f"{terms[0]} (source {', '.join(terms[1])})"
    return found


def _money(cost: Cost, hours: float, requests: int, written: int) -> dict[str, float]:
    run = [
        part * price
        for part, price in ((hours, cost.device_hour), (requests / 1000, cost.thousand_requests))
        if price is not None
    ]
    found = {"price_of_the_run": sum(run)} if run else {}
    if cost.gb_month is not None:
        found["price_of_keeping_a_month"] = written / 1e9 * cost.gb_month
    return found


def last_speed(plan: Plan, output: str) -> tuple[float, str] | None:
    """(seconds a network call, where from) out of the last run's report, if it ran the same network in the same way."""
    report = read_report(output)
    spent = 0.0 if report is None else report.seconds.get("sample", 0.0)
    if report is None or not report.calls or not spent:
        return None
    ran = read_json(join(output, "plans", f"{report.plan[:16]}.json"))
    mine = plan.to_dict()
    alike = ran is not None and all(
        ran[part].get(key) == mine[part][key]
        for part, keys in (("model", ("digest", "device", "dtype")), ("sampler", ("batch",)), ("lattice", ("tile_px",)))
        for key in keys
    )
    return (spent / report.calls, f"measured by the last run over {report.calls:,} calls") if alike else None


def picture_of_plan(plan: Plan, due: Jobs) -> bytes:
    """PNG of the region's jobs: done, due, without any scene, off land."""
    window, jobs = plan.layout.mosaic_jobs_window, plan.layout.mosaic_jobs
    asked = due.on(window)
    return draw_shards(
        plan,
        f"plan of {plan.region.name}",
        [
            (str(JobState.DONE), jobs.on(window) & ~asked),
            ("due", asked),
            ("no scene", jobs.on(window) & ~with_scene(plan, window)),
            ("off land", plan.layout.map.off_land.on(window)),
        ],
    )
