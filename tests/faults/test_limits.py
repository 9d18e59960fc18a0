"""A disk that is full, a worker at its memory limit, a batch that no worker holds, workers that come late and leave."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from dsdit.errors import RequestError
from dsdit.receipts.receipts import Receipt, damaged_receipts
from dsdit.status import JobState
from dsdit.steps.publish.report import due_jobs, make_report
from dsdit.window import Index
from flows.request.settings import Compute
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.loop import WavefrontRun
from flows.run.progress import Progress
from flows.run.run_step import Places, run_step
from flows.run.workers import try_batch_on
from tests.support.clustered import digest_of, open_client, run_on
from tests.support.equator import equator_record
from tests.support.kept import AROUND_ZERO, equator_catalog, kept_run
from tests.support.running import Ran, prepare, run_here

pytestmark = pytest.mark.faults


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def record(base: Path, weights: Path, tmp_path: Path) -> dict[str, Any]:
    return equator_record(equator_catalog(base), weights, tmp_path / "out", AROUND_ZERO)


def limit_files(size: int) -> None:
    """In this process a write beyond `size` bytes of a file fails from now on, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_scratch_disk_is_reported_and_the_next_run_recovers(
    base: Path, weights: Path, record: dict[str, Any]
) -> None:
    prepare(record)
    with open_client(Compute(workers=1)) as client:
        client.run(limit_files, 40_000)
        full = run_on(record, client=client)
    assert full.report.jobs == {"failed": 4, "planned": 4, "due": 4}
    assert any("File too large" in error for error in full.report.errors), full.report.errors
    assert full.report.pixels["no_data"] == 0
    assert "stage" in {receipt.step for receipt in full.receipts if receipt.state is JobState.FAILED}
    straight, mended = kept_run(base, weights), run_here(record)
    assert mended.report.jobs == straight.report.jobs
    assert digest_of(mended) == digest_of(straight)


def run_watched(record: dict[str, Any], cluster: LocalCluster, watch: Any, run: Any = None) -> Ran:
    """Every due step on a cluster that the test holds."""
    request, plan, places = prepare(record)
    front = Wavefront(plan, places, due_jobs(plan, places.receipts), request.keep_scratch)
    with Client(cluster, set_as_default=False) as client:
        hooks = RunHooks(on_progress=lambda progress: watch(client, progress))
        receipts = WavefrontRun(client, front, RunLimits(2), hooks, step=run).run()
    return Ran(request, plan, places, receipts, make_report(plan, places.receipts, receipts))


def small_cluster(memory_limit: int) -> LocalCluster:
    """One worker that its nanny kills near a limit of memory, in bytes."""
    place = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": 50}
    return LocalCluster(n_workers=1, threads_per_worker=1, memory_limit=memory_limit, **place)


def greedy(step: str, job: Index, places: Places) -> Receipt:
    """The step; the first sample of all takes memory without end, once."""
    marker = Path(places.mosaic).parent / "greedy"
    if step == "sample" and not marker.exists():
        marker.write_text("")
        held = []
        while True:
            held.append(bytearray(b"x" * 50_000_000))
            time.sleep(0.05)
    return run_step(step, job, places)


def test_a_worker_over_its_memory_limit_is_restarted_and_costs_its_steps(
    base: Path, weights: Path, record: dict[str, Any]
) -> None:
    with small_cluster(1_500_000_000) as cluster:
        ran = run_watched(record, cluster, lambda *_: None, greedy)
    assert (Path(record["output"]) / "greedy").exists()
    assert ran.report.errors == ()
    assert digest_of(ran) == digest_of(kept_run(base, weights))


def test_a_batch_that_kills_its_worker_is_refused_before_the_run(record: dict[str, Any]) -> None:
    """The nanny kills the worker at its limit again and again, until the scheduler gives the batch up."""
    _, _, places = prepare({**record, "sampling": {"steps": 2, "batch": 1000}})
    refused = pytest.raises(RequestError, match="1000 tiles of 128 px a network call do not fit the memory of a Dask")
    with small_cluster(700_000_000) as cluster, Client(cluster, set_as_default=False) as client, refused:
        try_batch_on(client, places)
    assert not list(Path(record["output"]).glob("scratch/receipts/*/*"))


def test_a_worker_that_joins_late_and_one_that_leaves(base: Path, weights: Path, record: dict[str, Any]) -> None:
    used: set[str] = set()
    left: list[str] = []
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:

        def watch(client: Client, progress: Progress) -> None:
            workers = set(client.scheduler_info(n_workers=-1)["workers"])
            first = not used
            used.update(workers)
            if first:
                cluster.scale(2)
            elif len(used) == 2 and not left:
                left.append(sorted(workers)[0])
                client.retire_workers(left)

        ran = run_watched(record, cluster, watch)
    assert len(used) == 2 and left
    assert ran.report.errors == ()
    assert digest_of(ran) == digest_of(kept_run(base, weights))


@pytest.mark.parametrize("step", ["stage", "mosaic"])
def test_a_damaged_receipt_is_found_and_its_job_done_again(
    step: str, base: Path, weights: Path, record: dict[str, Any]
) -> None:
    steps = [receipt.step for receipt in kept_run(base, weights).receipts]
    begun = run_here(record, stop_after=steps.index(step) + 1)
    folder = Path(begun.places.receipts if step == "mosaic" else begun.places.scratch_receipts)
    path = sorted((folder / step).iterdir())[0]
    job = next(r.job for r in begun.receipts if str(r.job) in path.name and r.step == step)
    path.write_bytes(path.read_bytes().replace(b'"digest": "', b'"digest": "f'))
    assert damaged_receipts(str(folder), step) == [f"{step}/{job}"]
    again = run_here(record)
    assert (step, job) in {(r.step, r.job) for r in again.receipts}
    assert damaged_receipts(str(folder), step) == []
    assert digest_of(again) == digest_of(kept_run(base, weights))
