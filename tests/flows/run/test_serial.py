"""The serial executor: the same bytes and receipts as a cluster, without Dask, and the same accounts of failures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dsdit.errors import LeaseError
from dsdit.receipts.receipts import Receipt
from dsdit.status import JobState
from dsdit.steps.publish.report import due_jobs, make_report
from dsdit.window import Index
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks
from flows.run.progress import Progress
from flows.run.run_step import RETRIES, Places, run_step
from flows.run.serial import run_serially
from tests.conftest import box
from tests.support.clustered import digest_of, run_on
from tests.support.commands import ROOT, served, write_request
from tests.support.running import Ran, prepare, run_here, sample_record

TWO_SHARDS = box(-400, 160, 400, 100)


def front_of(record: dict[str, Any]) -> Wavefront:
    request, plan, places = prepare(record)
    return Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)


def test_serial_and_local_cluster_give_the_same_mosaic_and_receipts(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    local = {"cluster": "local", "workers": 2}
    spread = run_on(sample_record(catalog, weights, tmp_path / "local", TWO_SHARDS, compute=local))
    request, plan, places = prepare(sample_record(catalog, weights, tmp_path / "serial", TWO_SHARDS))
    lines: list[Progress] = []
    receipts = run_serially(Wavefront(plan, places, due_jobs(plan, places.receipts)), RunHooks(lines.append))
    serial = Ran(request, plan, places, receipts, make_report(plan, places.receipts, tuple(receipts)))
    assert digest_of(serial) == digest_of(spread)
    found = [[(r.step, r.job, r.state, r.digest, r.tiles, r.pixels) for r in ran.receipts] for ran in (serial, spread)]
    assert found[0] == found[1] and len(lines) == len(receipts)
    assert (lines[-1].jobs, lines[-1].tiles) == (2, lines[-1].tiles_total)


WHOLE_RUN = """
import sys
from flows.sr_region import sr_region
places = sr_region(sys.argv[1])
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in ("distributed", "tornado"))
assert not loaded, loaded
print("mosaic at", places["mosaic"])
"""


def test_a_whole_run_never_imports_distributed(catalog: Path, weights: Path, tmp_path: Path) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", TWO_SHARDS, compute={"cluster": "serial"})
    request, env = write_request(tmp_path / "request.yaml", record), {**served(), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", WHOLE_RUN, request], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "mosaic at" in ran.stdout and (tmp_path / "out" / "mosaic.zarr").exists()


def test_a_step_that_raises_is_retried_and_reported(catalog: Path, weights: Path, tmp_path: Path) -> None:
    front, sentences, tries = front_of(sample_record(catalog, weights, tmp_path / "out", TWO_SHARDS)), list[str](), []
    bad = front.plan.layout.mosaic_jobs[0]

    def step(name: str, job: Index, places: Places) -> Any:
        if (name, job) == ("mosaic", bad):
            tries.append(job)
            raise OSError("the disk is full")
        return run_step(name, job, places)

    receipts = {(r.step, r.job): r for r in run_serially(front, RunHooks(on_failure=sentences.append), step)}
    assert len(tries) == 1 + RETRIES
    assert sentences == [f"mosaic of job {tuple(bad)} failed: OSError: the disk is full"]
    assert receipts["mosaic", bad].errors == ("OSError: the disk is full",)
    assert receipts["mosaic", front.due[1]].state is JobState.DONE


def test_a_step_that_always_succeeds_in_the_second_try_fails_nothing(
    catalog: Path, weights: Path, tmp_path: Path
) -> None:
    tried: set[tuple[str, Index]] = set()

    def step(name: str, job: Index, places: Places) -> Any:
        if (name, job) not in tried:
            tried.add((name, job))
            raise OSError("once")
        return run_step(name, job, places)

    receipts = run_serially(
        front_of(sample_record(catalog, weights, tmp_path / "out", box(200, 240, 240, 200))), None, step
    )
    assert receipts and {receipt.state for receipt in receipts} == {JobState.DONE}


def test_ctrl_c_leaves_a_state_that_the_next_run_completes(catalog: Path, weights: Path, tmp_path: Path) -> None:
    record = sample_record(catalog, weights, tmp_path / "out", TWO_SHARDS)
    straight = run_here(sample_record(catalog, weights, tmp_path / "straight", TWO_SHARDS))
    done: list[Receipt] = []

    def step(name: str, job: Index, places: Places) -> Any:
        if name == "mosaic":
            raise KeyboardInterrupt
        return run_step(name, job, places)

    with pytest.raises(KeyboardInterrupt):
        run_serially(front_of(record), RunHooks(on_receipt=done.append), step)
    resumed = run_here(record)
    stages = {(receipt.step, receipt.job) for receipt in done}
    assert stages and not stages & {(receipt.step, receipt.job) for receipt in resumed.receipts}
    assert digest_of(resumed) == digest_of(straight)


def test_a_lost_lease_ends_the_run_without_another_receipt(catalog: Path, weights: Path, tmp_path: Path) -> None:
    front = front_of(sample_record(catalog, weights, tmp_path / "out", TWO_SHARDS))
    calls: list[str] = []

    def check() -> None:
        if len(calls) == 2:
            raise LeaseError("lost")

    def step(name: str, job: Index, places: Places) -> Any:
        calls.append(name)
        return run_step(name, job, places)

    done: list[Receipt] = []
    with pytest.raises(LeaseError, match="lost"):
        run_serially(front, RunHooks(on_receipt=done.append, check=check), step)
    assert len(calls) == 2 and len(done) == 1
