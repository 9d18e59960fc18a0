"""The sums of infra/SUMS.md: what a continent and the world's land take, each from a figure that was measured.

`python -m tests.benchmarks.sums > infra/SUMS.md` writes the page again.
"""

from __future__ import annotations

from dataclasses import dataclass

from dsdit.bands import BANDS
from dsdit.mosaic.mosaic_arrays import LEVEL_ARRAYS, LR_ARRAYS
from dsdit.steps.scratch import SCRATCH
from dsdit.store.array_spec import shard_bytes
from flows.plan.traffic import WRITE_REQUESTS, requests_of_scratch
from flows.plan.work import SAMPLES_OPEN, STAGES_OPEN
from tests.benchmarks.continent import LATTICE

WORKERS = 1000
"""Devices at once."""
LAND_KM2 = {"CONUS": 8_080_000, "the world's land": 149_000_000}
CHANGED = 0.03
"""Share of jobs with a new clear scene in a nightly run: an assumption; a clear Sentinel-2 view about once a month."""


@dataclass(frozen=True)
class Measured:
    """A figure, and how to have it again."""

    value: float
    unit: str
    source: str


TILE_S = Measured(
    328.9 / 395,
    "s of the sample step a tile of 128 px, `dsdit-tiny`, setting `default`, one CPU core without AVX-512",
    "`make run`: worker seconds of its report",
)
GPU_TILE_S = Measured(
    1 / 503.2,
    "s of a tile of 128 px, setting `default`, on one H100 in float32, batch 128, the network alone",
    "`device` in RESULTS.md",
)
GPU_FED_TILE_S = Measured(
    1 / 198.7,
    "s of a tile of 128 px from catalog to mosaic on one H100 with 16 cores, `cluster: cuda`",
    "`region_on_device` in RESULTS.md",
)
JOB_CPU_MS = Measured(
    7.97,
    "ms of CPU a job, client and scheduler in one process, workers in processes of their own",
    "`wavefront_at_size` in RESULTS.md",
)
PLAN_S = Measured(37.5, "s of planning 795,355 jobs", "`plan_at_size` in RESULTS.md")


def rows(area_km2: float) -> list[tuple[str, str]]:
    """What an area takes at 1 m and scale 10: name and figure."""
    side = LATTICE.shard_px
    jobs = area_km2 * 1e6 / side**2
    tiles = jobs * LATTICE.shard_strides**2
    bands = len(BANDS)
    level, lr = (shard_bytes(specs, LATTICE, bands) for specs in (LEVEL_ARRAYS, LR_ARRAYS))
    written = level * 4 / 3 + lr
    objects = jobs * (2 + len(LR_ARRAYS) + 2 / 3 + 1)
    many = 1_000_000  # so that the edge of a region counts for nothing
    scratch_requests = requests_of_scratch(many, many, many) / many
    out_requests = WRITE_REQUESTS * objects / jobs + 2
    short = (area_km2 * 1e6) ** 0.5 / side
    stage, sample = (shard_bytes(SCRATCH[step], LATTICE, bands) for step in ("stage", "sample"))
    pixels_ratio = (LATTICE.tile_px / 128) ** 2
    core_hours = tiles * TILE_S.value * pixels_ratio / 3600
    scheduler_s = jobs * JOB_CPU_MS.value / 1000
    worker_s = core_hours * 3600 / WORKERS
    return [
        ("shards (jobs), tiles", f"{jobs:,.0f}; {tiles:,.0f}"),
        ("core-hours of `dsdit-tiny` on CPU cores, all tiles once", f"{core_hours:,.0f}"),
        (f"hours with {WORKERS:,} cores", f"{worker_s / 3600:,.1f}"),
        (
            "GPU-hours of `dsdit-tiny` on H100s, all tiles once: the network alone; the whole run, 16 cores a GPU",
            "; ".join(f"{core_hours * m.value / TILE_S.value:,.0f}" for m in (GPU_TILE_S, GPU_FED_TILE_S)),
        ),
        ("device-hours a second of network time a tile", f"{tiles / 3600:,.0f}"),
        ("bytes of the mosaic before compression", f"{jobs * written / 1e12:,.0f} TB"),
        ("objects", f"{objects:,.0f}"),
        ("scratch at once", f"{short * (STAGES_OPEN * stage + SAMPLES_OPEN * sample) / 1e12:,.2f} TB"),
        ("CPU time of client and scheduler", f"{scheduler_s / 3600:,.1f} h, one process"),
        ("jobs a second that one scheduler can give out", f"{1000 / JOB_CPU_MS.value:,.0f}"),
        ("devices that keep one scheduler busy, 60 s a job", f"{60 * 1000 / JOB_CPU_MS.value:,.0f}"),
        (
            f"requests a second with {WORKERS:,} devices at 60 s a job: of the mosaic; of scratch in a store",
            f"{WORKERS / 60 * out_requests:,.0f}; {WORKERS / 60 * scratch_requests:,.0f}",
        ),
        ("bytes written a second then", f"{WORKERS / 60 * written / 1e9:,.2f} GB"),
        (f"a nightly run of {CHANGED:.0%} of the jobs: core-hours", f"{core_hours * CHANGED:,.0f}"),
        (
            "a nightly run: requests, of the mosaic; of scratch in a store",
            f"{jobs * CHANGED * out_requests / 1e6:,.1f}; {jobs * CHANGED * scratch_requests / 1e6:,.1f} million",
        ),
        ("a nightly run: objects written", f"{objects * CHANGED:,.0f}"),
        ("a nightly run: seconds of planning (by jobs, one process)", f"{PLAN_S.value * jobs / 795_355:,.0f}"),
    ]


