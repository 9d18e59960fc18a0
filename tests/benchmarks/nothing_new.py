"""A run with nothing new: cost of search, measure and plan against the steps of a full run of twenty minutes.

The region is as large as such a run needs, with the shipped weights at their default setting. Planning is measured
whole, after a run that measured all items and with receipts of all jobs; the time of its steps is measured on a part
of it and multiplied: stages and mosaics by their jobs, samples by their tiles.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from dsdit.plan.plan import Plan
from dsdit.receipts.receipts import Receipt, write_receipt_table
from dsdit.status import JobState
from dsdit.steps.publish.report import due_jobs
from dsdit.store.objects import join
from flows.plan.make_plan import keep_plan, make_plan
from flows.request.request import make_request
from tests.support.equator import equator_record
from tests.support.nightly_catalog import add_scene, make_nightly_catalog
from tests.support.running import NOW, run_here

SIDE_M = 7200.0
SCENES = ("2024-06-20T10:20:21Z", "2024-06-28T10:20:21Z", "2024-07-11T10:20:21Z")
RUNS = 5
FULL_RUN_S, SHARE = 20 * 60, 0.01


def make_catalog(folder: Path, side_m: float) -> Path:
    """A reference and three scenes over a square around the origin."""
    around = (-side_m / 2, -side_m / 2, side_m / 2, side_m / 2)
    make_nightly_catalog(folder, around)
    for number, when in enumerate(SCENES):
        add_scene(folder, f"scene{number}", when, around, 1 + number / 50)
    return folder


def request_record(folder: Path, output: Path, side_m: float, **more: Any) -> dict[str, Any]:
    """A square around the origin, with the shipped weights, their setting and, by default, their tiling."""
    half = side_m / 2
    record = equator_record(folder, Path("unused"), output, (-half, -half, half, half))
    return {**{key: value for key, value in record.items() if key not in ("model", "sampling", "tiling")}, **more}


def finish(plan: Plan, receipts: str) -> None:
    """Receipts of every job of the plan, done."""
    jobs = plan.layout.mosaic_jobs
    done = (Receipt("mosaic", job, JobState.DONE, plan.job_digest(job), 1.0) for job in jobs)
    write_receipt_table(receipts, "mosaic", done)


def plan_again(record: dict[str, Any]) -> tuple[Plan, float, float]:
    """(plan, seconds, seconds of this process's processor) of search, measure, plan and what is due: nothing."""
    request = make_request(record)
    began, processor = time.monotonic(), time.process_time()
    plan = make_plan(request, NOW, lambda _: None)
    due = due_jobs(plan, join(request.output, "receipts"))
    spent = time.monotonic() - began, time.process_time() - processor
    assert len(due) == 0
    return plan, *spent


def step_seconds(plan: Plan, receipts: list[Receipt]) -> dict[str, float]:
    """Step -> seconds that the plan's jobs take, by what they took in the receipts of a part."""
    spent, jobs, tiles = Counter[str](), Counter[str](), 0
    for receipt in receipts:
        spent[receipt.step] += receipt.seconds  # type: ignore[assignment]
        jobs[receipt.step] += 1
        tiles += len(receipt.tiles) if receipt.step == "sample" else 0
    layout = plan.layout
    return {
        "stage": spent["stage"] / jobs["stage"] * len(layout.stage_jobs),
        "sample": spent["sample"] / tiles * layout.tile_count,
        "mosaic": spent["mosaic"] / jobs["mosaic"] * len(layout.mosaic_jobs),
    }


def main(side_m: float = SIDE_M) -> None:
    """Prints the figures; fails where the share is above `SHARE`, or the full run is too short to compare."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_catalog(folder / "catalog", side_m)
        record = request_record(folder / "catalog", folder / "out", side_m - 400)
        request = make_request(record)
        began = time.monotonic()
        plan = make_plan(request, NOW, lambda _: None)
        first = time.monotonic() - began
        keep_plan(plan, request.output)
        finish(plan, join(request.output, "receipts"))
        runs = sorted(plan_again(record)[1:] for _ in range(RUNS))
        wall, processor = runs[RUNS // 2]
        lattice = plan.lattice
        tiling = {"chunk_strides": lattice.chunk_strides, "shard_chunks": lattice.shard_chunks}
        part = run_here(request_record(folder / "catalog", folder / "part", 300.0, tiling=tiling))
    steps = step_seconds(plan, part.receipts)
    full = sum(steps.values())
    print(f"shards {len(plan.layout.mosaic_jobs)}, tiles {plan.layout.tile_count}, items {len(plan.items)}")
    print(f"steps of a full run: {full:.0f} s: " + ", ".join(f"{name} {s:.0f} s" for name, s in steps.items()))
    print(f"search, measure and plan of the first run: {first:.2f} s")
    print(f"the same with nothing new, median of {RUNS} runs: {wall:.2f} s, of the processor {processor:.2f} s")
    print(f"share of the steps, both by the clock: {100 * wall / full:.3f}% (bound: at most {100 * SHARE:g}%)")
    if side_m == SIDE_M:
        assert full >= FULL_RUN_S, "the region is too small for a full run of twenty minutes"
    assert wall <= SHARE * full, "a run with nothing new costs too much"


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
