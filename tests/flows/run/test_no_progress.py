"""A run ends, or helps itself, where workers are there and do nothing: paused by memory, or in steps that hang."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from dsdit.errors import RequestError
from dsdit.receipts.receipts import Receipt
from dsdit.status import JobState
from dsdit.steps.publish.report import due_jobs
from dsdit.window import Index
from flows.request.settings import Compute
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.loop import WavefrontRun
from flows.run.run_step import Places
from flows.run.stragglers import is_hung
from flows.run.workers import Workers, try_batch_on
from tests.conftest import box
from tests.flows.run.test_workers import BLOCKED, quick_step
from tests.support.clustered import open_client
from tests.support.commands import wait_for
from tests.support.running import prepare, sample_record


@pytest.fixture
def front(catalog: Path, weights: Path, tmp_path: Path) -> Wavefront:
    _, plan, places = prepare(sample_record(catalog, weights, tmp_path / "out", box(100, 900, 160, -400)))
    return Wavefront(plan, places, due_jobs(plan, places.receipts))


def fill(dask_worker: Any, share: float) -> None:
    """Holds a share of the worker's memory limit, as a library does that leaks."""
    have, limit = psutil.Process().memory_info().rss, dask_worker.memory_manager.memory_limit
    dask_worker.ballast = np.ones(int(share * limit) - have, np.uint8)


def statuses(client: Client) -> list[str]:
    """Of the workers, as the scheduler knows them."""
    return sorted(worker["status"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())


def test_a_run_whose_workers_are_all_paused_by_memory_ends_with_a_sentence(front: Wavefront) -> None:
    with open_client(Compute(workers=2, memory_limit_bytes=1_000_000_000)) as client:
        client.run(fill, share=0.87)
        wait_for(lambda: statuses(client) == ["paused", "paused"], 60, "Dask pauses the workers")
        words = r"no worker for 3 s that has memory left: Dask has paused 2 workers .*\(1\.0 GB\).*memory_limit_bytes"
        with pytest.raises(RequestError, match=words):
            try_batch_on(client, front.places, 3)
        with pytest.raises(RequestError, match=words):
            WavefrontRun(client, front, RunLimits(2, worker_wait_s=3)).run()
        client.run(release)
        wait_for(lambda: statuses(client) == ["running", "running"], 60, "Dask gives them work again")
        assert Workers(client, 3).count() == 2


def release(dask_worker: Any) -> None:
    """Gives back what `fill` took."""
    del dask_worker.ballast


def test_a_run_goes_on_with_the_workers_that_are_not_paused(front: Wavefront) -> None:
    with open_client(Compute(workers=2, memory_limit_bytes=1_000_000_000)) as client:
        client.run(fill, share=0.87, workers=list(client.scheduler_info()["workers"])[:1])
        wait_for(lambda: statuses(client) == ["paused", "running"], 60, "Dask pauses one worker")
        receipts = WavefrontRun(client, front, RunLimits(2, worker_wait_s=3), step=quick_step).run()
        assert {receipt.state for receipt in receipts} == {JobState.DONE}


def hanging_step(step: str, job: Index, places: Places) -> Receipt:
    """`quick_step`, but every copy of the step that the file names hangs, in each process that begins it."""
    blocked = Path(places.scratch).parent / BLOCKED
    if (times := stuck_times(blocked, f"{step}{Index(*job)}")) is not None:
        with blocked.with_name("hung").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if times > len(blocked.with_name("hung").read_text().split()) - 1:
            while blocked.exists():
                time.sleep(0.2)
    return quick_step(step, job, places)


def stuck_times(blocked: Path, name: str) -> int | None:
    """How many copies of a step are to hang; None where it is another step."""
    first, _, times = blocked.read_text().partition(" ")
    return int(times) if first == name else None


NOT_YET = pytest.mark.xfail(run=False, reason="a run does not end yet where the copy on a restarted worker hangs too")


@pytest.mark.parametrize("state", [JobState.DONE, pytest.param(JobState.FAILED, marks=NOT_YET)])
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_step_whose_copies_all_hang_is_given_again_to_new_workers_and_then_fails(
    workers: int, state: JobState, front: Wavefront
) -> None:
    folder, job = Path(front.places.scratch).parent, front.plan.layout.sample_jobs[0]
    (folder / BLOCKED).write_text(f"sample{job} {workers if state is JobState.DONE else 99}")
    warnings, failures = list[str](), list[str]()
    hooks = RunHooks(on_failure=failures.append, on_warning=warnings.append)
    with open_client(Compute(workers=workers)) as client:
        receipts = WavefrontRun(client, front, RunLimits(2, straggler_s=1), hooks, step=hanging_step).run()
    (sampled,) = [r for r in receipts if (r.step, r.job) == ("sample", job)]
    assert sampled.state is state
    assert len(warnings) == 1 and "its workers were restarted, and it is given again" in warnings[0]
    hung = (folder / "hung").read_text().split()
    assert len(hung) == len(set(hung)), "a process that hung was used again"
    if state is JobState.FAILED:
        assert f"sample of job {tuple(job)} has not ended for" in sampled.errors[0] and len(failures) == 1
        assert len(hung) == workers + 1, "both copies, and the one on a new worker"
    others = {r.state for r in receipts if r.step == "stage" or (r.step == "sample" and r.job != job)}
    assert others == {JobState.DONE}
    assert len(receipts) == len({(r.step, r.job) for r in receipts})


def test_steps_that_hang_on_workers_that_nobody_can_restart_end_the_run(front: Wavefront) -> None:
    folder = Path(front.places.scratch).parent
    (folder / BLOCKED).write_text(f"sample{front.plan.layout.sample_jobs[0]} 99")
    try:
        with (
            LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as one,
            Client(one, set_as_default=False) as client,
            pytest.raises(RequestError, match=r"sample of job .* has no nanny .*: restart the workers"),
        ):
            WavefrontRun(client, front, RunLimits(2, straggler_s=1), step=hanging_step).run()
    finally:
        (folder / BLOCKED).unlink()


def test_a_step_hangs_where_its_worker_does_nothing_and_is_only_large_where_it_computes() -> None:
    assert is_hung(age_s=700, limit_s=600, idle_s=601)
    assert not is_hung(age_s=700, limit_s=600, idle_s=0)
    assert not is_hung(age_s=500, limit_s=600, idle_s=601)
    assert is_hung(age_s=7201, limit_s=600, idle_s=0)
