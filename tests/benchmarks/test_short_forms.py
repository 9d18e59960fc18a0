"""Short forms of the benchmarks at size: bounds on counts and memory, and equality with plain answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsdit.digest import NO_DIGEST
from dsdit.plan.files import read_plan
from dsdit.receipts.receipts import Receipt, compact_receipts, list_receipts, read_receipts, write_receipt
from dsdit.status import JobState
from dsdit.steps.publish.report import due_jobs
from dsdit.store.parquet import read_table
from tests.benchmarks.continent import SQUARE, make_catalogs
from tests.benchmarks.plan_at_size import check_jobs, keep, keep_receipts, plan_of
from tests.benchmarks.publish_at_size import neighbours, publish_runs
from tests.benchmarks.publish_at_size import plan_of as continent
from tests.benchmarks.s3_clients import measure as measure_clients
from tests.benchmarks.wavefront_at_size import FUTURES_PER_WORKER, run_stub

pytestmark = pytest.mark.short


def test_a_plan_of_a_degree_equals_the_plain_answer(tmp_path: Path) -> None:
    catalogs = make_catalogs(SQUARE, 60, 400)
    plan = plan_of(catalogs, SQUARE)
    url, due = keep(plan, tmp_path)
    jobs = plan.layout.mosaic_jobs
    assert due == len(jobs) > 900
    back = read_plan(url)
    assert back.digest == plan.digest
    assert check_jobs(back, catalogs, 40) > 100
    digests = plan.job_digests()
    for number in range(0, len(jobs), 37):
        assert digests[number].tobytes() == back.job_digest(jobs[number])
    tiles = {tile for job in plan.layout.sample_jobs for tile in plan.layout.sample_tiles(job)}
    assert plan.layout.tile_count == len(tiles)
    assert set(plan.layout.stage_jobs) == {
        stage
        for reads, readers in (
            (plan.layout.stages_of_sample, plan.layout.sample_jobs),
            (plan.layout.stages_of_mosaic, jobs),
        )
        for job in readers
        for stage in reads(job).indices()
    }


def test_receipts_of_the_last_run_leave_what_is_stale(tmp_path: Path) -> None:
    catalogs = make_catalogs(SQUARE, 60, 400)
    plan = plan_of(catalogs, SQUARE)
    standing = keep_receipts(plan, tmp_path, 10)
    jobs, receipts = plan.layout.mosaic_jobs, str(tmp_path / "receipts")
    url, due = keep(plan, tmp_path)
    assert due == len(jobs) - standing
    assert jobs[0] in due_jobs(plan, receipts) and jobs[1] not in due_jobs(plan, receipts)
    table = read_table(url.replace(".json", ".due.parquet"))
    assert table is not None and len(table["row"]) == due
    write_receipt(receipts, Receipt("mosaic", jobs[1], JobState.FAILED, NO_DIGEST, 1.0, errors=("a",)))
    write_receipt(receipts, Receipt("mosaic", jobs[0], JobState.DONE, plan.job_digest(jobs[0]), 1.0))
    before = due_jobs(plan, receipts)
    assert jobs[1] in before and jobs[0] not in before
    known = read_receipts(receipts, "mosaic", jobs)
    assert compact_receipts(receipts, "mosaic") == 2
    assert read_receipts(receipts, "mosaic", jobs) == known
    assert list_receipts(receipts, "mosaic")[jobs[1]] is JobState.FAILED
    assert not list((tmp_path / "receipts" / "mosaic").iterdir())
    assert due_jobs(plan, receipts) == before


def test_the_front_is_as_long_as_the_shorter_side() -> None:
    peaks = []
    for rows, cols in ((12, 24), (12, 48), (48, 12)):
        watch = run_stub(rows, cols, 2, warm=10**9)
        assert watch.steps == rows * cols + 2 * (rows + 2) * (cols + 2)
        assert watch.alive_most <= FUTURES_PER_WORKER * 2
        peaks.append(watch.scratch_most)
    assert max(peaks) <= 5 * (12 + 2) + 6 * FUTURES_PER_WORKER
    assert np.ptp(peaks) <= 2 * FUTURES_PER_WORKER


def test_both_clients_of_s3_give_back_what_was_written() -> None:
    found = measure_clients(2, 64, 32, 1)
    assert set(found) == {"s3fs", "obstore"}
    assert all(value > 0 for figures in found.values() for value in figures.values())


def test_publishing_a_continent_takes_what_its_run_wrote(tmp_path: Path) -> None:
    """One shard of 795,355: a parent of it on each level and its square of the overview, and no COG of 13 Tpx."""
    plan = continent()
    assert len(plan.layout.mosaic_jobs) == 795_355
    (run,) = publish_runs(tmp_path, plan, [neighbours(plan, 1)])
    assert (run["shards"], run["parts"]) == (1, 8)
    assert run["grown"] < 2**30
    arrays = [path for path in (tmp_path / "mosaic.zarr").glob("*/*/c/**/*") if path.is_file()]
    written = [path.relative_to(tmp_path).parts[1:3] for path in arrays]
    assert sorted(written) == sorted(
        [*((str(k), name) for k in range(8) for name in ("sr", "status")), ("lr", "lr"), ("lr", "residual")]
        + [("overview", name) for name in ("sr", "lr", "residual")]
        + [(group, name) for group in (*map(str, range(8)), "lr", "overview") for name in ("x", "y", "band")]
    )
    assert not (tmp_path / "sr.tif").exists() and (tmp_path / "picture.png").stat().st_size > 1000
