"""A run without workers ends with a sentence; a step that hangs is done by another worker, and the run goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster, Scheduler, SpecCluster, Worker, get_worker

import flows.run.run_step
from dsdit.errors import RequestError
from dsdit.receipts.receipts import Receipt, list_receipts, write_receipt
from dsdit.status import JobState
from dsdit.steps.publish.report import due_jobs
from dsdit.window import Index
from flows.run.frontier import Wavefront
from flows.run.limits_and_hooks import RunHooks, RunLimits
from flows.run.loop import WavefrontRun
from flows.run.run_step import Places, receipts_of
from flows.run.stragglers import Pace
from flows.run.workers import Workers, try_batch_on
from tests.conftest import box
from tests.support.commands import wait_for
from tests.support.running import prepare, sample_record

FOUR_ROWS = box(100, 900, 160, -400)
BLOCKED = "blocked"
"""A file beside scratch: while it is there, the first copy of the step that it names hangs."""


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as made:
        yield made


def quick_step(step: str, job: Index, places: Places) -> Receipt:
    """A step without pixels: its receipt, and a line of the worker that began it."""
    job = Index(*job)
    folder = Path(places.scratch).parent
    with (folder / "began").open("a") as file:
        file.write(f"{step}{job} {get_worker().address}\n")
    name, hangs = f"{step}{job}", folder / BLOCKED
    if hangs.exists() and hangs.read_text() == name:
        try:
            (folder / "first").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            while hangs.exists():
                time.sleep(0.02)
    plan = flows.run.run_step.read_plan(places.plan)
    digest = {"stage": plan.stage_digest, "sample": plan.sample_digest, "mosaic": plan.job_digest}[step](job)
    receipt = Receipt(step, job, JobState.DONE, digest, 0.0)
    write_receipt(receipts_of(step, places), receipt)
    return receipt


def run(client: Any, front: Wavefront, hooks: RunHooks | None = None, **limits: float) -> list[Receipt]:
    return WavefrontRun(client, front, RunLimits(2, **limits), hooks, step=quick_step).run()


@pytest.fixture
def front(catalog: Path, weights: Path, tmp_path: Path) -> Wavefront:
    _, plan, places = prepare(sample_record(catalog, weights, tmp_path / "out", FOUR_ROWS))
    return Wavefront(plan, places, due_jobs(plan, places.receipts))


def test_without_a_worker_a_run_ends_with_a_sentence(front: Wavefront) -> None:
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as none,
        Client(none, set_as_default=False) as client,
    ):
        words = r"the cluster has had no worker for 2 s: start workers .* compute\.worker_wait_s"
        with pytest.raises(RequestError, match=words):
            try_batch_on(client, front.places, 2)
        with pytest.raises(RequestError, match=words):
            run(client, front, worker_wait_s=2)
        workers = Workers(client, 60)
        none.scale(1)
        wait_for(lambda: workers.count() == 1, 60, "a worker that comes late counts")


def test_workers_that_leave_and_never_return_end_the_run(front: Wavefront, cluster: LocalCluster) -> None:
    with Client(cluster, set_as_default=False) as client:
        began: list[float] = []

        def leave(_: Receipt) -> None:
            if not began:
                began.append(time.monotonic())
                cluster.scale(0)

        with pytest.raises(RequestError, match="no worker for 3 s"):
            run(client, front, RunHooks(on_receipt=leave), worker_wait_s=3)
        assert time.monotonic() - began[0] >= 3


class Counted:
    """A client that counts the futures that are unfinished after each message."""

    def __init__(self, client: Client) -> None:
        self._client, self.futures, self.most = client, [], 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def map(self, *args: Any, **more: Any) -> Any:
        futures = self._client.map(*args, **more)
        self.futures += futures
        self.most = max(self.most, sum(future.status == "pending" for future in self.futures))
        return futures


@pytest.mark.parametrize("step", [pytest.param("stage", marks=pytest.mark.slow), "sample", "mosaic"])
def test_a_step_that_hangs_is_done_by_another_worker(step: str, front: Wavefront, cluster: LocalCluster) -> None:
    layout, folder = front.plan.layout, Path(front.places.scratch).parent
    job = {"stage": layout.stage_jobs, "sample": layout.sample_jobs, "mosaic": layout.mosaic_jobs}[step][0]
    blocked = folder / BLOCKED
    blocked.write_text(f"{step}{job}")
    try:
        with Client(cluster, set_as_default=False) as client:
            counted = Counted(client)
            receipts = run(counted, front, straggler_s=1)
            assert blocked.exists(), "nothing was freed"
            steps = len(layout.stage_jobs) + len(layout.sample_jobs) + len(layout.mosaic_jobs)
            assert len(receipts) == len({(r.step, r.job) for r in receipts}) == steps
            assert {r.state for r in receipts} == {JobState.DONE}
            assert counted.most <= 2 * 2
            lines = [line.split() for line in (folder / "began").read_text().splitlines()]
            twice = [at for name, at in lines if name == f"{step}{job}"]
            assert len(twice) == len(set(twice)) == 2
            most = Counter(name for name, _ in lines)
            assert max(most.values()) == 2
            blocked.unlink()
            wait_for(lambda: not any(client.processing().values()), 30, "the late copy ends")
    finally:
        blocked.unlink(missing_ok=True)
    assert set(list_receipts(front.places.receipts, "mosaic")) == set(layout.mosaic_jobs)
    assert ((step, job) in front.repeated) and front.keep_scratch is False


def test_a_step_is_late_by_the_measure_of_its_own_kind() -> None:
    pace = Pace(10)
    assert pace.limit_s("stage") == 40, "too few are done for a median"
    for seconds in (1, 2, 90):
        pace.add("stage", seconds)
    assert pace.limit_s("stage") == 10
    for _ in range(64):
        pace.add("sample", 30)
    assert pace.limit_s("sample") == 120


spans: list[tuple[str, float, float]] = []


def timed_step(step: str, job: Index, places: Places) -> Receipt:
    """A step that takes 50 ms and is noted."""
    began = time.monotonic()
    time.sleep(0.05)
    receipt = quick_step(step, job, places)
    spans.append((step, began, time.monotonic()))
    return receipt


def test_one_step_samples_while_the_other_thread_of_its_worker_stages(front: Wavefront) -> None:
    spans.clear()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, resources={"GPU": 1}
        ) as one,
        Client(one, set_as_default=False) as client,
    ):
        WavefrontRun(client, front, RunLimits(4), needs={"sample": {"GPU": 1}}, step=timed_step).run()
    samples = sorted((began, ended) for step, began, ended in spans if step == "sample")
    assert len(samples) > 2
    assert all(ended <= after for (_, ended), (after, _) in pairwise(samples)), "two samples at once"
    others = [(began, ended) for step, began, ended in spans if step != "sample"]
    assert any(a < ended and began < b for began, ended in samples for a, b in others), "nothing else meanwhile"


def test_the_scheduler_keeps_one_group_of_calls_a_step_however_often_none_of_them_is_left(front: Wavefront) -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as one,
        Client(one, set_as_default=False) as client,
    ):
        WavefrontRun(client, front, RunLimits(1), step=quick_step).run()
        kept = [group.name for span in one.scheduler.extensions["spans"].spans.values() for group in span.groups]
    assert sorted(kept) == ["mosaic", "sample", "stage"]


def offering_step(step: str, job: Index, places: Places) -> Receipt:
    """A step that notes what its worker offers."""
    spans.append((f"{step} {sorted(get_worker().state.total_resources)}", 0.0, 0.0))
    return quick_step(step, job, places)


def test_each_step_goes_to_workers_that_offer_what_it_needs(front: Wavefront) -> None:
    spans.clear()
    needs = {"stage": {"CPU": 1.0}, "sample": {"GPU": 1.0}, "mosaic": {"CPU": 1.0}}
    workers = {name: {"cls": Worker, "options": {"nthreads": 1, "resources": {name: 1}}} for name in ("CPU", "GPU")}
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "dashboard_address": ":0"}}
    with SpecCluster(workers, scheduler) as cluster, Client(cluster, set_as_default=False) as client:
        WavefrontRun(client, front, RunLimits(4), needs=needs, step=offering_step).run()
    assert {name for name, _, _ in spans} == {"stage ['CPU']", "sample ['GPU']", "mosaic ['CPU']"}


def test_a_run_whose_workers_do_not_offer_what_a_step_needs_ends_with_a_sentence(
    front: Wavefront, cluster: LocalCluster
) -> None:
    needs = {"sample": {"GPU": 1.0}}
    said = r"no worker that offers \{'GPU': 1.0\} for 2 s"
    with Client(cluster, set_as_default=False) as client:
        with pytest.raises(RequestError, match=said):
            try_batch_on(client, front.places, 2.0, needs)
        with pytest.raises(RequestError, match=said):
            WavefrontRun(client, front, RunLimits(4, worker_wait_s=2.0), needs=needs, step=quick_step).run()


ENDLESS = """
import signal, sys, threading
from distributed import Client, LocalCluster
from flows.run.workers import Workers
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
    print("asking", flush=True)
    Workers(client).wait_for_answer(threading.Event().wait)
"""


def test_a_process_that_is_asked_to_end_does_not_wait_for_an_answer_that_never_comes() -> None:
    """As Dask's own `sync` waits, for ever, when the loop that was to answer has stopped."""
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "asking\n"
            time.sleep(1.5)
            process.terminate()
            assert process.wait(30) == 143
        finally:
            process.kill()
