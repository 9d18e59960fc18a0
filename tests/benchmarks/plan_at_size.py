"""From the tables of a continent's catalogs to a complete plan on disk, without and with last night's receipts.

Search and measure are excluded: items and covers are made up. The plan is then read back, and compared with what a
slow and plain function chooses for jobs picked at random.
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from catalogs.planning import choose_cells
from dsdit.choices import CellChoice
from dsdit.job_map import map_jobs
from dsdit.layout import Layout
from dsdit.plan import ModelChoice, Plan, SamplerSettings
from dsdit.plan_files import read_plan, write_due, write_plan
from dsdit.receipts import Receipt, write_receipt, write_receipt_table
from dsdit.status import JobState
from dsdit.steps.report import due_jobs
from dsdit.window import Index
from tests.benchmarks.continent import LATTICE, OUTLINE, Catalogs, cover_of, make_catalogs, make_fits, region

MAX_AGE_DAYS = 1500.0


def plan_of(catalogs: Catalogs, outline: list[tuple[float, float]]) -> Plan:
    """What `make_plan` does after search and measure."""
    place = region(outline)
    layout = Layout(place, LATTICE)
    cells = choose_cells(catalogs.dates, catalogs.scenes, catalogs, layout.cells, "latest_clear", MAX_AGE_DAYS)
    used, cells = cells.only_used(len(catalogs.items))
    return Plan(
        region=place,
        lattice=LATTICE,
        sampler=SamplerSettings(),
        model=ModelChoice("published", "0" * 64),
        mtf_nyquist=0.3,
        sources={},
        items=catalogs.items.take(used),
        cells=cells,
        fits=make_fits(cells.pairs()),
    )


def keep(plan: Plan, folder: Path) -> tuple[str, int]:
    """Writes the plan and what is due; returns its location and the number of due jobs."""
    url = write_plan(plan, str(folder / "plans"))
    due = due_jobs(plan, str(folder / "receipts"))
    write_due(url, due.places())
    return url, len(due)


def keep_receipts(plan: Plan, folder: Path, stale_every: int) -> int:
    """A table of last night's receipts in which every `stale_every`-th is of other inputs; returns how many are not."""
    digests = plan.job_digests()
    receipts = []
    for number, (job, digest) in enumerate(zip(plan.layout.mosaic_jobs, digests, strict=True)):
        seen = digest.tobytes().hex() if number % stale_every else "f" * 64
        receipts.append(Receipt("mosaic", job, JobState.DONE, seen, 1.0, pixels={"done": 3200 * 3200}))
    write_receipt_table(str(folder / "receipts"), "mosaic", receipts)
    return len(receipts) - -(-len(receipts) // stale_every)


def check_jobs(plan: Plan, catalogs: Catalogs, jobs: int, seed: int = 0) -> int:
    """The plan equals the plain answer on the cells of so many random jobs; returns the cells that were compared."""
    pick = random.Random(seed)
    every = plan.layout.mosaic_jobs
    cells: set[Index] = set()
    for job in pick.sample(range(len(every)), min(jobs, len(every))):
        cells.update(plan.reached_cells(every[job]).indices())
    ids = [record["id"] for record in plan.items]
    for cell in sorted(cells):
        if cell in plan.layout.cells:
            choice = plan.cells.get(cell, CellChoice())
            found = [ids[n] for n in choice.lr], [ids[n] for n in choice.ref]
            assert found == plain_choice(catalogs, cell), f"cell {tuple(cell)}"
    return len(cells)


def plain_choice(catalogs: Catalogs, cell: Index) -> tuple[list[str], list[str]]:
    """Ids of the scenes and references of one cell: looks at every item and sorts what it sees."""
    x0, y0, x1, y1 = catalogs.bounds.T
    near = np.flatnonzero((x0 < cell.col + 1) & (x1 > cell.col) & (y0 < cell.row + 1) & (y1 > cell.row))
    cover, clear = cover_of(near, np.full_like(near, cell.row), np.full_like(near, cell.col), catalogs.bounds[near])
    rows = []
    for n, covered, shown in zip(near.tolist(), cover.tolist(), clear.tolist(), strict=True):
        record = catalogs.items[n]
        rows.append((n < catalogs.scenes, int(catalogs.dates.when_us[n]), covered, shown, record))
    scenes = sorted(
        (shown < 0.98, 0.0 if shown >= 0.98 else -round(shown, 3), -when, record["digest"], record["id"], when)
        for scene, when, covered, shown, record in rows
        if scene and covered > 0
    )[:4]
    newest = scenes[0][5] if scenes else None
    references = []
    for scene, when, covered, shown, record in rows:
        age = 0 if newest is None else abs(newest - when)
        if not scene and shown > 0 and age <= MAX_AGE_DAYS * 86_400_000_000:
            references.append((shown < 0.98, plain_step(age, covered, shown), -when, record["digest"], record["id"]))
    return [s[4] for s in scenes], [r[4] for r in sorted(references)[:4]]


def plain_step(age_us: int, cover: float, clear: float) -> int:
    """The step of 120 days into which a reference falls: age, twice what is out of season, and what is not seen."""
    day, year = 86_400_000_000, 31_556_952_000_000
    season = min(age_us % year, year - age_us % year)
    return (age_us + 2 * season + round((1 - cover) * 1000 * day) + round((cover - clear) * 2000 * day)) // (120 * day)


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure() -> dict[str, str]:
    """The whole benchmark: what was measured, against what."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        started = time.monotonic()
        catalogs = make_catalogs(OUTLINE, 20_000, 210_000)
        made = time.monotonic()
        plan = plan_of(catalogs, OUTLINE)
        url, due = keep(plan, place)
        first_s = time.monotonic() - made - sum(catalogs.spent_s)
        first_peak = peak_bytes()
        jobs, tiles = len(plan.layout.mosaic_jobs), plan.layout.tile_count
        assert due == jobs
        size = sum(path.stat().st_size for path in (place / "plans").iterdir())
        standing = keep_receipts(plan, place, 1000)
        redone = plan.layout.mosaic_jobs[1]
        write_receipt(str(place / "receipts"), Receipt("mosaic", redone, JobState.FAILED, "0" * 64, 1.0))
        del plan
        catalogs.spent_s.clear()
        map_jobs.cache_clear()
        again = time.monotonic()
        second = plan_of(catalogs, OUTLINE)
        url, due = keep(second, place)
        second_s = time.monotonic() - again - sum(catalogs.spent_s)
        assert due == jobs - standing + 1
        cells = check_jobs(read_plan(url), catalogs, 1000)
    return {
        "items": f"{len(catalogs.items):,} ({catalogs.scenes:,} scenes), made in {made - started:.1f} s",
        "jobs": f"{jobs:,}",
        "tiles": f"{tiles:,}",
        "cells chosen": f"{len(second.cells):,}, {len(second.fits):,} pairs of items",
        "plan": f"{first_s:.1f} s (bound 60 s), {size / 2**20:.0f} MiB on disk",
        "peak resident": f"{first_peak / 2**30:.2f} GiB with the catalogs (bound 2 GiB)",
        "plan with last night's receipts": f"{second_s:.1f} s (bound 60 s); {due:,} jobs due",
        "brute force": f"1,000 random jobs, {cells:,} cells: equal",
    }


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name}: {value}")