def page() -> str:
    """The page in Markdown."""
    areas = list(LAND_KM2)
    columns = [dict(rows(area)) for area in LAND_KM2.values()]
    lines = [
        "# Sums: a continent and the world's land",
        "",
        "Made by `python -m tests.benchmarks.sums > infra/SUMS.md`; a test compares the page with its output.",
        f"1 m, scale 10, tiles of {LATTICE.tile_px} px, shards of {LATTICE.shard_px} px. Nothing was run at this size:",
        "each figure is extrapolated from a small measurement. Scratch holds the open part of the wavefront: along the",
        f"shorter side of a square, {STAGES_OPEN} rows of stages and {SAMPLES_OPEN} of samples, before compression.",
        "",
        "| | " + " | ".join(areas) + " |",
        "| --- |" + " --- |" * len(areas),
    ]
    lines += [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0]]
    lines += ["", "| measured | figure | source |", "| --- | --- | --- |"]
    measured = (TILE_S, GPU_TILE_S, GPU_FED_TILE_S, JOB_CPU_MS, PLAN_S)
    lines += [f"| {m.value:.3g} | {m.unit} | {m.source} |" for m in measured]
    lines += [
        "",
        "- `dsdit-tiny` was measured on tiles of 128 px: a tile of 480 px is taken as its area in such tiles. No",
        "  published network was measured: multiply the row of device-hours by the seconds a tile of yours, and set",
        "  `cost.seconds_per_tile` for `dsdit plan`.",
        f"- Assumed: {CHANGED:.0%} of the jobs change between nightly runs, a job takes a device 60 s, and the areas.",
        "- Not in the table: search and measure. Each overlapping pair of a reference and a scene is read once for its",
        "  fit and shift: 1.7 million pairs in a continent's first run (`plan_at_size`). Missing measures are",
        "  made on the run's cluster, eight at a time a worker, and stored in tables; at a second each they",
        "  are 470 hours of workers' threads. Later runs measure only new scenes. **The first bottleneck** is the",
        "  memory of the process that plans: it holds all items that the catalogs return, about 8 KB each.",
        "- Requests are by the counts that `dsdit plan` uses, which a test compares with the requests of a run.",
        "  Scratch in an object store takes most of them; a disk that all workers share takes none. S3 allows 3,500",
        "  writes and 5,500 reads a second and prefix.",
        "- uvloop, where it is installed beside the scheduler and `DASK_DISTRIBUTED__ADMIN__EVENT_LOOP=uvloop` is set,",
        "  reduced the CPU time of a job by 7% in short runs (2,000 jobs, three runs each: 7.2 to 6.7 ms).",
        "- A nightly run costs its device-hours, its requests and the month's storage at your prices: `dsdit plan`",
        "  multiplies them where `cost` is set.",
        "- With GPUs the next bottleneck is the cores beside them: an H100 samples tiles of `dsdit-tiny` 2.5 times as",
        "  fast as 16 cores read, warp, prepare and blend them. A network as large as the published one does not wait",
        "  for them.",
        "- After that it is the devices, until there are as many as keep one scheduler busy; beyond that it is",
        "  the scheduler. Several regions with one scheduler each divide that load: lattices are global, so that",
        "  neighbouring regions agree on their pixels.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
